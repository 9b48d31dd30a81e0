//! The SyncSecrets that a Route names. Pure; whether they are there is for others to know.

use api::v1alpha1::{
    BackendDecision, BackendTls, ClientValidationDecision, GatewayDecision, RouteSpec, ServiceBackend,
};

/// All of them.
pub(super) fn all(spec: &RouteSpec) -> impl Iterator<Item = &str> {
    spec.gateway.iter().flat_map(of_gateway).chain(of_backends(spec))
}

/// Those with the authorities of its backends.
pub(super) fn of_backends(spec: &RouteSpec) -> impl Iterator<Item = &str> {
    spec.backends.iter().flat_map(of_backend)
}

fn of_backend(backend: &BackendDecision) -> impl Iterator<Item = &str> {
    let tls = backend
        .service
        .as_ref()
        .and_then(|service: &ServiceBackend| service.tls.as_ref());
    tls.into_iter()
        .flat_map(|tls: &BackendTls| tls.certificate_authorities.iter().map(String::as_str))
}

fn of_gateway(decision: &GatewayDecision) -> impl Iterator<Item = &str> {
    let GatewayDecision {
        listeners,
        client_validation,
        backend_client_certificate,
        listener_sets: _,
    } = decision;
    let certificates = listeners.iter().flat_map(|listener| &listener.certificates);
    let authorities = client_validation
        .iter()
        .flat_map(|check: &ClientValidationDecision| &check.certificate_authorities);
    certificates
        .chain(authorities)
        .chain(backend_client_certificate)
        .map(String::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_a_route_names_it_needs() {
        let spec: RouteSpec = serde_json::from_value(json!({
            "source": {},
            "gateway": {
                "listeners": [{"name": "a", "certificates": ["c-1", "c-2"]}, {"name": "b"}],
                "clientValidation": [{"certificateAuthorities": ["a-1"]}, {"port": 443}],
                "backendClientCertificate": "c-3",
            },
            "backends": [
                {"pointer": "/spec/rules/0/backendRefs/0", "invalid": "BackendNotFound"},
                {"pointer": "/spec/rules/0/backendRefs/1", "service": {"namespace": "shop", "name": "web", "port": 80,
                    "nodePort": 30080, "tls": {"hostname": "web", "certificateAuthorities": ["a-2"]}}},
            ],
        }))
        .unwrap();
        assert_eq!(
            all(&spec).collect::<Vec<_>>(),
            ["c-1", "c-2", "a-1", "c-3", "a-2"]
        );
        assert_eq!(of_backends(&spec).collect::<Vec<_>>(), ["a-2"]);
        assert_eq!(all(&RouteSpec::default()).count(), 0);
    }
}
