//! Who may reach a fleet's Envoys on the hub, and what they may reach. Pure.
//!
//! It is the second wall behind what the manager checks: an Envoy that does what it should not still reaches nothing but
//! the tenant's own ranges. Whether it is kept is up to the hub's network.

use api::endpoint_policy::EndpointPolicy;
use api::meta;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use l4_xds::ports::envoy::{READINESS, RESERVED};

/// Label that Kubernetes gives every namespace: its name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
const DNS: u16 = 53;
/// Listeners have none below; recorded ones may have any above.
const FIRST_PORT: u16 = 1024;

/// Builds it. Ports of listeners are not named one by one: that would be a write for each load balancer.
#[must_use]
pub fn spec(pods: LabelSelector, manager_namespace: &str, endpoints: &EndpointPolicy) -> NetworkPolicySpec {
    NetworkPolicySpec {
        pod_selector: Some(pods),
        policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
        ingress: Some(vec![clients(), statistics()]),
        egress: Some(egress(manager_namespace, endpoints)),
    }
}

fn clients() -> NetworkPolicyIngressRule {
    let ports = ["TCP", "UDP"].into_iter().flat_map(|protocol| {
        [
            ports(protocol, FIRST_PORT, RESERVED.start() - 1),
            ports(protocol, RESERVED.end() + 1, u16::MAX),
        ]
    });
    NetworkPolicyIngressRule {
        ports: Some(ports.collect()),
        from: None,
    }
}

/// Tenants' namespaces are left out: what runs there may be a tenant's. The kubelet is let in by every network.
fn statistics() -> NetworkPolicyIngressRule {
    let hubs_own = LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: meta::MANAGED_BY_LABEL.to_owned(),
            operator: "DoesNotExist".to_owned(),
            values: None,
        }]),
        ..LabelSelector::default()
    };
    NetworkPolicyIngressRule {
        ports: Some(vec![port("TCP", READINESS)]),
        from: Some(vec![namespaces(hubs_own)]),
    }
}

fn egress(manager_namespace: &str, endpoints: &EndpointPolicy) -> Vec<NetworkPolicyEgressRule> {
    let manager = LabelSelector {
        match_labels: Some([(NAMESPACE_NAME.to_owned(), manager_namespace.to_owned())].into()),
        ..LabelSelector::default()
    };
    let mut rules = vec![
        NetworkPolicyEgressRule {
            ports: None,
            to: Some(vec![namespaces(manager)]),
        },
        NetworkPolicyEgressRule {
            ports: Some(vec![port("UDP", DNS), port("TCP", DNS)]),
            to: None,
        },
    ];
    let ranges: Vec<_> = endpoints
        .allowed
        .iter()
        .filter_map(|range| block(*range, endpoints))
        .collect();
    // A rule to nowhere would be one to everywhere.
    if !ranges.is_empty() {
        rules.push(NetworkPolicyEgressRule {
            ports: None,
            to: Some(ranges),
        });
    }
    rules
}

/// Without what is denied within the range. Denied ranges outside of it may not be named there; none where all of it is
/// denied.
fn block(range: IpNet, endpoints: &EndpointPolicy) -> Option<NetworkPolicyPeer> {
    if endpoints.denied.iter().any(|denied| denied.contains(&range)) {
        return None;
    }
    let except: Vec<String> = (endpoints.denied.iter())
        .filter(|denied| range.contains(*denied))
        .map(|denied| denied.trunc().to_string())
        .collect();
    Some(NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: range.trunc().to_string(),
            except: (!except.is_empty()).then_some(except),
        }),
        ..NetworkPolicyPeer::default()
    })
}

fn namespaces(selector: LabelSelector) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(selector),
        ..NetworkPolicyPeer::default()
    }
}

fn port(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(number.into())),
        end_port: None,
    }
}

fn ports(protocol: &str, first: u16, last: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        end_port: Some(last.into()),
        ..port(protocol, first)
    }
}
