//! From a LoadBalancer of the tenant's to listeners that Envoy may have. Pure.
//!
//! The tenant is not trusted: an address that its ranges do not contain is left out here, before any hub object
//! or Envoy resource is made from it. One bad address or port does not stop the rest of the LoadBalancer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::endpoint_policy::EndpointPolicy;
use api::names::PortNumber;
use api::v1alpha1::load_balancer_condition as reason;
use api::v1alpha1::{
    Addresses, EndpointAddress, EndpointPort, EndpointSet, IpFamily, LoadBalancer, LoadBalancerPort,
    LoadBalancerType, Protocol,
};
use l4_xds::{Address, Backend, Policy, Port};

use super::policy::InForce;
use crate::settings::TenantSettings;

/// A listener without the port that Envoy listens on: that one is recorded elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedListener {
    /// Name on the tenant's Service; may be empty.
    pub name: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port that clients connect to.
    pub port: PortNumber,
    /// Targets that are allowed, sorted. There may be none.
    pub backends: Vec<Backend>,
    /// How its connections are handled.
    pub policy: Policy,
}

/// Why a LoadBalancer, or a part of it, is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Reason of the condition.
    pub reason: &'static str,
    /// A sentence for a person.
    pub message: String,
}

impl Problem {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// What a LoadBalancer comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// One for each port, in the order of the spec.
    pub listeners: Vec<WantedListener>,
    /// What keeps it from being accepted.
    pub problem: Option<Problem>,
    /// What was left out of an accepted one.
    pub notes: Vec<String>,
}

/// Converts one LoadBalancer. `addresses` holds the Addresses objects of its namespace by name.
#[must_use]
pub fn convert(
    lb: &LoadBalancer,
    addresses: &BTreeMap<String, &Addresses>,
    settings: &TenantSettings,
) -> Converted {
    let mut collected = Collected::default();
    let policy = &settings.endpoint_policy;
    let targets: Vec<Targets<'_>> = lb
        .spec
        .endpoints
        .iter()
        .map(|set| collected.targets(set, addresses, policy, &lb.spec.ip_families))
        .collect();
    let default = settings.load_balancer.traffic_policy.clone().unwrap_or_default();
    let traffic = InForce::of(lb, &default);
    let listeners = (lb.spec.ports.iter().enumerate())
        .map(|(index, port)| WantedListener {
            name: port.name.clone(),
            protocol: port.protocol,
            port: port.port,
            backends: collected.backends(&lb.spec.ports, index, port, &targets),
            policy: traffic.for_protocol(port.protocol),
        })
        .collect();
    let protocols: BTreeSet<Protocol> = lb.spec.ports.iter().map(|port| port.protocol).collect();
    let left_out = protocols
        .into_iter()
        .flat_map(|protocol| traffic.left_out(protocol));
    let (problem, mut notes) = collected.judge(&lb.spec.ip_families);
    notes.extend(left_out);
    Converted {
        listeners,
        problem,
        notes,
    }
}

/// Source ranges are kept by whatever brings traffic to the hub Service from outside. Inside nobody would keep them, and
/// serving everybody is not what was asked for.
#[must_use]
pub fn unbounded(lb: &LoadBalancer) -> Option<Problem> {
    let inside = lb.spec.type_ == LoadBalancerType::ClusterIP;
    (inside && !lb.spec.source_ranges.is_empty()).then(|| {
        Problem::new(
            reason::REASON_UNSUPPORTED_VALUE,
            "spec.sourceRanges needs spec.type LoadBalancer",
        )
    })
}

/// The addresses of one set that passed, and its ports.
struct Targets<'a> {
    addresses: BTreeSet<Address>,
    ports: &'a [EndpointPort],
}

/// What was found on the way.
#[derive(Default)]
struct Collected {
    missing: Vec<String>,
    refused: Vec<String>,
    allowed: usize,
    /// Sets all of whose endpoints are of other families.
    of_other_families: usize,
    unpaired: Vec<String>,
}

impl Collected {
    fn targets<'a>(
        &mut self,
        set: &'a EndpointSet,
        addresses: &BTreeMap<String, &Addresses>,
        policy: &EndpointPolicy,
        families: &[IpFamily],
    ) -> Targets<'a> {
        let listed: &[EndpointAddress] = match &set.addresses_reference {
            None => set.addresses.as_deref().unwrap_or_default(),
            Some(reference) => match addresses.get(&reference.name) {
                Some(found) => &found.spec.addresses,
                None => {
                    self.missing.push(reference.name.clone());
                    &[]
                }
            },
        };
        let mut passed = BTreeSet::new();
        for address in listed {
            match check(address, policy) {
                Ok(address) => drop(passed.insert(Address::Ip(address))),
                Err(why) => self.refused.push(why),
            }
        }
        self.allowed += passed.len();
        let any = !passed.is_empty();
        let addresses = of_first_family(passed, families);
        self.of_other_families += usize::from(any && addresses.is_empty());
        Targets {
            addresses,
            ports: &set.ports,
        }
    }

    fn backends(
        &mut self,
        ports: &[LoadBalancerPort],
        index: usize,
        port: &LoadBalancerPort,
        targets: &[Targets<'_>],
    ) -> Vec<Backend> {
        let mut backends = BTreeSet::new();
        for set in targets {
            let Some(target) = paired(ports, index, port, set.ports) else {
                self.unpaired
                    .push(format!("{}/{}", port.port, port.protocol.as_str()));
                continue;
            };
            backends.extend(set.addresses.iter().map(|a| Backend {
                address: a.clone(),
                port: target,
            }));
        }
        backends.into_iter().collect()
    }

    fn judge(mut self, families: &[IpFamily]) -> (Option<Problem>, Vec<String>) {
        self.refused.sort();
        self.refused.dedup();
        let refused = self.refused.len();
        let problem = if !self.unpaired.is_empty() {
            let ports = self.unpaired.join(", ");
            Some(Problem::new(
                reason::REASON_INVALID_PORTS,
                format!("no endpoint port pairs with port {ports}"),
            ))
        } else if let Some(name) = self.missing.first() {
            Some(Problem::new(
                reason::REASON_ADDRESSES_NOT_FOUND,
                format!("there is no Addresses object {name:?}"),
            ))
        } else if self.allowed == 0 && refused > 0 {
            Some(Problem::new(
                reason::REASON_ENDPOINT_NOT_ALLOWED,
                format!("no endpoint may be used: {}", some_of(&self.refused)),
            ))
        } else {
            None
        };
        let mut notes = if self.allowed > 0 && refused > 0 {
            vec![format!(
                "{refused} endpoints are left out: {}",
                some_of(&self.refused)
            )]
        } else {
            Vec::new()
        };
        if self.of_other_families > 0 {
            let wanted: Vec<_> = families.iter().map(|family| family.as_str()).collect();
            notes.push(format!("no endpoint has an address of {}", wanted.join(" or ")));
        }
        (problem, notes)
    }
}

/// Those of the first family that has any. NodePorts answer only on addresses of their Service's own families, and one
/// address of a node is enough, whatever family clients come by: Envoy stands between.
fn of_first_family(addresses: BTreeSet<Address>, families: &[IpFamily]) -> BTreeSet<Address> {
    if families.is_empty() {
        return addresses;
    }
    let is_of = |address: &&Address, family: IpFamily| match address {
        Address::Ip(ip) => IpFamily::of(*ip) == family,
        Address::Hostname(_) => false,
    };
    let by_family = families.iter().map(|family| -> BTreeSet<Address> {
        let found = addresses.iter().filter(|address| is_of(address, *family));
        found.cloned().collect()
    });
    by_family
        .into_iter()
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

/// The first few, because a tenant may list a thousand.
pub(super) fn some_of(texts: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut text = texts.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if texts.len() > SHOWN {
        text.push_str(&format!("; and {} more", texts.len() - SHOWN));
    }
    text
}

/// Reads an address and asks the policy.
///
/// A host name is refused: the hub's Envoy would resolve it to whatever its owner answers at that moment, which
/// no range can bound. A name in `ip` is refused alike.
///
/// # Errors
/// A sentence that says why.
pub fn check(address: &EndpointAddress, policy: &EndpointPolicy) -> Result<IpAddr, String> {
    let EndpointAddress { ip, hostname } = address;
    let Some(ip) = ip else {
        let name = hostname.as_deref().unwrap_or_default();
        return Err(format!(
            "{name:?} is a host name, and endpoints must be IP addresses"
        ));
    };
    let ip: IpAddr = ip.parse().map_err(|_| format!("{ip:?} is not an IP address"))?;
    policy
        .check(ip)
        .map(|()| ip.to_canonical())
        .map_err(|refused| refused.to_string())
}

/// The endpoint port for a listener port: by name where the names say it, by position otherwise.
fn paired(
    ports: &[LoadBalancerPort],
    index: usize,
    port: &LoadBalancerPort,
    candidates: &[EndpointPort],
) -> Option<Port> {
    let named = candidates
        .iter()
        .find(|c| !c.name.is_empty() && c.name == port.name && c.protocol == port.protocol);
    let by_position = || {
        let same_length = candidates.len() == ports.len();
        candidates
            .get(index)
            .filter(|c| same_length && c.protocol == port.protocol)
    };
    named
        .or_else(by_position)
        .and_then(|c| Port::try_from(c.port.get()).ok())
}

#[cfg(test)]
mod tests {
    use api::v1alpha1::Tenant;
    use serde_json::json;

    use super::*;
    use crate::settings::merge;

    fn settings() -> TenantSettings {
        let spec = json!({"endpointCIDRs": ["10.0.0.0/8"]});
        let tenant = Tenant::new("tenant-a", serde_json::from_value(spec).unwrap());
        merge(&tenant, None, "kubelb")
    }

    fn lb(spec: serde_json::Value) -> LoadBalancer {
        LoadBalancer::new("web", serde_json::from_value(spec).unwrap())
    }

    fn nodes(ips: &[&str]) -> Addresses {
        let addresses: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        Addresses::new(
            "default",
            serde_json::from_value(json!({"addresses": addresses})).unwrap(),
        )
    }

    fn text(converted: &Converted) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for listener in &converted.listeners {
            let targets: Vec<_> = listener
                .backends
                .iter()
                .map(|b| format!("{:?}:{}", b.address, b.port))
                .collect();
            lines.push(format!(
                "{} {} -> {}",
                listener.port,
                listener.protocol.as_str(),
                targets.join(" ")
            ));
        }
        lines.extend(
            converted
                .problem
                .iter()
                .map(|p| format!("{}: {}", p.reason, p.message)),
        );
        lines.extend(converted.notes.clone());
        lines
    }

    #[test]
    fn each_port_goes_to_its_node_port_on_every_node() {
        let nodes = nodes(&["10.0.0.2", "10.0.0.1"]);
        let lb = lb(json!({
            "endpoints": [{"addressesReference": {"name": "default"}, "ports": [
                {"name": "b", "port": 30002, "protocol": "UDP"}, {"name": "a", "port": 30001}]}],
            "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80, "protocol": "UDP"}],
        }));
        let converted = convert(&lb, &BTreeMap::from([("default".into(), &nodes)]), &settings());
        insta::assert_debug_snapshot!(text(&converted), @r#"
        [
            "80 TCP -> Ip(10.0.0.1):30001 Ip(10.0.0.2):30001",
            "80 UDP -> Ip(10.0.0.1):30002 Ip(10.0.0.2):30002",
        ]
        "#);
    }

    #[test]
    fn ports_without_names_pair_by_position() {
        let lb = lb(json!({
            "endpoints": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 30001}, {"port": 30002}]}],
            "ports": [{"port": 80}, {"port": 443}],
        }));
        insta::assert_debug_snapshot!(text(&convert(&lb, &BTreeMap::new(), &settings())), @r#"
        [
            "80 TCP -> Ip(10.0.0.1):30001",
            "443 TCP -> Ip(10.0.0.1):30002",
        ]
        "#);
    }

    #[test]
    fn a_port_without_a_partner_is_named_and_the_others_are_served() {
        let lb = lb(json!({
            "endpoints": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "a", "port": 30001}]}],
            "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 443}],
        }));
        insta::assert_debug_snapshot!(text(&convert(&lb, &BTreeMap::new(), &settings())), @r#"
        [
            "80 TCP -> Ip(10.0.0.1):30001",
            "443 TCP -> ",
            "InvalidPorts: no endpoint port pairs with port 443/TCP",
        ]
        "#);
    }

    #[test]
    fn addresses_outside_the_ranges_are_left_out_and_named() {
        let lb = lb(json!({
            "endpoints": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "169.254.169.254"}, {"ip": "192.168.0.1"},
                {"hostname": "kubernetes.default.svc"}, {"ip": "kubernetes.default.svc"}], "ports": [{"port": 30001}]}],
            "ports": [{"port": 80}],
        }));
        insta::assert_debug_snapshot!(text(&convert(&lb, &BTreeMap::new(), &settings())));
    }

    #[test]
    fn endpoints_are_of_the_first_family_that_has_any_and_without_families_all_count() {
        let sent = |families: &[&str], ips: &[&str]| {
            let addresses: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
            let lb = lb(json!({
                "ipFamilies": families, "ports": [{"port": 80}],
                "endpoints": [{"addresses": addresses, "ports": [{"port": 30001}]}],
            }));
            let settings = json!({"endpointCIDRs": ["10.0.0.0/8", "fd00::/8"]});
            let tenant = Tenant::new("tenant-a", serde_json::from_value(settings).unwrap());
            text(&convert(&lb, &BTreeMap::new(), &merge(&tenant, None, "kubelb")))
        };
        let both = ["10.0.0.1", "fd00::1"];
        let (four, six) = ("80 TCP -> Ip(10.0.0.1):30001", "80 TCP -> Ip(fd00::1):30001");
        assert_eq!(sent(&["IPv4"], &both), [four]);
        assert_eq!(sent(&["IPv6"], &both), [six]);
        assert_eq!(sent(&["IPv4", "IPv6"], &both), [four]);
        assert_eq!(sent(&["IPv6", "IPv4"], &both), [six]);
        assert_eq!(sent(&["IPv6", "IPv4"], &both[..1]), [four]);
        assert_eq!(
            sent(&["IPv6"], &["::ffff:10.0.0.1"]),
            ["80 TCP -> ", "no endpoint has an address of IPv6"]
        );
        assert_eq!(
            sent(&[], &both),
            ["80 TCP -> Ip(10.0.0.1):30001 Ip(fd00::1):30001"]
        );
    }

    #[test]
    fn a_load_balancer_with_no_allowed_address_is_not_accepted() {
        let lb = lb(json!({
            "endpoints": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 30001}]}],
            "ports": [{"port": 80}],
        }));
        let problem = convert(&lb, &BTreeMap::new(), &settings()).problem.unwrap();
        assert_eq!(problem.reason, reason::REASON_ENDPOINT_NOT_ALLOWED);
    }

    #[test]
    fn missing_addresses_are_a_problem_and_empty_ones_are_not() {
        let spec = json!({
            "endpoints": [{"addressesReference": {"name": "default"}, "ports": [{"port": 30001}]}],
            "ports": [{"port": 80}],
        });
        let missing = convert(&lb(spec.clone()), &BTreeMap::new(), &settings())
            .problem
            .unwrap();
        assert_eq!(missing.reason, reason::REASON_ADDRESSES_NOT_FOUND);
        let none = nodes(&[]);
        let empty = convert(
            &lb(spec),
            &BTreeMap::from([("default".into(), &none)]),
            &settings(),
        );
        assert_eq!(empty.problem, None);
        assert_eq!(empty.listeners[0].backends, []);
    }

    #[test]
    fn source_ranges_inside_the_hub_are_refused_because_nobody_would_keep_them() {
        let spec = |type_: &str| {
            json!({"type": type_, "sourceRanges": ["192.0.2.0/24"], "ports": [{"port": 80}],
                "endpoints": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 30001}]}]})
        };
        assert_eq!(unbounded(&lb(spec("LoadBalancer"))), None);
        let problem = unbounded(&lb(spec("ClusterIP"))).unwrap();
        assert_eq!(problem.reason, reason::REASON_UNSUPPORTED_VALUE);
    }

    #[test]
    fn ports_of_udp_are_served_without_what_needs_a_connection_and_that_is_noted_once() {
        let converted = convert(
            &lb(json!({
                "proxyProtocol": "V2",
                "endpoints": [{"addresses": [{"ip": "10.0.0.1"}],
                    "ports": [{"port": 30001}, {"port": 30002, "protocol": "UDP"}, {"port": 30003, "protocol": "UDP"}]}],
                "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}, {"port": 54, "protocol": "UDP"}],
            })),
            &BTreeMap::new(),
            &settings(),
        );
        let told: Vec<bool> = converted
            .listeners
            .iter()
            .map(|l| l.policy.proxy_protocol)
            .collect();
        assert_eq!((converted.problem, told), (None, vec![true, false, false]));
        assert_eq!(converted.notes.len(), 1);
    }
}
