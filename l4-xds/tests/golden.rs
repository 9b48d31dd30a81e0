//! Frontends in, Envoy resources out: one pair of files for each behaviour.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy.toml allows these in test functions only, and here the helpers are tests too"
)]

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::num::NonZeroU32;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::transport_socket;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3 as lds;
use envoy_types::pb::envoy::extensions::filters::network::connection_limit::v3::ConnectionLimit;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::udp::udp_proxy::v3::UdpProxyConfig;
use envoy_types::pb::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use envoy_types::pb::google::protobuf::Any;
use l4_xds::ir::{
    Address, Backend, Balancing, Breaker, Frontend, HealthCheck, Listener, LoadBalancerId, Policy, Port,
    Probe, Protocol, Seconds,
};
use l4_xds::snapshot::{ResourceType, Snapshot};
use l4_xds::translate::{Bind, Settings, Translation, translate};
use prost::Message;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default)]
    ipv4_only: bool,
    frontends: Vec<FrontendCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrontendCase {
    /// `<namespace>/<name>`
    id: String,
    listeners: Vec<ListenerCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenerCase {
    /// `<protocol>/<port>`
    port: String,
    envoy_port: u16,
    #[serde(default)]
    policy: PolicyCase,
    /// `<address> <port>`
    backends: Vec<String>,
}

impl From<FrontendCase> for Frontend {
    fn from(case: FrontendCase) -> Self {
        let (namespace, name) = case.id.split_once('/').unwrap();
        let id = LoadBalancerId::new(namespace, name).unwrap();
        Frontend {
            id,
            generation: 1,
            listeners: case.listeners.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<ListenerCase> for Listener {
    fn from(case: ListenerCase) -> Self {
        let (protocol, number) = case.port.split_once('/').unwrap();
        let protocol = if protocol == "udp" {
            Protocol::Udp
        } else {
            Protocol::Tcp
        };
        Listener {
            name: "any".to_owned(),
            protocol,
            port: port(number),
            envoy_port: case.envoy_port.try_into().unwrap(),
            backends: case.backends.iter().map(|text| backend(text)).collect(),
            policy: case.policy.into(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct PolicyCase {
    balancing: BalancingCase,
    connect_timeout: Option<u32>,
    idle_timeout: Option<u32>,
    max_connections: Option<NonZeroU32>,
    breaker_connections: Option<NonZeroU32>,
    breaker_pending: Option<NonZeroU32>,
    proxy_protocol: bool,
    health_check: Option<HealthCheckCase>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum BalancingCase {
    #[default]
    RoundRobin,
    LeastRequest,
    Random,
    SourceIp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HealthCheckCase {
    probe: ProbeCase,
    port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ProbeCase {
    Tcp,
    Http,
    Grpc,
}

impl From<PolicyCase> for Policy {
    fn from(case: PolicyCase) -> Self {
        let seconds = |value: Option<u32>| value.and_then(Seconds::new);
        Policy {
            balancing: match case.balancing {
                BalancingCase::RoundRobin => Balancing::RoundRobin,
                BalancingCase::LeastRequest => Balancing::LeastRequest,
                BalancingCase::Random => Balancing::Random,
                BalancingCase::SourceIp => Balancing::SourceIp,
            },
            connect_timeout: seconds(case.connect_timeout),
            idle_timeout: seconds(case.idle_timeout),
            max_connections: case.max_connections,
            breaker: Breaker {
                max_connections: case.breaker_connections,
                max_pending: case.breaker_pending,
            },
            proxy_protocol: case.proxy_protocol,
            health_check: case.health_check.map(Into::into),
        }
    }
}

impl From<HealthCheckCase> for HealthCheck {
    fn from(case: HealthCheckCase) -> Self {
        HealthCheck {
            probe: match case.probe {
                ProbeCase::Tcp => Probe::Tcp,
                ProbeCase::Http => Probe::Http {
                    path: "/healthz".to_owned(),
                    host: Some("web.example.com".to_owned()),
                    statuses: vec![200, 204],
                },
                ProbeCase::Grpc => Probe::Grpc {
                    service: Some("shop.Cart".to_owned()),
                    authority: None,
                },
            },
            port: case.port.map(|port| port.try_into().unwrap()),
            interval: Seconds::new(10).unwrap(),
            timeout: Seconds::new(5).unwrap(),
            healthy_threshold: NonZeroU32::new(2).unwrap(),
            unhealthy_threshold: NonZeroU32::new(3).unwrap(),
        }
    }
}

fn port(text: &str) -> Port {
    text.parse::<u16>().unwrap().try_into().unwrap()
}

fn backend(text: &str) -> Backend {
    let (address, number) = text.split_once(' ').unwrap();
    let address = address
        .parse()
        .map_or_else(|_| Address::Hostname(address.parse().unwrap()), Address::Ip);
    Backend {
        address,
        port: port(number),
    }
}

#[test]
fn frontends_become_these_resources() {
    insta::glob!("cases/*.in.yaml", |path| {
        let case: Case = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let settings = Settings {
            bind: if case.ipv4_only {
                Bind::Ipv4Only
            } else {
                Bind::DualStack
            },
        };
        let mut frontends: Vec<Frontend> = case.frontends.into_iter().map(Into::into).collect();
        let translation = translate(&frontends, &settings);
        assert_eq!(translation.snapshot.consistent(), Ok(()));
        insta::assert_snapshot!(show(&translation));

        // The order in which things are listed is not information.
        frontends.reverse();
        frontends
            .iter_mut()
            .flat_map(|frontend| &mut frontend.listeners)
            .for_each(|l| l.backends.reverse());
        assert_eq!(translate(&frontends, &settings), translation);
    });
}

fn show(Translation { snapshot, omitted }: &Translation) -> String {
    let mut text = String::new();
    for (id, reason) in omitted {
        writeln!(text, "omitted {id}: {reason}").unwrap();
    }
    for id in snapshot.owners() {
        writeln!(text, "content {id}: {}", snapshot.content_version(id).unwrap()).unwrap();
    }
    for ty in ResourceType::ALL {
        show_type(&mut text, snapshot, ty);
    }
    text
}

fn show_type(text: &mut String, snapshot: &Snapshot, ty: ResourceType) {
    for (name, resource) in snapshot.resources(ty).iter() {
        writeln!(
            text,
            "\n{ty:?} {name} of {} at {}",
            resource.owner(),
            resource.version()
        )
        .unwrap();
        let bytes = resource.body().value.as_slice();
        let body = match ty {
            ResourceType::Cluster => show_cluster(Cluster::decode(bytes).unwrap()),
            ResourceType::Endpoint => brief(&ClusterLoadAssignment::decode(bytes).unwrap()),
            ResourceType::Listener => show_listener(lds::Listener::decode(bytes).unwrap()),
        };
        text.push_str(&body);
    }
}

/// A cluster with its transport socket decoded rather than as bytes.
fn show_cluster(mut cluster: Cluster) -> String {
    let socket = cluster.transport_socket.take().and_then(|socket| {
        let Some(transport_socket::ConfigType::TypedConfig(any)) = socket.config_type else {
            return None;
        };
        let mut transport = decode::<ProxyProtocolUpstreamTransport>(&any);
        let inner = transport.transport_socket.take().unwrap().name;
        Some(format!("over {}\n{}in {inner}\n", socket.name, brief(&transport)))
    });
    brief(&cluster) + &socket.unwrap_or_default()
}

/// A listener with its filters decoded rather than as bytes.
fn show_listener(mut listener: lds::Listener) -> String {
    let mut filters = BTreeMap::new();
    for filter in listener
        .filter_chains
        .iter_mut()
        .flat_map(|chain| &mut chain.filters)
    {
        if let Some(lds::filter::ConfigType::TypedConfig(any)) = filter.config_type.take() {
            let body = match filter.name.as_str() {
                "envoy.filters.network.connection_limit" => brief(&decode::<ConnectionLimit>(&any)),
                _ => brief(&decode::<TcpProxy>(&any)),
            };
            filters.insert(filter.name.clone(), body);
        }
    }
    for filter in &mut listener.listener_filters {
        if let Some(lds::listener_filter::ConfigType::TypedConfig(any)) = filter.config_type.take() {
            filters.insert(filter.name.clone(), brief(&decode::<UdpProxyConfig>(&any)));
        }
    }
    let filters: String = filters
        .into_iter()
        .map(|(name, body)| format!("with {name}\n{body}"))
        .collect();
    brief(&listener) + &filters
}

fn decode<M: Message + prost::Name + Default>(any: &Any) -> M {
    assert_eq!(any.type_url, M::type_url());
    M::decode(any.value.as_slice()).unwrap()
}

/// `{:#?}` without the fields that are not set.
fn brief(message: &impl Debug) -> String {
    let unset = [": None,", ": [],", ": {},", ": false,", ": \"\",", ": 0,"];
    let text = format!("{message:#?}");
    let lines = text
        .lines()
        .filter(|line| !unset.iter().any(|unset| line.ends_with(unset)));
    lines.map(|line| format!("  {line}\n")).collect()
}
