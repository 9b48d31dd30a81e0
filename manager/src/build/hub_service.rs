//! The hub Service of one LoadBalancer: the address that clients see, and the record of Envoy's ports.
//!
//! It is built field by field. Nothing of a tenant's Service is copied but port numbers and names, so that a
//! tenant cannot ask for external addresses, a fixed address or another selector.

use std::collections::{BTreeMap, BTreeSet};

use api::meta;
use api::names::{PortNumber, derived_name};
use api::v1alpha1::{ExternalTrafficPolicy, IpFamily, LoadBalancer, LoadBalancerType, Protocol};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::{component, labels, object_meta, owner_reference};
use crate::fleet::FleetId;

/// Tell external-dns which name an address shall have. It reads the second one from its version 0.22 on.
const EXTERNAL_DNS_HOSTNAME: [&str; 2] = [
    "external-dns.alpha.kubernetes.io/hostname",
    "external-dns.kubernetes.io/hostname",
];

/// Annotation of a hub Service in the manager's namespace: the tenant's namespace, where its LoadBalancer is.
pub const TENANT_NAMESPACE: &str = "kubelb.k8c.io/tenant-namespace";

/// The class that we asked for when the Service was made.
pub const CLASS_ASKED: &str = "kubelb.k8c.io/load-balancer-class";

/// Name of the hub Service of a LoadBalancer.
#[must_use]
pub fn name(namespace: &str, load_balancer: &str) -> String {
    derived_name("lb", "LoadBalancer", namespace, load_balancer)
}

/// Asks external-dns for a name.
pub fn name_in_dns(annotations: &mut BTreeMap<String, String>, hostname: &str) {
    for key in EXTERNAL_DNS_HOSTNAME {
        annotations.insert(key.to_owned(), hostname.to_owned());
    }
}

/// True where external-dns is asked for this name.
#[must_use]
pub fn is_named_in_dns(service: &Service, hostname: &str) -> bool {
    let annotations = service.annotations();
    (EXTERNAL_DNS_HOSTNAME.iter()).all(|key| annotations.get(*key).is_some_and(|name| name == hostname))
}

/// A port of the hub Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubPort {
    /// Name on the tenant's Service; may be empty or illegal here.
    pub name: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port that clients connect to.
    pub port: PortNumber,
    /// Port that Envoy listens on: this field is the record of it.
    pub envoy_port: u16,
}

/// What a hub Service is made from.
#[derive(Debug, Clone)]
pub struct HubService<'a> {
    /// Name of the Tenant.
    pub tenant: &'a str,
    /// Where it goes: a Service selects pods of its own namespace only.
    pub namespace: &'a str,
    /// The LoadBalancer it serves.
    pub load_balancer: &'a LoadBalancer,
    /// Whose Envoys it sends to: this field is the record of it.
    pub fleet: &'a FleetId,
    /// Its ports.
    pub ports: &'a [HubPort],
    /// `loadBalancerClass`, from Tenant or Config.
    pub class: Option<&'a str>,
    /// Take NodePorts.
    pub allocate_node_ports: bool,
    /// Annotations of the tenant's that may pass, and our own.
    pub annotations: BTreeMap<String, String>,
}

/// Builds it.
#[must_use]
pub fn service(input: &HubService<'_>) -> Service {
    let HubService {
        tenant,
        namespace,
        load_balancer: lb,
        fleet,
        ports,
        class,
        allocate_node_ports,
        annotations,
    } = input;
    let home = lb.namespace().unwrap_or_default();
    let external = lb.spec.type_ == LoadBalancerType::LoadBalancer;
    let mut all_labels = labels(tenant, component::LOAD_BALANCER);
    if meta::is_label_value(&lb.name_any()) {
        all_labels.insert(meta::LOAD_BALANCER_LABEL.to_owned(), lb.name_any());
    }
    let mut metadata = object_meta(namespace, &name(&home, &lb.name_any()), all_labels);
    let mut annotations = with_origin(annotations, lb);
    let is_at_home = home == *namespace;
    if !is_at_home {
        annotations.insert(TENANT_NAMESPACE.to_owned(), home);
    }
    if let Some(class) = class.filter(|_| external) {
        annotations.insert(CLASS_ASKED.to_owned(), class.to_owned());
    }
    metadata.annotations = Some(annotations).filter(|a| !a.is_empty());
    // An owner elsewhere is no owner: the garbage collector would take the Service for an orphan.
    metadata.owner_references = owner_reference(*lb)
        .filter(|_| is_at_home)
        .map(|owner| vec![owner]);
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(if external { "LoadBalancer" } else { "ClusterIP" }.to_owned()),
            load_balancer_class: class.filter(|_| external).map(str::to_owned),
            allocate_load_balancer_node_ports: external.then_some(*allocate_node_ports),
            external_traffic_policy: external_traffic_policy(lb).filter(|_| external).map(policy),
            load_balancer_source_ranges: Some(source_ranges(lb))
                .filter(|ranges| external && !ranges.is_empty()),
            ip_family_policy: ip_family_policy(lb).map(str::to_owned),
            selector: Some(fleet.labels(tenant, namespace)),
            ports: Some(service_ports(ports)),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn with_origin(annotations: &BTreeMap<String, String>, lb: &LoadBalancer) -> BTreeMap<String, String> {
    let mut all = annotations.clone();
    for key in [meta::ORIGIN_NAMESPACE, meta::ORIGIN_NAME] {
        if let Some(value) = lb.annotations().get(key) {
            all.insert(key.to_owned(), value.clone());
        }
    }
    all
}

/// A hub that lacks a family gives what it has, which a Service that names families would be refused for. So one that has
/// IPv6 takes all families of the hub, and the tenant is shown its own.
fn ip_family_policy(lb: &LoadBalancer) -> Option<&'static str> {
    match lb.spec.ip_families.as_slice() {
        [] => None,
        [IpFamily::IPv4] => Some("SingleStack"),
        [_, ..] => Some("PreferDualStack"),
    }
}

/// No address is in one of these.
const NOBODY: [&str; 2] = ["0.0.0.0/32", "::/128"];

/// Without bits beyond the prefix, which the definition lets through and Services do not.
///
/// Where the hub may give addresses of both families, a family without a range would be open to everybody, which is not
/// what was asked for.
fn source_ranges(lb: &LoadBalancer) -> Vec<String> {
    let canonical = |range: &String| {
        let parsed = range.parse::<IpNet>();
        parsed.map_or_else(|_| range.clone(), |range| range.trunc().to_string())
    };
    let mut ranges: Vec<String> = lb.spec.source_ranges.iter().map(canonical).collect();
    if !ranges.is_empty() && ip_family_policy(lb) == Some("PreferDualStack") {
        let is_v6 = |range: &String| range.contains(':');
        let has = [ranges.iter().any(|range| !is_v6(range)), ranges.iter().any(is_v6)];
        let closed = NOBODY.into_iter().zip(has).filter(|(_, has)| !has);
        ranges.extend(closed.map(|(nobody, _)| nobody.to_owned()));
    }
    ranges
}

/// `Local` also where Envoy has to know the client: with `Cluster`, nodes put their own address in its place.
fn external_traffic_policy(lb: &LoadBalancer) -> Option<ExternalTrafficPolicy> {
    let knows_clients = lb.spec.persistence.is_some() || sends_proxy_protocol(lb);
    if knows_clients {
        Some(ExternalTrafficPolicy::Local)
    } else {
        lb.spec.external_traffic_policy
    }
}

/// By its field, or by the annotation that people set on LoadBalancers that they write themselves.
#[must_use]
pub fn sends_proxy_protocol(lb: &LoadBalancer) -> bool {
    let annotated = || {
        lb.annotations()
            .get(meta::PROXY_PROTOCOL)
            .is_some_and(|version| version.eq_ignore_ascii_case("v2"))
    };
    lb.spec.proxy_protocol.is_some() || annotated()
}

fn policy(policy: ExternalTrafficPolicy) -> String {
    match policy {
        ExternalTrafficPolicy::Cluster => "Cluster",
        ExternalTrafficPolicy::Local => "Local",
    }
    .to_owned()
}

fn service_ports(ports: &[HubPort]) -> Vec<ServicePort> {
    let mut taken = BTreeSet::new();
    ports
        .iter()
        .map(|port| ServicePort {
            name: Some(port_name(port, &mut taken)),
            protocol: Some(port.protocol.as_str().to_owned()),
            port: i32::from(port.port.get()),
            target_port: Some(IntOrString::Int(i32::from(port.envoy_port))),
            ..ServicePort::default()
        })
        .collect()
}

/// The tenant's name where it is legal and free, else one made of number and protocol. Those are unique
/// together, but somebody may have given such a name to another port.
fn port_name(port: &HubPort, taken: &mut BTreeSet<String>) -> String {
    let made = format!("{}-{}", port.port, port.protocol.as_str().to_ascii_lowercase());
    let legal = is_port_name(&port.name).then(|| port.name.clone());
    let candidates = legal
        .into_iter()
        .chain([made.clone(), format!("p-{made}"), format!("kubelb-{made}")]);
    let name = candidates
        .into_iter()
        .find(|name| !taken.contains(name))
        .unwrap_or(made);
    taken.insert(name.clone());
    name
}

fn is_port_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty()
        && name.len() <= api::names::MAX_LABEL
        && name.bytes().all(legal)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// The tenant's namespace that a hub Service in the manager's namespace is for.
#[must_use]
pub fn tenant_namespace(service: &Service) -> Option<&str> {
    service.annotations().get(TENANT_NAMESPACE).map(String::as_str)
}

/// Envoy's ports that a live hub Service records, by protocol and client port.
#[must_use]
pub fn recorded_ports(service: &Service) -> BTreeMap<(Protocol, u16), u16> {
    let ports = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ports.as_deref())
        .unwrap_or_default();
    ports.iter().filter_map(recorded_port).collect()
}

fn recorded_port(port: &ServicePort) -> Option<((Protocol, u16), u16)> {
    let protocol = match port.protocol.as_deref() {
        Some("UDP") => Protocol::UDP,
        Some("TCP") | None => Protocol::TCP,
        Some(_) => return None,
    };
    let Some(IntOrString::Int(target)) = port.target_port else {
        return None;
    };
    let target = u16::try_from(target).ok().filter(|p| *p > 0)?;
    Some(((protocol, u16::try_from(port.port).ok()?), target))
}

#[cfg(test)]
mod tests {
    use api::v1alpha1::ProxyProtocol;
    use serde_json::json;

    use super::*;

    fn lb(type_: &str) -> LoadBalancer {
        serde_json::from_value(json!({
            "metadata": {"name": "5f0c", "namespace": "tenant-a", "uid": "u", "annotations": {
                "kubelb.k8c.io/origin-ns": "shop", "kubelb.k8c.io/origin-name": "web", "other": "no"}},
            "spec": {"type": type_, "externalTrafficPolicy": "Local",
                "endpoints": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 30001}]}],
                "ports": [{"port": 80}]},
        }))
        .unwrap()
    }

    fn port(name: &str, number: i32, protocol: Protocol, envoy_port: u16) -> HubPort {
        HubPort {
            name: name.into(),
            protocol,
            port: PortNumber::try_from(number).unwrap(),
            envoy_port,
        }
    }

    fn built(lb: &LoadBalancer, ports: &[HubPort], class: Option<&str>) -> Service {
        service(&HubService {
            tenant: "a",
            namespace: "tenant-a",
            load_balancer: lb,
            fleet: &FleetId::Shared,
            ports,
            class,
            allocate_node_ports: false,
            annotations: BTreeMap::new(),
        })
    }

    #[test]
    fn an_outside_address_takes_a_class_and_no_node_ports() {
        let ports = [
            port("http", 80, Protocol::TCP, 10000),
            port("", 53, Protocol::UDP, 10001),
        ];
        insta::assert_yaml_snapshot!(built(&lb("LoadBalancer"), &ports, Some("metallb")));
    }

    #[test]
    fn in_the_managers_namespace_it_names_the_tenants_and_has_no_owner() {
        let built = service(&HubService {
            tenant: "a",
            namespace: "kubelb",
            load_balancer: &lb("LoadBalancer"),
            fleet: &FleetId::Global,
            ports: &[port("http", 80, Protocol::TCP, 10000)],
            class: None,
            allocate_node_ports: false,
            annotations: BTreeMap::new(),
        });
        insta::assert_yaml_snapshot!((built.metadata, built.spec.unwrap().selector));
    }

    #[test]
    fn an_inside_address_has_none_of_the_fields_of_an_outside_one() {
        let spec = built(
            &lb("ClusterIP"),
            &[port("http", 80, Protocol::TCP, 10000)],
            Some("metallb"),
        )
        .spec
        .unwrap();
        assert_eq!(spec.type_.as_deref(), Some("ClusterIP"));
        assert_eq!(spec.load_balancer_class, None);
        assert_eq!(spec.allocate_load_balancer_node_ports, None);
        assert_eq!(spec.external_traffic_policy, None);
    }

    #[test]
    fn clients_are_bounded_and_known_only_from_outside() {
        let mut lb = lb("LoadBalancer");
        lb.spec.external_traffic_policy = None;
        lb.spec.source_ranges = vec!["192.0.2.7/24".into()];
        let ports = [port("http", 80, Protocol::TCP, 10000)];
        let spec = built(&lb, &ports, None).spec.unwrap();
        assert_eq!(
            spec.load_balancer_source_ranges,
            Some(vec!["192.0.2.0/24".into()])
        );
        assert_eq!(spec.external_traffic_policy, None);
        lb.spec.proxy_protocol = Some(ProxyProtocol::V2);
        let spec = built(&lb, &ports, None).spec.unwrap();
        assert_eq!(spec.external_traffic_policy.as_deref(), Some("Local"));
        lb.spec.type_ = LoadBalancerType::ClusterIP;
        let spec = built(&lb, &ports, None).spec.unwrap();
        assert_eq!(
            (spec.load_balancer_source_ranges, spec.external_traffic_policy),
            (None, None)
        );
    }

    #[test]
    fn a_service_with_ipv6_takes_all_families_of_the_hub_and_ranges_of_one_close_the_other() {
        let built = |families: &[IpFamily], ranges: &[&str]| {
            let mut lb = lb("LoadBalancer");
            lb.spec.ip_families = families.to_vec();
            lb.spec.source_ranges = ranges.iter().map(|range| (*range).to_owned()).collect();
            let spec = built(&lb, &[port("http", 80, Protocol::TCP, 10000)], None)
                .spec
                .unwrap();
            (
                spec.ip_family_policy,
                spec.load_balancer_source_ranges.unwrap_or_default(),
            )
        };
        let (four, six) = (IpFamily::IPv4, IpFamily::IPv6);
        let policy = |families: &[IpFamily]| built(families, &[]).0;
        assert_eq!(policy(&[]), None);
        assert_eq!(policy(&[four]).as_deref(), Some("SingleStack"));
        for families in [&[six][..], &[four, six], &[six, four]] {
            assert_eq!(policy(families).as_deref(), Some("PreferDualStack"));
        }
        let ranges = |families: &[IpFamily], ranges: &[&str]| built(families, ranges).1;
        assert_eq!(ranges(&[four], &["192.0.2.0/24"]), ["192.0.2.0/24"]);
        assert_eq!(
            ranges(&[four, six], &["192.0.2.0/24"]),
            ["192.0.2.0/24", "::/128"]
        );
        assert_eq!(
            ranges(&[six], &["2001:db8::/32"]),
            ["2001:db8::/32", "0.0.0.0/32"]
        );
        assert_eq!(ranges(&[four, six], &["192.0.2.0/24", "2001:db8::/32"]).len(), 2);
        assert_eq!(ranges(&[four, six], &[]), [""; 0]);
    }

    #[test]
    fn port_names_are_unique_whatever_the_tenant_calls_them() {
        let ports = [
            port("81-tcp", 80, Protocol::TCP, 1),
            port("", 81, Protocol::TCP, 2),
            port("81-tcp", 82, Protocol::TCP, 3),
            port("Not_Legal", 83, Protocol::UDP, 4),
        ];
        let names: Vec<_> = service_ports(&ports).into_iter().filter_map(|p| p.name).collect();
        assert_eq!(names, ["81-tcp", "p-81-tcp", "82-tcp", "83-udp"]);
    }

    #[test]
    fn what_is_written_is_what_is_read_back() {
        let ports = [
            port("a", 80, Protocol::TCP, 10000),
            port("b", 80, Protocol::UDP, 10007),
        ];
        let recorded = recorded_ports(&built(&lb("LoadBalancer"), &ports, None));
        assert_eq!(
            recorded,
            BTreeMap::from([((Protocol::TCP, 80), 10000), ((Protocol::UDP, 80), 10007)])
        );
    }
}
