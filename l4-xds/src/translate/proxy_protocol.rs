//! The header by which a backend learns the client's address.

use envoy_types::pb::envoy::config::cluster::v3::cluster::TransportSocketMatch;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::core::v3::{ProxyProtocolConfig, TransportSocket, proxy_protocol_config};
use envoy_types::pb::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};

use super::any;

/// Whoever asks for it by these criteria gets a transport socket without the header. No endpoint does.
pub(super) fn criteria() -> Struct {
    let yes = Value {
        kind: Some(Kind::BoolValue(true)),
    };
    Struct {
        fields: [("plain".to_owned(), yes)].into(),
    }
}

/// The transport socket for those criteria.
pub(super) fn without(criteria: Struct) -> TransportSocketMatch {
    TransportSocketMatch {
        name: "plain".to_owned(),
        r#match: Some(criteria),
        transport_socket: Some(plain()),
    }
}

fn plain() -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.raw_buffer".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(&RawBuffer::default()))),
    }
}

/// Sends a version 2 header before the first byte of each connection to a backend.
pub(super) fn socket() -> TransportSocket {
    let transport = ProxyProtocolUpstreamTransport {
        config: Some(ProxyProtocolConfig {
            version: proxy_protocol_config::Version::V2.into(),
            ..Default::default()
        }),
        transport_socket: Some(plain()),
        ..Default::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.upstream_proxy_protocol".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(&transport))),
    }
}
