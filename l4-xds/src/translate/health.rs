//! Questions whether a backend is well.

use envoy_types::pb::envoy::config::core::v3::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, TcpHealthCheck,
};
use envoy_types::pb::envoy::config::core::v3::{HealthCheck as Message, Http2ProtocolOptions};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions,
};
use envoy_types::pb::envoy::r#type::v3::Int64Range;
use envoy_types::pb::google::protobuf::{Any, Struct};
use prost::Name;

use super::{any, number, seconds};
use crate::ir::{HealthCheck, Probe};

/// Each question waits up to this share of the interval longer, or all Envoys of a fleet would ask a node at once.
const JITTER_PERCENT: u32 = 20;

/// `plain` picks, by these criteria, a transport socket without a PROXY header.
pub(super) fn check(health_check: &HealthCheck, plain: Option<Struct>) -> Message {
    let HealthCheck {
        probe,
        // In the endpoints.
        port: _,
        interval,
        timeout,
        healthy_threshold,
        unhealthy_threshold,
    } = health_check;
    Message {
        timeout: seconds(*timeout),
        interval: seconds(*interval),
        // Or a port that nobody has used yet would be asked once a minute only, and its first client meet a dead node.
        no_traffic_interval: seconds(*interval),
        interval_jitter_percent: JITTER_PERCENT,
        healthy_threshold: number(healthy_threshold.get()),
        unhealthy_threshold: number(unhealthy_threshold.get()),
        health_checker: Some(checker(probe)),
        transport_socket_match_criteria: plain,
        ..Default::default()
    }
}

/// The protocol that a question is asked in, where it is not the one that Envoy takes for granted. By the key of the
/// options that say so; nothing but health checks speaks HTTP here.
pub(super) fn protocol(health_check: &HealthCheck) -> Option<(String, Any)> {
    if !matches!(health_check.probe, Probe::Grpc { .. }) {
        return None;
    }
    let http2 = ExplicitHttpConfig {
        protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(
            Http2ProtocolOptions::default(),
        )),
    };
    let options = HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(http2)),
        ..Default::default()
    };
    Some((HttpProtocolOptions::full_name(), any(&options)))
}

fn checker(probe: &Probe) -> HealthChecker {
    match probe {
        Probe::Tcp => HealthChecker::TcpHealthCheck(TcpHealthCheck::default()),
        Probe::Http { path, host, statuses } => HealthChecker::HttpHealthCheck(HttpHealthCheck {
            path: path.clone(),
            host: host.clone().unwrap_or_default(),
            expected_statuses: statuses.iter().copied().map(only).collect(),
            ..Default::default()
        }),
        Probe::Grpc { service, authority } => HealthChecker::GrpcHealthCheck(GrpcHealthCheck {
            service_name: service.clone().unwrap_or_default(),
            authority: authority.clone().unwrap_or_default(),
            ..Default::default()
        }),
    }
}

/// One status; Envoy's ranges leave out their end.
fn only(status: u16) -> Int64Range {
    let start = i64::from(status);
    Int64Range {
        start,
        end: start + 1,
    }
}
