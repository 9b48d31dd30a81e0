//! What holds for every input: no panic, one result, nothing but known fields, one holder a host name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::{Case, CaseRoute, describe};
use api::v1alpha1::{GatewayReference, Route, SharedGateway, SharedListener};
use gateway_translator::{Claimant, Kind, Settings, claims, facts, translate};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A document with every field that is served.
fn rich_case() -> Case {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/");
    let mut case = Case::default();
    for name in [
        "every-field-of-an-http-route-that-is-served-survives",
        "every-field-of-a-grpc-route-that-is-served-survives",
        "certificates-become-the-hubs-secrets",
        "a-gateway-keeps-ports-names-and-hostnames",
        "addresses-outside-the-allowed-ranges-are-left-out",
    ] {
        let text = std::fs::read_to_string(format!("{path}{name}.in.yaml")).unwrap();
        let part: Case = serde_saphyr::from_str(&text).unwrap();
        case.addresses.extend(part.addresses);
        case.sync_secrets.extend(part.sync_secrets);
        for mut route in part.routes {
            let suffix = format!(
                "{}-{}",
                route.resource["metadata"]["name"].as_str().unwrap(),
                case.routes.len()
            );
            route.resource["metadata"]["name"] = json!(suffix);
            case.routes.push(route);
        }
    }
    case
}

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("rules".to_owned()),
        Just("filters".to_owned()),
        Just("backendRefs".to_owned()),
        Just("hostnames".to_owned()),
        Just("listeners".to_owned()),
        Just("name".to_owned()),
        Just("type".to_owned()),
        Just("URLRewrite".to_owned()),
        "\\PC{0,12}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(word.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn route(kind: &str, name: &str, spec: Value, decided: Value) -> CaseRoute {
    CaseRoute {
        resource: json!({"kind": kind, "metadata": {"name": name}, "spec": spec}),
        created: 0,
        decided: decided.as_object().cloned().unwrap_or_default(),
        metadata: serde_json::Map::new(),
        origin: json!({}),
    }
}

/// Pointers to every object in a spec, but in what others read and that is never passed on.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    const UNUSED: [&str; 4] = ["parentRefs", "allowedRoutes", "certificateRefs", "metadata"];
    match value {
        Value::Object(fields) => {
            found.push(at.to_owned());
            for (name, child) in fields.iter().filter(|(name, _)| !UNUSED.contains(&name.as_str())) {
                places(child, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, child) in items.iter().enumerate() {
                places(child, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn no_resource_makes_it_panic(
        spec in any_json(),
        kind in prop::sample::select(vec![
            "Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute", "Ingress",
        ]),
        hosts in prop::collection::vec("\\PC{0,20}", 0..3),
    ) {
        let decided = json!({
            "gateway": {"listeners": [{"name": "name"}]},
            "parents": [{"scope": "Tenant", "namespace": "shop", "name": "edge", "listeners": hosts}],
        });
        let mut case = rich_case();
        case.routes.push(route(kind, "any", spec, decided));
        let (input, settings) = (case.input(), case.settings());
        let output = translate(&input, &settings);
        prop_assert_eq!(output.verdicts.len(), case.routes.len());
        // The others do not care.
        prop_assert!(output.verdicts.iter().all(|(name, v)| name == "uid-shop-any" || v.is_accepted()));
        let told = facts(&input, &output.verdicts, &Default::default());
        prop_assert_eq!(told.len(), output.verdicts.len());
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(seed in any::<u64>()) {
        let mut case = rich_case();
        case.settings = serde_json::from_value(json!({"limits": {"gateways": 1, "routes": 1}})).unwrap();
        let mut input = case.input();
        let first = translate(&input, &case.settings());
        prop_assert_eq!(&first, &translate(&input, &case.settings()));
        shuffle(&mut input.routes, seed);
        shuffle(&mut input.addresses, seed);
        shuffle(&mut input.sync_secrets, seed);
        let again = translate(&input, &case.settings());
        prop_assert_eq!(describe(&first).to_string(), describe(&again).to_string());
    }

    #[test]
    fn a_field_that_nobody_knows_is_refused_wherever_it_is(
        which in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        field in prop::sample::select(vec![
            "extensionRef", "externalAuth", "sessionPersistence", "parametersRef", "frontend", "patch", "unheardOf",
            "useDefaultGateways", "serviceAccountName", "",
        ]),
    ) {
        let mut case = rich_case();
        let index = which.index(case.routes.len());
        let spec = &mut case.routes[index].resource["spec"];
        let mut found = Vec::new();
        places(spec, "", &mut found);
        let at = place.get(&found).clone();
        spec.pointer_mut(&at).unwrap()[field] = json!({"marker": "SMUGGLED"});
        let output = translate(&case.input(), &case.settings());
        let name = format!("uid-shop-{}", case.routes[index].resource["metadata"]["name"].as_str().unwrap());
        let verdict = &output.verdicts[&name];
        prop_assert!(!verdict.is_accepted() || !verdict.refused_listeners.is_empty(), "{at}/{field}: {verdict:?}");
        let made = describe(&output)["objects"].to_string();
        prop_assert!(!made.contains("SMUGGLED"), "{at}/{field}");
    }

    #[test]
    fn no_two_tenants_hold_names_that_overlap(
        wanted in prop::collection::vec((0_usize..3, 0_u8..6, "(\\*\\.)?([ab]\\.){0,2}c"), 1..14),
    ) {
        let settings = shared_settings();
        let tenants: Vec<Vec<Arc<Route>>> = (0..3).map(|tenant| {
            let own = wanted.iter().enumerate().filter(|(_, (owner, _, _))| *owner == tenant);
            own.map(|(index, (_, created, host))| Arc::new(claim(&format!("r{index}"), *created, host))).collect()
        }).collect();
        let names = ["tenant-0", "tenant-1", "tenant-2"];
        let claimants = || tenants.iter().zip(names).map(|(routes, namespace)| Claimant { namespace, settings: &settings, routes });
        let table = claims(claimants());
        let reversed: Vec<_> = claimants().collect();
        prop_assert_eq!(&table, &claims(reversed.into_iter().rev()));
        let gateway = GatewayReference { namespace: "shared".into(), name: "gate".into() };
        let held: Vec<(usize, &str)> = wanted.iter()
            .filter(|(tenant, _, host)| table.holds(names[*tenant], &gateway, host))
            .map(|(tenant, _, host)| (*tenant, host.as_str()))
            .collect();
        for (one, host) in &held {
            for (other, rival) in &held {
                prop_assert!(one == other || !overlap(host, rival), "{host} and {rival}");
            }
        }
        // Whoever lost lost to somebody who holds an overlapping name.
        for (tenant, _, host) in &wanted {
            let held_by_itself = table.holds(names[*tenant], &gateway, host);
            let lost = held.iter().any(|(other, rival)| other != tenant && overlap(host, rival));
            prop_assert!(held_by_itself != lost, "{host}");
        }
    }
}

fn shuffle<T>(list: &mut [T], seed: u64) {
    let length = list.len();
    for index in 1..length {
        let other = usize::try_from(
            seed.wrapping_mul(6_364_136_223_846_793_005)
                .rotate_left(index as u32)
                % (index as u64 + 1),
        );
        list.swap(index, other.unwrap());
    }
}

fn shared_settings() -> Settings {
    let listener = SharedListener {
        name: "http".into(),
        port: 80_i32.try_into().unwrap(),
        protocol: "HTTP".into(),
        hostname: None,
        kinds: Vec::new(),
    };
    let gateway = SharedGateway {
        namespace: "shared".into(),
        name: "gate".into(),
        listeners: vec![listener],
        ..SharedGateway::default()
    };
    Settings {
        allowed_domains: vec!["**".into()],
        shared_gateways: vec![gateway],
        ..Settings::default()
    }
}

fn claim(name: &str, created: u8, host: &str) -> Route {
    let parents =
        json!({"parents": [{"scope": "Hub", "namespace": "shared", "name": "gate", "listeners": ["http"]}]});
    CaseRoute {
        created,
        ..route("HTTPRoute", name, json!({"hostnames": [host]}), parents)
    }
    .build()
}

/// As the Gateway API defines it, written the slow way.
fn overlap(one: &str, other: &str) -> bool {
    match (one.strip_prefix("*."), other.strip_prefix("*.")) {
        (None, None) => one == other,
        (Some(domain), None) => other.ends_with(&format!(".{domain}")),
        (None, Some(domain)) => one.ends_with(&format!(".{domain}")),
        (Some(a), Some(b)) => a == b || a.ends_with(&format!(".{b}")) || b.ends_with(&format!(".{a}")),
    }
}

#[test]
fn a_freed_host_name_names_the_tenants_to_look_at_again() {
    let settings = shared_settings();
    let (first, second) = (
        vec![Arc::new(claim("a", 1, "x.c"))],
        vec![Arc::new(claim("b", 2, "x.c"))],
    );
    let second = Claimant {
        namespace: "tenant-1",
        settings: &settings,
        routes: &second,
    };
    let before = claims([
        Claimant {
            namespace: "tenant-0",
            settings: &settings,
            routes: &first,
        },
        second,
    ]);
    let after = claims([second]);
    let changed: Vec<String> = before.changed_namespaces(&after).into_iter().collect();
    assert_eq!(changed, ["tenant-0", "tenant-1"]);
    assert!(after.changed_namespaces(&after).is_empty());
}

#[test]
fn a_tenant_cannot_claim_what_it_may_not_use() {
    let settings = Settings {
        allowed_domains: vec!["**.d".into()],
        ..shared_settings()
    };
    let routes = vec![Arc::new(claim("a", 1, "x.c"))];
    let table = claims([Claimant {
        namespace: "tenant-0",
        settings: &settings,
        routes: &routes,
    }]);
    let gateway = GatewayReference {
        namespace: "shared".into(),
        name: "gate".into(),
    };
    assert!(!table.holds("tenant-0", &gateway, "x.c"));
}

#[test]
fn a_changed_node_changes_endpoint_slices_only() {
    let mut case = rich_case();
    let before = translate(&case.input(), &case.settings());
    case.addresses = BTreeMap::from([(
        "default".to_owned(),
        vec![serde_json::from_value(json!({"ip": "10.9.9.9"})).unwrap()],
    )]);
    let after = translate(&case.input(), &case.settings());
    let changed = before
        .objects
        .iter()
        .zip(after.objects.iter())
        .filter(|(a, b)| a != b);
    let kinds: Vec<&str> = changed.map(|(a, _)| a.key.kind.as_str()).collect();
    assert!(
        !kinds.is_empty() && kinds.iter().all(|kind| *kind == "EndpointSlice"),
        "{kinds:?}"
    );
}

#[test]
fn more_than_a_thousand_addresses_need_more_than_one_slice() {
    let mut case = rich_case();
    let address = |i: usize| {
        serde_json::from_value(json!({"ip": format!("10.1.{}.{}", i / 200, i % 200 + 1)})).unwrap()
    };
    case.addresses = BTreeMap::from([("default".to_owned(), (0..1001).map(address).collect())]);
    let output = translate(&case.input(), &case.settings());
    let slices = output
        .objects
        .of(Kind::EndpointSlice)
        .map(|s| s.value["endpoints"].as_array().unwrap().len());
    let service = output.objects.of(Kind::Service).count();
    assert_eq!(slices.sum::<usize>(), service * 1001);
    assert_eq!(output.objects.of(Kind::EndpointSlice).count(), service * 2);
    assert!(
        output
            .objects
            .of(Kind::EndpointSlice)
            .any(|s| s.key.name.ends_with("-ipv4-1"))
    );
}
