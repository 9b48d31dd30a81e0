//! What holds for the fleets of one tenant.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use api::v1alpha1::{ContainerResources, EnvoyProxySettings, OverloadManager, RawObject, TenantEnvoyProxy};
use jiff::SignedDuration;

use super::either;
use crate::build::envoy::WorkloadKind;
use crate::quantity;

/// Envoys a fleet where nobody says.
pub const DEFAULT_REPLICAS: i32 = 3;
/// How long connections go on whose Envoy or listener has to go, where nobody says.
pub const DEFAULT_DRAIN: SignedDuration = SignedDuration::from_secs(30);

/// What holds for each fleet of one tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvoyFleet {
    /// What runs its Envoys.
    pub kind: WorkloadKind,
    /// How many run in a Deployment.
    pub replicas: i32,
    /// Image, where Config names one.
    pub image: Option<String>,
    /// Node labels that an Envoy's node must have.
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Tolerations, as in a Pod.
    pub tolerations: Vec<RawObject>,
    /// Affinity, as in a Pod.
    pub affinity: Option<RawObject>,
    /// Resources of each Envoy.
    pub resources: Option<ContainerResources>,
    /// How long connections go on whose Envoy or listener has to go.
    pub drain: SignedDuration,
    /// Connections of clients at one time, for each Envoy.
    pub max_connections: Option<NonZeroU64>,
    /// Memory near which an Envoy takes no more connections.
    pub max_heap_bytes: Option<NonZeroU64>,
    /// Each fleet has a NetworkPolicy.
    pub network_policy: bool,
}

/// Merges a Tenant over the Config.
pub(super) fn merge(tenant: Option<&TenantEnvoyProxy>, config: &EnvoyProxySettings) -> EnvoyFleet {
    let EnvoyProxySettings {
        topology: _,
        use_daemonset,
        replicas,
        image,
        node_selector,
        tolerations,
        affinity,
        resources,
        graceful_shutdown,
        overload_manager,
        network_policy,
    } = config;
    let resources = either(tenant.and_then(|t| t.resources.as_ref()), resources.as_ref());
    let OverloadManager {
        max_heap_size_bytes,
        max_active_downstream_connections,
    } = overload_manager.clone().unwrap_or_default();
    let positive = |number: Option<i64>| number.and_then(|n| NonZeroU64::new(u64::try_from(n).ok()?));
    let drain = graceful_shutdown
        .as_ref()
        .and_then(|graceful| graceful.drain_seconds);
    EnvoyFleet {
        kind: if *use_daemonset {
            WorkloadKind::DaemonSet
        } else {
            WorkloadKind::Deployment
        },
        replicas: tenant
            .and_then(|t| t.replicas)
            .or(*replicas)
            .unwrap_or(DEFAULT_REPLICAS),
        image: image.clone(),
        node_selector: node_selector.clone(),
        tolerations: tolerations.clone(),
        affinity: affinity.clone(),
        drain: drain.map_or(DEFAULT_DRAIN, |seconds| SignedDuration::from_secs(seconds.into())),
        max_connections: positive(max_active_downstream_connections),
        max_heap_bytes: positive(max_heap_size_bytes).or_else(|| heap_within(resources.as_ref())),
        network_policy: network_policy.as_ref().is_some_and(|policy| policy.enabled),
        resources,
    }
}

/// Four fifths of the memory limit. The rest is for what is not on Envoy's heap: buffers of the kernel, stacks, and the
/// program itself.
fn heap_within(resources: Option<&ContainerResources>) -> Option<NonZeroU64> {
    let limit = quantity::bytes(resources?.limits.as_ref()?.get("memory")?)?;
    NonZeroU64::new(limit / 5 * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_is_limited_by_what_is_said_or_else_by_the_memory_limit() {
        let fleet = |limit: Option<&str>, said: Option<i64>| {
            let memory = |limit: &str| BTreeMap::from([("memory".to_owned(), limit.to_owned())]);
            let settings = EnvoyProxySettings {
                resources: Some(ContainerResources {
                    requests: None,
                    limits: limit.map(memory),
                }),
                overload_manager: Some(OverloadManager {
                    max_heap_size_bytes: said,
                    max_active_downstream_connections: None,
                }),
                ..EnvoyProxySettings::default()
            };
            merge(None, &settings).max_heap_bytes.map(NonZeroU64::get)
        };
        assert_eq!(fleet(None, None), None);
        assert_eq!(fleet(Some("1000"), None), Some(800));
        assert_eq!(fleet(Some("1000"), Some(500)), Some(500));
        assert_eq!(fleet(Some("nonsense"), None), None);
    }
}
