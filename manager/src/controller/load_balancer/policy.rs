//! From what people say about connections to what Envoy is told. Pure.

use std::num::NonZeroU32;

use api::v1alpha1::{
    CircuitBreaker, HealthCheck, HealthCheckType, LoadBalancer, LoadBalancingAlgorithm, PersistenceType,
    Protocol, TrafficPolicy,
};
use l4_xds::ir::{self, Balancing, Breaker, Policy, Probe, Seconds};

use crate::build::hub_service;

const INTERVAL_SECONDS: u32 = 10;
const TIMEOUT_SECONDS: u32 = 5;
const HEALTHY_THRESHOLD: u32 = 2;
const UNHEALTHY_THRESHOLD: u32 = 3;

/// What holds for the ports of one LoadBalancer: its own words over the tenant's defaults.
#[derive(Debug, Clone)]
pub struct InForce {
    balancing: Balancing,
    policy: TrafficPolicy,
    proxy_protocol: bool,
}

impl InForce {
    /// `default` is the tenant's.
    #[must_use]
    pub fn of(lb: &LoadBalancer, default: &TrafficPolicy) -> Self {
        let own = lb.spec.traffic_policy.clone().unwrap_or_default();
        let policy = own.or(default);
        Self {
            balancing: balancing(lb, &policy),
            policy,
            proxy_protocol: hub_service::sends_proxy_protocol(lb),
        }
    }

    /// What Envoy is told for a port of this protocol.
    #[must_use]
    pub fn for_protocol(&self, protocol: Protocol) -> Policy {
        let TrafficPolicy {
            load_balancing: _,
            connect_timeout_seconds,
            idle_timeout_seconds,
            udp_idle_timeout_seconds,
            max_connections,
            circuit_breaker,
            health_check,
        } = &self.policy;
        let seconds = |value: &Option<u32>| value.and_then(Seconds::new);
        Policy {
            balancing: self.balancing,
            connect_timeout: seconds(connect_timeout_seconds),
            idle_timeout: seconds(match protocol {
                Protocol::TCP => idle_timeout_seconds,
                Protocol::UDP => udp_idle_timeout_seconds,
            }),
            max_connections: max_connections.and_then(NonZeroU32::new),
            breaker: breaker(circuit_breaker.unwrap_or_default()),
            proxy_protocol: self.proxy_protocol && protocol == Protocol::TCP,
            health_check: health_check
                .as_ref()
                .filter(|check| can_be_asked(check, protocol))
                .and_then(translated),
        }
    }

    /// What cannot be done for ports of this protocol, each in a sentence.
    #[must_use]
    pub fn left_out(&self, protocol: Protocol) -> Vec<String> {
        if protocol != Protocol::UDP {
            return Vec::new();
        }
        let mut left_out = Vec::new();
        if self.proxy_protocol {
            left_out.push("spec.proxyProtocol is for TCP: ports of UDP are served without it".to_owned());
        }
        let check = self.policy.health_check.as_ref();
        if check.is_some_and(|check| !can_be_asked(check, protocol)) {
            left_out.push(
                "spec.trafficPolicy.healthCheck.port is not set: ports of UDP are served without a health check"
                    .to_owned(),
            );
        }
        left_out
    }
}

/// Persistence is a promise to clients, an algorithm is not.
fn balancing(lb: &LoadBalancer, policy: &TrafficPolicy) -> Balancing {
    match (lb.spec.persistence.map(|p| p.type_), policy.load_balancing) {
        (Some(PersistenceType::SourceIP), _) => Balancing::SourceIp,
        (None, None | Some(LoadBalancingAlgorithm::RoundRobin)) => Balancing::RoundRobin,
        (None, Some(LoadBalancingAlgorithm::LeastRequest)) => Balancing::LeastRequest,
        (None, Some(LoadBalancingAlgorithm::Random)) => Balancing::Random,
    }
}

fn breaker(breaker: CircuitBreaker) -> Breaker {
    let CircuitBreaker {
        max_connections,
        max_pending_connections,
    } = breaker;
    Breaker {
        max_connections: max_connections.and_then(NonZeroU32::new),
        max_pending: max_pending_connections.and_then(NonZeroU32::new),
    }
}

/// A question needs a port that speaks TCP.
fn can_be_asked(check: &HealthCheck, protocol: Protocol) -> bool {
    protocol == Protocol::TCP || check.port.is_some() || check.type_ == HealthCheckType::None
}

fn translated(check: &HealthCheck) -> Option<ir::HealthCheck> {
    let HealthCheck {
        type_,
        port,
        interval_seconds,
        timeout_seconds,
        healthy_threshold,
        unhealthy_threshold,
        http,
        grpc,
    } = check;
    let probe = match type_ {
        HealthCheckType::None => return None,
        HealthCheckType::TCP => Probe::Tcp,
        HealthCheckType::HTTP => {
            let http = http.clone().unwrap_or_default();
            Probe::Http {
                path: http.path.unwrap_or_else(|| "/".to_owned()),
                host: http.host,
                statuses: http.expected_statuses,
            }
        }
        HealthCheckType::GRPC => {
            let grpc = grpc.clone().unwrap_or_default();
            Probe::Grpc {
                service: grpc.service,
                authority: grpc.authority,
            }
        }
    };
    Some(ir::HealthCheck {
        probe,
        port: port.and_then(|port| port.get().try_into().ok()),
        interval: Seconds::new(interval_seconds.unwrap_or(INTERVAL_SECONDS))?,
        timeout: Seconds::new(timeout_seconds.unwrap_or(TIMEOUT_SECONDS))?,
        healthy_threshold: NonZeroU32::new(healthy_threshold.unwrap_or(HEALTHY_THRESHOLD))?,
        unhealthy_threshold: NonZeroU32::new(unhealthy_threshold.unwrap_or(UNHEALTHY_THRESHOLD))?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn in_force(spec: Value, default: Value) -> InForce {
        let mut whole = json!({"endpoints": [{"addresses": []}], "ports": [{"port": 80}]});
        whole
            .as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        let lb = LoadBalancer::new("web", serde_json::from_value(whole).unwrap());
        InForce::of(&lb, &serde_json::from_value(default).unwrap())
    }

    #[test]
    fn a_load_balancer_without_a_word_takes_the_tenants_defaults_and_then_envoys() {
        let none = in_force(json!({}), json!({})).for_protocol(Protocol::TCP);
        assert_eq!(none, Policy::default());
        let tenants = in_force(json!({}), json!({"idleTimeoutSeconds": 9})).for_protocol(Protocol::TCP);
        assert_eq!(tenants.idle_timeout, Seconds::new(9));
    }

    #[test]
    fn tcp_and_udp_are_idle_after_times_of_their_own() {
        let idle = json!({"trafficPolicy": {"idleTimeoutSeconds": 7, "udpIdleTimeoutSeconds": 8}});
        let policy = in_force(idle, json!({}));
        assert_eq!(policy.for_protocol(Protocol::TCP).idle_timeout, Seconds::new(7));
        assert_eq!(policy.for_protocol(Protocol::UDP).idle_timeout, Seconds::new(8));
    }

    #[test]
    fn persistence_comes_before_an_algorithm() {
        let policy = in_force(
            json!({"persistence": {"type": "SourceIP"}, "trafficPolicy": {"loadBalancing": "Random"}}),
            json!({}),
        );
        assert_eq!(policy.for_protocol(Protocol::TCP).balancing, Balancing::SourceIp);
    }

    #[test]
    fn a_health_check_is_filled_up_with_what_the_document_says() {
        let check = in_force(
            json!({"trafficPolicy": {"healthCheck": {"type": "HTTP"}}}),
            json!({}),
        );
        insta::assert_debug_snapshot!(check.for_protocol(Protocol::TCP).health_check);
    }

    #[test]
    fn a_health_check_of_the_tenants_can_be_switched_off() {
        let spec = json!({"trafficPolicy": {"healthCheck": {"type": "None"}}});
        let off = in_force(spec, json!({"healthCheck": {"type": "TCP"}}));
        assert_eq!(off.for_protocol(Protocol::TCP).health_check, None);
        assert!(off.left_out(Protocol::UDP).is_empty());
    }

    #[test]
    fn udp_goes_without_what_needs_a_connection_and_that_is_said() {
        let both = json!({"proxyProtocol": "V2", "trafficPolicy": {"healthCheck": {}}});
        let policy = in_force(both, json!({}));
        let udp = policy.for_protocol(Protocol::UDP);
        assert_eq!((udp.proxy_protocol, udp.health_check), (false, None));
        assert_eq!(policy.left_out(Protocol::UDP).len(), 2);
        assert!(policy.left_out(Protocol::TCP).is_empty());
        let with_port = json!({"trafficPolicy": {"healthCheck": {"port": 8080}}});
        let asked = in_force(with_port, json!({})).for_protocol(Protocol::UDP);
        assert!(asked.health_check.is_some());
    }
}
