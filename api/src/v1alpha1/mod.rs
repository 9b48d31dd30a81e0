//! The one served version. One custom resource a file; what several share is in [`common`].

mod addresses;
pub mod common;
mod config;
mod load_balancer;
mod route;
mod sync_secret;
mod tenant;
mod tenant_state;

pub use addresses::*;
pub use common::*;
pub use config::*;
pub use load_balancer::*;
pub use route::*;
pub use sync_secret::*;
pub use tenant::*;
pub use tenant_state::*;
