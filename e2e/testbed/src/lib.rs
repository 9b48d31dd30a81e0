//! The testbed: labs of literal kind clusters (a hub, tenants beside it) on any machine, and what tests need to use them.
//!
//! The `lab` program brings labs up and down; tests that run inside `lab exec` use [`Lab`] and [`eventually`].

pub mod address_pool;
pub mod base_root;
pub mod cache;
pub mod cluster;
pub mod command;
pub mod daemon;
pub mod down;
pub mod environment;
pub mod envoy_gateway;
pub mod error;
pub mod gateway_api;
pub mod host;
pub mod image;
pub mod kernel_limits;
pub mod lab;
pub mod libraries;
pub mod load;
pub mod network;
pub mod node_image;
pub mod packages;
pub mod pool_install;
pub mod process;
pub mod progress;
pub mod published;
pub mod range;
pub mod runc_wrapper;
pub mod site;
pub mod state;
pub mod third_party_images;
pub mod tools;
pub mod up;
pub mod versions;

pub use error::{Error, Result};
pub use lab::Lab;
pub use progress::{Progress, eventually};
