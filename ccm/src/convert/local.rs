//! The nodes that may take traffic of Services with `externalTrafficPolicy: Local`. Pure.
//!
//! kube-proxy drops what reaches another node, so only nodes with a pod of the Service are sent to the hub.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::v1alpha1::EndpointAddress;
use k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointSlice};

/// Label of an EndpointSlice: the name of its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Addresses of nodes, by the node's name.
pub type NodeAddresses = BTreeMap<String, Vec<EndpointAddress>>;

/// What is known of where the pods of Services are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// Nothing: it is not looked at, or not seen whole yet, or no node is ready, which is more likely a fault of the
    /// control plane than of the nodes.
    Unknown,
    /// Names of nodes by namespace and name of the Service, and where those nodes are.
    Known {
        /// Nodes that may take traffic of a Service.
        nodes: BTreeMap<(String, String), BTreeSet<String>>,
        /// Where they are.
        addresses: NodeAddresses,
    },
}

impl Local {
    /// Takes in the EndpointSlices of those Services that are asked about.
    #[must_use]
    pub fn of(
        addresses: Option<NodeAddresses>,
        slices: &[Arc<EndpointSlice>],
        is_asked: impl Fn(&str, &str) -> bool,
    ) -> Self {
        let Some(addresses) = addresses else {
            return Self::Unknown;
        };
        let mut found: BTreeMap<(String, String), Found> = BTreeMap::new();
        for slice in slices {
            let Some((namespace, service)) = service_of(slice) else {
                continue;
            };
            if is_asked(namespace, service) {
                let key = (namespace.to_owned(), service.to_owned());
                found.entry(key).or_default().add(slice);
            }
        }
        let nodes = found.into_iter().map(|(key, found)| (key, found.nodes()));
        Self::Known {
            nodes: nodes.collect(),
            addresses,
        }
    }

    /// Where traffic of a Service may go, sorted; none if nothing is known.
    #[must_use]
    pub fn addresses(&self, namespace: &str, service: &str) -> Option<Vec<EndpointAddress>> {
        let Self::Known { nodes, addresses } = self else {
            return None;
        };
        let nodes = nodes.get(&(namespace.to_owned(), service.to_owned()));
        let found = nodes.into_iter().flatten().filter_map(|node| addresses.get(node));
        let sorted: BTreeSet<&EndpointAddress> = found.flatten().collect();
        Some(sorted.into_iter().cloned().collect())
    }
}

/// Namespace and name of the Service that a slice belongs to.
fn service_of(slice: &EndpointSlice) -> Option<(&str, &str)> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_LABEL)?;
    Some((slice.metadata.namespace.as_deref()?, service))
}

/// Nodes with pods of one Service.
#[derive(Default)]
struct Found {
    ready: BTreeSet<String>,
    ending: BTreeSet<String>,
}

impl Found {
    fn add(&mut self, slice: &EndpointSlice) {
        for endpoint in &slice.endpoints {
            let Some(node) = &endpoint.node_name else { continue };
            match state(endpoint.conditions.as_ref()) {
                State::Ready => drop(self.ready.insert(node.clone())),
                State::Ending => drop(self.ending.insert(node.clone())),
                State::Away => {}
            }
        }
    }

    /// Pods that are ending but still serve are better than none, which is how kube-proxy sees it, too.
    fn nodes(self) -> BTreeSet<String> {
        if self.ready.is_empty() {
            self.ending
        } else {
            self.ready
        }
    }
}

enum State {
    Ready,
    Ending,
    Away,
}

/// What is not said of `ready` counts as true, as the API has it.
fn state(conditions: Option<&EndpointConditions>) -> State {
    let said = |condition: fn(&EndpointConditions) -> Option<bool>| conditions.and_then(condition);
    if said(|c| c.ready).unwrap_or(true) {
        State::Ready
    } else if said(|c| c.serving) == Some(true) && said(|c| c.terminating) == Some(true) {
        State::Ending
    } else {
        State::Away
    }
}

/// Drops what is not read: slices are many, and change often.
pub fn strip_slice(slice: &mut EndpointSlice) {
    slice.ports = None;
    for endpoint in &mut slice.endpoints {
        endpoint.addresses = Vec::new();
        endpoint.target_ref = None;
        endpoint.hints = None;
        endpoint.deprecated_topology = None;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const READY: &str = "ready";
    const STARTING: &str = "starting";
    const ENDING: &str = "ending";

    fn slice(service: &str, endpoints: &[(&str, &str)]) -> Arc<EndpointSlice> {
        let endpoint = |(node, state): &(&str, &str)| -> Value {
            let conditions = match *state {
                READY => json!({"ready": true, "serving": true, "terminating": false}),
                ENDING => json!({"ready": false, "serving": true, "terminating": true}),
                _ => json!({"ready": false, "serving": false, "terminating": false}),
            };
            json!({"addresses": ["10.244.0.1"], "nodeName": node, "conditions": conditions})
        };
        let endpoints: Vec<Value> = endpoints.iter().map(endpoint).collect();
        let slice = json!({"metadata": {"namespace": "shop", "name": format!("{service}-x"),
            "labels": {SERVICE_LABEL: service}}, "addressType": "IPv4", "endpoints": endpoints});
        Arc::new(serde_json::from_value(slice).unwrap())
    }

    fn addresses() -> NodeAddresses {
        let address = |n: u8| EndpointAddress {
            ip: Some(format!("10.0.0.{n}")),
            hostname: None,
        };
        (1..=3).map(|n| (format!("n{n}"), vec![address(n)])).collect()
    }

    fn sent(slices: &[Arc<EndpointSlice>]) -> Vec<String> {
        let local = Local::of(Some(addresses()), slices, |_, _| true);
        let found = local.addresses("shop", "web").unwrap();
        found.into_iter().filter_map(|address| address.ip).collect()
    }

    #[test]
    fn only_nodes_with_a_ready_pod_are_sent_to() {
        let pods = [("n3", READY), ("n1", READY), ("n1", READY), ("n2", STARTING)];
        assert_eq!(sent(&[slice("web", &pods)]), ["10.0.0.1", "10.0.0.3"]);
    }

    #[test]
    fn the_slices_of_a_service_are_seen_as_one_and_those_of_others_are_not_seen() {
        let slices = [
            slice("web", &[("n1", READY)]),
            slice("web", &[("n2", READY)]),
            slice("other", &[("n3", READY)]),
        ];
        assert_eq!(sent(&slices), ["10.0.0.1", "10.0.0.2"]);
    }

    #[test]
    fn a_pod_that_ends_counts_only_while_no_other_is_ready() {
        assert_eq!(
            sent(&[slice("web", &[("n1", ENDING), ("n2", STARTING)])]),
            ["10.0.0.1"]
        );
        assert_eq!(
            sent(&[slice("web", &[("n1", ENDING), ("n2", READY)])]),
            ["10.0.0.2"]
        );
    }

    #[test]
    fn a_node_that_takes_no_traffic_gets_none() {
        assert_eq!(sent(&[slice("web", &[("n9", READY)])]), [""; 0]);
    }

    #[test]
    fn a_service_without_a_pod_has_no_address_and_without_a_ready_node_nothing_is_known() {
        assert_eq!(sent(&[]), [""; 0]);
        let unknown = Local::of(None, &[slice("web", &[("n1", READY)])], |_, _| true);
        assert_eq!(unknown.addresses("shop", "web"), None);
    }

    #[test]
    fn what_is_dropped_of_a_slice_changes_nothing() {
        let mut stripped = (*slice("web", &[("n1", READY), ("n2", ENDING)])).clone();
        strip_slice(&mut stripped);
        assert!(stripped.endpoints.iter().all(|e| e.addresses.is_empty()));
        assert_eq!(sent(&[Arc::new(stripped)]), ["10.0.0.1"]);
    }
}
