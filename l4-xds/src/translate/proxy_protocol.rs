//! The header by which a backend learns the client's address.

use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::core::v3::{ProxyProtocolConfig, TransportSocket, proxy_protocol_config};
use envoy_types::pb::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;

use super::any;

/// Sends a version 2 header before the first byte of each connection to a backend.
pub(super) fn socket() -> TransportSocket {
    let plain = TransportSocket {
        name: "envoy.transport_sockets.raw_buffer".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(&RawBuffer::default()))),
    };
    let transport = ProxyProtocolUpstreamTransport {
        config: Some(ProxyProtocolConfig {
            version: proxy_protocol_config::Version::V2.into(),
            ..Default::default()
        }),
        transport_socket: Some(plain),
        ..Default::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.upstream_proxy_protocol".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(&transport))),
    }
}
