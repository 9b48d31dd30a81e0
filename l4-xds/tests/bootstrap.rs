//! A real Envoy takes the bootstrap, whatever is limited in it. Needs `KUBELB_ENVOY_BIN`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy.toml allows these in test functions only, and here the helpers are tests too"
)]

mod support;

use std::num::NonZeroU64;
use std::path::Path;
use std::process::Command;

use controller_kit::test_support::envoy_binary;
use l4_xds::bootstrap::{BOOTSTRAP_FILE, BootstrapInput, files};
use support::pki::{Ca, SERVER_NAME};
use tempfile::TempDir;

/// Envoy's words if it does not take the bootstrap of this input.
fn validate(
    binary: &Path,
    mut input: BootstrapInput,
    change: impl Fn(String) -> String,
) -> Result<(), String> {
    let directory = TempDir::new().unwrap();
    let ca = Ca::new("xds");
    support::envoy::make_secret(directory.path(), 0, &ca.fleet("tenant-a"), &ca.pem());
    input.config_directory = directory.path().display().to_string();
    input.certificate_directory = directory.path().join("tls").display().to_string();
    for (name, text) in files(&input) {
        std::fs::write(directory.path().join(name), change(text)).unwrap();
    }
    let output = Command::new(binary)
        .args(["--mode", "validate", "--log-level", "error"])
        .args([
            "--service-node",
            "some-pod",
            "--service-cluster",
            "some-fleet",
            "-c",
        ])
        .arg(directory.path().join(BOOTSTRAP_FILE))
        .output()
        .unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn input(connections: Option<u64>, heap: Option<u64>) -> BootstrapInput {
    let port = support::port(18000);
    let mut input = BootstrapInput::new("127.0.0.1", port, SERVER_NAME.parse().unwrap());
    input.max_connections = connections.and_then(NonZeroU64::new);
    input.max_heap_bytes = heap.and_then(NonZeroU64::new);
    input
}

#[test]
fn envoy_takes_the_bootstrap_with_every_limit() {
    let Some(binary) = envoy_binary("the bootstrap") else {
        return;
    };
    let same = |text| text;
    for connections in [None, Some(50_000)] {
        for heap in [None, Some(400 << 20)] {
            assert_eq!(validate(&binary, input(connections, heap), same), Ok(()));
        }
    }
    let misspelt =
        |text: String| text.replace("overload_actions.shrink_heap", "overload_actions.shrink_heat");
    let words = validate(&binary, input(None, Some(400 << 20)), misspelt).unwrap_err();
    assert!(words.contains("shrink_heat"), "{words}");
}
