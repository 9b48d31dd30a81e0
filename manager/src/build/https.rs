//! What serves HTTPS at the host name of one LoadBalancer: a hub Gateway whose certificate cert-manager makes, an
//! HTTPRoute, and a backend with the LoadBalancer's own endpoints.
//!
//! It is built field by field from what was checked before. Nothing of a tenant's Service is copied but its name.

use std::collections::{BTreeMap, BTreeSet};

use api::meta;
use api::names::derived_name;
use api::v1alpha1::LoadBalancer;
use gateway_translator::{HubObject, Kind, ObjectKey};
use kube::ResourceExt;
use l4_xds::{Address, Backend};
use serde_json::{Value, json};

use super::{component, hub_service, labels, owner_reference};

/// Begins the names of the Gateway and of the route.
pub const PREFIX: &str = "https";
/// Begins the names of the backend's Service and its EndpointSlices.
pub const BACKEND_PREFIX: &str = "httpsbackend";
/// The one listener.
pub const LISTENER: &str = "https";
/// Port of the Service that the route leads to. It never changes, so that neither does the route: the endpoints say which
/// port is sent to.
const BACKEND_PORT: u16 = 80;
/// Name of that port; the same in the EndpointSlices, or Envoy Gateway finds no endpoint.
const BACKEND_PORT_NAME: &str = "http";
/// Most endpoints in one EndpointSlice: the API server's limit.
const MAX_ENDPOINTS: usize = 1000;
/// Who manages our EndpointSlices, so that no controller of the hub's takes them for its own.
const SLICES_MANAGED_BY: &str = "kubelb.k8c.io";

/// Name of the hub Gateway, and of its route.
#[must_use]
pub fn name(namespace: &str, load_balancer: &str) -> String {
    derived_name(PREFIX, "LoadBalancer", namespace, load_balancer)
}

/// Name of the backend's Service.
#[must_use]
pub fn backend_name(namespace: &str, load_balancer: &str) -> String {
    derived_name(BACKEND_PREFIX, "LoadBalancer", namespace, load_balancer)
}

/// Name of the Secret that cert-manager makes.
#[must_use]
pub fn certificate_name(namespace: &str, load_balancer: &str) -> String {
    derived_name("httpscert", "LoadBalancer", namespace, load_balancer)
}

/// What is made from.
#[derive(Debug, Clone)]
pub struct Https<'a> {
    /// Name of the Tenant.
    pub tenant: &'a str,
    /// The LoadBalancer it serves.
    pub load_balancer: &'a LoadBalancer,
    /// The host name in force.
    pub hostname: &'a str,
    /// GatewayClass.
    pub class: &'a str,
    /// Annotations that tell cert-manager who issues the certificate.
    pub issuer: &'a BTreeMap<String, String>,
    /// Targets that are allowed.
    pub backends: &'a [Backend],
    /// external-dns is told the name.
    pub dns_annotations: bool,
}

/// Builds all of it.
#[must_use]
pub fn objects(input: &Https<'_>) -> Vec<HubObject> {
    let mut objects = vec![service(input)];
    objects.extend(endpoint_slices(input));
    objects.push(gateway(input));
    objects.push(route(input));
    objects
}

fn names(input: &Https<'_>) -> [String; 3] {
    let lb = input.load_balancer;
    let (namespace, lb) = (lb.namespace().unwrap_or_default(), lb.name_any());
    [
        name(&namespace, &lb),
        backend_name(&namespace, &lb),
        certificate_name(&namespace, &lb),
    ]
}

fn object(
    input: &Https<'_>,
    kind: Kind,
    name: &str,
    annotations: BTreeMap<String, String>,
    content: Value,
) -> HubObject {
    let lb = input.load_balancer;
    let namespace = lb.namespace().unwrap_or_default();
    let mut value = content;
    let mut metadata = json!({
        "namespace": namespace,
        "name": name,
        "labels": labels(input.tenant, component::HTTPS),
    });
    let mut all = annotations;
    for key in [meta::ORIGIN_NAMESPACE, meta::ORIGIN_NAME] {
        if let Some(origin) = lb.annotations().get(key) {
            all.insert(key.to_owned(), origin.clone());
        }
    }
    if !all.is_empty() {
        metadata["annotations"] = json!(all);
    }
    if let Some(owner) = owner_reference(lb) {
        metadata["ownerReferences"] = json!([owner]);
    }
    value["apiVersion"] = kind.api_version().into();
    value["kind"] = kind.as_str().into();
    value["metadata"] = metadata;
    HubObject {
        key: ObjectKey::new(kind, namespace, name),
        value,
    }
}

fn gateway(input: &Https<'_>) -> HubObject {
    let [name, _, certificate] = names(input);
    let listener = json!({
        "name": LISTENER,
        "protocol": "HTTPS",
        "port": 443,
        "hostname": input.hostname,
        "tls": {"mode": "Terminate", "certificateRefs": [{"group": "", "kind": "Secret", "name": certificate}]},
        "allowedRoutes": {
            "namespaces": {"from": "Same"},
            "kinds": [{"group": Kind::HttpRoute.resource().group, "kind": Kind::HttpRoute.as_str()}],
        },
    });
    let spec = json!({"gatewayClassName": input.class, "listeners": [listener]});
    object(
        input,
        Kind::Gateway,
        &name,
        input.issuer.clone(),
        json!({"spec": spec}),
    )
}

fn route(input: &Https<'_>) -> HubObject {
    let [name, backend, _] = names(input);
    let mut annotations = BTreeMap::new();
    if input.dns_annotations {
        hub_service::name_in_dns(&mut annotations, input.hostname);
    }
    let parent = json!({"group": Kind::Gateway.resource().group, "kind": Kind::Gateway.as_str(),
        "name": name, "sectionName": LISTENER});
    let target = json!({"group": "", "kind": "Service", "name": backend, "port": BACKEND_PORT, "weight": 1});
    let rule = json!({
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [target],
    });
    let spec = json!({"parentRefs": [parent], "hostnames": [input.hostname], "rules": [rule]});
    object(input, Kind::HttpRoute, &name, annotations, json!({"spec": spec}))
}

fn service(input: &Https<'_>) -> HubObject {
    let [_, backend, _] = names(input);
    let port = json!({"name": BACKEND_PORT_NAME, "port": BACKEND_PORT, "protocol": "TCP",
        "targetPort": BACKEND_PORT});
    let spec = json!({"type": "ClusterIP", "clusterIP": "None", "ports": [port]});
    object(
        input,
        Kind::Service,
        &backend,
        BTreeMap::new(),
        json!({"spec": spec}),
    )
}

/// One for each address family and port of the nodes, more beyond the size limit.
fn endpoint_slices(input: &Https<'_>) -> Vec<HubObject> {
    let [_, backend, _] = names(input);
    let mut groups: BTreeMap<(bool, u16), BTreeSet<String>> = BTreeMap::new();
    for Backend { address, port } in input.backends {
        if let Address::Ip(ip) = address {
            let group = groups.entry((ip.is_ipv6(), port.get())).or_default();
            group.insert(ip.to_string());
        }
    }
    let mut slices = Vec::new();
    for ((is_v6, port), addresses) in groups {
        let addresses: Vec<String> = addresses.into_iter().collect();
        for (index, chunk) in addresses.chunks(MAX_ENDPOINTS).enumerate() {
            let (family, suffix) = if is_v6 { ("IPv6", "v6") } else { ("IPv4", "v4") };
            let name = format!("{backend}-{suffix}-{port}-{index}");
            slices.push(endpoint_slice(input, &name, &backend, family, port, chunk));
        }
    }
    slices
}

fn endpoint_slice(
    input: &Https<'_>,
    name: &str,
    service: &str,
    family: &str,
    port: u16,
    addresses: &[String],
) -> HubObject {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"addresses": [address], "conditions": {"ready": true}}))
        .collect();
    let content = json!({
        "addressType": family,
        "endpoints": endpoints,
        "ports": [{"name": BACKEND_PORT_NAME, "protocol": "TCP", "port": port}],
    });
    let mut slice = object(input, Kind::EndpointSlice, name, BTreeMap::new(), content);
    slice.value["metadata"]["labels"]["kubernetes.io/service-name"] = service.into();
    slice.value["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] = SLICES_MANAGED_BY.into();
    slice
}

/// True for the name of an object that is made here.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let begins_with = |prefix| {
        name.strip_prefix(prefix)
            .is_some_and(|rest: &str| rest.starts_with('-'))
    };
    [PREFIX, BACKEND_PREFIX].into_iter().any(begins_with)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lb() -> LoadBalancer {
        serde_json::from_value(json!({
            "metadata": {"name": "5f0c", "namespace": "tenant-a", "uid": "u", "annotations": {
                "kubelb.k8c.io/origin-ns": "shop", "kubelb.k8c.io/origin-name": "web", "other": "no"}},
            "spec": {"endpoints": [], "ports": [{"port": 80}]},
        }))
        .unwrap()
    }

    fn backend(ip: &str, port: u16) -> Backend {
        Backend {
            address: Address::Ip(ip.parse().unwrap()),
            port: port.try_into().unwrap(),
        }
    }

    fn built(backends: &[Backend]) -> Vec<HubObject> {
        let issuer = BTreeMap::from([("cert-manager.io/cluster-issuer".to_owned(), "hub".to_owned())]);
        objects(&Https {
            tenant: "a",
            load_balancer: &lb(),
            hostname: "web.lb.example.com",
            class: "kubelb",
            issuer: &issuer,
            backends,
            dns_annotations: true,
        })
    }

    #[test]
    fn https_is_a_gateway_with_a_certificate_and_a_route_to_the_same_nodes() {
        let values: Vec<Value> = built(&[backend("10.0.0.1", 30080)])
            .into_iter()
            .map(|object| object.value)
            .collect();
        insta::assert_yaml_snapshot!(values);
    }

    #[test]
    fn each_address_family_and_port_has_a_slice() {
        let objects = built(&[
            backend("10.0.0.1", 30080),
            backend("10.0.0.2", 30080),
            backend("10.0.0.2", 30081),
            backend("fd00::1", 30080),
        ]);
        let slices = objects.iter().filter(|o| o.key.kind == Kind::EndpointSlice);
        let shown: Vec<(String, usize, Value)> = slices
            .map(|slice| {
                let value = &slice.value;
                let count = value["endpoints"].as_array().map_or(0, Vec::len);
                let family = value["addressType"].as_str().unwrap().to_owned();
                (family, count, value["ports"][0]["port"].clone())
            })
            .collect();
        let slice = |family: &str, count, port: u16| (family.to_owned(), count, json!(port));
        assert_eq!(
            shown,
            [
                slice("IPv4", 2, 30080),
                slice("IPv4", 1, 30081),
                slice("IPv6", 1, 30080)
            ]
        );
    }

    #[test]
    fn its_objects_are_known_by_their_names_and_others_are_not() {
        let objects = built(&[backend("10.0.0.1", 30080)]);
        assert!(objects.iter().all(|object| is_name(&object.key.name)));
        for other in ["gw-abc-web", "rt-abc", "svc-abc", "lb-abc"] {
            assert!(!is_name(other));
        }
    }
}
