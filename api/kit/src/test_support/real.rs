//! Real parts that tests run against. Where they are is said by the environment.

use std::io::Write as _;
use std::path::PathBuf;

/// Envoy's binary, from `KUBELB_ENVOY_BIN`, or a loud word that the test did not run.
///
/// # Panics
/// When it is not said and `KUBELB_REQUIRE_REAL` is 1, or nobody can hear the word.
pub fn envoy_binary(test: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("KUBELB_ENVOY_BIN") {
        return Some(path.into());
    }
    let required = std::env::var("KUBELB_REQUIRE_REAL").is_ok_and(|value| value == "1");
    assert!(
        !required,
        "KUBELB_REQUIRE_REAL=1, but KUBELB_ENVOY_BIN does not say where Envoy is"
    );
    // Not `eprintln!`, which the test harness keeps to itself when a test passes.
    let words = format!("NOT RUN: {test}: KUBELB_ENVOY_BIN does not say where Envoy is\n");
    let told = std::io::stderr().write_all(words.as_bytes());
    assert!(told.is_ok(), "{words}");
    None
}
