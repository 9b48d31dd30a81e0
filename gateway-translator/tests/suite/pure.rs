//! The crate stays pure: what decides must be testable without a cluster, a clock or a runtime.

use std::process::Command;

#[test]
fn no_runtime_and_no_client_are_in_the_dependency_tree() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--prefix",
            "none",
            "-e",
            "normal",
            "-p",
            env!("CARGO_PKG_NAME"),
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let banned = [
        "tokio",
        "hyper",
        "tower",
        "kube-client",
        "kube-runtime",
        "reqwest",
        "tonic",
    ];
    let found: Vec<&str> = tree
        .lines()
        .filter(|line| banned.iter().any(|b| line.starts_with(b)))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}
