//! `LoadBalancer`: one L4 load balancer of a tenant.

use k8s_openapi::api::core::v1::LoadBalancerIngress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{EndpointSet, IpFamily, Protocol, TrafficPolicy};
use crate::names::PortNumber;

/// An L4 load balancer. The CCM makes one for each tenant Service of type LoadBalancer and names it by the
/// Service's UID; one made by hand is served alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "kubelb.k8c.io",
    version = "v1alpha1",
    kind = "LoadBalancer",
    shortname = "lb",
    namespaced,
    status = "LoadBalancerStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"OriginName","type":"string","jsonPath":".metadata.annotations.kubelb\\.k8c\\.io/origin-name"}"#,
    printcolumn = r#"{"name":"OriginNamespace","type":"string","jsonPath":".metadata.annotations.kubelb\\.k8c\\.io/origin-ns"}"#,
    printcolumn = r#"{"name":"Address","type":"string","jsonPath":".status.loadBalancer.ingress[0].ip"}"#,
    printcolumn = r#"{"name":"Hostname","type":"string","jsonPath":".status.hostname.hostname"}"#,
    printcolumn = r#"{"name":"Programmed","type":"string","jsonPath":".status.conditions[?(@.type==\"Programmed\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerSpec {
    /// Backends. Each set's ports pair with `ports`, by name, or by position where there are no names.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(validation = Rule::new("self.all(e, has(e.addressesReference) || has(e.addresses))").message("each endpoint needs addresses or addressesReference"))]
    pub endpoints: Vec<EndpointSet>,
    /// Ports that clients connect to.
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = Rule::new("self.all(p, self.exists_one(q, q.port == p.port && q.protocol == p.protocol))").message("port and protocol must be unique"))]
    pub ports: Vec<LoadBalancerPort>,
    /// Host name asked for. Needs `dns.allowExplicitHostnames`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub hostname: Option<String>,
    /// Asks for HTTPS at the host name, ended on the hub with a certificate of the hub's. Needs the type
    /// `LoadBalancer`, `dns.useCertificateAnnotations` and the Gateway API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<HttpsSettings>,
    /// `LoadBalancer` asks for an address outside the hub, `ClusterIP` for one inside.
    #[serde(rename = "type", default)]
    pub type_: LoadBalancerType,
    /// As on the tenant's Service: `Local` sends only to nodes that have a ready pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
    /// Families of the tenant's Service, in its order. Endpoints of the first that has any are sent to, and the hub is
    /// asked for addresses of these; Envoy stands between the families. Without any: all endpoints, and what the hub gives
    /// by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    #[x_kube(validation = Rule::new("self.size() < 2 || self[0] != self[1]").message("each family may be there once"))]
    pub ip_families: Vec<IpFamily>,
    /// Session persistence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// Ranges that clients may connect from. From everywhere if there is none. The hub Service carries them, and
    /// whatever brings traffic to it keeps others out, as Kubernetes wants it for `loadBalancerSourceRanges`. Needs
    /// the type `LoadBalancer`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 64)))]
    #[x_kube(validation = Rule::new("self.all(c, isCIDR(c))").message("each entry must be a CIDR such as 203.0.113.0/24"))]
    pub source_ranges: Vec<String>,
    /// Tells TCP backends the client's address at the begin of each connection. They must expect it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How connections are handled. What is left out is taken from the Tenant, then from the Config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_policy: Option<TrafficPolicy>,
}

/// HTTPS at the host name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HttpsSettings {
    /// Number of the TCP port whose backends get the requests. They speak HTTP without TLS. Where none is said: the first
    /// that is named `http` or `http-…`, or else the first that is not named `https` or `https-…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<PortNumber>,
}

/// Version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProxyProtocol {
    /// Version 2.
    V2,
}

/// A port that clients connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerPort {
    /// Name, as on the tenant's Service.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub name: String,
    /// Transport protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// Port number.
    pub port: PortNumber,
}

/// Where the address of a load balancer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LoadBalancerType {
    /// Inside the hub.
    #[default]
    ClusterIP,
    /// Outside, given by the hub's own LoadBalancer implementation.
    LoadBalancer,
}

/// Which nodes may take traffic from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExternalTrafficPolicy {
    /// All nodes.
    Cluster,
    /// Nodes with a ready pod.
    Local,
}

/// Session persistence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Persistence {
    /// Kind of persistence.
    #[serde(rename = "type")]
    pub type_: PersistenceType,
}

/// Kind of persistence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PersistenceType {
    /// By the client's address. It pins a client to a node, not to a pod.
    SourceIP,
}

/// What the manager says of a LoadBalancer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Addresses, as on a Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancerAddresses>,
    /// Ports of the hub Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<HubServiceStatus>,
    /// The host name in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<HostnameStatus>,
    /// The configuration that `Programmed` is about, as a hash of what Envoys are given without endpoints. Absent while
    /// there is no word of an Envoy's, and in statuses of managers that did not record it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub content_version: Option<String>,
    /// `Accepted` (the spec is allowed), `Programmed` (an Envoy acknowledged this content), and where they apply
    /// `HostnameAssigned` and `HTTPSProgrammed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub conditions: Vec<Condition>,
}

/// Addresses of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerAddresses {
    /// Addresses, as on a Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), transform = limit_ports)]
    pub ingress: Vec<LoadBalancerIngress>,
}

/// Kubernetes' own type of an address has a list of ports without a limit. A Service here has at most 100.
fn limit_ports(ingress: &mut Schema) {
    if let Some(ports) = ingress
        .pointer_mut("/items/properties/ports")
        .and_then(Value::as_object_mut)
    {
        ports.insert("maxItems".into(), 100.into());
    }
}

/// The hub Service of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HubServiceStatus {
    /// Its ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub ports: Vec<HubServicePort>,
}

/// A port of the hub Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HubServicePort {
    /// Name on the hub Service.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Transport protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// Port that clients connect to.
    pub port: PortNumber,
    /// Port that Envoy listens on. For people: the record in force is the hub Service itself.
    pub upstream_target_port: PortNumber,
}

/// The host name in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostnameStatus {
    /// The name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// HTTPS is served at it: its certificate is there, and an Envoy has it.
    #[serde(default)]
    pub tls_enabled: bool,
    /// A DNS record for it is there. Left out while nobody knows: external-dns leaves no word of what it did, and a name
    /// is never looked up, because whoever owns its zone would decide what the hub talks to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_record_created: Option<bool>,
}

/// Condition types and reasons of a LoadBalancer.
pub mod load_balancer_condition {
    /// The spec is allowed for this tenant.
    pub const ACCEPTED: &str = "Accepted";
    /// An Envoy acknowledged this content and an address is there.
    pub const PROGRAMMED: &str = "Programmed";
    /// It has the host name that it asked for, or one below the hub's domain. Not there where it shall have none.
    pub const HOSTNAME_ASSIGNED: &str = "HostnameAssigned";
    /// HTTPS is served at its host name. Not there where nobody asked for it.
    pub const HTTPS_PROGRAMMED: &str = "HTTPSProgrammed";
    /// Reason: it has a host name.
    pub const REASON_ASSIGNED: &str = "Assigned";
    /// Reason: the tenant may not choose host names.
    pub const REASON_HOSTNAME_NOT_ALLOWED: &str = "HostnameNotAllowed";
    /// Reason: the host name is not within the tenant's domains.
    pub const REASON_DOMAIN_NOT_ALLOWED: &str = "DomainNotAllowed";
    /// Reason: another load balancer has the host name.
    pub const REASON_HOSTNAME_CONFLICT: &str = "HostnameConflict";
    /// Reason: there is no domain to make a host name below.
    pub const REASON_NO_WILDCARD_DOMAIN: &str = "NoWildcardDomain";
    /// Reason: there is no host name to serve HTTPS at.
    pub const REASON_NO_HOSTNAME: &str = "NoHostname";
    /// Reason: nobody is named who issues certificates.
    pub const REASON_NO_ISSUER: &str = "NoIssuer";
    /// Reason: all of it is allowed.
    pub const REASON_ACCEPTED: &str = "Accepted";
    /// Reason: an endpoint is not allowed.
    pub const REASON_ENDPOINT_NOT_ALLOWED: &str = "EndpointNotAllowed";
    /// Reason: the referenced Addresses object is missing.
    pub const REASON_ADDRESSES_NOT_FOUND: &str = "AddressesNotFound";
    /// Reason: the ports of an endpoint do not pair with the listener ports.
    pub const REASON_INVALID_PORTS: &str = "InvalidPorts";
    /// Reason: beyond the tenant's limit.
    pub const REASON_LIMIT_EXCEEDED: &str = "LimitExceeded";
    /// Reason: L4 is switched off for the tenant.
    pub const REASON_DISABLED: &str = "Disabled";
    /// Reason: a field is set that is not served.
    pub const REASON_UNSUPPORTED_VALUE: &str = "UnsupportedValue";
    /// Reason: the name of a hub object is taken by somebody else.
    pub const REASON_NAME_CONFLICT: &str = "NameConflict";
    /// Reason: the hub refused an object that was made from it, such as one beyond a quota.
    pub const REASON_NOT_APPLIED: &str = "NotApplied";
    /// Reason: acknowledged.
    pub const REASON_PROGRAMMED: &str = "Programmed";
    /// Reason: not acknowledged yet.
    pub const REASON_PENDING: &str = "Pending";
    /// Reason: Envoy refused this content.
    pub const REASON_REJECTED: &str = "Rejected";
    /// Reason: no Envoy port is left.
    pub const REASON_PORTS_EXHAUSTED: &str = "PortsExhausted";
    /// Reason: the hub has given no address yet.
    pub const REASON_ADDRESS_NOT_ASSIGNED: &str = "AddressNotAssigned";
    /// Reason: not accepted, so not programmed.
    pub const REASON_NOT_ACCEPTED: &str = "NotAccepted";
}
