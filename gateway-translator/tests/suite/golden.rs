//! One case a behaviour: what a tenant sends, what reaches the hub, what is said about it.

use crate::support::Case;

#[test]
fn cases_come_out_as_recorded() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../cases/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _bound = settings.bind_to_scope();
    insta::glob!("..", "cases/*.in.yaml", |path| {
        let text = std::fs::read_to_string(path).unwrap();
        let case: Case = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        insta::assert_yaml_snapshot!("out", case.run());
    });
}
