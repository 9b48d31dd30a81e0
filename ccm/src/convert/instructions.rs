//! What annotations of a Service say about its connections and its host name. Pure.
//!
//! A value that cannot be used is left out and named; it never keeps the Service from being served. Ranges are those
//! of the hub's LoadBalancer, which would be refused as a whole beyond them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use api::meta::{HOSTNAME, MANAGE_CERTIFICATES, PROXY_PROTOCOL, REQUEST_WILDCARD_DOMAIN};
use api::names::{MAX_LABEL, PortNumber};
use api::v1alpha1::traffic_policy_bound as bound;
use api::v1alpha1::{
    CircuitBreaker, GrpcHealthCheck, HealthCheck, HealthCheckType, HttpHealthCheck, LoadBalancingAlgorithm,
    ProxyProtocol, TrafficPolicy,
};
use jiff::SignedDuration;

use crate::notice::{Notice, reason};

/// Begins the key of each of them.
const PREFIX: &str = "kubelb.k8c.io/";
/// Begins the keys about health checks, after [`PREFIX`].
const HEALTH_CHECK: &str = "health-check-";

const LIMIT: RangeInclusive<u32> = 1..=bound::CONNECTIONS;
const IDLE: RangeInclusive<u32> = 1..=bound::IDLE_SECONDS;
const CONNECT: RangeInclusive<u32> = 1..=bound::CONNECT_SECONDS;
const INTERVAL: RangeInclusive<u32> = 1..=bound::INTERVAL_SECONDS;
const ANSWER: RangeInclusive<u32> = 1..=bound::ANSWER_SECONDS;
const THRESHOLD: RangeInclusive<u32> = 1..=bound::THRESHOLD;
/// Longest host name.
const MAX_NAME: usize = 253;

/// What a Service says about its connections and its host name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Instructions {
    /// PROXY protocol.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How connections are handled; none if nothing is said.
    pub traffic_policy: Option<TrafficPolicy>,
    /// The host name that is asked for.
    pub hostname: Option<String>,
    /// HTTPS is asked for at the host name.
    pub https: bool,
}

/// Reads them. What cannot be used is added to `notices`.
#[must_use]
pub fn read(annotations: &BTreeMap<String, String>, notices: &mut Vec<Notice>) -> Instructions {
    let mut reader = Reader { annotations, notices };
    let circuit_breaker = CircuitBreaker {
        max_connections: reader.number("circuit-breaker-max-connections", LIMIT),
        max_pending_connections: reader.number("circuit-breaker-max-pending-connections", LIMIT),
    };
    let policy = TrafficPolicy {
        load_balancing: reader.one_of("lb-policy", &ALGORITHMS),
        connect_timeout_seconds: reader.seconds("timeout-connect", CONNECT),
        idle_timeout_seconds: reader.seconds("timeout-tcp-idle", IDLE),
        udp_idle_timeout_seconds: reader.seconds("timeout-udp-idle", IDLE),
        max_connections: reader.number("max-connections", LIMIT),
        circuit_breaker: Some(circuit_breaker).filter(|breaker| *breaker != CircuitBreaker::default()),
        health_check: health_check(&mut reader),
    };
    // It goes to the hub as it is, where it decides: here only what means nothing there is told.
    reader.one_of(&REQUEST_WILDCARD_DOMAIN[PREFIX.len()..], &YES_OR_NO);
    Instructions {
        proxy_protocol: reader.one_of(&PROXY_PROTOCOL[PREFIX.len()..], &[("v2", ProxyProtocol::V2)]),
        traffic_policy: Some(policy).filter(|policy| *policy != TrafficPolicy::default()),
        hostname: reader.value(&HOSTNAME[PREFIX.len()..], hostname),
        https: reader.one_of(&MANAGE_CERTIFICATES[PREFIX.len()..], &YES_OR_NO) == Some(true),
    }
}

const YES_OR_NO: [(&str, bool); 2] = [("true", true), ("false", false)];

const ALGORITHMS: [(&str, LoadBalancingAlgorithm); 3] = [
    ("RoundRobin", LoadBalancingAlgorithm::RoundRobin),
    ("LeastRequest", LoadBalancingAlgorithm::LeastRequest),
    ("Random", LoadBalancingAlgorithm::Random),
];

const TYPES: [(&str, HealthCheckType); 4] = [
    ("TCP", HealthCheckType::TCP),
    ("HTTP", HealthCheckType::HTTP),
    ("GRPC", HealthCheckType::GRPC),
    ("None", HealthCheckType::None),
];

/// Nothing without a type: what would a path alone mean?
fn health_check(reader: &mut Reader<'_>) -> Option<HealthCheck> {
    let mut about = reader.annotations.keys().filter_map(|key| {
        key.strip_prefix(PREFIX)?
            .starts_with(HEALTH_CHECK)
            .then_some(key.as_str())
    });
    let first = about.next()?;
    if !reader
        .annotations
        .contains_key(&format!("{PREFIX}{HEALTH_CHECK}type"))
    {
        let message =
            format!("metadata.annotations[{first}] is ignored: {PREFIX}{HEALTH_CHECK}type is not set");
        reader
            .notices
            .push(Notice::new(reason::UNSUPPORTED_VALUE, message));
        return None;
    }
    let type_ = reader.one_of("health-check-type", &TYPES)?;
    let http = HttpHealthCheck {
        path: reader.text("health-check-http-path", path),
        host: reader.text("health-check-http-host", authority),
        expected_statuses: reader
            .value("health-check-http-expected-statuses", statuses)
            .unwrap_or_default(),
    };
    let grpc = GrpcHealthCheck {
        service: reader.text("health-check-grpc-service", grpc_service),
        authority: reader.text("health-check-grpc-authority", authority),
    };
    Some(HealthCheck {
        type_,
        port: reader.value("health-check-port", port),
        interval_seconds: reader.seconds("health-check-interval", INTERVAL),
        timeout_seconds: reader.seconds("health-check-timeout", ANSWER),
        healthy_threshold: reader.number("health-check-healthy-threshold", THRESHOLD),
        unhealthy_threshold: reader.number("health-check-unhealthy-threshold", THRESHOLD),
        http: Some(http).filter(|http| *http != HttpHealthCheck::default()),
        grpc: Some(grpc).filter(|grpc| *grpc != GrpcHealthCheck::default()),
    })
}

/// Reads values by the part of their key after [`PREFIX`].
struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    notices: &'a mut Vec<Notice>,
}

impl Reader<'_> {
    fn value<T>(&mut self, key: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let key = format!("{PREFIX}{key}");
        let text = self.annotations.get(&key)?;
        match read(text.trim()) {
            Ok(value) => Some(value),
            Err(wanted) => {
                let shown: String = text.chars().take(64).collect();
                let message = format!("metadata.annotations[{key}] {shown:?} is ignored: {wanted}");
                self.notices.push(Notice::new(reason::UNSUPPORTED_VALUE, message));
                None
            }
        }
    }

    fn number(&mut self, key: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let wanted = format!("a number from {} to {} is wanted", range.start(), range.end());
        self.value(key, |text| {
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or(wanted)
        })
    }

    fn seconds(&mut self, key: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let wanted = format!(
            "a time in whole seconds from {}s to {}s is wanted",
            range.start(),
            range.end()
        );
        self.value(key, |text| whole_seconds(text, &range).ok_or(wanted))
    }

    fn one_of<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        self.value(key, |text| {
            let chosen = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            chosen
                .map(|(_, value)| *value)
                .ok_or_else(|| format!("{} is wanted", names.join(" or ")))
        })
    }

    fn text(&mut self, key: &str, is_usable: impl FnOnce(&str) -> Result<(), String>) -> Option<String> {
        self.value(key, |text| is_usable(text).map(|()| text.to_owned()))
    }
}

fn whole_seconds(text: &str, range: &RangeInclusive<u32>) -> Option<u32> {
    let duration: SignedDuration = text.parse().ok()?;
    let seconds = u32::try_from(duration.as_secs()).ok()?;
    (duration.subsec_nanos() == 0 && range.contains(&seconds)).then_some(seconds)
}

fn port(text: &str) -> Result<PortNumber, String> {
    let number = text.parse::<i32>().ok();
    number
        .and_then(|number| PortNumber::try_from(number).ok())
        .ok_or_else(|| "a port number is wanted".to_owned())
}

fn statuses(text: &str) -> Result<Vec<u16>, String> {
    let each = text.split(',').map(|part| {
        part.trim()
            .parse()
            .ok()
            .filter(|status| (100..=599).contains(status))
    });
    let all: Option<Vec<u16>> = each.collect();
    all.filter(|all| all.len() <= bound::STATUSES).ok_or_else(|| {
        format!(
            "at most {} status codes are wanted, such as 200,204",
            bound::STATUSES
        )
    })
}

fn path(text: &str) -> Result<(), String> {
    let legal =
        text.starts_with('/') && text.len() <= bound::PATH && text.bytes().all(|b| b.is_ascii_graphic());
    legal
        .then_some(())
        .ok_or_else(|| "a path is wanted, such as /healthz".to_owned())
}

fn grpc_service(text: &str) -> Result<(), String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-');
    (text.len() <= bound::SERVICE && text.bytes().all(legal))
        .then_some(())
        .ok_or_else(|| "the name of a gRPC service is wanted, such as shop.Cart".to_owned())
}

/// As in the status of a Service: DNS labels, and no address.
fn hostname(text: &str) -> Result<String, String> {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_hostname =
        name.len() <= MAX_NAME && name.split('.').all(is_label) && name.parse::<IpAddr>().is_err();
    is_hostname
        .then_some(name)
        .ok_or_else(|| "a host name is wanted, such as shop.example.com".to_owned())
}

/// A host name or IPv4 address, perhaps with a port.
fn authority(text: &str) -> Result<(), String> {
    let (host, port) = text.split_once(':').unwrap_or((text, "0"));
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let is_host = host.len() <= MAX_NAME
        && edge(host.bytes().next())
        && edge(host.bytes().last())
        && host.bytes().all(legal);
    let is_port = (1..=5).contains(&port.len())
        && port.bytes().all(|b| b.is_ascii_digit())
        && port.parse::<u16>().is_ok();
    (is_host && is_port)
        .then_some(())
        .ok_or_else(|| "a host name is wanted, such as web.example.com".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(pairs: &[(&str, &str)]) -> (Instructions, Vec<String>) {
        let annotations = pairs
            .iter()
            .map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned()))
            .collect();
        let mut notices = Vec::new();
        let instructions = read(&annotations, &mut notices);
        (instructions, notices.into_iter().map(|n| n.message).collect())
    }

    #[test]
    fn no_annotation_says_nothing() {
        assert_eq!(run(&[("other", "x")]), (Instructions::default(), Vec::new()));
    }

    #[test]
    fn every_annotation_has_its_field() {
        let (instructions, notices) = run(&[
            ("proxy-protocol", "v2"),
            ("lb-policy", "leastrequest"),
            ("timeout-connect", "2s"),
            ("timeout-tcp-idle", "1h30m"),
            ("timeout-udp-idle", "90s"),
            ("max-connections", "100"),
            ("circuit-breaker-max-connections", "200"),
            ("circuit-breaker-max-pending-connections", "7"),
            ("health-check-type", "HTTP"),
            ("health-check-port", "8080"),
            ("health-check-interval", "3s"),
            ("health-check-timeout", "1s"),
            ("health-check-healthy-threshold", "1"),
            ("health-check-unhealthy-threshold", "2"),
            ("health-check-http-path", "/healthz?full=1"),
            ("health-check-http-host", "web.example.com:8080"),
            ("health-check-http-expected-statuses", "200, 204"),
            ("health-check-grpc-service", "shop.Cart"),
            ("health-check-grpc-authority", "cart"),
        ]);
        assert_eq!(notices, Vec::<String>::new());
        assert_eq!(instructions.proxy_protocol, Some(ProxyProtocol::V2));
        let expected = json!({
            "loadBalancing": "LeastRequest",
            "connectTimeoutSeconds": 2,
            "idleTimeoutSeconds": 5400,
            "udpIdleTimeoutSeconds": 90,
            "maxConnections": 100,
            "circuitBreaker": {"maxConnections": 200, "maxPendingConnections": 7},
            "healthCheck": {"type": "HTTP", "port": 8080, "intervalSeconds": 3, "timeoutSeconds": 1,
                "healthyThreshold": 1, "unhealthyThreshold": 2,
                "http": {"path": "/healthz?full=1", "host": "web.example.com:8080", "expectedStatuses": [200, 204]},
                "grpc": {"service": "shop.Cart", "authority": "cart"}},
        });
        assert_eq!(
            serde_json::to_value(instructions.traffic_policy).unwrap(),
            expected
        );
    }

    #[test]
    fn a_value_that_cannot_be_used_is_named_with_what_is_wanted_and_the_others_count() {
        let (instructions, notices) = run(&[
            ("proxy-protocol", "v1"),
            ("lb-policy", "Fastest"),
            ("timeout-connect", "90s"),
            ("timeout-tcp-idle", "1500ms"),
            ("timeout-udp-idle", "soon"),
            ("max-connections", "0"),
            ("circuit-breaker-max-connections", "5"),
            ("health-check-type", "TCP"),
            ("health-check-port", "70000"),
            ("health-check-http-path", "healthz"),
            ("health-check-http-host", "web:+80"),
            ("health-check-timeout", "11s"),
            ("health-check-http-expected-statuses", "20"),
            ("health-check-grpc-service", "a b"),
        ]);
        insta::assert_debug_snapshot!(notices);
        let policy = serde_json::to_value(instructions.traffic_policy).unwrap();
        let expected = json!({"circuitBreaker": {"maxConnections": 5}, "healthCheck": {"type": "TCP"}});
        assert_eq!((instructions.proxy_protocol, policy), (None, expected));
    }

    #[test]
    fn a_host_name_is_one_or_is_told_not_to_be() {
        let (instructions, notices) =
            run(&[("hostname", "Shop.Example.com."), ("manage-certificates", "True")]);
        assert_eq!(instructions.hostname.as_deref(), Some("shop.example.com"));
        assert!(instructions.https && notices.is_empty());
        for name in [
            "*.example.com",
            "10.0.0.1",
            "a..b",
            "under_score.example.com",
            "-a",
        ] {
            let (instructions, notices) = run(&[("hostname", name)]);
            assert_eq!((instructions.hostname, notices.len()), (None, 1), "{name}");
        }
    }

    #[test]
    fn a_request_for_a_name_that_means_nothing_is_told() {
        let (_, notices) = run(&[("request-wildcard-domain", "yes"), ("manage-certificates", "1")]);
        assert_eq!(notices.len(), 2);
        assert!(notices[0].contains("true or false is wanted"), "{notices:?}");
    }

    #[test]
    fn a_health_check_without_a_type_is_none() {
        let (instructions, notices) = run(&[("health-check-http-path", "/")]);
        assert_eq!(instructions, Instructions::default());
        assert_eq!(notices.len(), 1);
        assert!(notices[0].contains("health-check-type is not set"), "{notices:?}");
    }
}
