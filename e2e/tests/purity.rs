//! The pure crates stay pure: nothing that they are built from knows a runtime or a cluster.

#![expect(
    clippy::unwrap_used,
    reason = "a check that cannot go on must fail where it stands"
)]

use std::process::Command;

const PURE: [&str; 3] = ["api", "gateway-semantics", "gateway-translator"];
const FORBIDDEN: [&str; 7] = [
    "tokio",
    "hyper",
    "tower",
    "kube-client",
    "kube-runtime",
    "reqwest",
    "rand",
];

#[test]
fn pure_crates_are_built_without_a_runtime_and_without_a_client() {
    for package in PURE {
        let packages = tree_of(package);
        let found: Vec<_> = packages
            .iter()
            .filter(|name| FORBIDDEN.contains(&name.as_str()))
            .collect();
        assert!(found.is_empty(), "{package} is built from {found:?}");
        assert!(
            packages.iter().any(|name| name == "serde_json"),
            "{package}: not the tree that was asked for"
        );
    }
}

#[test]
fn the_check_sees_a_runtime_where_there_is_one() {
    assert!(tree_of("controller-kit").iter().any(|name| name == "tokio"));
}

fn tree_of(package: &str) -> Vec<String> {
    let arguments = [
        "tree", "--locked", "-e", "normal", "--prefix", "none", "-p", package,
    ];
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}
