//! The endpoints of one port.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::core::v3::socket_address::Protocol as SocketProtocol;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, endpoint::HealthCheckConfig,
    lb_endpoint::HostIdentifier,
};

use super::listener::socket_address;
use crate::ir::{Address, Backend, Listener, LoadBalancerId, Port, Protocol};
use crate::snapshot::{Resource, ResourceName, ResourceType};

/// Whether any backend is a name: then the cluster resolves all of them itself and there is no endpoint resource.
pub(super) fn needs_resolving(listener: &Listener) -> bool {
    listener
        .backends
        .iter()
        .any(|backend| matches!(backend.address, Address::Hostname(_)))
}

pub(super) fn resource(owner: &LoadBalancerId, name: &ResourceName, listener: &Listener) -> Option<Resource> {
    let message = (!needs_resolving(listener)).then(|| load_assignment(name, listener))?;
    Some(super::resource(ResourceType::Endpoint, owner, &message, None))
}

/// No backends give an assignment without endpoints, not a missing one: Envoy would wait for that.
pub(super) fn load_assignment(name: &ResourceName, listener: &Listener) -> ClusterLoadAssignment {
    // Sorted and each once: the order in which nodes are listed is not information.
    let backends: BTreeSet<&Backend> = listener.backends.iter().collect();
    let asked = listener.policy.health_check.as_ref().and_then(|check| check.port);
    let lb_endpoints: Vec<_> = backends
        .into_iter()
        .map(|backend| lb_endpoint(backend, listener.protocol, asked))
        .collect();
    let locality = LocalityLbEndpoints {
        lb_endpoints,
        ..Default::default()
    };
    ClusterLoadAssignment {
        cluster_name: name.to_string(),
        endpoints: if locality.lb_endpoints.is_empty() {
            vec![]
        } else {
            vec![locality]
        },
        ..Default::default()
    }
}

/// `asked` is the port for health checks, where it is not the backend's own.
fn lb_endpoint(backend: &Backend, protocol: Protocol, asked: Option<Port>) -> LbEndpoint {
    let host = match &backend.address {
        // `::ffff:10.0.0.1` and `10.0.0.1` are one host.
        Address::Ip(ip) => ip.to_canonical().to_string(),
        Address::Hostname(name) => name.as_str().to_owned(),
    };
    let protocol = match protocol {
        Protocol::Tcp => SocketProtocol::Tcp,
        Protocol::Udp => SocketProtocol::Udp,
    };
    let endpoint = Endpoint {
        address: Some(socket_address(&host, backend.port.get(), protocol, false)),
        health_check_config: asked.map(|port| HealthCheckConfig {
            port_value: port.get().into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..Default::default()
    }
}
