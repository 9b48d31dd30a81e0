//! `Route`: one Gateway, ListenerSet or route of a tenant, with what the CCM decided about it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BackendTls, EndpointSet, IpFamily, Protocol, RawObject};
use crate::names::PortNumber;

/// An L7 object of a tenant on its way to the hub, named by the object's UID.
///
/// The resource travels as it was written; `gateway`, `parents` and `backends` are the CCM's decisions about
/// it. The manager trusts none of it: it translates by an allow-list and checks hosts, addresses and ports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "kubelb.k8c.io",
    version = "v1alpha1",
    kind = "Route",
    shortname = "kroute",
    namespaced,
    status = "RouteStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"OriginName","type":"string","jsonPath":".spec.origin.name"}"#,
    printcolumn = r#"{"name":"OriginNamespace","type":"string","jsonPath":".spec.origin.namespace"}"#,
    printcolumn = r#"{"name":"OriginResource","type":"string","jsonPath":".spec.origin.kind"}"#,
    printcolumn = r#"{"name":"Address","type":"string","jsonPath":".status.addresses[0].value"}"#,
    printcolumn = r#"{"name":"Programmed","type":"string","jsonPath":".status.conditions[?(@.type==\"Programmed\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    validation = Rule::new("!has(self.spec.parents) || (has(self.spec.origin) && self.spec.origin.kind == 'ListenerSet') || self.spec.parents.all(p, has(p.listeners) && size(p.listeners) > 0)").message("each of spec.parents needs at least one listener")
)]
#[serde(rename_all = "camelCase")]
pub struct RouteSpec {
    /// Node addresses for `backends`. Without it `Addresses/default` is used; ports here are ignored, because
    /// each backend carries its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub endpoints: Vec<EndpointSet>,
    /// The tenant's object.
    pub source: RouteSource,
    /// Who it came from. Required for a Route to be served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<RouteOrigin>,
    /// For a Gateway or a ListenerSet: which listeners are sound and which certificates they use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayDecision>,
    /// For a route: the listeners it is attached to. For a ListenerSet: the one Gateway that lets it attach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub parents: Vec<ParentDecision>,
    /// For a route: where each backend reference leads. A reference without an entry is answered with 500.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("self.all(b, has(b.service) != has(b.invalid))").message("each backend needs exactly one of service and invalid"))]
    pub backends: Vec<BackendDecision>,
    /// Policies for this route, by version. No version has a field yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<RoutePolicies>,
}

/// Where the tenant's object is from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteSource {
    /// A Kubernetes cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesSource>,
}

/// An object of a Kubernetes cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesSource {
    /// The object as the tenant wrote it, without managedFields and status.
    pub resource: RawObject,
    /// Services it refers to. Accepted for compatibility; `backends` is what counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    pub services: Vec<RawObject>,
}

/// Identity of the tenant's object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteOrigin {
    /// API group, such as `gateway.networking.k8s.io`.
    #[schemars(length(max = 253))]
    pub group: String,
    /// Kind, such as `HTTPRoute`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Namespace in the tenant cluster.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Name in the tenant cluster.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// UID in the tenant cluster.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
    /// Generation that `source` holds.
    pub generation: i64,
    /// When the tenant made it: precedence between routes is decided by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Time>,
}

/// The CCM's decisions about a Gateway or a ListenerSet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayDecision {
    /// Listeners to serve. Those of the resource that are not listed are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub listeners: Vec<ListenerDecision>,
    /// For a Gateway: how client certificates are checked, for all HTTPS listeners and for those of one port.
    /// While a certificate authority named here has not arrived, the listeners it is for are not served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 65))]
    pub client_validation: Vec<ClientValidationDecision>,
    /// For a Gateway: name of the SyncSecret with the certificate that Envoy shows to backends over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub backend_client_certificate: Option<String>,
    /// For a Gateway: ListenerSets may attach to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub listener_sets: bool,
}

/// How client certificates are checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientValidationDecision {
    /// HTTPS listeners of this port. Without it: those of every port that has no entry of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<PortNumber>,
    /// Names of the SyncSecrets that hold certificate authorities in `ca.crt`. None: certificates are not asked
    /// for on this port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub certificate_authorities: Vec<String>,
    /// Who is let in.
    #[serde(default)]
    pub mode: ClientValidationMode,
}

/// Who is let in by a check of client certificates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientValidationMode {
    /// Who shows a valid certificate.
    #[default]
    AllowValidOnly,
    /// Everybody; backends are told what was shown.
    AllowInsecureFallback,
}

impl ClientValidationMode {
    /// The mode's name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowValidOnly => "AllowValidOnly",
            Self::AllowInsecureFallback => "AllowInsecureFallback",
        }
    }
}

/// A listener to serve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerDecision {
    /// Its name in the resource.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Names of the SyncSecrets that hold its certificates, in the order of its certificateRefs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub certificates: Vec<String>,
}

/// A Gateway or ListenerSet that a route is attached to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentDecision {
    /// Whose it is.
    pub scope: GatewayScope,
    /// What it is. A ListenerSet is always the tenant's own.
    #[serde(default, skip_serializing_if = "ParentKind::is_gateway")]
    pub kind: ParentKind,
    /// Its namespace: in the tenant cluster or on the hub, as `scope` says.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Listeners of it that the route is attached to, by name. At least one for a route, none for a ListenerSet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub listeners: Vec<String>,
}

/// What a route is attached to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ParentKind {
    /// A Gateway.
    #[default]
    Gateway,
    /// A ListenerSet.
    ListenerSet,
}

impl ParentKind {
    /// The kind's name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "Gateway",
            Self::ListenerSet => "ListenerSet",
        }
    }

    fn is_gateway(&self) -> bool {
        *self == Self::Gateway
    }
}

/// Whose Gateway a parent is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum GatewayScope {
    /// The tenant's own: the manager runs a hub Gateway for it alone.
    #[default]
    Tenant,
    /// The platform team's, on the hub, listed in TenantState.
    Hub,
}

/// Where one backend reference leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendDecision {
    /// JSON pointer to the reference in the resource, such as `/spec/rules/0/backendRefs/1`, or
    /// `/spec/rules/0/filters/2/requestMirror/backendRef`.
    #[schemars(length(min = 1, max = 253))]
    pub pointer: String,
    /// A Service port that answers on every node of the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceBackend>,
    /// Why the reference leads nowhere. Its share of the traffic gets 500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid: Option<InvalidBackend>,
}

/// A Service port that answers on every node of the tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceBackend {
    /// Namespace of the Service in the tenant cluster.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Name of the Service that the route names (not of the shadow Service made for it).
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Port number of the Service.
    pub port: PortNumber,
    /// Name of that port.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub port_name: String,
    /// Transport protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// Application protocol of the port, such as `kubernetes.io/h2c`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub app_protocol: Option<String>,
    /// Port on the tenant's nodes. Must lie within the hub's allowed NodePort range.
    pub node_port: PortNumber,
    /// Address families that this port answers at, in the Service's order. Node addresses of the first that any node has
    /// are sent to. Without any: all node addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub ip_families: Vec<IpFamily>,
    /// TLS between Envoy and the backend, from a BackendTLSPolicy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<BackendTls>,
}

/// Why a reference leads nowhere. The names are the Gateway API's reasons of `ResolvedRefs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InvalidBackend {
    /// The Service or its port does not exist.
    BackendNotFound,
    /// No ReferenceGrant allows it.
    RefNotPermitted,
    /// Not a Service.
    InvalidKind,
    /// A Service that cannot be served, such as ExternalName.
    UnsupportedValue,
}

impl InvalidBackend {
    /// The reason's name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BackendNotFound => "BackendNotFound",
            Self::RefNotPermitted => "RefNotPermitted",
            Self::InvalidKind => "InvalidKind",
            Self::UnsupportedValue => "UnsupportedValue",
        }
    }
}

/// Policies for a route. Typed and versioned, so that an old manager can refuse what it does not know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoutePolicies {
    /// Version of the fields beside it.
    #[serde(default)]
    pub version: RoutePoliciesVersion,
}

/// Version of [`RoutePolicies`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RoutePoliciesVersion {
    /// The first: no fields yet.
    #[default]
    V1,
}

/// Facts about a Route, from the hub.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// Generation of this Route's spec that the status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Generation of the tenant's object that the status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_generation: Option<i64>,
    /// `Accepted` (the manager let it through) and `Programmed` (Envoy Gateway accepted every hub object made
    /// from it and has an Envoy available).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub conditions: Vec<Condition>,
    /// For a Gateway: its addresses on the hub.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub addresses: Vec<HubAddress>,
    /// For a Gateway or a ListenerSet: facts about each of its listeners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub listeners: Vec<ListenerFact>,
    /// For a route: facts about each Gateway it is attached to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub parents: Vec<ParentFact>,
}

/// An address of a Gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HubAddress {
    /// `IPAddress` or `Hostname`.
    #[serde(rename = "type")]
    pub type_: String,
    /// The address.
    #[schemars(length(max = 253))]
    pub value: String,
}

/// A fact about a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerFact {
    /// Name of the listener in the tenant's object.
    pub name: String,
    /// Envoy Gateway programmed it.
    pub programmed: bool,
    /// Why not, in the Gateway API's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A sentence for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A fact about a route on one Gateway or ListenerSet, or about a ListenerSet on its Gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentFact {
    /// Whose it is.
    pub scope: GatewayScope,
    /// What it is.
    #[serde(default, skip_serializing_if = "ParentKind::is_gateway")]
    pub kind: ParentKind,
    /// Its namespace, as in `spec.parents`.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The hub accepted the route there.
    pub accepted: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A sentence for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Condition types and reasons of a Route.
pub mod route_condition {
    /// The manager let it through.
    pub const ACCEPTED: &str = "Accepted";
    /// Every hub object made from it was accepted and an Envoy is there.
    pub const PROGRAMMED: &str = "Programmed";
    /// Reason: all of it is allowed.
    pub const REASON_ACCEPTED: &str = "Accepted";
    /// Reason: the Route has no origin, or its resource is not of the kind and name that origin says.
    pub const REASON_INVALID_ORIGIN: &str = "InvalidOrigin";
    /// Reason: a kind that is not translated.
    pub const REASON_UNSUPPORTED_KIND: &str = "UnsupportedKind";
    /// Reason: a field of the resource is not understood or not allowed.
    pub const REASON_UNSUPPORTED_VALUE: &str = "UnsupportedValue";
    /// Reason: a host name outside the tenant's domains.
    pub const REASON_DOMAIN_NOT_ALLOWED: &str = "DomainNotAllowed";
    /// Reason: a host name that another tenant holds on a shared Gateway.
    pub const REASON_HOSTNAME_CONFLICT: &str = "HostnameConflict";
    /// Reason: a backend's port or address is not allowed.
    pub const REASON_ENDPOINT_NOT_ALLOWED: &str = "EndpointNotAllowed";
    /// Reason: a hub Gateway that the tenant may not use.
    pub const REASON_GATEWAY_NOT_ALLOWED: &str = "GatewayNotAllowed";
    /// Reason: beyond the tenant's limit.
    pub const REASON_LIMIT_EXCEEDED: &str = "LimitExceeded";
    /// Reason: the Gateway API is switched off for the tenant.
    pub const REASON_DISABLED: &str = "Disabled";
    /// Reason: the name of a hub object is taken by somebody else.
    pub const REASON_NAME_CONFLICT: &str = "NameConflict";
    /// Reason: the hub refused an object that was made from it, such as one beyond a quota.
    pub const REASON_NOT_APPLIED: &str = "NotApplied";
    /// Reason: a certificate has not arrived.
    pub const REASON_SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// Reason: all hub objects are accepted.
    pub const REASON_PROGRAMMED: &str = "Programmed";
    /// Reason: not yet.
    pub const REASON_PENDING: &str = "Pending";
    /// Reason: Envoy Gateway refused a hub object.
    pub const REASON_REJECTED: &str = "Rejected";
    /// Reason: not accepted, so not programmed.
    pub const REASON_NOT_ACCEPTED: &str = "NotAccepted";
}
