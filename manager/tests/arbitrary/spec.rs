//! LoadBalancers as a tenant might write them: whatever the API server lets through, in any combination.

use api::v1alpha1::LoadBalancer;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::{Map, Value, json};

/// Addresses: most are within the tenant's ranges, others are not, or are no addresses.
const ALLOWED: [&str; 6] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.255.255.255",
    "fd00::1",
    "FD00:0::2",
    "::ffff:10.0.0.9",
];
const REFUSED: [&str; 8] = [
    "127.0.0.1",
    "169.254.169.254",
    "192.0.2.1",
    "::1",
    "224.0.0.1",
    "kubernetes.default.svc",
    "",
    "10.0.0.1 ",
];

fn maybe(strategy: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    prop::option::of(strategy).boxed()
}

fn number(range: std::ops::RangeInclusive<u32>) -> BoxedStrategy<Option<Value>> {
    maybe(range.prop_map(Value::from))
}

fn text(choices: &'static [&'static str]) -> BoxedStrategy<Option<Value>> {
    maybe(select(choices).prop_map(Value::from))
}

/// An object of those fields that are there.
fn object(fields: Vec<(&'static str, BoxedStrategy<Option<Value>>)>) -> impl Strategy<Value = Value> {
    let (names, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    values.prop_map(move |values| {
        let there = names
            .iter()
            .zip(values)
            .filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
        Value::Object(there.collect::<Map<_, _>>())
    })
}

fn health_check() -> impl Strategy<Value = Value> {
    object(vec![
        ("type", text(&["TCP", "HTTP", "GRPC", "None"])),
        ("port", number(1..=65_535)),
        ("intervalSeconds", number(1..=300)),
        ("timeoutSeconds", number(1..=10)),
        ("healthyThreshold", number(1..=10)),
        ("unhealthyThreshold", number(1..=10)),
        (
            "http",
            maybe(object(vec![
                (
                    "path",
                    text(&["/", "/healthz?full=1", "/%20/~\\\"'<>{}|^`", "/#"]),
                ),
                (
                    "host",
                    text(&["web.example.com", "10.0.0.1:80", "a:65535", "A-1.b"]),
                ),
                (
                    "expectedStatuses",
                    maybe(prop::collection::vec(100_u32..=599, 0..16).prop_map(Value::from)),
                ),
            ])),
        ),
        (
            "grpc",
            maybe(object(vec![
                ("service", text(&["", "shop.Cart", "a/b-c_d"])),
                ("authority", text(&["cart", "cart.example.com:50051"])),
            ])),
        ),
    ])
}

fn traffic_policy() -> impl Strategy<Value = Value> {
    object(vec![
        ("loadBalancing", text(&["RoundRobin", "LeastRequest", "Random"])),
        ("connectTimeoutSeconds", number(1..=60)),
        ("idleTimeoutSeconds", number(1..=86_400)),
        ("udpIdleTimeoutSeconds", number(1..=86_400)),
        ("maxConnections", number(1..=1_000_000)),
        (
            "circuitBreaker",
            maybe(object(vec![
                ("maxConnections", number(1..=1_000_000)),
                ("maxPendingConnections", number(1..=1_000_000)),
            ])),
        ),
        ("healthCheck", maybe(health_check())),
    ])
}

fn ports() -> impl Strategy<Value = Vec<Value>> {
    let port = (
        select(&["", "http", "dns", "x-1"][..]),
        1_u32..=65_535,
        select(&["TCP", "UDP"][..]),
    );
    prop::collection::vec(port, 1..5).prop_map(|ports| {
        // The API server lets no port and protocol in twice.
        let mut seen = std::collections::BTreeSet::new();
        let alone = ports
            .into_iter()
            .filter(|(_, number, protocol)| seen.insert((*number, *protocol)));
        alone
            .map(|(name, port, protocol)| json!({"name": name, "port": port, "protocol": protocol}))
            .collect()
    })
}

fn address() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => select(&ALLOWED[..]).prop_map(|ip| json!({"ip": ip})),
        1 => select(&REFUSED[..]).prop_map(|ip| json!({"ip": ip})),
        1 => Just(json!({"hostname": "db.example.com"})),
        1 => Just(json!({})),
    ]
}

/// Where a set says that its nodes are.
fn place() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => prop::collection::vec(address(), 0..6).prop_map(|list| json!({"addresses": list})),
        12 => Just(json!({"addressesReference": {"name": "default"}})),
        1 => Just(json!({"addressesReference": {"name": "missing"}})),
        1 => Just(json!({"addresses": null})),
    ]
}

/// One set for the ports: usually with a port for each, sometimes with fewer or others.
fn set(ports: Vec<Value>) -> impl Strategy<Value = Value> {
    let count = ports.len();
    let complete = Just((0..count).collect::<Vec<_>>());
    let chosen = prop_oneof![16 => complete, 1 => subsequence((0..count).collect::<Vec<_>>(), 0..=count)];
    (place(), chosen, any::<Index>()).prop_map(move |(mut set, chosen, index)| {
        let pairs = chosen.into_iter().map(|at| {
            let mut port = ports[at].clone();
            port["port"] = (30_000 + index.index(2_767) + at).min(65_535).into();
            port
        });
        set["ports"] = pairs.collect();
        set
    })
}

/// The spec of a LoadBalancer.
pub fn spec() -> impl Strategy<Value = Value> {
    let rest = object(vec![
        ("type", text(&["LoadBalancer", "ClusterIP"])),
        ("hostname", text(&["db.lb.example.com", "not a name", ""])),
        ("externalTrafficPolicy", text(&["Local", "Cluster"])),
        ("persistence", maybe(Just(json!({"type": "SourceIP"})))),
        ("proxyProtocol", text(&["V2"])),
        ("trafficPolicy", maybe(traffic_policy())),
        (
            "sourceRanges",
            maybe(prop::collection::vec(select(&["192.0.2.0/24", "::/0"][..]), 0..3).prop_map(Value::from)),
        ),
    ]);
    let sets = ports().prop_flat_map(|ports| {
        let sets = prop::collection::vec(set(ports.clone()), 1..4);
        (Just(ports), sets)
    });
    (rest, sets).prop_map(|(mut spec, (ports, sets))| {
        spec["ports"] = ports.into();
        spec["endpoints"] = sets.into();
        spec
    })
}

/// The LoadBalancer with this spec.
pub fn load_balancer(name: &str, spec: &Value) -> LoadBalancer {
    let object = json!({
        "apiVersion": "kubelb.k8c.io/v1alpha1", "kind": "LoadBalancer",
        "metadata": {"name": name, "namespace": "tenant-a", "uid": name, "generation": 1},
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}
