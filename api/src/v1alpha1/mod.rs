//! The one served version. One custom resource a file; what several share is in [`common`].

mod addresses;
mod backend_tls;
pub mod common;
mod config;
mod load_balancer;
mod route;
mod sync_secret;
mod tenant;
mod tenant_state;
mod traffic_policy;

pub use addresses::*;
pub use backend_tls::*;
pub use common::*;
pub use config::*;
pub use load_balancer::*;
pub use route::*;
pub use sync_secret::*;
pub use tenant::*;
pub use tenant_state::*;
pub use traffic_policy::*;
