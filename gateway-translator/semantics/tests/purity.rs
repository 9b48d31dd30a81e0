//! The engine stays a pure function: nothing that it is built from knows a runtime or a cluster.

use std::process::Command;

#[test]
fn the_engine_is_built_without_a_runtime_and_without_a_client() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "-p",
            "gateway-semantics",
            "-e",
            "normal",
            "--prefix",
            "none",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let forbidden = [
        "tokio",
        "hyper",
        "tower",
        "kube-client",
        "kube-runtime",
        "reqwest",
        "rand",
    ];
    let found: Vec<_> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|package| forbidden.contains(package))
        .collect();
    assert!(found.is_empty(), "{found:?}");
    assert!(
        tree.lines().any(|line| line.starts_with("k8s-openapi ")),
        "the tree is not the one that was asked for"
    );
}
