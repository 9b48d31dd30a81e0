//! What a translation makes: objects for the hub, and what is to be said about each Route.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::verdict::{Problem, Verdict};

/// Kinds of object that this crate makes. What is to be known about a kind stands in [`Kind::resource`] and
/// [`Kind::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A certificate, or certificate authorities.
    Secret,
    /// A backend.
    Service,
    /// Addresses of a backend.
    EndpointSlice,
    /// TLS to a backend.
    BackendTlsPolicy,
    /// A Gateway.
    Gateway,
    /// Further listeners of a Gateway.
    ListenerSet,
    /// What holds between clients and HTTPS listeners.
    ClientTrafficPolicy,
    /// An HTTPRoute.
    HttpRoute,
    /// A GRPCRoute.
    GrpcRoute,
    /// A TLSRoute.
    TlsRoute,
    /// A TCPRoute.
    TcpRoute,
    /// A UDPRoute.
    UdpRoute,
    /// Answers to requests that came over the wrong connection.
    EnvoyPatchPolicy,
}

/// How the API server knows a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// The kind's name.
    pub kind: &'static str,
    /// Name of the resource in URLs.
    pub plural: &'static str,
}

/// API group of the Gateway API.
const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
/// API group of Envoy Gateway.
const ENVOY_GROUP: &str = "gateway.envoyproxy.io";

impl Kind {
    /// Every kind, in the order in which objects are to be applied: what is referred to comes first, and a patch
    /// for a host name comes when no route has the name any more.
    pub const ALL: [Self; 13] = [
        Self::Secret,
        Self::Service,
        Self::EndpointSlice,
        Self::BackendTlsPolicy,
        Self::Gateway,
        Self::ListenerSet,
        Self::ClientTrafficPolicy,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::TlsRoute,
        Self::TcpRoute,
        Self::UdpRoute,
        Self::EnvoyPatchPolicy,
    ];

    /// Whether it leads requests to backends.
    #[must_use]
    pub const fn is_route(self) -> bool {
        match self {
            Self::HttpRoute | Self::GrpcRoute | Self::TlsRoute | Self::TcpRoute | Self::UdpRoute => true,
            Self::Secret
            | Self::Service
            | Self::EndpointSlice
            | Self::BackendTlsPolicy
            | Self::Gateway
            | Self::ListenerSet
            | Self::ClientTrafficPolicy
            | Self::EnvoyPatchPolicy => false,
        }
    }

    /// How the API server knows it.
    #[must_use]
    pub fn resource(self) -> Resource {
        let (group, version, kind, plural) = match self {
            Self::Secret => ("", "v1", "Secret", "secrets"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::EndpointSlice => ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
            Self::BackendTlsPolicy => (GATEWAY_GROUP, "v1", "BackendTLSPolicy", "backendtlspolicies"),
            Self::Gateway => (GATEWAY_GROUP, "v1", "Gateway", "gateways"),
            Self::ListenerSet => (GATEWAY_GROUP, "v1", "ListenerSet", "listenersets"),
            Self::ClientTrafficPolicy => (
                ENVOY_GROUP,
                "v1alpha1",
                "ClientTrafficPolicy",
                "clienttrafficpolicies",
            ),
            Self::HttpRoute => (GATEWAY_GROUP, "v1", "HTTPRoute", "httproutes"),
            Self::GrpcRoute => (GATEWAY_GROUP, "v1", "GRPCRoute", "grpcroutes"),
            Self::TlsRoute => (GATEWAY_GROUP, "v1", "TLSRoute", "tlsroutes"),
            Self::TcpRoute => (GATEWAY_GROUP, "v1", "TCPRoute", "tcproutes"),
            Self::UdpRoute => (GATEWAY_GROUP, "v1", "UDPRoute", "udproutes"),
            Self::EnvoyPatchPolicy => (ENVOY_GROUP, "v1alpha1", "EnvoyPatchPolicy", "envoypatchpolicies"),
        };
        Resource {
            group,
            version,
            kind,
            plural,
        }
    }

    /// The kind's name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.resource().kind
    }

    /// `apiVersion` of its objects.
    #[must_use]
    pub fn api_version(self) -> String {
        let Resource { group, version, .. } = self.resource();
        if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        }
    }

    /// The kind that a tenant's object of this group and kind becomes. None for what is not served.
    #[must_use]
    pub fn of_tenant(group: &str, kind: &str) -> Option<Self> {
        let served = [
            Self::Gateway,
            Self::ListenerSet,
            Self::HttpRoute,
            Self::GrpcRoute,
            Self::TlsRoute,
            Self::TcpRoute,
            Self::UdpRoute,
        ];
        served
            .into_iter()
            .find(|served| served.resource().group == group && served.as_str() == kind)
    }
}

/// Identity of an object on the hub.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Kind.
    pub kind: Kind,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// A key from its parts.
    #[must_use]
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// An object for the hub: whole, with apiVersion, kind and metadata, ready to be applied.
#[derive(Debug, Clone, PartialEq)]
pub struct HubObject {
    /// Which one.
    pub key: ObjectKey,
    /// Its JSON.
    pub value: Value,
}

/// Objects for the hub, by kind in the order of [`Kind::ALL`], then by namespace and name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects(BTreeMap<ObjectKey, HubObject>);

impl Objects {
    /// Every object, in the order in which they are to be applied.
    pub fn iter(&self) -> impl Iterator<Item = &HubObject> {
        self.0.values()
    }

    /// Every object, to be kept, in the order in which they are to be applied.
    pub fn into_values(self) -> impl Iterator<Item = HubObject> {
        self.0.into_values()
    }

    /// Those of one kind, by name.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &HubObject> {
        self.0.values().filter(move |object| object.key.kind == kind)
    }

    pub(crate) fn add(&mut self, object: HubObject) {
        self.0.insert(object.key.clone(), object);
    }
}

/// The result of a translation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Output {
    /// Objects for the hub.
    pub objects: Objects,
    /// For every Route of the input, by its name: what became of it.
    pub verdicts: BTreeMap<String, Verdict>,
    /// SyncSecrets that no Secret was made from, by name.
    pub secret_problems: BTreeMap<String, Problem>,
}
