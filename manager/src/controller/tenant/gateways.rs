//! The hub's own Gateways that a tenant may attach routes to. Pure.
//!
//! They belong to the platform team: they are read, never edited. Gateways travel as JSON, because the hub's
//! Gateway API may be newer than the types here.

use std::collections::{BTreeMap, BTreeSet};

use api::names::PortNumber;
use api::v1alpha1::{HubAddress, SharedGateway, SharedListener};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde_json::Value;

/// What the API says at most.
const MAX_GATEWAYS: usize = 64;
const MAX_LISTENERS: usize = 64;
const MAX_ADDRESSES: usize = 16;
/// `controllerName` of the GatewayClasses that Envoy Gateway handles.
pub const ENVOY_GATEWAY: &str = "gateway.envoyproxy.io/gatewayclass-controller";

/// What decides about sharing.
#[derive(Debug, Clone)]
pub struct Sharing<'a> {
    /// Labels of the tenant's namespace on the hub.
    pub namespace_labels: &'a BTreeMap<String, String>,
    /// Namespaces of all tenants: what is in there belongs to a tenant.
    pub tenant_namespaces: &'a BTreeSet<String>,
    /// Names of the GatewayClasses that Envoy Gateway handles.
    pub classes: &'a BTreeSet<String>,
}

/// Gateways that admit ListenerSets or, on at least one listener, routes of the tenant's namespace, by namespace and name.
#[must_use]
pub fn shared<'a>(
    gateways: impl IntoIterator<Item = &'a Value>,
    sharing: &Sharing<'_>,
) -> Vec<SharedGateway> {
    let mut all: Vec<SharedGateway> = gateways
        .into_iter()
        .filter_map(|gateway| offer(gateway, sharing))
        .collect();
    all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    all.truncate(MAX_GATEWAYS);
    all
}

/// Names of the classes that Envoy Gateway handles.
#[must_use]
pub fn classes<'a>(classes: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    let ours = |class: &&Value| text(class, "/spec/controllerName") == ENVOY_GATEWAY;
    classes
        .into_iter()
        .filter(ours)
        .map(|class| text(class, "/metadata/name").to_owned())
        .collect()
}

fn offer(gateway: &Value, sharing: &Sharing<'_>) -> Option<SharedGateway> {
    let namespace = text(gateway, "/metadata/namespace");
    let going = gateway.pointer("/metadata/deletionTimestamp").is_some();
    if going
        || sharing.tenant_namespaces.contains(namespace)
        || !sharing.classes.contains(text(gateway, "/spec/gatewayClassName"))
    {
        return None;
    }
    let listeners: Vec<SharedListener> = (items(gateway, "/spec/listeners"))
        .filter(|listener| admits(listener, sharing.namespace_labels))
        .filter_map(shared_listener)
        .take(MAX_LISTENERS)
        .collect();
    let listener_sets = admits_at(gateway, "/spec/allowedListeners", sharing.namespace_labels);
    (listener_sets || !listeners.is_empty()).then(|| SharedGateway {
        namespace: namespace.to_owned(),
        name: text(gateway, "/metadata/name").to_owned(),
        listeners,
        addresses: items(gateway, "/status/addresses")
            .filter_map(address)
            .take(MAX_ADDRESSES)
            .collect(),
        programmed: is_programmed(gateway),
        listener_sets,
    })
}

fn admits(listener: &Value, labels: &BTreeMap<String, String>) -> bool {
    admits_at(listener, "/allowedRoutes", labels)
}

/// The tenant's namespace is never the Gateway's own, so `Same` does not admit it, nor does the default.
fn admits_at(holder: &Value, pointer: &str, labels: &BTreeMap<String, String>) -> bool {
    let Some(namespaces) = holder.pointer(&format!("{pointer}/namespaces")) else {
        return false;
    };
    match text(namespaces, "/from") {
        "All" => true,
        "Selector" => namespaces
            .get("selector")
            .and_then(|selector| serde_json::from_value::<LabelSelector>(selector.clone()).ok())
            .and_then(|selector| Selector::try_from(selector).ok())
            .is_some_and(|selector| selector.matches(labels)),
        _ => false,
    }
}

fn shared_listener(listener: &Value) -> Option<SharedListener> {
    let protocol = text(listener, "/protocol");
    let listed: Vec<String> = items(listener, "/allowedRoutes/kinds")
        .map(|kind| text(kind, "/kind").to_owned())
        .collect();
    let kinds = if listed.is_empty() {
        kinds_of(protocol)
    } else {
        listed
    };
    Some(SharedListener {
        name: text(listener, "/name").to_owned(),
        port: PortNumber::try_from(listener.pointer("/port")?.as_i64()?).ok()?,
        protocol: protocol.to_owned(),
        hostname: Some(text(listener, "/hostname").to_owned()).filter(|h| !h.is_empty()),
        kinds,
    })
}

/// What a listener takes that does not say, by its protocol.
fn kinds_of(protocol: &str) -> Vec<String> {
    let kinds: &[&str] = match protocol {
        "HTTP" | "HTTPS" => &["HTTPRoute", "GRPCRoute"],
        "TLS" => &["TLSRoute"],
        "TCP" => &["TCPRoute"],
        "UDP" => &["UDPRoute"],
        _ => &[],
    };
    kinds.iter().map(|kind| (*kind).to_owned()).collect()
}

fn address(address: &Value) -> Option<HubAddress> {
    let type_ = match text(address, "/type") {
        "" => "IPAddress",
        type_ => type_,
    };
    let value = address.pointer("/value")?.as_str()?;
    Some(HubAddress {
        type_: type_.to_owned(),
        value: value.to_owned(),
    })
}

fn is_programmed(gateway: &Value) -> bool {
    items(gateway, "/status/conditions")
        .any(|c| text(c, "/type") == "Programmed" && text(c, "/status") == "True")
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gateway(namespace: &str, class: &str, allowed: Value) -> Value {
        json!({
            "metadata": {"namespace": namespace, "name": "shared-gateway"},
            "spec": {"gatewayClassName": class, "listeners": [
                {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": allowed}},
                {"name": "own", "port": 81, "protocol": "HTTP"},
            ]},
            "status": {"addresses": [{"value": "192.0.2.1"}],
                "conditions": [{"type": "Programmed", "status": "True"}]},
        })
    }

    fn shared_with(gateway: &Value) -> Vec<SharedGateway> {
        let labels = BTreeMap::from([("team".to_owned(), "blue".to_owned())]);
        let tenants = BTreeSet::from(["tenant-a".to_owned()]);
        let classes = BTreeSet::from(["eg".to_owned()]);
        shared(
            [gateway],
            &Sharing {
                namespace_labels: &labels,
                tenant_namespaces: &tenants,
                classes: &classes,
            },
        )
    }

    #[test]
    fn a_gateway_is_offered_with_the_listeners_that_admit_the_tenant() {
        insta::assert_yaml_snapshot!(shared_with(&gateway("shared", "eg", json!({"from": "All"}))));
    }

    #[test]
    fn a_selector_admits_by_the_labels_of_the_tenants_namespace() {
        let by = |value: &str| json!({"from": "Selector", "selector": {"matchLabels": {"team": value}}});
        assert_eq!(shared_with(&gateway("shared", "eg", by("blue"))).len(), 1);
        assert_eq!(shared_with(&gateway("shared", "eg", by("red"))).len(), 0);
    }

    #[test]
    fn listener_sets_may_attach_where_the_gateway_says_so() {
        let mut gateway = gateway("shared", "eg", json!({"from": "All"}));
        let may = |gateway: &Value| {
            let all = shared_with(gateway);
            all.iter().all(|gateway| gateway.listener_sets)
        };
        assert!(!may(&gateway));
        gateway["spec"]["allowedListeners"] = json!({"namespaces": {"from": "Same"}});
        assert!(!may(&gateway));
        gateway["spec"]["allowedListeners"] =
            json!({"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "blue"}}}});
        assert!(may(&gateway));
    }

    #[test]
    fn gateways_of_tenants_and_of_other_controllers_are_not_offered() {
        assert!(shared_with(&gateway("tenant-a", "eg", json!({"from": "All"}))).is_empty());
        assert!(shared_with(&gateway("shared", "nginx", json!({"from": "All"}))).is_empty());
        assert!(shared_with(&gateway("shared", "eg", json!({"from": "Same"}))).is_empty());
    }

    #[test]
    fn classes_are_known_by_their_controller() {
        let class = |name: &str, controller: &str| json!({"metadata": {"name": name}, "spec": {"controllerName": controller}});
        let all = [class("eg", ENVOY_GATEWAY), class("nginx", "example.com/nginx")];
        assert_eq!(classes(&all), BTreeSet::from(["eg".to_owned()]));
    }
}
