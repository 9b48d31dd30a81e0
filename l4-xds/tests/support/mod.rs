//! What the integration tests share. Each test binary uses a part of it.
#![allow(
    dead_code,
    reason = "every test binary compiles this module and none uses all of it"
)]

pub mod client;
pub mod control_plane;
pub mod echo;
pub mod envoy;
pub mod pki;
pub mod setup;

use std::collections::BTreeMap;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use envoy_types::pb::google::rpc::Status;
use l4_xds::ir::{Address, Backend, Frontend, Listener, LoadBalancerId, Policy, Port, Protocol};
use l4_xds::snapshot::{ResourceType, Snapshot};
use l4_xds::translate::{Settings, translate};

pub fn port(number: u16) -> Port {
    number.try_into().unwrap()
}

pub fn id(name: &str) -> LoadBalancerId {
    LoadBalancerId::new("tenant-a", name).unwrap()
}

pub fn backend(ip: &str, number: u16) -> Backend {
    Backend {
        address: Address::Ip(ip.parse().unwrap()),
        port: port(number),
    }
}

pub fn listener(protocol: Protocol, number: u16, envoy_port: u16, backends: Vec<Backend>) -> Listener {
    Listener {
        name: String::new(),
        protocol,
        port: port(number),
        envoy_port: port(envoy_port),
        backends,
        policy: Policy::default(),
    }
}

pub fn frontend(name: &str, listeners: Vec<Listener>) -> Frontend {
    Frontend {
        id: id(name),
        generation: 1,
        listeners,
    }
}

/// A load balancer with port 80 over TCP and one node.
pub fn web(name: &str, envoy_port: u16, node: &str) -> Frontend {
    frontend(
        name,
        vec![listener(
            Protocol::Tcp,
            80,
            envoy_port,
            vec![backend(node, 30080)],
        )],
    )
}

pub fn snapshot(frontends: &[Frontend]) -> Snapshot {
    let translation = translate(frontends, &Settings::default());
    assert_eq!(translation.omitted, BTreeMap::new());
    translation.snapshot
}

/// A request that subscribes; no names means the legacy wildcard.
pub fn subscribe(ty: ResourceType, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: ty.type_url().to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

pub fn ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..Default::default()
    }
}

pub fn nack(response: &DeltaDiscoveryResponse, message: &str) -> DeltaDiscoveryRequest {
    let error = Status {
        code: 13,
        message: message.to_owned(),
        details: vec![],
    };
    DeltaDiscoveryRequest {
        error_detail: Some(error),
        ..ack(response)
    }
}
