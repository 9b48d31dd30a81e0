//! Nodes to the one `Addresses` object of the tenant. Pure.
//!
//! A node that is going away or that is excluded takes no traffic; a cordoned one still does. When every node
//! is NotReady at once, that is more likely a fault of the control plane than of the nodes: what is published
//! stays.

mod choice;

use std::net::IpAddr;
use std::num::NonZeroUsize;

use api::v1alpha1::EndpointAddress;
use k8s_openapi::api::core::v1::Node;

use self::choice::spread;
pub use self::choice::{NodeAddressType, NodeChoice, NodeSelector};
use super::local::NodeAddresses;
use crate::notice::{Notice, reason};

/// Label that keeps a node out of external load balancers, whatever its value.
const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// Taint of a node that the autoscaler is about to remove.
const DELETION_TAINT: &str = "ToBeDeletedByClusterAutoscaler";
/// Most addresses that one list on the hub holds.
pub const MAX_ADDRESSES: usize = 1000;

/// What to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addresses {
    /// These, sorted: IPv4, IPv6, then host names.
    Publish(Vec<EndpointAddress>),
    /// What is published already.
    Keep,
}

/// The result for all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion {
    /// What to publish.
    pub addresses: Addresses,
    /// Nodes that take traffic.
    pub serving: usize,
    /// What the tenant is to be told.
    pub notices: Vec<Notice>,
}

/// Converts all nodes of the cluster.
#[must_use]
pub fn convert<'a>(nodes: impl IntoIterator<Item = &'a Node>, choice: &NodeChoice) -> Conversion {
    let ready = match ready(nodes, choice) {
        Ready::Nodes(ready) => ready,
        Ready::NoneOf(candidates) => {
            let message =
                format!("none of {candidates} nodes is ready; the addresses published before stay in use");
            return keep(Notice::new(reason::NODES_NOT_READY, message));
        }
        Ready::NoneSelected(candidates) => {
            let message = format!(
                "--node-address-label-selector selects none of {candidates} nodes; the addresses published before \
                 stay in use"
            );
            return keep(Notice::new(reason::NO_NODES, message));
        }
    };
    publish(&ready, choice)
}

fn keep(notice: Notice) -> Conversion {
    Conversion {
        addresses: Addresses::Keep,
        serving: 0,
        notices: vec![notice],
    }
}

/// Addresses of the nodes that take traffic, by name. None where no node is ready. There is no cap: who asks by name
/// wants to know of these nodes.
#[must_use]
pub fn by_name<'a>(nodes: impl IntoIterator<Item = &'a Node>, choice: &NodeChoice) -> Option<NodeAddresses> {
    let Ready::Nodes(ready) = ready(nodes, choice) else {
        return None;
    };
    let named = ready.into_iter().filter_map(|node| {
        let (_, addresses) = chosen(node, choice.address_type)?;
        let addresses = addresses.into_iter().map(|(_, address)| address).collect();
        Some((name_of(node).to_owned(), addresses))
    });
    Some(named.collect())
}

enum Ready<'a> {
    /// These take traffic, sorted by name.
    Nodes(Vec<&'a Node>),
    /// None of so many that would is ready.
    NoneOf(usize),
    /// The operator's selector selects none of so many: a slip rather than a wish.
    NoneSelected(usize),
}

fn ready<'a>(nodes: impl IntoIterator<Item = &'a Node>, choice: &NodeChoice) -> Ready<'a> {
    let mut candidates: Vec<&Node> = nodes.into_iter().filter(|node| takes_traffic(node)).collect();
    let all = candidates.len();
    candidates.retain(|node| choice.selector.selects(node));
    if candidates.is_empty() && all > 0 {
        return Ready::NoneSelected(all);
    }
    let before = candidates.len();
    candidates.retain(|node| is_ready(node));
    if candidates.is_empty() && before > 0 {
        return Ready::NoneOf(before);
    }
    candidates.sort_by_key(|node| name_of(node));
    Ready::Nodes(candidates)
}

/// The addresses of the best type that a node has, and how many types are better.
fn chosen(node: &Node, wanted: NodeAddressType) -> Option<(usize, Vec<(Order, EndpointAddress)>)> {
    let by_type = wanted.preference().iter().map(|kind| addresses_of(node, kind));
    by_type.enumerate().find(|(_, addresses)| !addresses.is_empty())
}

fn publish(ready: &[&Node], choice: &NodeChoice) -> Conversion {
    let mut notices = Vec::new();
    let mut located = Vec::new();
    let (mut fallback, mut missing) = (Vec::new(), Vec::new());
    for node in ready {
        match chosen(node, choice.address_type) {
            Some((rank, addresses)) => {
                if rank > 0 {
                    fallback.push(name_of(node));
                }
                located.push((*node, addresses));
            }
            None => missing.push(name_of(node)),
        }
    }
    push_about(
        &mut notices,
        reason::NODE_ADDRESS_FALLBACK,
        &fallback,
        "have no address of the wanted type: their InternalIP is used",
    );
    push_about(
        &mut notices,
        reason::NODE_ADDRESS_MISSING,
        &missing,
        "have no usable address and take no traffic",
    );
    let cap = choice.max_addresses.map_or(usize::MAX, NonZeroUsize::get);
    let count: usize = located.iter().map(|(_, addresses)| addresses.len()).sum();
    if count.min(cap) > MAX_ADDRESSES {
        let message = format!("{count} node addresses, only {MAX_ADDRESSES} are published");
        notices.push(Notice::new(reason::TOO_MANY_ADDRESSES, message));
    }
    let taken = spread(located, cap.min(MAX_ADDRESSES));
    let serving = taken.len();
    let mut found: Vec<(Order, EndpointAddress)> = taken.into_iter().flat_map(|(_, all)| all).collect();
    found.sort();
    found.dedup();
    if found.is_empty() {
        notices.push(Notice::new(
            reason::NO_NODES,
            "no node of this cluster takes traffic from outside",
        ));
    }
    Conversion {
        addresses: Addresses::Publish(found.into_iter().map(|(_, address)| address).collect()),
        serving,
        notices,
    }
}

fn push_about(notices: &mut Vec<Notice>, reason: &'static str, names: &[&str], what: &str) {
    const NAMED: usize = 5;
    if names.is_empty() {
        return;
    }
    let listed = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMED);
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    notices.push(Notice::new(reason, format!("nodes {listed}{rest} {what}")));
}

/// Cordoning is not in here: it is about new pods, not about traffic.
fn takes_traffic(node: &Node) -> bool {
    let excluded = node
        .metadata
        .labels
        .as_ref()
        .is_some_and(|labels| labels.contains_key(EXCLUDE_LABEL));
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let leaving = taints.into_iter().any(|taint| taint.key == DELETION_TAINT);
    !excluded && !leaving && node.metadata.deletion_timestamp.is_none()
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

fn name_of(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// Sorts IPv4 before IPv6 before names, each by value.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Ip(IpAddr),
    Name(String),
}

fn addresses_of(node: &Node, kind: &str) -> Vec<(Order, EndpointAddress)> {
    let listed = node
        .status
        .iter()
        .flat_map(|status| status.addresses.iter().flatten());
    listed
        .into_iter()
        .filter(|a| a.type_ == kind)
        .filter_map(|a| endpoint(kind, &a.address))
        .collect()
}

/// A host name that is an IP address is one: the content decides. An IP type that holds no IP is unusable.
fn endpoint(kind: &str, address: &str) -> Option<(Order, EndpointAddress)> {
    match address.parse::<IpAddr>() {
        Ok(ip) => {
            let endpoint = EndpointAddress {
                ip: Some(ip.to_string()),
                hostname: None,
            };
            Some((Order::Ip(ip), endpoint))
        }
        Err(_) if kind == "Hostname" && !address.is_empty() => {
            let endpoint = EndpointAddress {
                ip: None,
                hostname: Some(address.to_owned()),
            };
            Some((Order::Name(address.to_owned()), endpoint))
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, ready: bool, addresses: &[(&str, &str)]) -> Value {
        let addresses: Vec<_> = addresses
            .iter()
            .map(|(t, a)| json!({"type": t, "address": a}))
            .collect();
        json!({
            "metadata": {"name": name},
            "status": {
                "addresses": addresses,
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            },
        })
    }

    fn run(nodes: &[Value], wanted: NodeAddressType) -> Conversion {
        let nodes: Vec<Node> = nodes
            .iter()
            .map(|n| serde_json::from_value(n.clone()).unwrap())
            .collect();
        convert(&nodes, &by_type(wanted))
    }

    fn by_type(address_type: NodeAddressType) -> NodeChoice {
        NodeChoice {
            address_type,
            ..NodeChoice::default()
        }
    }

    fn published(conversion: &Conversion) -> Vec<String> {
        let Addresses::Publish(addresses) = &conversion.addresses else {
            return vec!["kept".to_owned()];
        };
        addresses
            .iter()
            .map(|a| a.ip.clone().or(a.hostname.clone()).unwrap())
            .collect()
    }

    fn reasons(conversion: &Conversion) -> Vec<&'static str> {
        conversion.notices.iter().map(|notice| notice.reason).collect()
    }

    const INTERNAL: NodeAddressType = NodeAddressType::InternalIp;

    #[test]
    fn addresses_of_both_families_are_sorted_by_value() {
        let nodes = [
            node(
                "b",
                true,
                &[("InternalIP", "10.0.0.10"), ("InternalIP", "fd00::2")],
            ),
            node(
                "a",
                true,
                &[("InternalIP", "10.0.0.9"), ("InternalIP", "FD00:0::1")],
            ),
        ];
        let conversion = run(&nodes, INTERNAL);
        assert_eq!(
            published(&conversion),
            ["10.0.0.9", "10.0.0.10", "fd00::1", "fd00::2"]
        );
        assert_eq!(conversion.serving, 2);
        assert!(conversion.notices.is_empty());
    }

    #[test]
    fn a_node_without_external_ip_is_reached_by_its_internal_one_and_that_is_told() {
        let nodes = [
            node(
                "a",
                true,
                &[("InternalIP", "10.0.0.1"), ("ExternalIP", "192.0.2.1")],
            ),
            node("b", true, &[("InternalIP", "10.0.0.2")]),
        ];
        let conversion = run(&nodes, NodeAddressType::ExternalIp);
        assert_eq!(published(&conversion), ["10.0.0.2", "192.0.2.1"]);
        assert_eq!(reasons(&conversion), [reason::NODE_ADDRESS_FALLBACK]);
        assert!(conversion.notices[0].message.contains("nodes b "));
    }

    #[test]
    fn a_cordoned_node_takes_traffic_but_an_excluded_leaving_or_deleted_one_does_not() {
        let mut nodes: Vec<Value> = (1..=4)
            .map(|i| node(&format!("n{i}"), true, &[("InternalIP", &format!("10.0.0.{i}"))]))
            .collect();
        nodes[0]["spec"] = json!({"unschedulable": true});
        nodes[1]["metadata"]["labels"] = json!({EXCLUDE_LABEL: ""});
        nodes[2]["spec"] = json!({"taints": [{"key": DELETION_TAINT, "effect": "NoSchedule"}]});
        nodes[3]["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(published(&run(&nodes, INTERNAL)), ["10.0.0.1"]);
    }

    #[test]
    fn a_node_that_is_not_ready_takes_no_traffic() {
        let nodes = [
            node("a", false, &[("InternalIP", "10.0.0.1")]),
            node("b", true, &[("InternalIP", "10.0.0.2")]),
        ];
        assert_eq!(published(&run(&nodes, INTERNAL)), ["10.0.0.2"]);
    }

    #[test]
    fn by_name_are_those_that_are_published_and_nothing_where_they_are_kept() {
        let nodes: Vec<Node> = [
            node(
                "a",
                true,
                &[("ExternalIP", "192.0.2.1"), ("InternalIP", "10.0.0.1")],
            ),
            node("b", false, &[("InternalIP", "10.0.0.2")]),
            node("c", true, &[("InternalIP", "10.0.0.3")]),
        ]
        .map(|node| serde_json::from_value(node).unwrap())
        .into();
        let found = by_name(&nodes, &by_type(NodeAddressType::ExternalIp)).unwrap();
        let ips: Vec<_> = found
            .iter()
            .map(|(name, a)| (name.as_str(), a[0].ip.clone().unwrap()))
            .collect();
        assert_eq!(ips, [("a", "192.0.2.1".to_owned()), ("c", "10.0.0.3".to_owned())]);
        assert_eq!(by_name(&nodes[1..2], &by_type(INTERNAL)), None);
    }

    #[test]
    fn when_all_nodes_are_not_ready_at_once_the_published_addresses_stay() {
        let nodes = [node("a", false, &[("InternalIP", "10.0.0.1")])];
        let conversion = run(&nodes, INTERNAL);
        assert_eq!(conversion.addresses, Addresses::Keep);
        assert_eq!(reasons(&conversion), [reason::NODES_NOT_READY]);
    }

    #[test]
    fn a_cluster_without_nodes_publishes_none_and_says_so() {
        let conversion = run(&[], INTERNAL);
        assert_eq!(conversion.addresses, Addresses::Publish(Vec::new()));
        assert_eq!(reasons(&conversion), [reason::NO_NODES]);
    }

    #[test]
    fn a_host_name_that_is_an_ip_address_is_published_as_one() {
        let nodes = [
            node("a", true, &[("Hostname", "a.example.com")]),
            node("b", true, &[("Hostname", "10.0.0.1")]),
        ];
        let conversion = run(&nodes, NodeAddressType::Hostname);
        let Addresses::Publish(addresses) = conversion.addresses else {
            panic!("kept")
        };
        assert_eq!(addresses[0].ip.as_deref(), Some("10.0.0.1"));
        assert_eq!(addresses[1].hostname.as_deref(), Some("a.example.com"));
    }

    #[test]
    fn more_addresses_than_fit_are_cut_and_that_is_told() {
        let nodes: Vec<Value> = (0..1002)
            .map(|i| {
                node(
                    &format!("n{i}"),
                    true,
                    &[("InternalIP", &format!("10.0.{}.{}", i / 250, i % 250))],
                )
            })
            .collect();
        let conversion = run(&nodes, INTERNAL);
        assert_eq!(published(&conversion).len(), MAX_ADDRESSES);
        assert_eq!(reasons(&conversion), [reason::TOO_MANY_ADDRESSES]);
    }

    #[test]
    fn only_selected_nodes_take_traffic_and_those_not_ready_are_not_counted_against_them() {
        let mut nodes = vec![
            node("a", true, &[("InternalIP", "10.0.0.1")]),
            node("b", true, &[("InternalIP", "10.0.0.2")]),
        ];
        nodes[1]["metadata"]["labels"] = json!({"role": "edge"});
        let choice = NodeChoice {
            selector: "role=edge".parse().unwrap(),
            max_addresses: NonZeroUsize::new(9),
            ..by_type(INTERNAL)
        };
        let nodes: Vec<Node> = nodes
            .into_iter()
            .map(|node| serde_json::from_value(node).unwrap())
            .collect();
        let conversion = convert(&nodes, &choice);
        assert_eq!(published(&conversion), ["10.0.0.2"]);
        assert_eq!((conversion.serving, conversion.notices), (1, vec![]));
        let found = by_name(&nodes, &choice).unwrap();
        assert_eq!(found.into_keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_selector_that_selects_nothing_is_named_and_the_published_addresses_stay() {
        let nodes: [Node; 1] =
            [serde_json::from_value(node("a", true, &[("InternalIP", "10.0.0.1")])).unwrap()];
        let choice = NodeChoice {
            selector: "role=egde".parse().unwrap(),
            ..NodeChoice::default()
        };
        let conversion = convert(&nodes, &choice);
        assert_eq!(conversion.addresses, Addresses::Keep);
        let words = &conversion.notices[0].message;
        assert!(words.contains("--node-address-label-selector"), "{words}");
        assert_eq!(by_name(&nodes, &choice), None);
    }

    #[test]
    fn an_address_that_is_no_ip_is_not_published_and_the_node_is_named() {
        let nodes = [node("odd", true, &[("InternalIP", "not-an-ip")])];
        let conversion = run(&nodes, INTERNAL);
        assert_eq!(
            reasons(&conversion),
            [reason::NODE_ADDRESS_MISSING, reason::NO_NODES]
        );
        assert_eq!(conversion.serving, 0);
    }
}
