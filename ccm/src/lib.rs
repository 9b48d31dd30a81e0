//! The agent in a tenant cluster.
//!
//! It watches the cluster, decides in pure functions what its objects mean, writes the result to one namespace
//! of the hub, and brings the hub's facts back as status:
//!
//! ```text
//! watches ─► gather ─► convert, gateway_semantics (pure) ─► plan (pure) ─► apply ─► hub
//!    ▲                                                                              │
//!    └───────────── status, Events, metrics ◄─ project (pure) ◄── watches of hub objects
//! ```
//!
//! The hub may be away at any time: then nothing is written, cleared or pruned, and what is served goes on.

pub mod annotations;
pub mod app;
pub mod args;
pub mod controller;
pub mod convert;
pub mod hub;
pub mod metrics;
pub mod notice;
pub mod status;

/// Owner of the fields that this agent writes, in both clusters.
pub const FIELD_MANAGER: &str = "kubelb-ccm";
/// Version of this agent.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
