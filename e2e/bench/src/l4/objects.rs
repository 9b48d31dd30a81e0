//! Objects that the bench writes, as a CCM or a platform team would. Pure.

use kube::discovery::ApiResource;
use serde_json::{Value, json};

use crate::clusters::kind;

/// Namespace of manager and CCM, each in its cluster.
pub const NAMESPACE: &str = "kubelb";
/// First NodePort.
const FIRST_NODE_PORT: usize = 30_000;
/// How many NodePorts a cluster has.
const NODE_PORTS: usize = 2_768;

/// A kind of the product's own.
#[must_use]
pub fn ours(name: &str, plural: &str) -> ApiResource {
    kind("kubelb.k8c.io", "v1alpha1", name, plural)
}

/// The kind LoadBalancer.
#[must_use]
pub fn load_balancers() -> ApiResource {
    ours("LoadBalancer", "loadbalancers")
}

/// The kind Addresses.
#[must_use]
pub fn addresses() -> ApiResource {
    ours("Addresses", "addresses")
}

/// The kind Secret.
#[must_use]
pub fn secrets() -> ApiResource {
    kind("", "v1", "Secret", "secrets")
}

/// The kind Node.
#[must_use]
pub fn nodes() -> ApiResource {
    kind("", "v1", "Node", "nodes")
}

/// Name of a Tenant, which is that of its namespace.
#[must_use]
pub fn tenant_name(index: usize) -> String {
    format!("tenant-{index:03}")
}

/// A Tenant whose nodes may be anywhere in 10.0.0.0/8, or at one more address.
#[must_use]
pub fn tenant(name: &str, backend: Option<&str>) -> Value {
    let ranges: Vec<String> = std::iter::once("10.0.0.0/8".to_owned())
        .chain(backend.map(|address| format!("{address}/32")))
        .collect();
    json!({
        "apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "Tenant",
        "metadata": {"name": name},
        "spec": {"endpointCIDRs": ranges},
    })
}

/// The Config: so many Envoys a tenant.
#[must_use]
pub fn config(envoys: usize) -> Value {
    json!({
        "apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "Config",
        "metadata": {"name": "default", "namespace": NAMESPACE},
        "spec": {"envoyProxy": {"replicas": envoys}},
    })
}

/// A namespace.
#[must_use]
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// Addresses of the first `count` nodes of a tenant.
#[must_use]
pub fn node_addresses(count: usize) -> Vec<String> {
    (0..count)
        .map(|index| format!("10.0.{}.{}", index / 250, 1 + index % 250))
        .collect()
}

/// The Addresses of a tenant.
#[must_use]
pub fn addresses_of(nodes: &[String]) -> Value {
    let addresses: Vec<Value> = nodes.iter().map(|ip| json!({"ip": ip})).collect();
    json!({
        "apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "Addresses",
        "metadata": {"name": "default"},
        "spec": {"addresses": addresses},
    })
}

/// Name of a LoadBalancer. None is a part of another, so that it can be looked for in names of xDS resources.
#[must_use]
pub fn load_balancer_name(index: usize) -> String {
    format!("lb-{index:05}-x")
}

/// A LoadBalancer with one port, at the tenant's nodes.
#[must_use]
pub fn load_balancer(index: usize) -> Value {
    json!({
        "apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "LoadBalancer",
        "metadata": {"name": load_balancer_name(index), "labels": {"bench": "load-balancer"}},
        "spec": {
            "type": "LoadBalancer",
            "ports": [{"port": 80, "protocol": "TCP"}],
            "endpoints": endpoints(index),
        },
    })
}

/// A LoadBalancer whose one backend is at an address of its own.
#[must_use]
pub fn load_balancer_to(name: &str, address: &str, port: u16) -> Value {
    let mut object = load_balancer(0);
    object["metadata"]["name"] = name.into();
    object["spec"]["endpoints"] =
        json!([{"addresses": [{"ip": address}], "ports": [{"port": port, "protocol": "TCP"}]}]);
    object
}

/// A change of its endpoints: another NodePort, so that what changes for an Envoy is endpoints alone.
#[must_use]
pub fn change(index: usize, round: usize) -> Value {
    json!({"spec": {"endpoints": endpoints(index + 1 + round)}})
}

fn endpoints(number: usize) -> Value {
    let port = FIRST_NODE_PORT + number % NODE_PORTS;
    json!([{"addressesReference": {"name": "default"}, "ports": [{"port": port, "protocol": "TCP"}]}])
}

/// A Service of type LoadBalancer in a tenant's cluster.
#[must_use]
pub fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "labels": {"bench": "service"}},
        "spec": {"type": "LoadBalancer", "selector": {"app": name}, "ports": [{"port": 80, "protocol": "TCP"}]},
    })
}

/// A node that is ready. The API server takes its status apart from it.
#[must_use]
pub fn node(index: usize, address: &str) -> (Value, Value) {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{index}")}});
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": address}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}],
    }});
    (node, status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_what_the_definitions_say() {
        use api::v1alpha1::{Addresses, Config, LoadBalancer, Tenant};
        serde_json::from_value::<Tenant>(tenant("tenant-001", Some("192.0.2.1"))).unwrap();
        serde_json::from_value::<Config>(config(3)).unwrap();
        let nodes = node_addresses(1000);
        let addresses: Addresses = serde_json::from_value(addresses_of(&nodes)).unwrap();
        assert_eq!(addresses.spec.addresses.len(), 1000);
        let distinct: std::collections::BTreeSet<_> = nodes.iter().collect();
        assert_eq!(distinct.len(), 1000);
        let lb: LoadBalancer = serde_json::from_value(load_balancer(7)).unwrap();
        let to: LoadBalancer = serde_json::from_value(load_balancer_to("a", "192.0.2.1", 9)).unwrap();
        assert_eq!(lb.spec.ports, to.spec.ports);
    }

    #[test]
    fn every_round_changes_the_endpoints() {
        let before = load_balancer(5)["spec"].clone();
        let mut seen = vec![before["endpoints"].clone()];
        for round in 0..300 {
            let after = change(5, round)["spec"]["endpoints"].clone();
            assert!(!seen.contains(&after), "round {round}");
            seen.push(after);
        }
    }
}
