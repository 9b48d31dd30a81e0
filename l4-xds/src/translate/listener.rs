//! One listener for each port: bytes in, to the cluster of the same name.

use std::num::NonZeroU32;

use envoy_types::pb::envoy::config::core::v3::socket_address::{PortSpecifier, Protocol as SocketProtocol};
use envoy_types::pb::envoy::config::core::v3::{Address, SocketAddress, UdpSocketConfig, address};
use envoy_types::pb::envoy::config::listener::v3::{
    self as lds, Filter, FilterChain, ListenerFilter, UdpListenerConfig, filter, listener, listener_filter,
};
use envoy_types::pb::envoy::extensions::filters::network::connection_limit::v3::ConnectionLimit;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use envoy_types::pb::envoy::extensions::filters::udp::udp_proxy::v3::{
    self as udp, UdpProxyConfig, udp_proxy_config,
};
use envoy_types::pb::envoy::r#type::v3::{HashPolicy, hash_policy};
use envoy_types::pb::google::protobuf::{BoolValue, UInt64Value};
use envoy_types::pb::xds;

use super::{Bind, Settings, any, number, seconds};
use crate::ir::{Balancing, Listener, LoadBalancerId, Protocol};
use crate::snapshot::{Resource, ResourceName, ResourceType};

/// Between downstream and upstream each connection buffers at most this much per direction before it stops reading:
/// flow control, not a limit on what passes. Envoy's default of 1 MiB would let a few thousand slow clients of one
/// tenant take all memory of a fleet.
pub(super) const BUFFER_BYTES: u32 = 64 * 1024;

/// An idle TCP connection is closed after an hour (Envoy's default, written down because clients depend on it).
const TCP_IDLE: u32 = 3600;
/// A UDP session is forgotten after a minute without a datagram (Envoy's default).
const UDP_IDLE: u32 = 60;
/// A node can be dead for some time before its endpoint goes: try others before giving up on the client.
const CONNECT_ATTEMPTS: u32 = 3;
/// Envoy drops datagrams above 1500 bytes unless told otherwise; DNS over UDP and jumbo frames exceed that.
const MAX_DATAGRAM_BYTES: u64 = 9000;

fn message(name: &ResourceName, listener: &Listener, settings: &Settings) -> lds::Listener {
    let base = lds::Listener {
        name: name.to_string(),
        address: Some(bind(listener, settings.bind)),
        per_connection_buffer_limit_bytes: number(BUFFER_BYTES),
        // On removal Envoy stops accepting and lets connections finish within its drain time.
        drain_type: listener::DrainType::Default.into(),
        ..Default::default()
    };
    match listener.protocol {
        Protocol::Tcp => lds::Listener {
            filter_chains: vec![tcp_chain(name, listener)],
            ..base
        },
        Protocol::Udp => lds::Listener {
            udp_listener_config: Some(UdpListenerConfig {
                downstream_socket_config: Some(udp_socket()),
                ..Default::default()
            }),
            listener_filters: vec![udp_filter(name, listener)],
            // Without it all datagrams would be read by one worker thread.
            enable_reuse_port: Some(BoolValue { value: true }),
            ..base
        },
    }
}

pub(super) fn resource(
    owner: &LoadBalancerId,
    name: &ResourceName,
    listener: &Listener,
    settings: &Settings,
) -> Resource {
    let message = message(name, listener, settings);
    super::resource(ResourceType::Listener, owner, &message, Some(name))
}

fn bind(listener: &Listener, bind: Bind) -> Address {
    let protocol = match listener.protocol {
        Protocol::Tcp => SocketProtocol::Tcp,
        Protocol::Udp => SocketProtocol::Udp,
    };
    socket_address(
        bind.address(),
        listener.envoy_port.get(),
        protocol,
        bind == Bind::DualStack,
    )
}

pub(super) fn socket_address(ip: &str, port: u16, protocol: SocketProtocol, ipv4_compat: bool) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            protocol: protocol.into(),
            address: ip.to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(port.into())),
            ipv4_compat,
            ..Default::default()
        })),
    }
}

fn tcp_chain(name: &ResourceName, listener: &Listener) -> FilterChain {
    let limit = listener
        .policy
        .max_connections
        .map(|max| connection_limit(name, max));
    let filters = limit.into_iter().chain([tcp_proxy(name, listener)]);
    FilterChain {
        filters: filters.collect(),
        ..Default::default()
    }
}

/// Counts the connections of one listener of one Envoy, and closes those beyond.
fn connection_limit(name: &ResourceName, max: NonZeroU32) -> Filter {
    let limit = ConnectionLimit {
        stat_prefix: name.to_string(),
        max_connections: Some(UInt64Value {
            value: max.get().into(),
        }),
        ..Default::default()
    };
    Filter {
        name: "envoy.filters.network.connection_limit".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&limit))),
    }
}

fn tcp_proxy(name: &ResourceName, listener: &Listener) -> Filter {
    let policy = &listener.policy;
    let source_ip = HashPolicy {
        policy_specifier: Some(hash_policy::PolicySpecifier::SourceIp(hash_policy::SourceIp {})),
    };
    let proxy = TcpProxy {
        stat_prefix: name.to_string(),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster(name.to_string())),
        idle_timeout: seconds(policy.idle_timeout.map_or(TCP_IDLE, u32::from)),
        max_connect_attempts: number(CONNECT_ATTEMPTS),
        hash_policy: match policy.balancing {
            Balancing::SourceIp => vec![source_ip],
            Balancing::RoundRobin | Balancing::LeastRequest | Balancing::Random => vec![],
        },
        ..Default::default()
    };
    Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&proxy))),
    }
}

fn udp_filter(name: &ResourceName, listener: &Listener) -> ListenerFilter {
    let source_ip = udp_proxy_config::HashPolicy {
        policy_specifier: Some(udp_proxy_config::hash_policy::PolicySpecifier::SourceIp(true)),
    };
    let proxy = UdpProxyConfig {
        stat_prefix: name.to_string(),
        idle_timeout: seconds(listener.policy.idle_timeout.map_or(UDP_IDLE, u32::from)),
        upstream_socket_config: Some(udp_socket()),
        hash_policies: match listener.policy.balancing {
            Balancing::SourceIp => vec![source_ip],
            Balancing::RoundRobin | Balancing::LeastRequest | Balancing::Random => vec![],
        },
        route_specifier: Some(udp_proxy_config::RouteSpecifier::Matcher(always(name))),
        ..Default::default()
    };
    ListenerFilter {
        name: "envoy.filters.udp_listener.udp_proxy".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(any(&proxy))),
        ..Default::default()
    }
}

/// A matcher tree without a tree. The plain `cluster` field of the UDP proxy is deprecated in its favour.
fn always(cluster: &ResourceName) -> xds::r#type::matcher::v3::Matcher {
    use xds::r#type::matcher::v3::{Matcher, matcher};
    let route = udp::Route {
        cluster: cluster.to_string(),
    };
    let action = xds::core::v3::TypedExtensionConfig {
        name: "route".to_owned(),
        typed_config: Some(any(&route)),
    };
    let on_match = matcher::OnMatch {
        on_match: Some(matcher::on_match::OnMatch::Action(action)),
        ..Default::default()
    };
    Matcher {
        on_no_match: Some(Box::new(on_match)),
        ..Default::default()
    }
}

fn udp_socket() -> UdpSocketConfig {
    UdpSocketConfig {
        max_rx_datagram_size: Some(UInt64Value {
            value: MAX_DATAGRAM_BYTES,
        }),
        ..Default::default()
    }
}
