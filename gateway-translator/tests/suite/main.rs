//! Tests of the whole translation, through the public API.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not inside a test function, which is where clippy.toml allows them"
)]

mod documentation;
mod golden;
mod precedence;
mod props;
mod secrets;
mod support;
