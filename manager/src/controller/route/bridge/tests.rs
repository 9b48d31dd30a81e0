use kube::core::{ApiResource, GroupVersionKind};

use super::*;

const GONE: &str = "gone";

fn kind(kind: &str, generation: i64, rules: &[Value]) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind,
        "metadata": {"namespace": "t", "name": "web", "labels": {"ours": "yes"},
            "annotations": {"source-generation": generation.to_string()}},
        "spec": {"parentRefs": [{"name": "edge"}], "hostnames": ["a.example.com"], "rules": rules}})
}

fn rule(backend: &str) -> Value {
    json!({"backendRefs": [{"name": backend, "port": 80}]})
}

fn route(generation: i64, backend: &str) -> Value {
    kind("HTTPRoute", generation, &[rule(backend)])
}

fn with_never(backends: &[(&str, i64)], matches: Value) -> Value {
    let reference = |(name, weight): &(&str, i64)| json!({"group": "", "kind": "Service", "name": name, "port": 80, "weight": weight});
    let references: Vec<Value> = backends.iter().map(reference).collect();
    json!({"name": "kubelb-bridge", "matches": matches, "backendRefs": references})
}

fn bridge(backends: &[(&str, i64)]) -> Value {
    let header = json!({"type": "RegularExpression", "name": "x-kubelb-bridge", "value": "[^\\s\\S]"});
    with_never(
        backends,
        json!([{"path": {"type": "Exact", "value": "/"}, "headers": [header]}]),
    )
}

fn bridged(generation: i64, backend: &str, backends: &[(&str, i64)]) -> Value {
    kind("HTTPRoute", generation, &[rule(backend), bridge(backends)])
}

/// As the API server shows what was written, with what others wrote to it.
fn live(value: &Value) -> Value {
    let mut value = value.clone();
    value["metadata"]["generation"] = 7.into();
    value["metadata"]["uid"] = "uid".into();
    value["metadata"]["labels"]["theirs"] = "yes".into();
    value["metadata"]["annotations"][HASH_ANNOTATION] = "hash".into();
    value
}

fn confirmed(value: &Value, generation: i64) -> Value {
    let mut value = live(value);
    let condition = json!({"type": "Accepted", "status": "True", "observedGeneration": generation});
    value["status"]["parents"] = json!([{"conditions": [condition]}]);
    value
}

/// A route over time.
struct Story {
    memory: Memory,
    start: Instant,
}

impl Story {
    fn new() -> Self {
        Self {
            memory: Memory::default(),
            start: Instant::now(),
        }
    }

    fn at(&mut self, millis: u64, desired: &Value, live: &Value) -> (Step, Option<u64>) {
        let now = self.start + Duration::from_millis(millis);
        let (step, due_in) = step(desired, live, |name| name != GONE, &mut self.memory, now);
        (step, due_in.map(|due_in| due_in.as_millis() as u64))
    }
}

#[test]
fn a_new_backend_is_warmed_first_in_the_route_as_it_is() {
    let (step, due_in) = Story::new().at(0, &route(2, "b"), &live(&route(1, "a")));
    // No more than this: neither the other's label, nor the hash, nor the uid.
    assert_eq!(step, Step::Warm(bridged(1, "a", &[("b", 1)])));
    assert_eq!(due_in, Some(2000));
}

#[test]
fn a_route_waits_until_envoy_gateway_has_confirmed_its_backend_and_a_moment_longer() {
    let (mut story, warming, desired) = (Story::new(), bridged(1, "a", &[("b", 1)]), route(2, "b"));
    story.at(0, &desired, &live(&route(1, "a")));
    assert_eq!(
        story.at(20, &desired, &confirmed(&warming, 6)),
        (Step::Wait, Some(1980))
    );
    assert_eq!(
        story.at(100, &desired, &confirmed(&warming, 7)),
        (Step::Wait, Some(300))
    );
    assert_eq!(
        story.at(399, &desired, &confirmed(&warming, 7)),
        (Step::Wait, Some(1))
    );
    let switched = Step::Drain(bridged(2, "b", &[("a", 2)]));
    assert_eq!(story.at(400, &desired, &confirmed(&warming, 7)).0, switched);
    // The hub refuses it, or the watch does not show it yet: not back to waiting.
    assert_eq!(story.at(410, &desired, &confirmed(&warming, 7)).0, switched);
}

#[test]
fn one_parent_that_was_not_looked_at_is_waited_for() {
    let (mut story, desired) = (Story::new(), route(2, "b"));
    let mut warming = confirmed(&bridged(1, "a", &[("b", 1)]), 7);
    let seen = warming["status"]["parents"][0].clone();
    warming["status"]["parents"] = json!([seen, {"conditions": []}]);
    story.at(0, &desired, &warming);
    assert_eq!(story.at(400, &desired, &warming).0, Step::Wait);
}

#[test]
fn a_route_goes_on_after_two_seconds_without_envoy_gateway() {
    let (mut story, warming, desired) = (Story::new(), bridged(1, "a", &[("b", 1)]), route(2, "b"));
    story.at(0, &desired, &live(&route(1, "a")));
    assert_eq!(story.at(1999, &desired, &live(&warming)), (Step::Wait, Some(1)));
    let switched = Step::Drain(bridged(2, "b", &[("a", 2)]));
    assert_eq!(story.at(2000, &desired, &live(&warming)).0, switched);
}

#[test]
fn a_hub_that_refuses_bridges_gets_the_route_without_one_in_the_end() {
    let (mut story, desired, present) = (Story::new(), route(2, "b"), live(&route(1, "a")));
    assert!(matches!(story.at(0, &desired, &present).0, Step::Warm(_)));
    assert!(matches!(story.at(2000, &desired, &present).0, Step::Drain(_)));
    assert_eq!(story.at(5000, &desired, &present), (Step::AsDesired, None));
}

#[test]
fn a_switched_route_names_its_old_backend_for_five_seconds_and_then_lets_go() {
    let (mut story, desired) = (Story::new(), route(2, "b"));
    let switched = bridged(2, "b", &[("a", 2)]);
    let warming = confirmed(&bridged(1, "a", &[("b", 1)]), 7);
    story.at(0, &desired, &warming);
    story.at(300, &desired, &warming);
    // From when it is live.
    let live = live(&switched);
    assert_eq!(
        story.at(400, &desired, &live),
        (Step::Drain(switched.clone()), Some(5000))
    );
    assert_eq!(story.at(5399, &desired, &live), (Step::Drain(switched), Some(1)));
    assert_eq!(story.at(5400, &desired, &live), (Step::AsDesired, None));
    // And does not begin anew while it is not written.
    assert_eq!(story.at(5500, &desired, &live), (Step::AsDesired, None));
}

#[test]
fn switching_back_in_the_middle_needs_no_wait_whoever_switched() {
    let back = route(3, "a");
    let (step, _) = Story::new().at(0, &back, &live(&bridged(2, "b", &[("a", 2)])));
    assert_eq!(step, Step::Drain(bridged(3, "a", &[("b", 2)])));
}

#[test]
fn a_backend_that_was_only_warmed_is_named_as_long_and_is_not_taken_for_warm() {
    let warming = live(&bridged(1, "a", &[("b", 1)]));
    assert_eq!(
        Story::new().at(0, &route(3, "a"), &warming),
        (Step::Drain(bridged(3, "a", &[("b", 1)])), Some(5000))
    );
    assert_eq!(Story::new().at(0, &route(3, "b"), &warming).0, Step::Wait);
}

#[test]
fn a_third_backend_is_warmed_while_the_first_drains() {
    let (mut story, draining) = (Story::new(), live(&bridged(2, "b", &[("a", 2)])));
    let (step, _) = story.at(0, &route(3, "c"), &draining);
    assert_eq!(step, Step::Warm(bridged(2, "b", &[("a", 2), ("c", 1)])));
    let warming = live(&bridged(2, "b", &[("a", 2), ("c", 1)]));
    let (step, due_in) = story.at(2000, &route(3, "c"), &warming);
    assert_eq!(
        (step, due_in),
        (Step::Drain(bridged(3, "c", &[("a", 2), ("b", 2)])), Some(3000))
    );
}

#[test]
fn a_restart_while_a_backend_drains_drains_it_again() {
    let (desired, switched) = (route(2, "b"), bridged(2, "b", &[("a", 2)]));
    let step = Story::new().at(0, &desired, &live(&switched));
    assert_eq!(step, (Step::Drain(switched), Some(5000)));
}

#[test]
fn the_same_backends_need_no_bridge() {
    let mut desired = route(2, "a");
    desired["spec"]["hostnames"] = json!(["b.example.com"]);
    assert_eq!(
        Story::new().at(0, &desired, &live(&route(1, "a"))),
        (Step::AsDesired, None)
    );
}

#[test]
fn a_change_of_host_names_is_not_held_up() {
    let mut desired = route(2, "b");
    desired["spec"]["hostnames"] = json!(["b.example.com"]);
    let (step, _) = Story::new().at(0, &desired, &live(&route(1, "a")));
    let mut switched = bridged(2, "b", &[("a", 2)]);
    switched["spec"]["hostnames"] = json!(["b.example.com"]);
    assert_eq!(step, Step::Drain(switched));
}

#[test]
fn a_route_without_room_for_a_rule_gets_no_bridge() {
    let rules = |count: usize, backend: &str| vec![rule(backend); count];
    let matches = |count: usize, backend: &str| json!({"matches": vec![json!({}); count], "backendRefs": rule(backend)["backendRefs"]});
    let named = |backend: &str| json!({"name": "kubelb-bridge", "backendRefs": rule(backend)["backendRefs"]});
    let step = |old: &[Value], new: &[Value]| {
        let (desired, present) = (kind("HTTPRoute", 2, new), kind("HTTPRoute", 1, old));
        Story::new().at(0, &desired, &live(&present)).0
    };
    assert_eq!(step(&rules(16, "a"), &rules(16, "b")), Step::AsDesired);
    assert!(matches!(step(&rules(15, "a"), &rules(16, "b")), Step::Warm(_)));
    assert!(matches!(step(&rules(16, "a"), &rules(15, "b")), Step::Drain(_)));
    assert_eq!(step(&[matches(128, "a")], &[matches(128, "b")]), Step::AsDesired);
    assert_eq!(
        step(&[named("a")], &[named("b")]),
        Step::AsDesired,
        "a tenant's rule"
    );
    assert!(matches!(step(&[named("a")], &rules(1, "b")), Step::Drain(_)));
}

#[test]
fn a_service_that_is_not_there_is_not_named() {
    let step = |old: &str, new: &str| Story::new().at(0, &route(2, new), &live(&route(1, old)));
    assert_eq!(step(GONE, GONE), (Step::AsDesired, None));
    assert_eq!(step("a", GONE).0, Step::Drain(bridged(2, GONE, &[("a", 2)])));
    assert_eq!(step(GONE, "b").0, Step::Warm(bridged(1, GONE, &[("b", 1)])));
    let drained = Story::new().at(0, &route(2, "b"), &live(&bridged(2, "b", &[(GONE, 2)])));
    assert_eq!(drained, (Step::AsDesired, None));
}

#[test]
fn mirrors_and_their_backends_are_bridged_and_those_of_other_namespaces_and_kinds_are_not() {
    let mirror = |name: &str| json!([{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": name, "port": 80}}}]);
    let desired = kind(
        "HTTPRoute",
        2,
        &[
            json!({"filters": mirror("m"), "backendRefs": [{"name": "a", "port": 80, "filters": mirror("n")},
            {"name": "x", "port": 80, "namespace": "other"}, {"name": "y", "port": 80, "kind": "Backend"}]}),
        ],
    );
    let (step, _) = Story::new().at(0, &desired, &live(&route(1, "a")));
    assert_eq!(step, Step::Warm(bridged(1, "a", &[("m", 1), ("n", 1)])));
}

#[test]
fn of_very_many_new_backends_as_many_are_warmed_as_fit() {
    let names: Vec<String> = (10..30).map(|number| format!("b{number}")).collect();
    let rules: Vec<Value> = names
        .chunks(4)
        .map(|some| {
            let references: Vec<Value> = some
                .iter()
                .map(|name| json!({"name": name, "port": 80}))
                .collect();
            json!({"backendRefs": references})
        })
        .collect();
    let (mut story, desired) = (Story::new(), kind("HTTPRoute", 2, &rules));
    let held: Vec<(&str, i64)> = names.iter().take(16).map(|name| (name.as_str(), 1)).collect();
    let warming = bridged(1, "a", &held);
    assert_eq!(
        story.at(0, &desired, &live(&route(1, "a"))).0,
        Step::Warm(warming.clone())
    );
    assert_eq!(story.at(10, &desired, &live(&warming)).0, Step::Wait);
}

#[test]
fn a_grpc_route_is_bridged_by_a_header_alone() {
    let grpc = |generation, rules: &[Value]| kind("GRPCRoute", generation, rules);
    let (step, _) = Story::new().at(0, &grpc(2, &[rule("b")]), &live(&grpc(1, &[rule("a")])));
    let header = json!({"type": "RegularExpression", "name": "x-kubelb-bridge", "value": "[^\\s\\S]"});
    let warming = grpc(
        1,
        &[rule("a"), with_never(&[("b", 1)], json!([{"headers": [header]}]))],
    );
    assert_eq!(step, Step::Warm(warming.clone()));
    assert_eq!(
        Story::new().at(0, &grpc(2, &[rule("b")]), &live(&warming)).0,
        Step::Wait
    );
}

fn object(value: Value, kind: &str) -> Object {
    let group = if kind == "Service" {
        ""
    } else {
        "gateway.networking.k8s.io"
    };
    Object::from_value(
        value,
        &ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind)),
    )
    .unwrap()
}

fn service(name: &str) -> Object {
    object(json!({"metadata": {"namespace": "t", "name": name}}), "Service")
}

fn plan(desired: &Value, live: &[Object]) -> Plan {
    let kind = desired["kind"].as_str().unwrap();
    let all = [object(desired.clone(), kind), service("a"), service("b")];
    controller_kit::diff::plan(all, live, |_| true)
}

/// Names of what the plan writes, without Services.
fn written(plan: &Plan) -> Vec<Value> {
    let changes = plan.apply.iter().map(|change| &change.desired);
    let routes = changes.filter(|object| object.id().kind != "Service");
    routes.map(|object| object.value().clone()).collect()
}

/// A route that has nothing but its bridge, and does not answer for its host yet.
fn begun(backends: &[(&str, i64)]) -> Value {
    let mut value = kind("HTTPRoute", 1, &[bridge(backends)]);
    value["spec"].as_object_mut().unwrap().remove("hostnames");
    value
}

#[test]
fn a_route_of_another_kind_gets_no_bridge() {
    let (bridges, now) = (Bridges::default(), Instant::now());
    let (old, new) = (
        kind("TCPRoute", 1, &[rule("a")]),
        kind("TCPRoute", 2, &[rule("b")]),
    );
    let live = [object(live(&old), "TCPRoute"), service("a")];
    let mut changed = plan(&new, &live);
    bridges.stage("t", &mut changed, &live, now);
    assert_eq!(written(&changed), std::slice::from_ref(&new));
    let mut begins = plan(&new, &[]);
    bridges.stage("t", &mut begins, &[], now);
    assert_eq!(written(&begins), [new]);
}

#[test]
fn a_new_route_begins_with_its_backends_alone_and_is_there_when_they_are_warm() {
    let (bridges, now, mut desired) = (Bridges::default(), Instant::now(), route(1, "a"));
    desired["metadata"]["annotations"][meta::SOURCE_GENERATION] = "1".into();
    let mut begins = plan(&desired, &[]);
    bridges.stage("t", &mut begins, &[], now);
    assert_eq!(written(&begins), [begun(&[("a", 1)])]);
    let seen = |value: Value| [object(value, "HTTPRoute"), service("a"), service("b")];
    let unseen = seen(live(&begun(&[("a", 1)])));
    let mut waits = plan(&desired, &unseen);
    let staged = bridges.stage("t", &mut waits, &unseen, now);
    assert_eq!((written(&waits), staged.waiting.len()), (vec![], 1));
    let warm = seen(confirmed(&begun(&[("a", 1)]), 7));
    let mut settles = plan(&desired, &warm);
    let staged = bridges.stage("t", &mut settles, &warm, now);
    assert_eq!((written(&settles), staged.due_in), (vec![], Some(SETTLE_NEW)));
    let mut is_there = plan(&desired, &warm);
    let staged = bridges.stage("t", &mut is_there, &warm, now + SETTLE_NEW);
    assert_eq!((written(&is_there), staged.due_in), (vec![desired], None));
}

#[test]
fn a_new_route_to_what_another_one_leads_to_there_is_written_at_once() {
    let begins = |other: Value, kind: &str| {
        let mut desired = route(1, "a");
        desired["metadata"]["name"] = "new".into();
        let live = [object(live(&other), kind), service("a"), service("b")];
        let mut new = plan(&desired, &live);
        new.delete.clear();
        Bridges::default().stage("t", &mut new, &live, Instant::now());
        written(&new) != [desired]
    };
    assert!(!begins(route(1, "a"), "HTTPRoute"));
    assert!(begins(route(1, "b"), "HTTPRoute"));
    assert!(begins(bridged(1, "b", &[("a", 1)]), "HTTPRoute"));
    assert!(begins(kind("GRPCRoute", 1, &[rule("a")]), "GRPCRoute"));
    let mut elsewhere = route(1, "a");
    elsewhere["spec"]["parentRefs"] = json!([{"name": "elsewhere"}]);
    assert!(begins(elsewhere, "HTTPRoute"));
    let mut going = route(1, "a");
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    assert!(begins(going, "HTTPRoute"));
}

#[test]
fn a_new_route_without_backends_or_room_begins_as_it_is() {
    let redirect = kind(
        "HTTPRoute",
        1,
        &[json!({"filters": [{"type": "RequestRedirect"}]})],
    );
    let full: Vec<Value> = (0..16).map(|_| rule("a")).collect();
    for desired in [redirect, kind("HTTPRoute", 1, &full), route(1, GONE)] {
        let mut new = plan(&desired, &[]);
        Bridges::default().stage("t", &mut new, &[], Instant::now());
        assert_eq!(written(&new), [desired]);
    }
}

#[test]
fn a_waiting_route_is_neither_written_nor_deleted_and_a_draining_one_is_as_it_should_be() {
    let (bridges, now, desired) = (Bridges::default(), Instant::now(), route(2, "b"));
    let warming = [
        object(live(&bridged(1, "a", &[("b", 1)])), "HTTPRoute"),
        service("a"),
        service("b"),
    ];
    let mut waits = plan(&desired, &warming);
    let staged = bridges.stage("t", &mut waits, &warming, now);
    assert_eq!((written(&waits), waits.delete.len()), (vec![], 0));
    assert_eq!((staged.waiting.len(), staged.due_in), (1, Some(WARM_LIMIT)));
    let mut switched = controller_kit::diff::with_hash(&bridged(2, "b", &[("a", 2)]));
    switched["metadata"]["uid"] = "uid".into();
    let switched = [object(switched, "HTTPRoute"), service("a"), service("b")];
    let mut drains = plan(&desired, &switched);
    let staged = bridges.stage("t", &mut drains, &switched, now);
    assert_eq!(
        (written(&drains), staged.waiting.len(), staged.due_in),
        (vec![], 0, Some(DRAIN))
    );
    let mut drained = plan(&desired, &switched);
    bridges.stage("t", &mut drained, &switched, now + DRAIN);
    assert_eq!(written(&drained), [desired]);
}

#[test]
fn a_backend_that_goes_now_is_not_named_and_nothing_is_remembered_of_routes_that_are_gone() {
    let (bridges, now, desired) = (Bridges::default(), Instant::now(), route(2, "b"));
    let switched = [
        object(live(&bridged(2, "b", &[("a", 2)])), "HTTPRoute"),
        service("a"),
    ];
    let mut goes = plan(&desired, &switched);
    goes.delete = vec![service("a")];
    bridges.stage("t", &mut goes, &switched, now);
    assert_eq!(written(&goes), std::slice::from_ref(&desired));
    bridges.stage("t", &mut plan(&desired, &switched), &switched, now);
    bridges.stage("t", &mut Plan::default(), &[], now);
    assert!(bridges.0.is_empty());
}
