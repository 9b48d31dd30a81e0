//! A tenant Service of type LoadBalancer to the hub's LoadBalancer. Pure.
//!
//! What cannot be served is said in words that name the field; it never becomes something else in silence.

use std::collections::{BTreeMap, BTreeSet};

use api::meta::DEFAULT_NAME;
use api::names::PortNumber;
use api::v1alpha1::{
    AddressesReference, AnnotationSettings, EndpointAddress, EndpointPort, EndpointSet,
    ExternalTrafficPolicy, HealthCheckType, HttpsSettings, IpFamily, LoadBalancer, LoadBalancerPort,
    LoadBalancerSpec, LoadBalancerType, Persistence, PersistenceType, Protocol,
};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service, ServicePort, ServiceSpec};

use super::instructions::{self, Instructions};
use super::local::Local;
use super::nodes::MAX_ADDRESSES;
use super::origin::{Origin, metadata};
use super::provider::{self, CloudProvider};
use crate::annotations::propagated;
use crate::notice::{Notice, reason};

/// What `spec.loadBalancerSourceRanges` was called before.
const SOURCE_RANGES_ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// What the API server fills in for `sessionAffinity: ClientIP`: three hours.
const DEFAULT_AFFINITY_SECONDS: i32 = 10_800;

/// Kind in the origin annotations.
pub const ORIGIN_KIND: &str = "Service";

/// Which Services of type LoadBalancer are ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClassPolicy {
    /// No class, or class `kubelb`.
    #[default]
    DefaultOrOurs,
    /// Class `kubelb` only.
    OursOnly,
}

/// What everything that is converted has in common.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// Namespace of the tenant on the hub.
    pub hub_namespace: &'a str,
    /// Which Services are ours.
    pub class_policy: ClassPolicy,
    /// Where they answer.
    pub provider: CloudProvider,
    /// What the hub shows as addresses of the Service that is converted. Nothing may be sent from there to there.
    pub of_hub: &'a [LoadBalancerIngress],
    /// Which annotations reach the hub.
    pub annotations: &'a AnnotationSettings,
    /// True when at least one node takes traffic.
    pub has_nodes: bool,
    /// Families of the addresses by which nodes take it.
    pub node_families: &'a BTreeSet<IpFamily>,
    /// Where the pods of Services with `externalTrafficPolicy: Local` are.
    pub local: &'a Local,
}

/// What is to be on the hub for a Service.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// Not a Service of ours: nothing is to be there.
    NotOurs,
    /// Ours, but nothing of it can be served: nothing is to be there.
    Nothing,
    /// Ours, but not known yet: what is there stays.
    Hold,
    /// This.
    Served(Box<LoadBalancer>),
}

/// The result for one Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversion {
    /// What is to be on the hub.
    pub wanted: Wanted,
    /// What the tenant is to be told.
    pub notices: Vec<Notice>,
}

/// True when the Service is this agent's to serve. A foreign class is never claimed; a Service that is being
/// deleted is given up at once.
#[must_use]
pub fn is_claimed(service: &Service, policy: ClassPolicy) -> bool {
    let Some(spec) = &service.spec else { return false };
    if spec.type_.as_deref() != Some("LoadBalancer") || service.metadata.deletion_timestamp.is_some() {
        return false;
    }
    match (spec.load_balancer_class.as_deref(), policy) {
        (Some(class), _) => class == api::meta::CLASS_NAME,
        (None, ClassPolicy::DefaultOrOurs) => true,
        (None, ClassPolicy::OursOnly) => false,
    }
}

/// Converts one Service.
#[must_use]
pub fn convert(service: &Service, settings: &Settings<'_>) -> Conversion {
    let mut notices = Vec::new();
    let claimed = is_claimed(service, settings.class_policy);
    let wanted = match (&service.spec, origin_of(service)) {
        (Some(spec), Some(origin)) if claimed => wanted(service, spec, origin, settings, &mut notices),
        _ => Wanted::NotOurs,
    };
    Conversion { wanted, notices }
}

fn wanted(
    service: &Service,
    spec: &ServiceSpec,
    origin: Origin<'_>,
    settings: &Settings<'_>,
    notices: &mut Vec<Notice>,
) -> Wanted {
    notices.extend(unserved_fields(spec, settings.provider));
    let pairs = match pair_ports(spec, settings.provider, notices) {
        Pairs::NodePortMissing => return Wanted::Hold,
        Pairs::None => return Wanted::Nothing,
        Pairs::Some(pairs) => pairs,
    };
    let targets = match settings.provider {
        CloudProvider::Ours => on_nodes(spec, &origin, settings, notices),
        CloudProvider::Another => Some(Targets::These(provider::addresses(service, settings.of_hub))),
    };
    let Some(targets) = targets else {
        return Wanted::Hold;
    };
    let none = BTreeMap::new();
    let annotations = service.metadata.annotations.as_ref().unwrap_or(&none);
    let instructions = instructions::read(annotations, notices);
    notices.extend(not_for_udp(&instructions, &pairs));
    let Some(source_ranges) = source_ranges(spec, annotations, notices) else {
        return Wanted::Nothing;
    };
    let passing = propagated(annotations, settings.annotations);
    Wanted::Served(Box::new(LoadBalancer {
        metadata: metadata(origin, settings.hub_namespace, passing),
        spec: load_balancer_spec(spec, targets, pairs, source_ranges, instructions),
        status: None,
    }))
}

fn origin_of(service: &Service) -> Option<Origin<'_>> {
    Some(Origin {
        kind: ORIGIN_KIND,
        namespace: service.metadata.namespace.as_deref()?,
        name: service.metadata.name.as_deref()?,
        uid: service.metadata.uid.as_deref()?,
    })
}

/// NodePorts of a Service answer on addresses of its own families only.
fn not_on_nodes(families: &[IpFamily], of_nodes: &BTreeSet<IpFamily>) -> Option<Notice> {
    let reachable = families.iter().any(|family| of_nodes.contains(family));
    (!families.is_empty() && !of_nodes.is_empty() && !reachable).then(|| {
        let wanted: Vec<_> = families.iter().map(|family| family.as_str()).collect();
        let message = format!(
            "spec.ipFamilies: no node has an address of {} that is published, so nothing answers",
            wanted.join(" or ")
        );
        Notice::new(reason::NO_NODES, message)
    })
}

/// Where the hub sends to.
enum Targets {
    /// All nodes.
    Nodes,
    /// These.
    These(Vec<EndpointAddress>),
}

/// The nodes that answer. None where it is not known.
fn on_nodes(
    spec: &ServiceSpec,
    origin: &Origin<'_>,
    settings: &Settings<'_>,
    notices: &mut Vec<Notice>,
) -> Option<Targets> {
    if !settings.has_nodes {
        notices.push(Notice::new(
            reason::NO_NODES,
            "no node of this cluster takes traffic from outside yet",
        ));
    }
    notices.extend(not_on_nodes(&IpFamily::of_service(spec), settings.node_families));
    if !is_local(spec) {
        return Some(Targets::Nodes);
    }
    let mut addresses = settings.local.addresses(origin.namespace, origin.name)?;
    if addresses.len() > MAX_ADDRESSES {
        let message = format!(
            "pods are on nodes with {} addresses, only the first {MAX_ADDRESSES} are used",
            addresses.len()
        );
        notices.push(Notice::new(reason::TOO_MANY_ADDRESSES, message));
        addresses.truncate(MAX_ADDRESSES);
    }
    Some(Targets::These(addresses))
}

/// A Service of ours whose traffic may go to nodes with a pod of it only.
#[must_use]
pub fn wants_local(service: &Service, policy: ClassPolicy) -> bool {
    is_claimed(service, policy) && service.spec.as_ref().is_some_and(is_local)
}

fn is_local(spec: &ServiceSpec) -> bool {
    spec.external_traffic_policy.as_deref() == Some("Local")
}

/// The field, or else the annotation that was there before the field and that kube-proxy still reads.
/// Without bits beyond the prefix, which newer API servers refuse and older ones take. None where there are ranges and
/// none of them can be used: that must not open the Service to everybody.
fn source_ranges(
    spec: &ServiceSpec,
    annotations: &BTreeMap<String, String>,
    notices: &mut Vec<Notice>,
) -> Option<Vec<String>> {
    let field = spec.load_balancer_source_ranges.iter().flatten();
    let mut texts: Vec<&str> = field.map(|range| range.trim()).collect();
    let mut place = "spec.loadBalancerSourceRanges".to_owned();
    if texts.is_empty() {
        let annotated = annotations.get(SOURCE_RANGES_ANNOTATION);
        texts = annotated
            .into_iter()
            .flat_map(|text| text.split(','))
            .map(str::trim)
            .collect();
        place = format!("metadata.annotations[{SOURCE_RANGES_ANNOTATION}]");
    }
    texts.retain(|text| !text.is_empty());
    let mut ranges = BTreeSet::new();
    for text in &texts {
        match text.parse::<IpNet>() {
            Ok(range) => drop(ranges.insert(range.trunc().to_string())),
            Err(_) => notices.push(Notice::new(
                reason::UNSUPPORTED_VALUE,
                format!("{place} {text:?} is ignored: a range is wanted, such as 203.0.113.0/24"),
            )),
        }
    }
    (texts.is_empty() || !ranges.is_empty()).then(|| ranges.into_iter().collect())
}

/// What ports of UDP are served without, because it needs a connection.
fn not_for_udp(instructions: &Instructions, pairs: &[(LoadBalancerPort, EndpointPort)]) -> Vec<Notice> {
    let mut notices = Vec::new();
    if !pairs.iter().any(|(port, _)| port.protocol == Protocol::UDP) {
        return notices;
    }
    if instructions.proxy_protocol.is_some() {
        let message = format!(
            "metadata.annotations[{}] is for TCP: ports of UDP are served without it",
            api::meta::PROXY_PROTOCOL
        );
        notices.push(Notice::new(reason::UNSUPPORTED_VALUE, message));
    }
    let policy = instructions.traffic_policy.as_ref();
    let check = policy.and_then(|policy| policy.health_check.as_ref());
    if check.is_some_and(|check| check.port.is_none() && check.type_ != HealthCheckType::None) {
        let message = "metadata.annotations[kubelb.k8c.io/health-check-port] is not set: ports of UDP are served \
                       without a health check";
        notices.push(Notice::new(reason::UNSUPPORTED_VALUE, message));
    }
    notices
}

fn load_balancer_spec(
    spec: &ServiceSpec,
    targets: Targets,
    pairs: Vec<(LoadBalancerPort, EndpointPort)>,
    source_ranges: Vec<String>,
    instructions: Instructions,
) -> LoadBalancerSpec {
    let (listeners, endpoints): (Vec<LoadBalancerPort>, Vec<EndpointPort>) = pairs.into_iter().unzip();
    let Instructions {
        proxy_protocol,
        traffic_policy,
        hostname,
        https,
    } = instructions;
    let https = https.then(|| HttpsSettings {
        port: http_port(spec, &listeners),
    });
    let (addresses, addresses_reference) = match targets {
        Targets::These(addresses) => (Some(addresses), None),
        Targets::Nodes => {
            let name = DEFAULT_NAME.to_owned();
            (None, Some(AddressesReference { name }))
        }
    };
    LoadBalancerSpec {
        endpoints: vec![EndpointSet {
            name: String::new(),
            addresses,
            addresses_reference,
            ports: endpoints,
        }],
        ports: listeners,
        hostname,
        https,
        type_: LoadBalancerType::LoadBalancer,
        external_traffic_policy: spec
            .external_traffic_policy
            .as_deref()
            .and_then(|policy| match policy {
                "Local" => Some(ExternalTrafficPolicy::Local),
                "Cluster" => Some(ExternalTrafficPolicy::Cluster),
                _ => None,
            }),
        ip_families: IpFamily::of_service(spec),
        persistence: is_sticky(spec).then_some(Persistence {
            type_: PersistenceType::SourceIP,
        }),
        source_ranges,
        proxy_protocol,
        traffic_policy,
    }
}

/// The first port that says that it speaks HTTP. Where none does, the hub goes by the names.
fn http_port(spec: &ServiceSpec, listeners: &[LoadBalancerPort]) -> Option<PortNumber> {
    let speaks_http = |port: &&ServicePort| port.app_protocol.as_deref().is_some_and(is_http);
    let numbers = spec
        .ports
        .iter()
        .flatten()
        .filter(speaks_http)
        .map(|port| port.port);
    let is_served = |number: &PortNumber| {
        listeners
            .iter()
            .any(|port| port.protocol == Protocol::TCP && port.port == *number)
    };
    numbers
        .filter_map(|number| PortNumber::try_from(number).ok())
        .find(is_served)
}

/// Kubernetes' own word for plain WebSockets is one.
fn is_http(app_protocol: &str) -> bool {
    app_protocol.eq_ignore_ascii_case("http") || app_protocol == "kubernetes.io/ws"
}

/// Fields that a person may rely on and that are not served.
fn unserved_fields(spec: &ServiceSpec, provider: CloudProvider) -> Vec<Notice> {
    let mut notices = Vec::new();
    let asks_for_address = spec.load_balancer_ip.as_ref().is_some_and(|ip| !ip.is_empty());
    if asks_for_address && provider == CloudProvider::Ours {
        notices.push(Notice::new(
            reason::UNSUPPORTED_VALUE,
            "spec.loadBalancerIP is ignored: the hub chooses the address",
        ));
    }
    let has_ranges = spec.load_balancer_source_ranges.iter().flatten().next().is_some();
    if has_ranges && provider == CloudProvider::Another {
        let message = "spec.loadBalancerSourceRanges is kept by this cluster too, which sees the hub in the place of \
                       clients: nothing arrives unless the hub's addresses lie in it";
        notices.push(Notice::new(reason::UNSUPPORTED_VALUE, message));
    }
    if is_sticky(spec) {
        let message = "spec.sessionAffinity ClientIP pins a client to a node, not to a pod: pods and kube-proxy see the \
                       hub in its place";
        notices.push(Notice::new(reason::UNSUPPORTED_VALUE, message));
    }
    if is_sticky(spec) && affinity_timeout(spec).is_some_and(|timeout| timeout != DEFAULT_AFFINITY_SECONDS) {
        let message = "spec.sessionAffinityConfig.clientIP.timeoutSeconds is not kept: a client stays with its node \
                       for as long as the nodes are the same";
        notices.push(Notice::new(reason::UNSUPPORTED_VALUE, message));
    }
    notices
}

fn is_sticky(spec: &ServiceSpec) -> bool {
    spec.session_affinity.as_deref() == Some("ClientIP")
}

fn affinity_timeout(spec: &ServiceSpec) -> Option<i32> {
    spec.session_affinity_config
        .as_ref()?
        .client_ip
        .as_ref()?
        .timeout_seconds
}

enum Pairs {
    None,
    NodePortMissing,
    Some(Vec<(LoadBalancerPort, EndpointPort)>),
}

/// Pairs each served port with the port that answers for it.
fn pair_ports(spec: &ServiceSpec, provider: CloudProvider, notices: &mut Vec<Notice>) -> Pairs {
    let mut pairs = Vec::new();
    let mut missing = false;
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        let Some(protocol) = protocol_of(port) else {
            notices.push(Notice::new(
                reason::UNSUPPORTED_PORT,
                format!(
                    "spec.ports[{index}].protocol {} is not served, the port is left out: use TCP or UDP",
                    port.protocol.as_deref().unwrap_or_default()
                ),
            ));
            continue;
        };
        let answering = match provider {
            CloudProvider::Ours => port.node_port.unwrap_or(0),
            CloudProvider::Another => port.port,
        };
        match (PortNumber::try_from(port.port), PortNumber::try_from(answering)) {
            (Ok(listener), Ok(answering)) => pairs.push(pair(port, listener, answering, protocol)),
            _ => {
                missing = true;
                notices.push(Notice::new(
                    reason::UNSUPPORTED_VALUE,
                    format!(
                        "spec.ports[{index}].nodePort is not set, so nothing answers on the nodes: set \
                         spec.allocateLoadBalancerNodePorts to true"
                    ),
                ));
            }
        }
    }
    match (missing, pairs.is_empty()) {
        (true, _) => Pairs::NodePortMissing,
        (false, true) => Pairs::None,
        (false, false) => Pairs::Some(pairs),
    }
}

fn pair(
    port: &ServicePort,
    listener: PortNumber,
    answering: PortNumber,
    protocol: Protocol,
) -> (LoadBalancerPort, EndpointPort) {
    let name = port.name.clone().filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| format!("{listener}-{}", protocol.as_str().to_ascii_lowercase()));
    (
        LoadBalancerPort {
            name: name.clone(),
            protocol,
            port: listener,
        },
        EndpointPort {
            name,
            port: answering,
            protocol,
        },
    )
}

fn protocol_of(port: &ServicePort) -> Option<Protocol> {
    match port.protocol.as_deref() {
        None | Some("TCP" | "") => Some(Protocol::TCP),
        Some("UDP") => Some(Protocol::UDP),
        Some(_) => None,
    }
}
