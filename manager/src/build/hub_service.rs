//! The hub Service of one LoadBalancer: the address that clients see, and the record of Envoy's ports.
//!
//! It is built field by field. Nothing of a tenant's Service is copied but port numbers and names, so that a
//! tenant cannot ask for external addresses, a fixed address or another selector.

use std::collections::{BTreeMap, BTreeSet};

use api::meta;
use api::names::{PortNumber, derived_name};
use api::v1alpha1::{ExternalTrafficPolicy, LoadBalancer, LoadBalancerType, Protocol};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::{component, envoy, labels, object_meta, owner_reference};

/// Tell external-dns which name an address shall have. It reads the second one from its version 0.22 on.
const EXTERNAL_DNS_HOSTNAME: [&str; 2] = [
    "external-dns.alpha.kubernetes.io/hostname",
    "external-dns.kubernetes.io/hostname",
];

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
    /// The LoadBalancer it serves.
    pub load_balancer: &'a LoadBalancer,
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
        load_balancer: lb,
        ports,
        class,
        allocate_node_ports,
        annotations,
    } = input;
    let namespace = lb.namespace().unwrap_or_default();
    let external = lb.spec.type_ == LoadBalancerType::LoadBalancer;
    let mut all_labels = labels(tenant, component::LOAD_BALANCER);
    if meta::is_label_value(&lb.name_any()) {
        all_labels.insert(meta::LOAD_BALANCER_LABEL.to_owned(), lb.name_any());
    }
    let mut metadata = object_meta(&namespace, &name(&namespace, &lb.name_any()), all_labels);
    let mut annotations = with_origin(annotations, lb);
    if let Some(class) = class.filter(|_| external) {
        annotations.insert(CLASS_ASKED.to_owned(), class.to_owned());
    }
    metadata.annotations = Some(annotations).filter(|a| !a.is_empty());
    metadata.owner_references = owner_reference(*lb).map(|owner| vec![owner]);
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(if external { "LoadBalancer" } else { "ClusterIP" }.to_owned()),
            load_balancer_class: class.filter(|_| external).map(str::to_owned),
            allocate_load_balancer_node_ports: external.then_some(*allocate_node_ports),
            external_traffic_policy: external_traffic_policy(lb).filter(|_| external).map(policy),
            load_balancer_source_ranges: Some(source_ranges(lb))
                .filter(|ranges| external && !ranges.is_empty()),
            selector: Some(envoy::selector(tenant)),
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

/// Without bits beyond the prefix, which the definition lets through and Services do not.
fn source_ranges(lb: &LoadBalancer) -> Vec<String> {
    let canonical = |range: &String| {
        let parsed = range.parse::<IpNet>();
        parsed.map_or_else(|_| range.clone(), |range| range.trunc().to_string())
    };
    lb.spec.source_ranges.iter().map(canonical).collect()
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
            load_balancer: lb,
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
