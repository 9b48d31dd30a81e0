//! Custom resource types of the group `kubelb.k8c.io`, with the names, labels and conditions that every
//! other crate shares.
//!
//! This crate is plain data. It knows no client, no clock and no async runtime: a test walks its dependency
//! tree to keep it so, because the pure translators depend on it.

pub mod annotations;
pub mod condition;
pub mod crds;
pub mod domain;
pub mod endpoint_policy;
pub mod meta;
pub mod names;
pub mod v1alpha1;

/// API group of every custom resource defined here.
pub const GROUP: &str = "kubelb.k8c.io";
/// The one version that is served and stored.
pub const VERSION: &str = "v1alpha1";
