//! What stands for a Gateway in the tenant cluster: a Service without selector whose endpoints are the Gateway's
//! addresses on the hub. It carries the labels and annotations of `spec.infrastructure`, and clients in the
//! cluster reach the Gateway by its name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::meta::{
    COMPONENT_LABEL, MANAGED_BY, MANAGED_BY_LABEL, ORIGIN_KIND, ORIGIN_NAME, ORIGIN_NAMESPACE, is_label_value,
};
use api::names::derived_name;
use api::v1alpha1::GatewayScope;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::gateway::{self, JudgedGateway};
use crate::index::Index;
use crate::kind::GATEWAY_GROUP;
use crate::listener_set::ListenerSets;
use crate::mirror;
use crate::reason::{self, Verdict};

/// Value of the component label of a Service that stands for a Gateway.
pub const GATEWAY_COMPONENT: &str = "gateway-service";
/// Names the Gateway that something was made for.
const GATEWAY_NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-name";
/// Keys that are ours alone.
const OWN_PREFIX: &str = "kubelb.k8c.io/";

/// Name of the Service that stands for a Gateway, in the Gateway's namespace.
#[must_use]
pub fn gateway_service_name(namespace: &str, gateway: &str) -> String {
    derived_name("kubelb", "Gateway", namespace, gateway)
}

/// The Service and its slices. None unless the Gateway asks for metadata and the hub lets this tenant have it;
/// while the hub is silent, what is there stays.
pub(crate) fn build(
    index: &Index,
    sets: &ListenerSets,
    gateway: &JudgedGateway,
) -> Option<(Service, Vec<EndpointSlice>)> {
    let wanted = gateway.object.spec.infrastructure.as_ref()?;
    let meta = &gateway.object.meta;
    let name = gateway_service_name(&meta.namespace, &meta.name);
    let allowed = match index.state() {
        Some(state) => state.gateway_api.infrastructure_metadata == Some(true),
        None => index
            .services
            .contains_key(&(meta.namespace.as_str(), name.as_str())),
    };
    if !allowed || gateway.refusal.is_some() || meta.uid.is_empty() {
        return None;
    }
    let ports = ports(sets, gateway);
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        namespace: Some(meta.namespace.clone()),
        labels: Some(labels(gateway, &wanted.labels)),
        annotations: Some(annotations(gateway, &wanted.annotations)),
        owner_references: Some(vec![owner(gateway)]),
        ..ObjectMeta::default()
    };
    let service = Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: Some("None".to_owned()),
            ports: Some(ports.iter().map(service_port).collect()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    };
    Some((service, slices(index, gateway, &name, &ports)))
}

/// Why the Service is not as it should be, if that is the API server's refusal. What the Gateway serves goes on.
pub(crate) fn refusal(index: &Index, gateway: &JudgedGateway) -> Option<Verdict> {
    gateway.object.spec.infrastructure.as_ref()?;
    let meta = &gateway.object.meta;
    let name = gateway_service_name(&meta.namespace, &meta.name);
    let said = index
        .refused_services
        .get(&(meta.namespace.as_str(), name.as_str()))?;
    let message = format!(
        "spec.infrastructure: the API server of this cluster refuses Service {}/{name}: {said}",
        meta.namespace
    );
    Some(Verdict::new(reason::SERVICE_REFUSED, message))
}

type Port = (&'static str, i32);

/// Ports of the listeners that can be served, of the Gateway and of its ListenerSets.
fn ports(sets: &ListenerSets, gateway: &JudgedGateway) -> BTreeSet<Port> {
    let meta = &gateway.object.meta;
    let of_sets = sets
        .values()
        .filter(|set| set.refusal.is_none() && set.scope == GatewayScope::Tenant)
        .filter(|set| set.gateway.0 == meta.namespace && set.gateway.1 == meta.name)
        .flat_map(|set| &set.listeners);
    let servable = gateway.listeners.iter().chain(of_sets).filter(|l| l.servable());
    servable
        .filter_map(|listener| {
            let number = i32::try_from(listener.spec.port).ok()?;
            Some((listener.protocol?.transport().as_str(), number))
        })
        .collect()
}

fn port_name((transport, number): &Port) -> String {
    format!("{}-{number}", transport.to_ascii_lowercase())
}

fn service_port(port: &Port) -> ServicePort {
    ServicePort {
        name: Some(port_name(port)),
        port: port.1,
        protocol: Some(port.0.to_owned()),
        ..ServicePort::default()
    }
}

/// Keys of ours cannot be taken.
fn foreign(from: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let all = from.iter().filter(|(key, _)| !key.starts_with(OWN_PREFIX));
    all.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn labels(gateway: &JudgedGateway, wanted: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let meta = &gateway.object.meta;
    let mut labels = foreign(wanted);
    let own = [
        (GATEWAY_NAME_LABEL, meta.name.as_str()),
        (ORIGIN_KIND, "Gateway"),
        (ORIGIN_NAMESPACE, &meta.namespace),
        (ORIGIN_NAME, &meta.name),
        (MANAGED_BY_LABEL, MANAGED_BY),
        (COMPONENT_LABEL, GATEWAY_COMPONENT),
    ];
    labels.extend(
        own.into_iter()
            .filter(|(_, value)| is_label_value(value))
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    labels
}

fn annotations(gateway: &JudgedGateway, wanted: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let meta = &gateway.object.meta;
    let mut annotations = foreign(wanted);
    let own = [
        (ORIGIN_KIND, "Gateway"),
        (ORIGIN_NAMESPACE, &meta.namespace),
        (ORIGIN_NAME, &meta.name),
    ];
    annotations.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    annotations
}

fn owner(gateway: &JudgedGateway) -> OwnerReference {
    OwnerReference {
        api_version: format!("{GATEWAY_GROUP}/v1"),
        kind: "Gateway".to_owned(),
        name: gateway.object.meta.name.clone(),
        uid: gateway.object.meta.uid.clone(),
        ..OwnerReference::default()
    }
}

/// One slice for each family of addresses that the hub gave.
fn slices(
    index: &Index,
    gateway: &JudgedGateway,
    service: &str,
    ports: &BTreeSet<Port>,
) -> Vec<EndpointSlice> {
    let meta = &gateway.object.meta;
    let mut families = BTreeMap::<&str, BTreeSet<IpAddr>>::new();
    for address in gateway::addresses(index, gateway) {
        if let Ok(ip) = address.value.parse::<IpAddr>() {
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            families.entry(family).or_default().insert(ip);
        }
    }
    let slice = |(family, addresses): (&str, BTreeSet<IpAddr>)| {
        let name = format!("{service}-{}", family.to_ascii_lowercase());
        let metadata = mirror::slice_metadata(
            &name,
            service,
            GATEWAY_COMPONENT,
            ["Gateway", &meta.namespace, &meta.name],
        );
        EndpointSlice {
            address_type: family.to_owned(),
            endpoints: addresses.into_iter().map(endpoint).collect(),
            metadata: ObjectMeta {
                owner_references: Some(vec![owner(gateway)]),
                ..metadata
            },
            ports: Some(ports.iter().map(endpoint_port).collect()),
        }
    };
    families.into_iter().map(slice).collect()
}

fn endpoint(address: IpAddr) -> Endpoint {
    Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(true),
            ..EndpointConditions::default()
        }),
        ..Endpoint::default()
    }
}

fn endpoint_port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: Some(port_name(port)),
        port: Some(port.1),
        protocol: Some(port.0.to_owned()),
        ..EndpointPort::default()
    }
}
