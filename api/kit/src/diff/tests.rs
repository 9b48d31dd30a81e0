use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::object::{Object, ObjectId};

fn service(name: &str, value: Value) -> Object {
    let resource = kube::core::ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&());
    let metadata = json!({"metadata": {"namespace": "a", "name": name}});
    Object::from_value(crate::status::merged(&metadata, &value), &resource).unwrap()
}

/// As it comes back from the API server after it was applied.
fn live(object: &Object, uid: &str) -> Object {
    let added =
        json!({"metadata": {"uid": uid, "resourceVersion": "7", "generation": 1, "creationTimestamp": "x"}});
    object.with_value(crate::status::merged(&with_hash(object.value()), &added))
}

fn ours(_: &Object) -> bool {
    true
}

fn names(ids: &[ObjectId]) -> Vec<&str> {
    ids.iter().map(|id| id.key.name.as_str()).collect()
}

#[test]
fn what_is_there_with_the_right_hash_needs_no_write() {
    let desired = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    let mut live = with_hash(&desired);
    live["spec"]["clusterIP"] = "10.0.0.1".into();
    live["spec"]["ports"][0]["protocol"] = "TCP".into();
    assert!(!needs_apply(&desired, &live));
}

#[test]
fn a_field_that_is_not_wanted_any_more_is_noticed_by_the_hash() {
    let before = json!({"metadata": {"name": "web"}, "spec": {"a": 1, "b": 2}});
    let after = json!({"metadata": {"name": "web"}, "spec": {"a": 1}});
    let live = with_hash(&before);
    assert!(is_subset(&after, &live));
    assert!(needs_apply(&after, &live));
}

#[test]
fn a_field_that_somebody_else_changed_is_noticed_by_the_comparison() {
    let desired = json!({"metadata": {"name": "web"}, "spec": {"type": "LoadBalancer"}});
    let mut live = with_hash(&desired);
    live["spec"]["type"] = "ClusterIP".into();
    assert!(needs_apply(&desired, &live));
}

#[test]
fn an_object_that_was_never_applied_by_us_is_applied() {
    let desired = json!({"metadata": {"name": "web"}});
    assert!(needs_apply(&desired, &desired));
}

#[test]
fn the_hash_annotation_is_added_beside_others_and_does_not_count_in_the_hash() {
    let desired = json!({"metadata": {"annotations": {"a": "b"}}});
    let hashed = with_hash(&desired);
    assert_eq!(hashed["metadata"]["annotations"]["a"], "b");
    assert_eq!(hash(&hashed), hash(&desired));
    assert_eq!(with_hash(&hashed), hashed);
    let bare = with_hash(&json!({"kind": "X"}));
    assert_eq!(hash(&bare), hash(&json!({"kind": "X", "metadata": {}})));
}

#[test]
fn the_hash_stays_the_same_between_versions_of_this_program() {
    // Another value here would rewrite every object of every installation once after an upgrade.
    let value = json!({"b": [1, "x", null, {"z": true}], "a": {"n": null, "f": 1.5}});
    assert_eq!(
        hash(&value),
        "62e9ed6d9334f94a5ab0a372e0327b3aab0296a883ab4d12be147d48361a022e"
    );
}

#[test]
fn quantities_compare_by_amount() {
    for (a, b) in [
        ("1000m", "1"),
        ("1Gi", "1024Mi"),
        ("0.5", "500m"),
        ("1M", "1000k"),
        ("-1", "-1000m"),
    ] {
        assert!(is_subset(&json!(a), &json!(b)), "{a} {b}");
    }
    for (a, b) in [
        ("1", "2"),
        ("1Gi", "1G"),
        ("abc", "abd"),
        ("", "0"),
        ("1.2.3", "1.20.3"),
        ("m", "0"),
    ] {
        assert!(!is_subset(&json!(a), &json!(b)), "{a} {b}");
    }
    assert!(is_subset(&json!(2), &json!("2")));
    assert!(is_subset(&json!(2), &json!(2.0)));
}

#[test]
fn a_zero_value_matches_an_absent_field_but_not_another_value() {
    let desired = json!({"a": false, "b": 0, "c": "", "d": [], "e": {"f": null}, "g": null});
    assert!(is_subset(&desired, &json!({})));
    for field in ["a", "b", "c", "d"] {
        assert!(!is_subset(&desired, &json!({field: "other"})), "{field}");
    }
    assert!(
        !is_subset(&json!({"g": null}), &json!({"g": 1})),
        "null means absent"
    );
}

#[test]
fn lists_compare_element_by_element_and_in_length() {
    assert!(is_subset(&json!([{"a": 1}]), &json!([{"a": 1, "b": 2}])));
    assert!(!is_subset(&json!([1]), &json!([1, 2])));
    assert!(!is_subset(&json!([1, 2]), &json!([2, 1])));
}

#[test]
fn finalizers_and_owners_of_others_do_not_matter() {
    let desired = json!({"metadata": {"finalizers": ["ours"], "ownerReferences": [{"uid": "1"}]}});
    let live = json!({"metadata": {
        "finalizers": ["theirs", "ours"],
        "ownerReferences": [{"uid": "0"}, {"uid": "1", "kind": "X"}],
    }});
    assert!(is_subset(&desired, &live));
    assert!(!is_subset(&json!({"metadata": {"finalizers": ["gone"]}}), &live));
}

#[test]
fn a_plan_applies_what_differs_and_deletes_what_nobody_wants() {
    let (same, changed, new) = (
        service("same", json!({})),
        service("changed", json!({"spec": {"a": 1}})),
        "new",
    );
    let old = service("changed", json!({"spec": {"a": 0}}));
    let world = [
        live(&same, "u1"),
        live(&old, "u2"),
        live(&service("gone", json!({})), "u3"),
    ];
    let plan = plan([same, changed, service(new, json!({}))], &world, ours);
    let written: Vec<_> = plan
        .apply
        .iter()
        .map(|c| (c.desired.id().key.name.as_str(), c.replaces.as_deref()))
        .collect();
    assert_eq!(written, [("changed", Some("u2")), ("new", None)]);
    assert_eq!(
        plan.delete.iter().map(|o| o.uid()).collect::<Vec<_>>(),
        [Some("u3")]
    );
    assert_eq!(plan.unchanged, 1);
}

#[test]
fn an_object_that_is_not_ours_is_reported_and_neither_written_nor_deleted() {
    let world = [
        live(&service("wanted", json!({"spec": {"a": 0}})), "u1"),
        live(&service("other", json!({})), "u2"),
    ];
    let plan = plan([service("wanted", json!({"spec": {"a": 1}}))], &world, |_| false);
    assert_eq!(names(&plan.foreign), ["wanted"]);
    assert!(plan.is_empty());
}

#[test]
fn an_object_that_is_being_deleted_is_neither_written_nor_deleted_again() {
    let terminating = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let (a, b) = (
        service("wanted", terminating.clone()),
        service("unwanted", terminating),
    );
    let plan = plan([service("wanted", json!({}))], &[a, b], ours);
    assert_eq!(names(&plan.terminating), ["wanted"]);
    assert!(plan.is_empty());
}

#[test]
fn two_wishes_for_one_name_keep_the_first_and_name_the_clash() {
    let (first, second) = (service("a", json!({"spec": 1})), service("a", json!({"spec": 2})));
    let plan = plan([first.clone(), first.clone(), second], &[], ours);
    assert_eq!(plan.apply[0].desired, first);
    assert_eq!(names(&plan.ambiguous), ["a"]);
}

#[test]
fn plans_over_parts_of_the_objects_come_to_the_plan_over_all() {
    let (same, gone) = (service("d", json!({})), service("b", json!({})));
    let world = [live(&same, "u-d"), live(&gone, "u-b")];
    let wanted = [service("a", json!({})), service("c", json!({})), same];
    let whole = plan(wanted.clone(), &world, ours);
    let [a, c, d] = wanted;
    let part = plan([c, d], &world[..1], ours).join(plan([a], &world[1..], ours));
    assert_eq!(part, whole);
    assert!(!whole.is_settled());
    assert!(plan([service("d", json!({}))], &world[..1], ours).is_settled());
}

fn portion_of(desired: &[&str], world: &[Object], refused: &[&str]) -> (Vec<String>, Vec<String>, usize) {
    let desired = desired
        .iter()
        .map(|name| service(name, json!({"spec": {"v": 2}})));
    let whole = plan(desired, world, ours);
    let Portion { plan, left } = whole.portion(2, |id| refused.contains(&id.key.name.as_str()));
    let now = plan
        .apply
        .iter()
        .map(|c| c.desired.id().key.name.clone())
        .collect();
    let left = left.into_iter().map(|id| id.key.name).collect();
    (now, left, plan.delete.len())
}

#[test]
fn a_portion_writes_what_exists_first_and_deletes_nothing_before_all_is_written() {
    let old = |name| live(&service(name, json!({"spec": {"v": 1}})), name);
    let world = [old("c"), old("gone")];
    let (now, left, deleted) = portion_of(&["a", "b", "c"], &world, &[]);
    assert_eq!(
        (now, left, deleted),
        (vec!["c".into(), "a".into()], vec!["b".into()], 0)
    );
    let (now, left, deleted) = portion_of(&["a", "c"], &world, &[]);
    assert_eq!((now, left, deleted), (vec!["a".into(), "c".into()], vec![], 1));
}

#[test]
fn what_was_refused_before_is_written_after_all_others_and_then_without_a_limit() {
    let (now, left, _) = portion_of(&["a", "b", "c", "d"], &[], &["a"]);
    assert_eq!(
        (now, left),
        (vec!["b".into(), "c".into()], vec!["d".into(), "a".into()])
    );
    let (now, left, _) = portion_of(&["a", "b", "c", "d"], &[], &["a", "b", "c"]);
    assert_eq!(now, ["d", "a", "b", "c"]);
    assert!(left.is_empty());
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9.Mi]{0,6}".prop_map(Value::from),
    ]
}

fn anything() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-f]", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn objects() -> impl Strategy<Value = Value> {
    (anything(), prop::option::of(prop::collection::btree_map("[a-c]", "[a-z]{0,3}", 0..3)))
        .prop_map(|(spec, annotations)| json!({"metadata": {"name": "x", "annotations": annotations}, "spec": spec}))
}

/// What an API server makes of it: drops nulls and, if told, zero values; adds defaults and its own fields.
fn served(value: &Value, drop_zero: bool) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map
                .iter()
                .filter(|(_, v)| !(v.is_null() || drop_zero && is_subset(v, &Value::Null)));
            let mut out: serde_json::Map<_, _> =
                kept.map(|(k, v)| (k.clone(), served(v, drop_zero))).collect();
            out.insert("defaulted".into(), json!({"by": "server"}));
            Value::Object(out)
        }
        Value::Array(items) => items.iter().map(|item| served(item, drop_zero)).collect(),
        scalar => scalar.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_was_applied_needs_no_second_write(desired in objects(), drop_zero in any::<bool>()) {
        let live = served(&with_hash(&desired), drop_zero);
        prop_assert!(!needs_apply(&desired, &live), "{desired} {live}");
    }

    #[test]
    fn another_wish_is_always_written(before in objects(), after in objects()) {
        let live = served(&with_hash(&before), false);
        prop_assert_eq!(needs_apply(&after, &live), hash(&before) != hash(&after));
    }

    #[test]
    fn a_second_plan_over_the_result_of_the_first_is_empty(specs in prop::collection::vec(objects(), 0..5)) {
        let wanted: Vec<_> = specs.iter().enumerate().map(|(n, v)| service(&format!("s{n}"), json!({"spec": v}))).collect();
        let first = plan(wanted.clone(), &[], ours);
        let world: Vec<_> = first.apply.iter().map(|change| live(&change.desired, "u")).collect();
        let second = plan(wanted, &world, ours);
        prop_assert!(second.is_empty() && second.unchanged == specs.len());
    }

    #[test]
    fn everything_is_a_subset_of_itself(value in anything()) {
        prop_assert!(is_subset(&value, &value));
    }
}

#[test]
fn what_has_settled_is_compared_again_when_either_side_changes() {
    let wish = service("web", json!({"spec": {"type": "ClusterIP"}}));
    let other = service("web", json!({"spec": {"type": "NodePort"}}));
    let there = live(&wish, "u1");
    let mut settled = Settled::default();
    for _ in 0..2 {
        let plan = settled.plan([wish.clone()], [&there], ours);
        assert_eq!((plan.unchanged, plan.apply.len()), (1, 0));
    }
    assert_eq!(settled.plan([other.clone()], [&there], ours).apply.len(), 1);
    assert_eq!(
        settled
            .plan([wish.clone()], [&live(&other, "u1")], ours)
            .apply
            .len(),
        1
    );
    let plan = settled.plan([], [&there], ours);
    assert_eq!(
        plan.delete.len(),
        1,
        "what is not wanted any more is not forgotten to be deleted"
    );
}
