//! What goes in: the tenant's objects, the hub's facts and the switches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::v1alpha1::{Route, RouteStatus, TenantStateStatus};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::Deserialize;
use serde_json::Value;

use crate::former::StatusWriters;

/// Everything that is known, as plain data. The order of the lists means nothing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Snapshot {
    /// Every GatewayClass of the tenant cluster, whole.
    pub gateway_classes: Vec<Arc<Value>>,
    /// Every Gateway, whole.
    pub gateways: Vec<Arc<Value>>,
    /// Every HTTPRoute, whole.
    #[serde(rename = "httpRoutes")]
    pub http_routes: Vec<Arc<Value>>,
    /// Every GRPCRoute, whole.
    #[serde(rename = "grpcRoutes")]
    pub grpc_routes: Vec<Arc<Value>>,
    /// Every TLSRoute, whole.
    pub tls_routes: Vec<Arc<Value>>,
    /// Every TCPRoute, whole.
    pub tcp_routes: Vec<Arc<Value>>,
    /// Every UDPRoute, whole.
    pub udp_routes: Vec<Arc<Value>>,
    /// Every ListenerSet, whole.
    pub listener_sets: Vec<Arc<Value>>,
    /// Every BackendTLSPolicy, whole.
    #[serde(rename = "backendTLSPolicies")]
    pub backend_tls_policies: Vec<Arc<Value>>,
    /// Every ReferenceGrant, of v1 or v1beta1.
    pub reference_grants: Vec<Arc<Value>>,
    /// Who wrote the status of what [`possibly_former`](crate::possibly_former) names.
    pub status_writers: Vec<StatusWriters>,
    /// Secrets that a listener may name. Secrets of other types than `kubernetes.io/tls` may be left out.
    pub secrets: Vec<SecretFacts>,
    /// What [`referenced_authorities`](crate::referenced_authorities) names, as far as it exists.
    pub authorities: Vec<AuthorityFacts>,
    /// Every Namespace.
    pub namespaces: Vec<NamespaceFacts>,
    /// Every Service, with the shadow Services made earlier.
    pub services: Vec<Arc<Service>>,
    /// Services that were wanted and that the API server of this cluster would not take.
    pub refused_services: Vec<RefusedService>,
    /// Shadow Services that nodes may not answer for yet, though they have their NodePorts.
    pub settling_services: Vec<ServiceName>,
    /// EndpointSlices of Services without selector.
    pub endpoint_slices: Vec<Arc<EndpointSlice>>,
    /// What the hub said.
    pub hub: HubFacts,
}

/// What matters of a Secret. Its content stays outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretFacts {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID: the name of the SyncSecret made from it.
    pub uid: String,
    /// Type, such as `kubernetes.io/tls`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Why it cannot serve as a certificate with its key. `None` when it can.
    pub tls_problem: Option<String>,
}

/// What matters of a ConfigMap or Secret with certificate authorities. Its content stays outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorityFacts {
    /// `ConfigMap` or `Secret`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Type of the Secret; empty for a ConfigMap.
    #[serde(rename = "type")]
    pub type_: String,
    /// Why it holds no certificate authority. `None` when it does.
    pub problem: Option<String>,
}

/// A Service of ours that the API server of this cluster refuses as it is wanted now. One that merely was not
/// made yet, or could not be for a moment, is none of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RefusedService {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The API server's words.
    pub message: String,
}

/// What matters of a Namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceFacts {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// What the hub said.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HubFacts {
    /// Status of TenantState. Without it nothing new is delegated and what is on the hub is held.
    pub state: Option<TenantStateStatus>,
    /// Facts of each Route CR on the hub, by its name, which is the UID of the tenant's object.
    pub routes: BTreeMap<String, RouteFacts>,
}

/// A Service of the tenant cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// What the hub said about one Route CR.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteFacts {
    /// `metadata.generation` of the Route CR.
    pub generation: i64,
    /// Services that its backends lead to now.
    pub services: BTreeSet<ServiceName>,
    /// Its status.
    pub status: RouteStatus,
    /// The whole of it. Without it, it is held as it is where it is held.
    pub live: Option<Arc<Route>>,
}

/// Switches of the process.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// `controllerName` of our GatewayClasses, and of our entries in `status.parents`.
    pub controller_name: String,
    /// GatewayClasses and Gateways are served.
    pub gateways: bool,
    /// HTTPRoutes are served.
    #[serde(rename = "httpRoutes")]
    pub http_routes: bool,
    /// GRPCRoutes are served.
    #[serde(rename = "grpcRoutes")]
    pub grpc_routes: bool,
    /// TLSRoutes are served.
    pub tls_routes: bool,
    /// TCPRoutes are served.
    pub tcp_routes: bool,
    /// UDPRoutes are served.
    pub udp_routes: bool,
    /// ListenerSets are served.
    pub listener_sets: bool,
    /// BackendTLSPolicies are served.
    #[serde(rename = "backendTLSPolicies")]
    pub backend_tls_policies: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            controller_name: api::meta::GATEWAY_CONTROLLER_NAME.to_owned(),
            gateways: true,
            http_routes: true,
            grpc_routes: true,
            tls_routes: true,
            tcp_routes: true,
            udp_routes: true,
            listener_sets: true,
            backend_tls_policies: true,
        }
    }
}
