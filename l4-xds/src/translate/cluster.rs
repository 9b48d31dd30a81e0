//! One cluster for each port.
//!
//! It holds no endpoints as long as all backends are addresses: those travel by themselves, so that a node that
//! comes or goes changes one small resource and neither cluster nor listener.

use std::num::NonZeroU32;

use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CommonLbConfig, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbConfig,
    LbPolicy, RingHashLbConfig,
};
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, Cluster, circuit_breakers::Thresholds};
use envoy_types::pb::envoy::config::core::v3::{
    AggregatedConfigSource, ApiVersion, ConfigSource, RoutingPriority, config_source::ConfigSourceSpecifier,
};
use envoy_types::pb::envoy::r#type::v3::Percent;

use super::listener::BUFFER_BYTES;
use super::{endpoint, health, number, proxy_protocol, seconds};
use crate::ir::{Balancing, Breaker, Listener, LoadBalancerId, Policy, Protocol};
use crate::snapshot::{Resource, ResourceName, ResourceType};

/// Envoy's default is 1024 connections a cluster, after which it resets new ones without a word. A load balancer has
/// no business refusing connection 1025; what bounds memory is the limit on all downstream connections, which is set
/// once for each Envoy in its bootstrap.
const NO_LIMIT: u32 = u32::MAX;

/// Below this share of healthy hosts Envoy ignores health and uses all. Its default of 50 % would send connections to
/// nodes that fail health checks because they are meant to (externalTrafficPolicy Local: only nodes with a pod pass).
/// With 1 % it does so only when no host at all is healthy: a broken health check must not stop traffic.
const PANIC_PERCENT: f64 = 1.0;

/// How long a new cluster waits for its endpoints before it goes on without. Envoy's default, and never 0 (wait
/// forever): a warming cluster keeps its old version in use, and must not do so for good.
const EDS_FETCH_TIMEOUT: u32 = 15;

pub(super) fn resource(owner: &LoadBalancerId, name: &ResourceName, listener: &Listener) -> Resource {
    let by_name = endpoint::needs_resolving(listener);
    let refers_to = if by_name { None } else { Some(name) };
    super::resource(
        ResourceType::Cluster,
        owner,
        &message(name, listener, by_name),
        refers_to,
    )
}

fn message(name: &ResourceName, listener: &Listener, by_name: bool) -> Cluster {
    let policy = &listener.policy;
    let (lb_policy, lb_config) = balancing(policy.balancing);
    // Whoever answers health checks on another port does not expect the header.
    let asked_elsewhere = policy
        .health_check
        .as_ref()
        .is_some_and(|check| check.port.is_some());
    let plain = (sends_header(listener) && asked_elsewhere).then(proxy_protocol::criteria);
    let base = Cluster {
        name: name.to_string(),
        connect_timeout: seconds(policy.connect_timeout.unwrap_or(Policy::CONNECT_TIMEOUT)),
        per_connection_buffer_limit_bytes: number(BUFFER_BYTES),
        lb_policy: lb_policy.into(),
        lb_config,
        circuit_breakers: Some(circuit_breakers(listener)),
        health_checks: policy
            .health_check
            .iter()
            .map(|check| health::check(check, plain.clone()))
            .collect(),
        transport_socket_matches: plain.clone().map(proxy_protocol::without).into_iter().collect(),
        typed_extension_protocol_options: policy.health_check.iter().filter_map(health::protocol).collect(),
        transport_socket: sends_header(listener).then(proxy_protocol::socket),
        common_lb_config: Some(CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: PANIC_PERCENT }),
            ..Default::default()
        }),
        // An endpoint that is withdrawn gets no new connections, whatever a health check thinks of it.
        ignore_health_on_host_removal: true,
        ..Default::default()
    };
    if by_name {
        Cluster {
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into())),
            dns_lookup_family: DnsLookupFamily::All.into(),
            load_assignment: Some(endpoint::load_assignment(name, listener)),
            ..base
        }
    } else {
        Cluster {
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
            eds_cluster_config: Some(EdsClusterConfig {
                eds_config: Some(ads()),
                ..Default::default()
            }),
            ..base
        }
    }
}

/// Ring hash rather than Maglev for affinity: when a node goes, only its own clients move, and the ring of 1024
/// entries takes a fraction of Maglev's table of 65537 for each of possibly thousands of clusters.
fn balancing(balancing: Balancing) -> (LbPolicy, Option<LbConfig>) {
    match balancing {
        Balancing::RoundRobin => (LbPolicy::RoundRobin, None),
        Balancing::LeastRequest => (LbPolicy::LeastRequest, None),
        Balancing::Random => (LbPolicy::Random, None),
        Balancing::SourceIp => (
            LbPolicy::RingHash,
            Some(LbConfig::RingHashLbConfig(RingHashLbConfig::default())),
        ),
    }
}

/// UDP has no connection for a header to begin.
fn sends_header(listener: &Listener) -> bool {
    listener.policy.proxy_protocol && listener.protocol == Protocol::Tcp
}

/// The sessions of UDP clients are counted here, because no filter of the listener counts them.
fn circuit_breakers(listener: &Listener) -> CircuitBreakers {
    let Breaker {
        max_connections,
        max_pending,
    } = listener.policy.breaker;
    let sessions = listener
        .policy
        .max_connections
        .filter(|_| listener.protocol == Protocol::Udp);
    let max_connections = match (max_connections, sessions) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let limit = |limit: Option<NonZeroU32>| number(limit.map_or(NO_LIMIT, NonZeroU32::get));
    CircuitBreakers {
        thresholds: vec![Thresholds {
            priority: RoutingPriority::Default.into(),
            max_connections: limit(max_connections),
            max_pending_requests: limit(max_pending),
            max_requests: number(NO_LIMIT),
            max_retries: number(NO_LIMIT),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        initial_fetch_timeout: seconds(EDS_FETCH_TIMEOUT),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..Default::default()
    }
}
