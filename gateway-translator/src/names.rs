//! Names of hub objects: functions of what they are made from, so that two replicas agree without talking.

use api::names::{derived_name, derived_name_of};
use api::v1alpha1::ServiceBackend;
use serde_json::{Value, json};

use crate::backend::{EndpointSource, tls};
use crate::output::Kind;

/// A Service that never exists. Envoy Gateway answers 500 for the share of a backend that leads to it. No
/// derived name is like it, because each has a hash.
pub const INVALID_BACKEND: &str = "invalid-backend";

/// A Secret that never exists, for listeners that must not be served. Naming it takes the certificate from a listener
/// even while the Secret that held it is still there.
pub const MISSING_CERTIFICATE: &str = "missing-certificate";

/// Hub Gateway for a tenant's Gateway.
#[must_use]
pub fn gateway(namespace: &str, name: &str) -> String {
    derived_name("gw", "Gateway", namespace, name)
}

/// Hub ListenerSet for a tenant's ListenerSet.
#[must_use]
pub fn listener_set(namespace: &str, name: &str) -> String {
    derived_name("ls", "ListenerSet", namespace, name)
}

/// Hub route for a tenant's route.
#[must_use]
pub fn route(kind: Kind, namespace: &str, name: &str) -> String {
    derived_name("rt", kind.as_str(), namespace, name)
}

/// Further hub routes for a tenant's route of which not all is served on all of its listeners.
#[must_use]
pub(crate) fn route_part(kind: Kind, namespace: &str, name: &str, index: usize) -> String {
    match index {
        0 => route(kind, namespace, name),
        index => derived_name_of(
            "rt",
            &[kind.as_str(), namespace, name, "part", &index.to_string()],
            name,
        ),
    }
}

/// Hub Secret for a SyncSecret.
#[must_use]
pub fn secret(hub_namespace: &str, sync_secret: &str) -> String {
    derived_name("sec", "SyncSecret", hub_namespace, sync_secret)
}

/// References to the hub Secrets of these SyncSecrets.
pub(crate) fn secret_references(hub_namespace: &str, sync_secrets: &[String]) -> Vec<Value> {
    let reference =
        |name: &String| json!({"group": "", "kind": "Secret", "name": secret(hub_namespace, name)});
    sync_secrets.iter().map(reference).collect()
}

/// Hub Service for a Service port of a tenant. Routes with their own addresses get their own.
pub(crate) fn backend(service: &ServiceBackend, endpoints: &EndpointSource<'_>) -> String {
    let (port, node_port) = (service.port.to_string(), service.node_port.to_string());
    let mut parts = vec![
        service.namespace.as_str(),
        &service.name,
        &port,
        service.protocol.as_str(),
        &node_port,
    ];
    let tls = service.tls.as_ref().map(tls::name_parts).unwrap_or_default();
    parts.extend(tls.iter().map(String::as_str));
    match endpoints {
        EndpointSource::Default => {}
        EndpointSource::Named(names) => {
            parts.push("Addresses");
            parts.extend(names.iter().copied());
        }
        EndpointSource::Own(route) => parts.extend(["Route", route]),
    }
    derived_name_of("svc", &parts, &service.name)
}

/// EndpointSlice of a backend, for one address family. Almost always there is only the first.
pub(crate) fn endpoint_slice(backend: &str, family: &str, index: usize) -> String {
    match index {
        0 => format!("{backend}-{family}"),
        index => format!("{backend}-{family}-{index}"),
    }
}
