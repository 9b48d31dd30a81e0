//! Properties that hold for any input: the golden cases, shuffled and broken at random, are the input.

#![expect(clippy::unwrap_used, reason = "a test whose input cannot be read has failed")]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use gateway_semantics::{
    Outcome, Settings, Snapshot, clean_former_status, evaluate, merge_class_status, merge_gateway_status,
    merge_listener_set_status, merge_policy_ancestors, merge_route_parents,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const LISTS: [&str; 10] = [
    "gatewayClasses",
    "gateways",
    "httpRoutes",
    "grpcRoutes",
    "tlsRoutes",
    "tcpRoutes",
    "udpRoutes",
    "listenerSets",
    "backendTLSPolicies",
    "referenceGrants",
];

/// All cases, each with the class that they leave out.
static CASES: LazyLock<Vec<Value>> = LazyLock::new(read_cases);

fn read_cases() -> Vec<Value> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let mut case: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let fields = case.as_object_mut().unwrap();
        fields.remove("settings");
        fields.remove("showResource");
        fields.entry("gatewayClasses").or_insert_with(|| {
            json!([{"metadata": {"name": "kubelb"}, "spec": {"controllerName": "kubelb.k8c.io/gateway-controller"}}])
        });
        let hub = fields.entry("hub").or_insert_with(|| json!({}));
        let hub = hub.as_object_mut().unwrap();
        hub.entry("state")
            .or_insert_with(|| json!({"allowedDomains": ["**"]}));
        case
    };
    paths.iter().map(read).collect()
}

fn snapshot(case: &Value) -> Snapshot {
    serde_json::from_value(case.clone()).unwrap()
}

fn run(case: &Value) -> Outcome {
    evaluate(&snapshot(case), &Settings::default())
}

/// A small generator of our own, so that one number shuffles everything.
fn next(seed: &mut u64) -> usize {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*seed >> 33).unwrap()
}

fn shuffle<T>(items: &mut [T], seed: &mut u64) {
    for i in (1..items.len()).rev() {
        items.swap(i, next(seed) % (i + 1));
    }
}

/// Replaces one value somewhere below `value`.
fn break_somewhere(value: &mut Value, with: &Value, seed: &mut u64) {
    let stop = next(seed).is_multiple_of(4);
    match value {
        Value::Object(fields) if !stop && !fields.is_empty() => {
            let at = next(seed) % fields.len();
            if let Some((_, inner)) = fields.iter_mut().nth(at) {
                break_somewhere(inner, with, seed);
            }
        }
        Value::Array(items) if !stop && !items.is_empty() => {
            let at = next(seed) % items.len();
            break_somewhere(&mut items[at], with, seed);
        }
        _ => *value = with.clone(),
    }
}

fn fragment() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(json!(0)),
        Just(json!(65_536)),
        Just(json!("")),
        Just(json!("*.")),
        Just(json!("*.\u{e9}")),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let key = prop_oneof![
            Just("name".to_owned()),
            Just("namespace".to_owned()),
            "[a-z]{1,6}"
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A TCP or UDP listener leads to one route.
fn one_route_a_listener(outcome: &Outcome) {
    let mut seen = BTreeSet::new();
    for route in outcome.routes.values() {
        let kind = route
            .spec
            .origin
            .as_ref()
            .map(|origin| origin.kind.clone())
            .unwrap_or_default();
        if !matches!(kind.as_str(), "TCPRoute" | "UDPRoute") {
            continue;
        }
        for parent in &route.spec.parents {
            for listener in &parent.listeners {
                let key = (
                    kind.clone(),
                    parent.kind,
                    parent.namespace.clone(),
                    parent.name.clone(),
                    listener.clone(),
                );
                assert!(seen.insert(key.clone()), "two routes on {key:?}");
            }
        }
    }
}

fn check(case: &Value, outcome: &Outcome) {
    one_route_a_listener(outcome);
    let held: BTreeSet<_> = outcome
        .routes
        .keys()
        .filter(|uid| outcome.hold.contains(*uid))
        .collect();
    assert!(held.is_empty(), "sent and held at once: {held:?}");
    assert!(
        !outcome.routes.contains_key("") && !outcome.hold.contains(""),
        "a Route without a name"
    );
    for route in outcome.routes.values() {
        let is_set = route.spec.gateway.is_some();
        assert!(
            route
                .spec
                .parents
                .iter()
                .all(|parent| parent.listeners.is_empty() == is_set)
        );
        assert!(
            route
                .spec
                .backends
                .iter()
                .all(|b| b.service.is_some() != b.invalid.is_some())
        );
    }
    merges_settle(case, outcome);
}

/// The second merge of a status changes nothing, whatever was there before.
fn merges_settle(existing: &Value, outcome: &Outcome) {
    let now = Time("2026-11-21T12:00:00Z".parse().unwrap());
    let settle = |merge: &dyn Fn(&Value) -> Option<Value>| {
        let merged = merge(existing).unwrap_or_else(|| existing.clone());
        assert_eq!(merge(&merged), None);
    };
    for (object, status) in &outcome.statuses.gateway_classes {
        settle(&|existing| merge_class_status(existing, status, object.generation, &now));
    }
    for (object, status) in &outcome.statuses.gateways {
        settle(&|existing| merge_gateway_status(existing, status, object.generation, &now));
    }
    for (_, status) in &outcome.statuses.former {
        settle(&|existing| clean_former_status(existing, status));
    }
    for (object, status) in &outcome.statuses.listener_sets {
        settle(&|existing| merge_listener_set_status(existing, status, object.generation, &now));
    }
    for (object, ancestors) in &outcome.statuses.policies {
        settle(&|existing| merge_policy_ancestors(existing, ancestors, "ours", object.generation, &now));
    }
    for (object, parents) in &outcome.statuses.routes {
        settle(&|existing| merge_route_parents(existing, parents, "ours", object.generation, &now));
    }
}

/// Objects with everything that is judged here and means nothing to the hub.
fn judged_here() -> Value {
    let selector = json!({"matchLabels": {"team": "a"}, "matchExpressions": [{"key": "team", "operator": "In", "values": ["a"]}]});
    let certificate = json!({"group": "", "kind": "Secret", "namespace": "certs", "name": "cert"});
    let allowed = |kind: &str| {
        json!({"namespaces": {"from": "Selector", "selector": selector},
            "kinds": [{"group": "gateway.networking.k8s.io", "kind": kind}]})
    };
    let listener = |name: &str, port: u16| {
        json!({"name": name, "port": port, "protocol": "HTTPS", "hostname": "a.example.com",
            "tls": {"certificateRefs": [certificate]}, "allowedRoutes": allowed("HTTPRoute")})
    };
    let parent = |kind: &str, namespace: &str, name: &str, section: &str| {
        json!({"group": "gateway.networking.k8s.io", "kind": kind, "namespace": namespace, "name": name,
            "sectionName": section})
    };
    let object = |namespace: &str, name: &str, spec: Value| json!({"metadata": {"namespace": namespace, "name": name, "uid": name, "generation": 1}, "spec": spec});
    let route = |reference: Value| {
        json!({"parentRefs": [reference], "hostnames": ["a.example.com"],
            "rules": [{"backendRefs": [{"namespace": "other", "name": "api", "port": 80}]}]})
    };
    let from = |kind: &str, namespace: &str| json!({"group": "gateway.networking.k8s.io", "kind": kind, "namespace": namespace});
    json!({
        "gatewayClasses": [{"metadata": {"name": "kubelb"}, "spec": {"controllerName": "kubelb.k8c.io/gateway-controller"}}],
        "gateways": [object("infra", "web", json!({
            "gatewayClassName": "kubelb",
            "listeners": [listener("https", 443)],
            "allowedListeners": {"namespaces": {"from": "Selector", "selector": selector}},
            "tls": {"backend": {"clientCertificateRef": certificate}},
        }))],
        "listenerSets": [object("shop", "more", json!({
            "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra", "name": "web"},
            "listeners": [listener("more", 8443)],
        }))],
        "httpRoutes": [
            object("shop", "on-gateway", route(parent("Gateway", "infra", "web", "https"))),
            object("shop", "on-set", route(parent("ListenerSet", "shop", "more", "more"))),
        ],
        "referenceGrants": [
            object("certs", "certs", json!({"from": [from("Gateway", "infra"), from("ListenerSet", "shop")],
                "to": [{"group": "", "kind": "Secret", "name": "cert"}]})),
            object("other", "services", json!({"from": [from("HTTPRoute", "shop")], "to": [{"group": "", "kind": "Service"}]})),
        ],
        "namespaces": [{"name": "shop", "labels": {"team": "a"}}],
        "secrets": [{"namespace": "certs", "name": "cert", "uid": "cert", "type": "kubernetes.io/tls"}],
        "services": [{"metadata": {"namespace": "other", "name": "api"},
            "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}}],
        "hub": {"state": {"allowedDomains": ["**"]}},
    })
}

/// Pointers to every object in what is judged here. In `matchLabels` any name may stand.
fn judged_places(value: &Value, at: &str, is_judged: bool, found: &mut Vec<String>) {
    const JUDGED: [&str; 6] = [
        "parentRefs",
        "parentRef",
        "allowedRoutes",
        "allowedListeners",
        "certificateRefs",
        "backend",
    ];
    match value {
        Value::Object(fields) => {
            if is_judged {
                found.push(at.to_owned());
            }
            for (name, child) in fields.iter().filter(|(name, _)| *name != "matchLabels") {
                let is_grant = at.starts_with("/referenceGrants/") && name == "spec";
                let is_judged = is_judged || is_grant || JUDGED.contains(&name.as_str());
                judged_places(child, &format!("{at}/{name}"), is_judged, found);
            }
        }
        Value::Array(items) => {
            for (index, child) in items.iter().enumerate() {
                judged_places(child, &format!("{at}/{index}"), is_judged, found);
            }
        }
        _ => {}
    }
}

/// All that is let in, in words.
fn let_in(outcome: &Outcome) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (uid, route) in &outcome.routes {
        for parent in &route.spec.parents {
            all.extend(
                parent
                    .listeners
                    .iter()
                    .map(|listener| format!("{uid} on {}/{listener}", parent.name)),
            );
        }
        for backend in route
            .spec
            .backends
            .iter()
            .filter(|backend| backend.service.is_some())
        {
            all.insert(format!("{uid} to {}", backend.pointer));
        }
        if let Some(gateway) = &route.spec.gateway {
            all.extend(gateway.listener_sets.then(|| format!("sets on {uid}")));
            all.extend(
                gateway
                    .backend_client_certificate
                    .iter()
                    .map(|name| format!("{uid} shows {name}")),
            );
            let certificates = gateway.listeners.iter().flat_map(|listener| {
                let of = move |name: &String| format!("{uid}/{} with {name}", listener.name);
                listener.certificates.iter().map(of)
            });
            all.extend(certificates);
        }
    }
    all
}

#[test]
fn a_field_that_nobody_knows_in_what_is_judged_here_lets_less_in_and_is_named() {
    let whole = judged_here();
    let before = let_in(&run(&whole));
    assert_eq!(before.len(), 8, "{before:?}");
    let mut places = Vec::new();
    judged_places(&whole, "", false, &mut places);
    assert!(places.len() > 25, "{places:?}");
    for at in places {
        let mut case = whole.clone();
        case.pointer_mut(&at).unwrap()["unheardOf"] = json!({"marker": true});
        let outcome = run(&case);
        let after = let_in(&outcome);
        assert!(after.is_subset(&before) && after != before, "{at}: {after:?}");
        let is_named = outcome
            .events
            .iter()
            .any(|event| event.message.contains(".unheardOf is not supported"));
        assert!(is_named, "{at}: {:?}", outcome.events);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_the_input_means_nothing(seed in any::<u64>()) {
        let mut seed = seed;
        for case in CASES.iter() {
            let mut shuffled = snapshot(case);
            shuffle(&mut shuffled.gateway_classes, &mut seed);
            shuffle(&mut shuffled.gateways, &mut seed);
            shuffle(&mut shuffled.http_routes, &mut seed);
            shuffle(&mut shuffled.grpc_routes, &mut seed);
            shuffle(&mut shuffled.tls_routes, &mut seed);
            shuffle(&mut shuffled.tcp_routes, &mut seed);
            shuffle(&mut shuffled.udp_routes, &mut seed);
            shuffle(&mut shuffled.listener_sets, &mut seed);
            shuffle(&mut shuffled.backend_tls_policies, &mut seed);
            shuffle(&mut shuffled.authorities, &mut seed);
            shuffle(&mut shuffled.endpoint_slices, &mut seed);
            shuffle(&mut shuffled.reference_grants, &mut seed);
            shuffle(&mut shuffled.secrets, &mut seed);
            shuffle(&mut shuffled.namespaces, &mut seed);
            shuffle(&mut shuffled.services, &mut seed);
            let outcome = evaluate(&shuffled, &Settings::default());
            prop_assert_eq!(run(case), outcome);
        }
    }

    #[test]
    fn whatever_an_object_holds_the_engine_answers_and_answers_the_same(
        seed in any::<u64>(),
        fragments in prop::collection::vec(fragment(), 1..4),
    ) {
        let mut seed = seed;
        for mut case in CASES.iter().cloned() {
            for with in &fragments {
                let list = LISTS[next(&mut seed) % LISTS.len()];
                if let Some(objects) = case.get_mut(list).and_then(Value::as_array_mut)
                    && !objects.is_empty()
                {
                    let at = next(&mut seed) % objects.len();
                    break_somewhere(&mut objects[at], with, &mut seed);
                }
            }
            let outcome = run(&case);
            prop_assert_eq!(&outcome, &run(&case));
            check(&fragments[0], &outcome);
        }
    }

    #[test]
    fn a_broken_object_does_not_touch_the_others(with in fragment()) {
        let good = json!({
            "gatewayClasses": [{"metadata": {"name": "kubelb"}, "spec": {"controllerName": "kubelb.k8c.io/gateway-controller"}}],
            "gateways": [{"metadata": {"namespace": "a", "name": "web", "uid": "gw", "generation": 1},
                "spec": {"gatewayClassName": "kubelb", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}}],
            "httpRoutes": [{"metadata": {"namespace": "a", "name": "r", "uid": "r", "generation": 1},
                "spec": {"parentRefs": [{"name": "web"}], "rules": []}}],
            "hub": {"state": {"allowedDomains": ["**"]}},
        });
        let mut with_broken = good.clone();
        let broken = json!({"metadata": {"namespace": "b", "name": "broken", "uid": "broken"}, "spec": with});
        for list in LISTS.iter().filter(|list| **list != "gatewayClasses") {
            let objects = with_broken.as_object_mut().unwrap().entry(*list).or_insert(json!([]));
            objects.as_array_mut().unwrap().push(broken.clone());
        }
        let (alone, together) = (run(&good), run(&with_broken));
        prop_assert_eq!(alone.routes.get("r"), together.routes.get("r"));
        prop_assert_eq!(alone.routes.get("gw"), together.routes.get("gw"));
        prop_assert_eq!(alone.statuses.gateways.first(), together.statuses.gateways.first());
    }
}
