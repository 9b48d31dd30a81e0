//! What every controller of the product needs and none should write twice.
//!
//! A controller is level-triggered over a whole snapshot and reads
//! `gather → convert → plan → apply → report`:
//!
//! 1. [`watch`] keeps the world in memory and says which object changed,
//! 2. [`driver`] turns those hints into debounced runs, one at a time per key,
//! 3. the controller itself gathers plain data and calls its pure functions,
//! 4. [`diff`] and [`apply`] write the difference and nothing else,
//! 5. [`status`], [`events`] and [`metrics`] report.
//!
//! Around that stand [`lease`] (one replica writes), [`admin`] with [`ready`] (probes and metrics),
//! [`client`] (connections, and their renewal), [`telemetry`], [`args`] and [`shutdown`].
//!
//! This crate knows Kubernetes and nothing of the product: no custom resource of ours is named here.

pub mod admin;
pub mod apply;
pub mod args;
pub mod backoff;
pub mod client;
pub mod diff;
#[cfg(any(test, feature = "test-support"))]
pub mod document;
pub mod driver;
pub mod error;
pub mod events;
pub mod finalizer;
pub mod lease;
pub mod linger;
pub mod metrics;
pub mod object;
pub mod patience;
pub mod ready;
pub mod shutdown;
pub mod status;
pub mod telemetry;
#[cfg(any(test, feature = "test-support"))]
pub mod test_support;
pub mod watch;

pub use error::ReconcileError;
pub use object::{Object, ObjectId, ObjectKey};
pub use tokio_util::sync::CancellationToken;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
