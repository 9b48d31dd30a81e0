//! What a translation makes: objects for the hub, and what is to be said about each Route.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::verdict::{Problem, Verdict};

/// Kinds of object that this crate makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A certificate.
    Secret,
    /// A backend.
    Service,
    /// Addresses of a backend.
    EndpointSlice,
    /// A Gateway.
    Gateway,
    /// An HTTPRoute.
    HttpRoute,
    /// A GRPCRoute.
    GrpcRoute,
}

impl Kind {
    /// Every kind, in the order in which objects are to be applied: what is referred to comes first.
    pub const ALL: [Self; 6] = [
        Self::Secret,
        Self::Service,
        Self::EndpointSlice,
        Self::Gateway,
        Self::HttpRoute,
        Self::GrpcRoute,
    ];

    /// The kind's name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Gateway => "Gateway",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
        }
    }

    /// API group, empty for the core group.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Self::Secret | Self::Service => "",
            Self::EndpointSlice => "discovery.k8s.io",
            Self::Gateway | Self::HttpRoute | Self::GrpcRoute => "gateway.networking.k8s.io",
        }
    }

    /// `apiVersion` of its objects.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Secret | Self::Service => "v1",
            Self::EndpointSlice => "discovery.k8s.io/v1",
            Self::Gateway | Self::HttpRoute | Self::GrpcRoute => "gateway.networking.k8s.io/v1",
        }
    }

    /// Name of the resource in URLs.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices",
            Self::Gateway => "gateways",
            Self::HttpRoute => "httproutes",
            Self::GrpcRoute => "grpcroutes",
        }
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

/// Objects for the hub, each list sorted by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects {
    /// Certificates.
    pub secrets: Vec<HubObject>,
    /// Backends. Shared by all routes of the tenant, so that no Route owns one.
    pub services: Vec<HubObject>,
    /// Addresses of the backends.
    pub endpoint_slices: Vec<HubObject>,
    /// Gateways, one for each of the tenant's.
    pub gateways: Vec<HubObject>,
    /// HTTPRoutes, one for each of the tenant's.
    pub http_routes: Vec<HubObject>,
    /// GRPCRoutes, one for each of the tenant's.
    pub grpc_routes: Vec<HubObject>,
}

impl Objects {
    /// Every object, in the order of [`Kind::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = &HubObject> {
        let Self {
            secrets,
            services,
            endpoint_slices,
            gateways,
            http_routes,
            grpc_routes,
        } = self;
        secrets
            .iter()
            .chain(services)
            .chain(endpoint_slices)
            .chain(gateways)
            .chain(http_routes)
            .chain(grpc_routes)
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
