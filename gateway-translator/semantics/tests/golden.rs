//! One case per behaviour: `cases/<sentence>.in.yaml` in, a reviewed snapshot out.
//!
//! A case holds a snapshot; what nearly all of them need is filled in: the class `kubelb`, a TenantState that
//! allows every host name, a `uid` (`<kind>/<namespace>/<name>`) and generation 1. `null` for `hub.state` means that
//! the hub is silent. Where an object carries a status, the merged status is shown too, whole.

#![expect(clippy::unwrap_used, reason = "a test whose input cannot be read has failed")]

use std::collections::{BTreeMap, BTreeSet};

use api::condition::ConditionValue;
use gateway_semantics::{
    AncestorStatus, DesiredRoute, FormerStatus, GatewayStatus, ListenerSetStatus, ListenerStatus, ObjectRef,
    Outcome, ParentStatus, SUPPORTED_FEATURES, Settings, Snapshot, clean_former_status, evaluate,
    merge_class_status, merge_gateway_status, merge_listener_set_status, merge_policy_ancestors,
    merge_route_parents,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

const LISTS: [(&str, &str); 14] = [
    ("gatewayClasses", "GatewayClass"),
    ("gateways", "Gateway"),
    ("httpRoutes", "HTTPRoute"),
    ("grpcRoutes", "GRPCRoute"),
    ("tlsRoutes", "TLSRoute"),
    ("tcpRoutes", "TCPRoute"),
    ("udpRoutes", "UDPRoute"),
    ("listenerSets", "ListenerSet"),
    ("backendTLSPolicies", "BackendTLSPolicy"),
    ("referenceGrants", "ReferenceGrant"),
    ("services", "Service"),
    ("secrets", "Secret"),
    ("endpointSlices", "EndpointSlice"),
    ("authorities", "Authority"),
];

#[test]
fn every_case_gives_what_was_reviewed() {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::glob!("../cases", "*.in.yaml", |path| {
            let text = std::fs::read_to_string(path).unwrap();
            let mut case: Value = serde_saphyr::from_str(&text).unwrap();
            let settings = case.as_object_mut().unwrap().remove("settings");
            let show_resource = case.as_object_mut().unwrap().remove("showResource").is_some();
            let settings: Settings = settings.map_or_else(Settings::default, |s| serde_json::from_value(s).unwrap());
            fill(&mut case);
            let snapshot: Snapshot = serde_json::from_value(case.clone()).unwrap();
            let outcome = evaluate(&snapshot, &settings);
            insta::assert_yaml_snapshot!(show(&case, &outcome, &settings, show_resource));
        });
    });
}

fn fill(case: &mut Value) {
    let case = case.as_object_mut().unwrap();
    let class = json!([{"metadata": {"name": "kubelb"},
        "spec": {"controllerName": api::meta::GATEWAY_CONTROLLER_NAME}}]);
    case.entry("gatewayClasses").or_insert(class);
    let hub = case
        .entry("hub")
        .or_insert_with(|| json!({}))
        .as_object_mut()
        .unwrap();
    let state = hub.entry("state").or_insert_with(|| json!({}));
    if let Some(state) = state.as_object_mut() {
        state.entry("allowedDomains").or_insert_with(|| json!(["**"]));
    }
    for (list, kind) in LISTS {
        let objects = case.get_mut(list).and_then(Value::as_array_mut);
        for object in objects.into_iter().flatten() {
            let is_secret = matches!(kind, "Secret" | "Authority");
            let metadata = if is_secret {
                object.as_object_mut()
            } else {
                object["metadata"].as_object_mut()
            };
            let Some(metadata) = metadata else { continue };
            let text = |key: &str| {
                metadata
                    .get(key)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let uid = format!("{kind}/{}/{}", text("namespace"), text("name"));
            metadata.entry("uid").or_insert(json!(uid));
            if !is_secret {
                metadata.entry("generation").or_insert(json!(1));
            }
        }
    }
}

fn show(case: &Value, outcome: &Outcome, settings: &Settings, show_resource: bool) -> Value {
    let Outcome {
        statuses,
        routes,
        hold,
        shadow_services,
        gateway_services,
        endpoint_slices,
        sync_secrets,
        provisional: _,
        authorities,
        events,
    } = outcome;
    let mut out = Map::new();
    let classes = statuses.gateway_classes.iter().map(|(object, status)| {
        let merge = |existing: &Value| merge_class_status(existing, status, object.generation, &now());
        assert_eq!(status.supported_features, SUPPORTED_FEATURES);
        let wanted = json!({"conditions": conditions(&status.conditions)});
        shown(case, "gatewayClasses", object, wanted, merge)
    });
    put(&mut out, "gatewayClasses", classes.collect::<Map<_, _>>().into());
    let gateways = statuses.gateways.iter().map(|(object, status)| {
        let merge = |existing: &Value| merge_gateway_status(existing, status, object.generation, &now());
        shown(case, "gateways", object, show_gateway(status), merge)
    });
    put(&mut out, "gateways", gateways.collect::<Map<_, _>>().into());
    let former = statuses.former.iter().map(|(object, status)| {
        let merge = |existing: &Value| clean_former_status(existing, status);
        let list = match object.kind.as_str() {
            "Gateway" => "gateways",
            _ => "listenerSets",
        };
        shown(case, list, object, show_former(status), merge)
    });
    put(&mut out, "former", former.collect::<Map<_, _>>().into());
    let sets = statuses.listener_sets.iter().map(|(object, status)| {
        let merge = |existing: &Value| merge_listener_set_status(existing, status, object.generation, &now());
        shown(case, "listenerSets", object, show_listener_set(status), merge)
    });
    put(&mut out, "listenerSets", sets.collect::<Map<_, _>>().into());
    let policies = statuses.policies.iter().map(|(object, ancestors)| {
        let name = &settings.controller_name;
        let merge =
            |existing: &Value| merge_policy_ancestors(existing, ancestors, name, object.generation, &now());
        let wanted = ancestors.iter().map(show_ancestor).collect();
        shown(case, "backendTLSPolicies", object, wanted, merge)
    });
    put(&mut out, "ancestors", policies.collect::<Map<_, _>>().into());
    let parents = statuses.routes.iter().map(|(object, parents)| {
        let name = &settings.controller_name;
        let merge =
            |existing: &Value| merge_route_parents(existing, parents, name, object.generation, &now());
        let list = LISTS
            .iter()
            .find(|(_, kind)| *kind == object.kind.as_str())
            .unwrap()
            .0;
        shown(
            case,
            list,
            object,
            parents.iter().map(show_parent).collect(),
            merge,
        )
    });
    put(&mut out, "parents", parents.collect::<Map<_, _>>().into());
    let routes = routes
        .iter()
        .map(|(uid, route)| (uid.clone(), show_route(route, show_resource)));
    put(&mut out, "routes", routes.collect::<Map<_, _>>().into());
    put(&mut out, "hold", json!(hold));
    put(
        &mut out,
        "shadowServices",
        serde_json::to_value(shadow_services).unwrap(),
    );
    put(
        &mut out,
        "gatewayServices",
        serde_json::to_value(gateway_services).unwrap(),
    );
    put(
        &mut out,
        "endpointSlices",
        serde_json::to_value(endpoint_slices).unwrap(),
    );
    let authorities = authorities
        .iter()
        .map(|a| format!("{} = {} {}/{}", a.sync_name, a.kind, a.namespace, a.name));
    put(&mut out, "authorities", authorities.collect());
    let secrets = sync_secrets
        .iter()
        .map(|s| format!("{} = {}/{}", s.uid, s.namespace, s.name));
    put(&mut out, "syncSecrets", secrets.collect());
    let events = events
        .iter()
        .map(|e| format!("{} {} {}: {}", e.type_.as_str(), e.object, e.reason, e.message));
    put(&mut out, "events", events.collect());
    Value::Object(out)
}

fn put(out: &mut Map<String, Value>, key: &str, value: Value) {
    let empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
    if !empty {
        out.insert(key.to_owned(), value);
    }
}

fn shown(
    case: &Value,
    list: &str,
    object: &ObjectRef,
    wanted: Value,
    merge: impl Fn(&Value) -> Option<Value>,
) -> (String, Value) {
    let existing = case[list]
        .as_array()
        .into_iter()
        .flatten()
        .find(|raw| raw["metadata"]["uid"] == object.uid);
    let existing = existing.map_or(Value::Null, |raw| raw["status"].clone());
    let merged = merge(&existing).unwrap_or_else(|| existing.clone());
    assert_eq!(
        merge(&merged),
        None,
        "a second merge must change nothing: {object}"
    );
    let name = if list == "gatewayClasses" {
        object.name.clone()
    } else {
        object.to_string()
    };
    if existing.is_null() {
        (name, wanted)
    } else {
        (name, json!({"wanted": wanted, "merged": merged}))
    }
}

fn now() -> Time {
    Time("2026-11-21T12:00:00Z".parse().unwrap())
}

fn conditions(conditions: &[ConditionValue]) -> Value {
    let line = |c: &ConditionValue| format!("{}={} {}: {}", c.type_, c.status.as_str(), c.reason, c.message);
    conditions.iter().map(line).collect()
}

fn show_gateway(status: &GatewayStatus) -> Value {
    let GatewayStatus {
        conditions: list,
        addresses,
        listeners,
        attached_listener_sets,
    } = status;
    let mut out = Map::new();
    put(&mut out, "conditions", conditions(list));
    put(
        &mut out,
        "addresses",
        addresses
            .iter()
            .map(|a| format!("{} {}", a.type_, a.value))
            .collect(),
    );
    let listeners: BTreeMap<_, _> = listeners.iter().map(show_listener).collect();
    put(&mut out, "listeners", json!(listeners));
    if let Some(count) = attached_listener_sets {
        out.insert("attachedListenerSets".to_owned(), json!(count));
    }
    Value::Object(out)
}

fn show_former(status: &FormerStatus) -> Value {
    let FormerStatus {
        resource_version,
        conditions,
        listeners,
        fields,
    } = status;
    json!({"resourceVersion": resource_version, "conditions": conditions, "listeners": listeners, "fields": fields})
}

fn show_listener_set(status: &ListenerSetStatus) -> Value {
    let ListenerSetStatus {
        conditions: list,
        listeners,
    } = status;
    let mut out = Map::new();
    put(&mut out, "conditions", conditions(list));
    let listeners: BTreeMap<_, _> = listeners.iter().map(show_listener).collect();
    put(&mut out, "listeners", json!(listeners));
    Value::Object(out)
}

fn show_ancestor(status: &AncestorStatus) -> Value {
    let AncestorStatus {
        ancestor_ref,
        conditions: list,
    } = status;
    json!({"ancestorRef": ancestor_ref, "conditions": conditions(list)})
}

fn show_listener(status: &ListenerStatus) -> (String, Value) {
    let ListenerStatus {
        name,
        supported_kinds,
        attached_routes,
        conditions: list,
    } = status;
    let kinds: Vec<_> = supported_kinds.iter().map(|kind| kind.as_str()).collect();
    let shown =
        json!({"kinds": kinds.join(" "), "attachedRoutes": attached_routes, "conditions": conditions(list)});
    (name.clone(), shown)
}

fn show_parent(status: &ParentStatus) -> Value {
    let ParentStatus {
        parent_ref,
        conditions: list,
    } = status;
    json!({"parentRef": parent_ref, "conditions": conditions(list)})
}

fn show_route(route: &DesiredRoute, show_resource: bool) -> Value {
    let DesiredRoute {
        labels,
        annotations,
        spec,
    } = route;
    let mut spec = serde_json::to_value(spec).unwrap();
    if show_resource {
        return json!({"labels": labels, "annotations": annotations, "spec": spec});
    }
    spec.as_object_mut().unwrap().remove("source");
    spec.as_object_mut().unwrap().remove("origin");
    spec
}

/// Whatever may be said is said in some case, be it in the hub's words.
#[test]
fn every_reason_occurs_in_some_case() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let snapshots: String = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let said: BTreeSet<&str> = snapshots.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let constant = |line: &'static str| line.strip_prefix("pub(crate) const ")?.split('"').nth(1);
    let of_hub = |line: &'static str| line.strip_prefix("    \"")?.strip_suffix("\",");
    let reasons: Vec<&str> = include_str!("../src/reason.rs")
        .lines()
        .filter_map(|line| constant(line).or_else(|| of_hub(line)))
        .collect();
    assert!(
        reasons.contains(&"NotAccepted") && reasons.contains(&"NotAllowed"),
        "{reasons:?}"
    );
    let missing: Vec<_> = reasons.iter().filter(|reason| !said.contains(*reason)).collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
}

/// The conformance suite takes the features from the class, and asks for them sorted.
#[test]
fn the_features_are_sorted_and_named_once() {
    let mut sorted = SUPPORTED_FEATURES.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted, SUPPORTED_FEATURES);
}
