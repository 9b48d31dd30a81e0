//! Which route serves a request where several match alike: the tenant's older one, whatever the hub's timestamps say.

use std::collections::BTreeSet;

use gateway_translator::{HubObject, Kind, translate};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::{Case, CaseRoute};

/// Host names of routes and of the Gateway's listeners.
const HOSTS: [&str; 4] = [
    "a.example.com",
    "b.a.example.com",
    "*.a.example.com",
    "*.example.com",
];
const PATHS: [&str; 3] = ["/", "/x", "/x/"];

#[derive(Debug, Clone)]
struct Drawn {
    minute: u8,
    hosts: BTreeSet<&'static str>,
    paths: Vec<Vec<&'static str>>,
    listeners: BTreeSet<usize>,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let paths = prop::collection::vec(prop::sample::select(PATHS.to_vec()), 0..3);
    (
        0_u8..4,
        prop::collection::btree_set(prop::sample::select(HOSTS.to_vec()), 0..3),
        prop::collection::vec(paths, 1..3),
        prop::collection::btree_set(0_usize..3, 1..4),
    )
        .prop_map(|(minute, hosts, paths, listeners)| Drawn {
            minute,
            hosts,
            paths,
            listeners,
        })
}

fn case(routes: &[Drawn], listeners: &[Option<&str>], hub: &[u8]) -> Case {
    let named: Vec<Value> = listeners
        .iter()
        .enumerate()
        .map(|(index, host)| {
            let mut listener = json!({"name": format!("l{index}"), "port": 80, "protocol": "HTTP"});
            if let Some(host) = host {
                listener["hostname"] = json!(host);
            }
            listener
        })
        .collect();
    let decisions: Vec<Value> = (0..listeners.len())
        .map(|index| json!({"name": format!("l{index}")}))
        .collect();
    let mut case = Case::default();
    case.routes.push(built(
        "Gateway",
        "edge",
        json!({"listeners": named}),
        json!({"gateway": {"listeners": decisions}}),
        0,
        0,
    ));
    for (index, route) in routes.iter().enumerate() {
        let rules: Vec<Value> = route.paths.iter().map(|paths| rule(paths)).collect();
        let attached: Vec<String> = route
            .listeners
            .iter()
            .filter(|l| **l < listeners.len())
            .map(|l| format!("l{l}"))
            .collect();
        let parents = json!({"parents": [{"scope": "Tenant", "namespace": "shop", "name": "edge", "listeners": attached}]});
        let spec = json!({"hostnames": route.hosts, "rules": rules});
        let created = hub.get(index).copied().unwrap_or_default();
        case.routes.push(built(
            "HTTPRoute",
            &format!("r{index}"),
            spec,
            parents,
            route.minute,
            created,
        ));
    }
    case
}

fn rule(paths: &[&str]) -> Value {
    let matches: Vec<Value> = paths
        .iter()
        .map(|path| json!({"path": {"type": "PathPrefix", "value": path}}))
        .collect();
    json!({"matches": matches})
}

fn built(kind: &str, name: &str, spec: Value, decided: Value, minute: u8, created: u8) -> CaseRoute {
    CaseRoute {
        resource: json!({"kind": kind, "metadata": {"name": name}, "spec": spec}),
        created,
        decided: decided.as_object().cloned().unwrap_or_default(),
        metadata: Map::new(),
        origin: json!({"creationTimestamp": format!("2026-01-01T00:{minute:02}:00Z")}),
    }
}

/// A listener, the host of its virtual host, and a path: what Envoy looks a request up by.
type Slot = (usize, Option<String>, String);

/// As Envoy Gateway computes it: the narrower of the two names, if they have hosts in common.
fn common(listener: Option<&str>, route: Option<&str>) -> Option<Option<String>> {
    let within = |outer: &str, inner: &str| {
        outer == inner
            || outer.strip_prefix('*').is_some_and(|suffix| {
                inner.trim_start_matches('*').len() > suffix.len() && inner.ends_with(suffix)
            })
    };
    match (listener, route) {
        (None, other) | (other, None) => Some(other.map(str::to_owned)),
        (Some(l), Some(r)) if within(l, r) => Some(Some(r.to_owned())),
        (Some(l), Some(r)) if within(r, l) => Some(Some(l.to_owned())),
        _ => None,
    }
}

fn path_key(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    }
}

fn slots(listener: usize, of: Option<&str>, hosts: &[Option<&str>], paths: &[Vec<&str>]) -> BTreeSet<Slot> {
    let hosts = hosts.iter().filter_map(|host| common(of, *host));
    hosts
        .flat_map(|host| {
            paths.iter().flat_map(move |paths| {
                let all: Vec<String> = if paths.is_empty() {
                    vec!["/".to_owned()]
                } else {
                    paths.iter().map(|path| path_key(path)).collect()
                };
                let host = host.clone();
                all.into_iter().map(move |path| (listener, host.clone(), path))
            })
        })
        .collect()
}

fn slots_of_hub(object: &HubObject, listeners: &[Option<&str>]) -> BTreeSet<Slot> {
    let texts = |pointer: &str| -> Vec<String> {
        let list = object.value.pointer(pointer).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect()
    };
    let hosts = texts("/spec/hostnames");
    let hosts: Vec<Option<&str>> = if hosts.is_empty() {
        vec![None]
    } else {
        hosts.iter().map(|host| Some(host.as_str())).collect()
    };
    let rules = object.value["spec"]["rules"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let paths: Vec<Vec<&str>> = rules
        .iter()
        .map(|rule| {
            let matches = rule["matches"].as_array();
            matches
                .into_iter()
                .flatten()
                .filter_map(|m| m["path"]["value"].as_str())
                .collect()
        })
        .collect();
    let refs = object.value["spec"]["parentRefs"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    refs.iter()
        .flat_map(|reference| {
            let section = reference["sectionName"].as_str().unwrap_or_default();
            let index: usize = section.trim_start_matches('l').parse().unwrap();
            slots(index, listeners[index], &hosts, &paths)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_tenants_older_route_holds_a_match_whatever_the_hubs_timestamps(
        routes in prop::collection::vec(drawn(), 2..5),
        listeners in prop::sample::subsequence(vec![None, Some("*.a.example.com"), Some("*.example.com"), Some("a.example.com")], 1..4),
        hub in prop::collection::vec(0_u8..50, 8),
    ) {
        let routes: Vec<Drawn> = routes.into_iter()
            .filter(|route| route.listeners.iter().any(|l| *l < listeners.len()))
            .collect();
        let settings = case(&routes, &listeners, &hub).settings();
        let output = translate(&case(&routes, &listeners, &hub).input(), &settings);
        let again = translate(&case(&routes, &listeners, &[]).input(), &settings);
        let objects = |output: &gateway_translator::Output| output.objects.iter().cloned().collect::<Vec<_>>();
        prop_assert_eq!(objects(&output), objects(&again), "the hub's timestamps decide nothing");

        let mut served: Vec<(Slot, String)> = Vec::new();
        for object in output.objects.of(Kind::HttpRoute) {
            let origin = object.value["metadata"]["annotations"]["kubelb.k8c.io/origin-name"].as_str().unwrap();
            served.extend(slots_of_hub(object, &listeners).into_iter().map(|slot| (slot, origin.to_owned())));
        }
        // Nobody else has what somebody has.
        for (slot, origin) in &served {
            for (other, rival) in &served {
                prop_assert!(slot != other || origin == rival, "{slot:?}: {origin} and {rival}");
            }
        }
        // Whoever has it wanted it first: more exactly by name, then by age.
        for (slot, origin) in &served {
            let (listener, _, _) = slot;
            let wanted = routes.iter().enumerate().flat_map(|(index, route)| {
                let hosts: Vec<Option<&str>> = if route.hosts.is_empty() {
                    vec![None]
                } else {
                    route.hosts.iter().map(|host| Some(*host)).collect()
                };
                hosts.into_iter().map(move |host| (index, route, host))
            });
            let first = wanted
                .filter(|(_, route, host)| route.listeners.contains(listener)
                    && slots(*listener, listeners[*listener], &[*host], &route.paths).contains(slot))
                .min_by_key(|(index, route, host)| {
                    let exact = host.map_or((false, 0), |host| (!host.starts_with('*'), host.len()));
                    (std::cmp::Reverse(exact), route.minute, *index)
                })
                .map(|(index, _, _)| format!("r{index}"));
            prop_assert_eq!(first.as_deref(), Some(origin.as_str()), "{:?}", slot);
        }
    }
}
