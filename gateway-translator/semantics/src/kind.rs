//! Kinds of object, and what tells the kinds of route apart. A new kind of route is one more variant here.

use std::fmt;
use std::sync::Arc;

use api::v1alpha1::Protocol;
use serde_json::Value;

use crate::snapshot::{Settings, Snapshot};

/// API group of the Gateway API.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// A kind of object that a status or an Event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `GatewayClass`.
    GatewayClass,
    /// `Gateway`.
    Gateway,
    /// `ListenerSet`.
    ListenerSet,
    /// One of the routes.
    Route(RouteKind),
    /// `BackendTLSPolicy`.
    BackendTlsPolicy,
    /// `ReferenceGrant`.
    ReferenceGrant,
}

/// A kind of route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// `HTTPRoute`.
    Http,
    /// `GRPCRoute`.
    Grpc,
    /// `TLSRoute`.
    Tls,
    /// `TCPRoute`.
    Tcp,
    /// `UDPRoute`.
    Udp,
}

impl RouteKind {
    /// Every kind, in the order in which `supportedKinds` lists them.
    pub const ALL: [Self; 5] = [Self::Http, Self::Grpc, Self::Tls, Self::Tcp, Self::Udp];

    /// The kind's name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
            Self::Tls => "TLSRoute",
            Self::Tcp => "TCPRoute",
            Self::Udp => "UDPRoute",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The process serves this kind.
    #[must_use]
    pub fn enabled(self, settings: &Settings) -> bool {
        match self {
            Self::Http => settings.http_routes,
            Self::Grpc => settings.grpc_routes,
            Self::Tls => settings.tls_routes,
            Self::Tcp => settings.tcp_routes,
            Self::Udp => settings.udp_routes,
        }
    }

    /// Transport protocol of the backends.
    pub(crate) fn transport(self) -> Protocol {
        match self {
            Self::Http | Self::Grpc | Self::Tls | Self::Tcp => Protocol::TCP,
            Self::Udp => Protocol::UDP,
        }
    }

    /// The objects of this kind.
    pub(crate) fn objects(self, snapshot: &Snapshot) -> &[Arc<Value>] {
        match self {
            Self::Http => &snapshot.http_routes,
            Self::Grpc => &snapshot.grpc_routes,
            Self::Tls => &snapshot.tls_routes,
            Self::Tcp => &snapshot.tcp_routes,
            Self::Udp => &snapshot.udp_routes,
        }
    }
}

impl ObjectKind {
    /// The kind's name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GatewayClass => "GatewayClass",
            Self::Gateway => "Gateway",
            Self::ListenerSet => "ListenerSet",
            Self::Route(kind) => kind.as_str(),
            Self::BackendTlsPolicy => "BackendTLSPolicy",
            Self::ReferenceGrant => "ReferenceGrant",
        }
    }
}

/// An object of the tenant cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Kind, in the group [`GATEWAY_GROUP`].
    pub kind: ObjectKind,
    /// Namespace; empty for a GatewayClass.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID; empty when the object has none that can be read.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// A protocol of a listener that is served. A new one is one more variant here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ListenerProtocol {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS, which ends at the hub.
    Https,
    /// Anything over TLS, which ends at the hub or goes through.
    Tls,
    /// Plain TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl ListenerProtocol {
    /// The protocol with this name, if it is served.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "HTTP" => Some(Self::Http),
            "HTTPS" => Some(Self::Https),
            "TLS" => Some(Self::Tls),
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            _ => None,
        }
    }

    /// Kinds of route that a listener of this protocol can take.
    pub fn route_kinds(self) -> &'static [RouteKind] {
        match self {
            Self::Http | Self::Https => &[RouteKind::Http, RouteKind::Grpc],
            Self::Tls => &[RouteKind::Tls],
            Self::Tcp => &[RouteKind::Tcp],
            Self::Udp => &[RouteKind::Udp],
        }
    }

    /// The protocol serves one of its kinds of route in this process.
    pub fn enabled(self, settings: &Settings) -> bool {
        self.route_kinds().iter().any(|kind| kind.enabled(settings))
    }

    /// Transport protocol of the port.
    pub fn transport(self) -> Protocol {
        match self {
            Self::Http | Self::Https | Self::Tls | Self::Tcp => Protocol::TCP,
            Self::Udp => Protocol::UDP,
        }
    }
}
