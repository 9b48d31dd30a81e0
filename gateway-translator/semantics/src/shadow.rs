//! Shadow Services: they give a backend a NodePort, so that the hub can reach it.
//!
//! One is wanted as long as some route that is sent to the hub needs it; nobody counts.

use std::collections::BTreeMap;

use api::meta::{
    COMPONENT_LABEL, MANAGED_BY, MANAGED_BY_LABEL, ORIGIN_KIND, ORIGIN_NAME, ORIGIN_NAMESPACE, is_label_value,
};
use api::names::{PortNumber, derived_name};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::index::Index;

/// Value of the component label of a shadow Service.
pub const SHADOW_COMPONENT: &str = "shadow-service";

/// Name of the shadow of a Service, in the Service's own namespace.
#[must_use]
pub fn shadow_name(namespace: &str, service: &str) -> String {
    derived_name("kubelb", "Service", namespace, service)
}

/// How nodes answer for a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exposure {
    /// By its own NodePorts.
    Own,
    /// By those of a shadow, with copies of its EndpointSlices where it has no selector.
    Shadow,
    /// Not at all, and a shadow would not help.
    None(&'static str),
}

/// How nodes answer for a Service.
///
/// With `externalTrafficPolicy: Local` only some nodes do, and with `allocateLoadBalancerNodePorts: false` none:
/// both get a shadow.
pub(crate) fn exposure(service: &Service) -> Exposure {
    let spec = service.spec.as_ref();
    let type_ = spec.and_then(|spec| spec.type_.as_deref()).unwrap_or("ClusterIP");
    if type_ == "ExternalName" {
        return Exposure::None("is of type ExternalName");
    }
    if matches!(type_, "NodePort" | "LoadBalancer") && answers_everywhere(spec) {
        return Exposure::Own;
    }
    Exposure::Shadow
}

/// The Service finds its endpoints by itself.
pub(crate) fn has_selector(spec: Option<&ServiceSpec>) -> bool {
    spec.and_then(|spec| spec.selector.as_ref())
        .is_some_and(|selector| !selector.is_empty())
}

fn answers_everywhere(spec: Option<&ServiceSpec>) -> bool {
    let local = spec.and_then(|spec| spec.external_traffic_policy.as_deref()) == Some("Local");
    let without = spec.and_then(|spec| spec.allocate_load_balancer_node_ports) == Some(false);
    let all_have = || {
        ports(spec)
            .iter()
            .all(|port| port.node_port.is_some_and(|number| number > 0))
    };
    !local && (!without || all_have())
}

/// The ports of a Service.
pub(crate) fn ports(spec: Option<&ServiceSpec>) -> &[ServicePort] {
    spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default()
}

/// Transport protocol of a port.
pub(crate) fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// The NodePort of a port, once it has one.
pub(crate) fn node_port(service: &Service, number: i32, transport: &str) -> Option<PortNumber> {
    let found = ports(service.spec.as_ref())
        .iter()
        .find(|p| p.port == number && protocol(p) == transport)?;
    PortNumber::try_from(found.node_port?).ok()
}

/// This Service is a shadow of ours.
#[must_use]
pub fn is_shadow(service: &Service) -> bool {
    let label = |key: &str| {
        service
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key).map(String::as_str))
    };
    label(MANAGED_BY_LABEL) == Some(MANAGED_BY) && label(COMPONENT_LABEL) == Some(SHADOW_COMPONENT)
}

/// Namespace and name of the Service whose shadow this is; none for other Services.
pub(crate) fn original_of(shadow: &Service) -> Option<(String, String)> {
    let annotations = shadow.metadata.annotations.as_ref()?;
    let name = annotations.get(ORIGIN_NAME)?;
    is_shadow(shadow).then(|| Some((shadow.metadata.namespace.clone()?, name.clone())))?
}

/// Why the shadow of a Service is not as it should be, if that is the API server's refusal.
pub(crate) fn refusal(index: &Index, namespace: &str, service: &str) -> Option<String> {
    let shadow = shadow_name(namespace, service);
    let said = index.refused_services.get(&(namespace, shadow.as_str()))?;
    Some(format!(
        "Service {namespace}/{service} needs the NodePort Service {namespace}/{shadow}, which the API server of this \
         cluster refuses: {said}"
    ))
}

/// The shadow of a Service. It names no NodePort: the API server gives one, and it stays.
pub(crate) fn build(original: &Service) -> Service {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (namespace, name) = (text(&original.metadata.namespace), text(&original.metadata.name));
    let origin = [
        (ORIGIN_KIND, "Service"),
        (ORIGIN_NAMESPACE, namespace.as_str()),
        (ORIGIN_NAME, name.as_str()),
    ];
    let mut labels: BTreeMap<String, String> = origin
        .iter()
        .filter(|(_, value)| is_label_value(value))
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned());
    labels.insert(COMPONENT_LABEL.to_owned(), SHADOW_COMPONENT.to_owned());
    let annotations = origin.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Service {
        metadata: ObjectMeta {
            name: Some(shadow_name(&namespace, &name)),
            namespace: Some(namespace.clone()),
            labels: Some(labels),
            annotations: Some(BTreeMap::from(annotations)),
            owner_references: owner(original),
            ..ObjectMeta::default()
        },
        spec: original.spec.as_ref().map(build_spec),
        ..Service::default()
    }
}

pub(crate) fn owner(original: &Service) -> Option<Vec<OwnerReference>> {
    let uid = original.metadata.uid.clone()?;
    Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        name: original.metadata.name.clone()?,
        uid,
        ..OwnerReference::default()
    }])
}

/// Session affinity is left out: every connection comes from the hub, and all would go to one pod.
fn build_spec(original: &ServiceSpec) -> ServiceSpec {
    let served = |port: &&ServicePort| matches!(protocol(port), "TCP" | "UDP");
    let shadow_port = |port: &ServicePort| ServicePort {
        name: port.name.clone(),
        port: port.port,
        protocol: Some(protocol(port).to_owned()),
        target_port: Some(port.target_port.clone().unwrap_or(IntOrString::Int(port.port))),
        app_protocol: port.app_protocol.clone(),
        node_port: None,
    };
    let (ip_families, ip_family_policy) = families(original);
    ServiceSpec {
        type_: Some("NodePort".to_owned()),
        selector: original.selector.clone().filter(|selector| !selector.is_empty()),
        ports: Some(
            ports(Some(original))
                .iter()
                .filter(served)
                .map(shadow_port)
                .collect(),
        ),
        ip_families,
        ip_family_policy,
        publish_not_ready_addresses: original.publish_not_ready_addresses,
        ..ServiceSpec::default()
    }
}

/// Families of the shadow's addresses. The API server gives a headless Service without a selector both, also
/// where the cluster has one only, and would refuse the same for a NodePort Service.
fn families(original: &ServiceSpec) -> (Option<Vec<String>>, Option<String>) {
    if original.cluster_ip.as_deref() == Some("None") && !has_selector(Some(original)) {
        return (None, Some("PreferDualStack".to_owned()));
    }
    (original.ip_families.clone(), original.ip_family_policy.clone())
}
