//! Long runs on a lab that stands and has the product installed: `make soak`, or one by `make soak SUITE=outage`.
//! They are no part of `make test`, which lists them as NOT RUN.

#![expect(
    clippy::unwrap_used,
    reason = "a story that cannot go on must fail where it stands"
)]

mod churn;
mod cold;
mod outage;
mod renewal;
#[path = "../stories/support/mod.rs"]
#[allow(dead_code, reason = "shared with the stories, which need more of it")]
mod support;
