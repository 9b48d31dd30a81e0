//! Layer-4 data plane: turns plain descriptions of load balancers into Envoy configuration and serves that
//! configuration to fleets of Envoys over ADS with mutual TLS, delta or state of the world.
//!
//! What it must not do: talk to Kubernetes, decide which tenant owns what, or remember anything across restarts.
//! The manager feeds [`Frontend`]s in and forwards the [`Report`] out; everything in between is a function of its
//! input, so that two replicas agree without talking.
//!
//! ```text
//!  Frontend ──translate──► Snapshot ──Cache::set──► Stream (one per Envoy) ──tonic──► Envoy
//!     ▲  ports::allocate                                │ ACK / NACK
//!     └────────────── manager ◄──────── Report ◄────────┘
//! ```
//!
//! Pure: [`ir`], [`ports`], [`translate`](mod@translate), [`snapshot`], [`subscription`], [`stream`], [`dialect`],
//! [`bootstrap`].
//! Shell: [`cache`], [`report`], [`identity`], [`server`], [`metrics`].

pub mod blame;
pub mod bootstrap;
pub mod cache;
pub mod dialect;
mod difference;
pub mod identity;
pub mod ir;
pub mod metrics;
pub mod ports;
pub mod report;
pub mod server;
pub mod snapshot;
pub mod stream;
pub mod subscription;
pub mod translate;

pub use cache::{Cache, FleetKey};
pub use identity::{Tls, TlsMaterial};
pub use ir::{Address, Backend, Frontend, Hostname, Listener, LoadBalancerId, Policy, Port, Protocol};
pub use metrics::Metrics;
pub use report::{LoadBalancerReport, LoadBalancerVoices, NodeId, Report, ReportHub};
pub use server::{ControlPlane, Limits};
pub use snapshot::{ContentVersion, Snapshot};
pub use translate::{Bind, Settings, Translation, translate};
