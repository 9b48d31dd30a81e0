//! The hub controller. It gives every tenant a namespace and a credential, serves its LoadBalancers with our own
//! Envoys, and its Gateways and routes through Envoy Gateway.
//!
//! ```text
//!  stores ──► settings, assess, translate (pure) ──► plan ──► apply, prune ──► status, Event, metric
//!     │                                                   (lease holder only)
//!     └─────► xds: the same on every replica ──► l4_xds::Cache ──► Envoys
//! ```
//!
//! What tenants write is never trusted: hub objects are built field by field, addresses and host names are
//! checked, and statuses are the manager's own.

pub mod api_server;
pub mod app;
pub mod args;
pub mod build;
pub mod by_namespace;
pub mod claims;
pub mod context;
pub mod controller;
pub mod drivers;
pub mod fleet;
pub mod hostnames;
pub mod metrics;
pub mod pki;
pub mod quantity;
pub mod settings;
pub mod status_patch;
pub mod stores;
pub mod triggers;
pub mod xds;
pub mod xds_server;
