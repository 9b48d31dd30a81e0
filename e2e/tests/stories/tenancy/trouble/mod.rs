//! What can be wrong between a tenant and its hub: each cause is named by log, metric, Event and readiness, and
//! what is served stays served.

mod another_cluster;
mod cluster_name;
mod expired;
mod hub_away;
mod revoked;
mod tenant_missing;
mod wrong;
