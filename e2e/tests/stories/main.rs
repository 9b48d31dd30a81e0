//! Whole-system stories, one a file, on a lab that stands and has the product installed.
//!
//! Run them with `make e2e`, or one suite with `make e2e SUITE=l4`. They run one after another: some of them
//! stop nodes and managers.

#![expect(
    clippy::unwrap_used,
    reason = "a story that cannot go on must fail where it stands"
)]

mod crds;
mod gateway;
mod l4;
mod operations;
mod support;
mod tenancy;
