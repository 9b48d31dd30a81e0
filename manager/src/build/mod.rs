//! Pure builders of hub objects. Each makes one whole object from plain data; none knows a client or a clock.

pub mod credential;
pub mod envoy;
pub mod https;
pub mod hub_service;
pub mod network_policy;
pub mod tenant;

use std::collections::BTreeMap;

use api::meta;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

/// Values of [`meta::COMPONENT_LABEL`] on objects that the manager makes.
pub mod component {
    /// The tenant's credential and what it may do.
    pub const TENANT: &str = "tenant";
    /// The tenant's L4 Envoys.
    pub const ENVOY: &str = "envoy";
    /// L4 Envoys of one LoadBalancer.
    pub const DEDICATED_ENVOY: &str = "dedicated-envoy";
    /// L4 Envoys of all tenants.
    pub const GLOBAL_ENVOY: &str = "global-envoy";
    /// The hub Service of one LoadBalancer.
    pub const LOAD_BALANCER: &str = "load-balancer";
    /// What serves HTTPS at the host name of one LoadBalancer.
    pub const HTTPS: &str = "https";
    /// What was made from a Route.
    pub const ROUTE: &str = "route";
    /// What was made from a SyncSecret.
    pub const SYNC_SECRET: &str = "sync-secret";
    /// What the xDS server needs.
    pub const XDS: &str = "xds";
}

/// Labels of every object of a tenant's.
#[must_use]
pub fn labels(tenant: &str, component: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (meta::MANAGED_BY_LABEL.to_owned(), meta::MANAGED_BY.to_owned()),
        (meta::COMPONENT_LABEL.to_owned(), component.to_owned()),
    ]);
    if meta::is_label_value(tenant) {
        labels.insert(meta::TENANT_LABEL.to_owned(), tenant.to_owned());
    }
    labels
}

/// Metadata of an object in a tenant's namespace.
#[must_use]
pub fn object_meta(namespace: &str, name: &str, labels: BTreeMap<String, String>) -> ObjectMeta {
    ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}

/// A reference that lets the hub's garbage collector remove a child with `owner`.
///
/// It does not block the owner's deletion: that would need the right to set finalizers on it.
pub fn owner_reference<K: Resource<DynamicType = ()>>(owner: &K) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone()?,
        uid: owner.uid()?,
        controller: Some(true),
        block_owner_deletion: None,
    })
}

/// True where an object says that this product made it.
#[must_use]
pub fn is_ours(object: &ObjectMeta) -> bool {
    object
        .labels
        .as_ref()
        .and_then(|l| l.get(meta::MANAGED_BY_LABEL))
        .is_some_and(|v| v == meta::MANAGED_BY)
}
