//! How the connections of L4 load balancers are handled.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::traffic_policy_bound as bound;
use crate::names::PortNumber;

/// Upper bounds of the fields; lower ones are 1. Whoever fills the fields from other words keeps them too, since a
/// LoadBalancer is refused as a whole beyond them.
pub mod traffic_policy_bound {
    /// `connectTimeoutSeconds`.
    pub const CONNECT_SECONDS: u32 = 60;
    /// `idleTimeoutSeconds` and `udpIdleTimeoutSeconds`.
    pub const IDLE_SECONDS: u32 = 86_400;
    /// Every number of connections.
    pub const CONNECTIONS: u32 = 1_000_000;
    /// `healthCheck.intervalSeconds`.
    pub const INTERVAL_SECONDS: u32 = 300;
    /// `healthCheck.timeoutSeconds`.
    pub const ANSWER_SECONDS: u32 = 10;
    /// Both thresholds of a health check.
    pub const THRESHOLD: u32 = 10;
    /// Entries of `healthCheck.http.expectedStatuses`.
    pub const STATUSES: usize = 16;
    /// Characters of `healthCheck.http.path`.
    pub const PATH: usize = 1024;
    /// Characters of `healthCheck.grpc.service`.
    pub const SERVICE: usize = 253;
}

/// Host and port, as in a Host header.
const AUTHORITY: &str = r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$";

/// How connections are handled. Each field that a LoadBalancer leaves out is taken from its Tenant, then from the
/// Config; where nobody says, what stands at the field holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicy {
    /// Which backend a connection goes to. `RoundRobin` unless told. Session persistence comes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancing: Option<LoadBalancingAlgorithm>,
    /// How long a backend may take to accept a connection, in seconds. 5 unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = bound::CONNECT_SECONDS))]
    pub connect_timeout_seconds: Option<u32>,
    /// When a TCP connection without traffic is closed, in seconds. 3600 unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = bound::IDLE_SECONDS))]
    pub idle_timeout_seconds: Option<u32>,
    /// When a UDP session without a datagram is forgotten, in seconds. 60 unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = bound::IDLE_SECONDS))]
    pub udp_idle_timeout_seconds: Option<u32>,
    /// Connections of clients at one time, for each port and each Envoy. Further ones are closed; of UDP, the
    /// datagrams of further sessions are dropped. No limit unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = bound::CONNECTIONS))]
    pub max_connections: Option<u32>,
    /// Bounds towards the backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Asks backends whether they are well. Not done unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

/// Which backend a connection goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LoadBalancingAlgorithm {
    /// One after the other.
    RoundRobin,
    /// The one of two chosen at random that has fewer connections.
    LeastRequest,
    /// Any.
    Random,
}

/// Bounds towards the backends, for each port and each Envoy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// Connections at one time; a client beyond them is closed. No bound unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = bound::CONNECTIONS))]
    pub max_connections: Option<u32>,
    /// Connections that are being opened at one time. No bound unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = bound::CONNECTIONS))]
    pub max_pending_connections: Option<u32>,
}

/// Asks backends whether they are well. One that is not gets no new connections, as long as another one is. Taken from
/// one place as a whole: the LoadBalancer's, else the Tenant's, else the Config's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// What is asked.
    #[serde(rename = "type", default)]
    pub type_: HealthCheckType,
    /// Port of the nodes that is asked. The backend's own unless told; ports of UDP are checked only with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<PortNumber>,
    /// Seconds between two questions of one Envoy. 10 unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = bound::INTERVAL_SECONDS))]
    pub interval_seconds: Option<u32>,
    /// Seconds for an answer. 5 unless told. An Envoy puts a new or changed port into use when every node has answered
    /// once or has not in this time, and takes no other change meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = bound::ANSWER_SECONDS))]
    pub timeout_seconds: Option<u32>,
    /// So many good answers in a row make a backend well. 2 unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = bound::THRESHOLD))]
    pub healthy_threshold: Option<u32>,
    /// So many bad answers in a row make it unwell. 3 unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = bound::THRESHOLD))]
    pub unhealthy_threshold: Option<u32>,
    /// For the type `HTTP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpHealthCheck>,
    /// For the type `GRPC`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcHealthCheck>,
}

/// What is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HealthCheckType {
    /// Whether the backend accepts a connection.
    #[default]
    TCP,
    /// A GET request.
    HTTP,
    /// `grpc.health.v1.Health/Check`, without TLS.
    GRPC,
    /// Nothing: switches off a health check of the Tenant's or the Config's.
    None,
}

/// A health check by HTTP/1.1 without TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpHealthCheck {
    /// Path. `/` unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = bound::PATH), regex(pattern = r"^/[!-~]*$"))]
    pub path: Option<String>,
    /// Host header, with a port if there is to be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 259),
        regex(pattern = AUTHORITY)
    )]
    pub host: Option<String>,
    /// Status codes that are good. 200 alone unless told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<i32>", length(max = bound::STATUSES), inner(range(min = 100, max = 599)))]
    pub expected_statuses: Vec<u16>,
}

/// A health check by gRPC without TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrpcHealthCheck {
    /// Service that is asked about. The server as a whole unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = bound::SERVICE), regex(pattern = r"^[A-Za-z0-9._/-]*$"))]
    pub service: Option<String>,
    /// `:authority` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 259),
        regex(pattern = AUTHORITY)
    )]
    pub authority: Option<String>,
}

impl TrafficPolicy {
    /// This policy, with what it leaves out taken from `other`.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        let Self {
            load_balancing,
            connect_timeout_seconds,
            idle_timeout_seconds,
            udp_idle_timeout_seconds,
            max_connections,
            circuit_breaker,
            health_check,
        } = self;
        Self {
            load_balancing: load_balancing.or(other.load_balancing),
            connect_timeout_seconds: connect_timeout_seconds.or(other.connect_timeout_seconds),
            idle_timeout_seconds: idle_timeout_seconds.or(other.idle_timeout_seconds),
            udp_idle_timeout_seconds: udp_idle_timeout_seconds.or(other.udp_idle_timeout_seconds),
            max_connections: max_connections.or(other.max_connections),
            circuit_breaker: match (circuit_breaker, other.circuit_breaker) {
                (Some(own), Some(other)) => Some(own.or(other)),
                (own, other) => own.or(other),
            },
            health_check: health_check.or_else(|| other.health_check.clone()),
        }
    }
}

impl CircuitBreaker {
    fn or(self, other: Self) -> Self {
        let Self {
            max_connections,
            max_pending_connections,
        } = self;
        Self {
            max_connections: max_connections.or(other.max_connections),
            max_pending_connections: max_pending_connections.or(other.max_pending_connections),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(value: serde_json::Value) -> TrafficPolicy {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_a_policy_leaves_out_is_taken_from_the_other_field_by_field() {
        let own = policy(json!({"connectTimeoutSeconds": 1, "circuitBreaker": {"maxConnections": 2}}));
        let other = policy(json!({"connectTimeoutSeconds": 9, "idleTimeoutSeconds": 9,
            "circuitBreaker": {"maxConnections": 9, "maxPendingConnections": 9}}));
        let merged = policy(json!({"connectTimeoutSeconds": 1, "idleTimeoutSeconds": 9,
            "circuitBreaker": {"maxConnections": 2, "maxPendingConnections": 9}}));
        assert_eq!(own.or(&other), merged);
    }

    #[test]
    fn a_health_check_is_taken_as_a_whole() {
        let own = policy(json!({"healthCheck": {"type": "HTTP"}}));
        let other = policy(json!({"healthCheck": {"intervalSeconds": 9}}));
        assert_eq!(own.clone().or(&other), own);
        assert_eq!(TrafficPolicy::default().or(&other), other);
    }
}
