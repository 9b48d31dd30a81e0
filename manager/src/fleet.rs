//! Which Envoys serve a load balancer, and what their objects are called. Pure.
//!
//! Names are derived from identities; what an object of a fleet is part of is read from its labels, which tenants
//! cannot write.

use std::collections::BTreeMap;

use api::meta;
use api::names::derived_name_of;
use api::v1alpha1::EnvoyProxyTopology;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use l4_xds::FleetKey;
use l4_xds::cache::InvalidFleetKey;

use crate::build::{component, labels};

/// Label of what belongs to a fleet of its own LoadBalancer: the name that its objects have.
pub const FLEET_LABEL: &str = "kubelb.k8c.io/fleet";

/// Name of the objects of a tenant's shared fleet.
const SHARED: &str = "envoy";

/// Name of the fleet of all tenants, in what is called after it. No tenant's namespace can have it.
pub const GLOBAL: &str = "global";

/// A fleet: in a tenant's namespace, or the one in the manager's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum FleetId {
    /// For all of the tenant's LoadBalancers.
    Shared,
    /// For the LoadBalancer of this name.
    Dedicated(String),
    /// For all tenants.
    Global,
}

impl FleetId {
    /// The fleet of a LoadBalancer in a topology.
    #[must_use]
    pub fn of(topology: EnvoyProxyTopology, load_balancer: &str) -> Self {
        match topology {
            EnvoyProxyTopology::Shared => Self::Shared,
            EnvoyProxyTopology::Dedicated => Self::Dedicated(load_balancer.to_owned()),
            EnvoyProxyTopology::Global => Self::Global,
        }
    }

    /// The topology that has such fleets.
    #[must_use]
    pub fn topology(&self) -> EnvoyProxyTopology {
        match self {
            Self::Shared => EnvoyProxyTopology::Shared,
            Self::Dedicated(_) => EnvoyProxyTopology::Dedicated,
            Self::Global => EnvoyProxyTopology::Global,
        }
    }

    /// Its key for the xDS server: its certificate names it.
    ///
    /// # Errors
    /// When a name is none that Kubernetes gives.
    pub fn key(&self, namespace: &str) -> Result<FleetKey, InvalidFleetKey> {
        match self {
            Self::Shared => namespace.parse(),
            Self::Dedicated(load_balancer) => format!("{namespace}/{load_balancer}").parse(),
            Self::Global => GLOBAL.parse(),
        }
    }

    /// Name of its objects but the certificate.
    #[must_use]
    pub fn name(&self, namespace: &str) -> String {
        self.named(SHARED, namespace)
    }

    /// Name of the Secret with its client certificate.
    #[must_use]
    pub fn certificate(&self, namespace: &str) -> String {
        self.named("envoy-xds-tls", namespace)
    }

    /// Without a readable tail: the names of pods are longer still.
    fn named(&self, prefix: &str, namespace: &str) -> String {
        match self {
            Self::Shared => prefix.to_owned(),
            Self::Dedicated(load_balancer) => {
                derived_name_of(prefix, &["LoadBalancer", namespace, load_balancer], "")
            }
            Self::Global => format!("{prefix}-{GLOBAL}"),
        }
    }

    /// What its objects are part of.
    #[must_use]
    pub fn component(&self) -> &'static str {
        match self {
            Self::Shared => component::ENVOY,
            Self::Dedicated(_) => component::DEDICATED_ENVOY,
            Self::Global => component::GLOBAL_ENVOY,
        }
    }

    /// Labels of its objects. Its pods carry them, and hub Services select by them: no fleet's are part of another's.
    #[must_use]
    pub fn labels(&self, tenant: &str, namespace: &str) -> BTreeMap<String, String> {
        let mut labels = labels(tenant, self.component());
        match self {
            Self::Shared => {}
            Self::Dedicated(_) => {
                labels.insert(FLEET_LABEL.to_owned(), self.name(namespace));
            }
            Self::Global => drop(labels.remove(meta::TENANT_LABEL)),
        }
        labels
    }

    /// Annotations of its objects: whose it is, in full.
    #[must_use]
    pub fn annotations(&self) -> Option<BTreeMap<String, String>> {
        match self {
            Self::Shared | Self::Global => None,
            Self::Dedicated(load_balancer) => Some(BTreeMap::from([(
                meta::LOAD_BALANCER_LABEL.to_owned(),
                load_balancer.clone(),
            )])),
        }
    }

    /// The fleet that an object of ours is part of, as [`FleetId::labels`] and [`FleetId::annotations`] say it.
    #[must_use]
    pub fn of_object(metadata: &ObjectMeta) -> Option<Self> {
        let component = metadata.labels.as_ref()?.get(meta::COMPONENT_LABEL)?;
        match component.as_str() {
            component::ENVOY => Some(Self::Shared),
            component::DEDICATED_ENVOY => {
                let annotations = metadata.annotations.as_ref()?;
                let load_balancer = annotations.get(meta::LOAD_BALANCER_LABEL)?;
                Some(Self::Dedicated(load_balancer.clone()))
            }
            component::GLOBAL_ENVOY => Some(Self::Global),
            _ => None,
        }
    }

    /// The fleet that the hub Service of a LoadBalancer selects: the record of who serves it.
    #[must_use]
    pub fn selected(service: &Service, load_balancer: &str) -> Option<Self> {
        Some(Self::of(selected_topology(service)?, load_balancer))
    }

    /// The fleet that a pod is an Envoy of, by the name that the fleet's objects have.
    #[must_use]
    pub fn name_at(pod: &Pod) -> Option<String> {
        match pod.labels().get(meta::COMPONENT_LABEL)?.as_str() {
            component::ENVOY => Some(SHARED.to_owned()),
            component::DEDICATED_ENVOY => pod.labels().get(FLEET_LABEL).cloned(),
            component::GLOBAL_ENVOY => Some(Self::Global.name("")),
            _ => None,
        }
    }
}

/// The topology of the fleet that a hub Service selects.
#[must_use]
pub fn selected_topology(service: &Service) -> Option<EnvoyProxyTopology> {
    let selector = service.spec.as_ref()?.selector.as_ref()?;
    match selector.get(meta::COMPONENT_LABEL)?.as_str() {
        component::ENVOY => Some(EnvoyProxyTopology::Shared),
        component::DEDICATED_ENVOY => Some(EnvoyProxyTopology::Dedicated),
        component::GLOBAL_ENVOY => Some(EnvoyProxyTopology::Global),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> FleetId {
        FleetId::Dedicated("web".into())
    }

    #[test]
    fn no_fleet_has_the_name_or_the_pods_of_another() {
        let api = FleetId::Dedicated("api".into());
        let all = [FleetId::Shared, web(), api, FleetId::Global];
        for one in &all {
            let mut pod = Pod::default();
            pod.metadata.labels = Some(one.labels("a", "tenant-a"));
            assert_eq!(FleetId::name_at(&pod), Some(one.name("tenant-a")));
            for other in &all {
                let selector = other.labels("a", "tenant-a");
                let selects = selector
                    .iter()
                    .all(|(key, value)| pod.labels().get(key) == Some(value));
                assert_eq!(one == other, selects);
                assert_eq!(one == other, one.name("tenant-a") == other.name("tenant-a"));
                assert_eq!(one == other, one.key("tenant-a") == other.key("tenant-a"));
            }
        }
        assert_ne!(web().name("tenant-a"), web().name("tenant-b"));
    }

    #[test]
    fn what_is_written_on_an_object_is_what_is_read_from_it() {
        for fleet in [FleetId::Shared, web(), FleetId::Global] {
            let metadata = ObjectMeta {
                labels: Some(fleet.labels("a", "tenant-a")),
                annotations: fleet.annotations(),
                ..ObjectMeta::default()
            };
            assert_eq!(FleetId::of_object(&metadata), Some(fleet));
        }
        assert_eq!(FleetId::of_object(&ObjectMeta::default()), None);
    }

    #[test]
    fn names_are_bounded_and_leave_room_for_those_of_pods() {
        let long = FleetId::Dedicated("x".repeat(253));
        assert!(long.name("tenant-a").len() <= 47);
        assert!(long.certificate("tenant-a").len() <= 63);
    }
}
