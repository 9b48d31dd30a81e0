//! Which nodes take traffic, and where they are reached, as the operator of the cluster wants it.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::str::FromStr;

use k8s_openapi::api::core::v1::Node;
use kube::core::{Expression, Selector, SelectorExt};

/// Label of a node: the zone that it fails with.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Which nodes take traffic, and where they are reached.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeChoice {
    /// Which address of a node is published.
    pub address_type: NodeAddressType,
    /// Only nodes with these labels.
    pub selector: NodeSelector,
    /// At most so many addresses, spread over zones.
    pub max_addresses: Option<NonZeroUsize>,
}

/// Which address of a node is published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum NodeAddressType {
    /// `ExternalIP`, or `InternalIP` where a node has none.
    #[default]
    #[value(name = "ExternalIP")]
    ExternalIp,
    /// `InternalIP`.
    #[value(name = "InternalIP")]
    InternalIp,
    /// `Hostname`, or `InternalIP` where a node has none. The hub must be able to resolve it.
    #[value(name = "Hostname")]
    Hostname,
}

impl NodeAddressType {
    /// The types to look for, best first.
    pub(super) fn preference(self) -> &'static [&'static str] {
        match self {
            Self::ExternalIp => &["ExternalIP", "InternalIP"],
            Self::InternalIp => &["InternalIP"],
            Self::Hostname => &["Hostname", "InternalIP"],
        }
    }
}

/// A label selector as kubectl takes it: `a=b,c!=d,e,!f,g in (h,i),j notin (k)`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeSelector(Selector);

impl NodeSelector {
    /// Whether it selects a node. One without a requirement selects all.
    #[must_use]
    pub fn selects(&self, node: &Node) -> bool {
        let none = BTreeMap::new();
        self.0.matches(node.metadata.labels.as_ref().unwrap_or(&none))
    }
}

/// A requirement that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no requirement of a label selector, such as zone=a, zone!=a, zone, !zone or zone in (a,b)")]
pub struct InvalidSelector(String);

impl FromStr for NodeSelector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        let mut selector = Selector::default();
        for requirement in requirements(text) {
            let expression = expression(requirement.trim());
            selector.extend([expression.ok_or_else(|| InvalidSelector(requirement.to_owned()))?]);
        }
        Ok(Self(selector))
    }
}

/// Splits at commas that are not within parentheses.
fn requirements(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let is_end = |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    if text.trim().is_empty() {
        return Vec::new();
    }
    text.split(is_end).collect()
}

fn expression(text: &str) -> Option<Expression> {
    if let Some((key, values)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let values = values.split(',').map(|value| label_value(value.trim()));
        let values = values.collect::<Option<_>>()?;
        let mut words = key.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => Some(Expression::In(label_key(key)?, values)),
            (Some(key), Some("notin"), None) => Some(Expression::NotIn(label_key(key)?, values)),
            _ => None,
        };
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Some(Expression::NotEqual(
            label_key(key.trim())?,
            label_value(value.trim())?,
        ));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some(Expression::Equal(
            label_key(key.trim())?,
            label_value(value.trim())?,
        ));
    }
    match text.strip_prefix('!') {
        Some(key) => Some(Expression::DoesNotExist(label_key(key.trim())?)),
        None => Some(Expression::Exists(label_key(text)?)),
    }
}

fn label_key(text: &str) -> Option<String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    (!text.is_empty() && text.len() <= 317 && text.bytes().all(legal)).then(|| text.to_owned())
}

fn label_value(text: &str) -> Option<String> {
    api::meta::is_label_value(text).then(|| text.to_owned())
}

/// Takes nodes until they have `cap` addresses, from one zone after the other, so that no zone is left out while another
/// has two nodes more. `nodes` are sorted, with how many addresses each has.
pub(super) fn spread<'a, T>(nodes: Vec<(&'a Node, Vec<T>)>, cap: usize) -> Vec<(&'a Node, Vec<T>)> {
    let mut zones: BTreeMap<&str, VecDeque<(&'a Node, Vec<T>)>> = BTreeMap::new();
    for (node, addresses) in nodes {
        zones.entry(zone(node)).or_default().push_back((node, addresses));
    }
    let (mut taken, mut left) = (Vec::new(), cap);
    loop {
        let turn: Vec<_> = zones.values_mut().filter_map(VecDeque::pop_front).collect();
        if turn.is_empty() {
            return taken;
        }
        for (node, mut addresses) in turn {
            if left == 0 {
                return taken;
            }
            addresses.truncate(left);
            left -= addresses.len();
            taken.push((node, addresses));
        }
    }
}

fn zone(node: &Node) -> &str {
    let labels = node.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(ZONE_LABEL))
        .map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, labels: &[(&str, &str)]) -> Node {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
    }

    #[test]
    fn a_selector_means_what_kubectl_means_by_it() {
        let edge = node("n", &[("role", "edge"), ("zone", "a"), ("example.com/gpu", "")]);
        let selects = |text: &str| text.parse::<NodeSelector>().unwrap().selects(&edge);
        for text in [
            "",
            "role=edge",
            "role==edge , zone=a",
            "role!=core",
            "other!=x",
            "example.com/gpu",
            "!other",
            "zone in (b, a)",
            "zone notin (b,c),role",
        ] {
            assert!(selects(text), "{text}");
        }
        for text in [
            "role=core",
            "role!=edge",
            "other",
            "!role",
            "zone in (b)",
            "zone notin (a),role",
        ] {
            assert!(!selects(text), "{text}");
        }
        assert!(NodeSelector::default().selects(&node("n", &[])));
    }

    #[test]
    fn a_selector_that_is_none_is_refused_with_what_is_wrong() {
        for text in [
            "a=b,",
            "=b",
            "a b",
            "a=b c",
            "a in b",
            "a in (b",
            "a within (b)",
            "a=!",
            "!",
        ] {
            let refused = text.parse::<NodeSelector>();
            assert!(refused.is_err(), "{text}: {refused:?}");
        }
        let said = "a=b,c within (d)"
            .parse::<NodeSelector>()
            .unwrap_err()
            .to_string();
        assert!(said.starts_with("\"c within (d)\" is no requirement"), "{said}");
    }

    #[test]
    fn a_cap_takes_nodes_of_all_zones_in_turns() {
        let nodes: Vec<Node> = [
            ("n1", "a"),
            ("n2", "a"),
            ("n3", "a"),
            ("n4", "b"),
            ("n5", "c"),
            ("n6", "c"),
        ]
        .iter()
        .map(|(name, zone)| node(name, &[(ZONE_LABEL, zone)]))
        .collect();
        let taken = |cap| -> Vec<String> {
            let with_one = nodes.iter().map(|node| (node, vec![()])).collect();
            let taken = spread(with_one, cap);
            taken
                .iter()
                .filter_map(|(node, _)| node.metadata.name.clone())
                .collect()
        };
        assert_eq!(taken(2), ["n1", "n4"]);
        assert_eq!(taken(4), ["n1", "n4", "n5", "n2"]);
        assert_eq!(taken(9).len(), 6);
    }

    #[test]
    fn a_cap_counts_addresses_and_not_nodes() {
        let (a, b) = (node("a", &[]), node("b", &[]));
        let both = || vec![(&a, vec![1, 2]), (&b, vec![3, 4])];
        let taken: Vec<i32> = spread(both(), 3).into_iter().flat_map(|(_, list)| list).collect();
        assert_eq!(taken, [1, 2, 3]);
    }
}
