use serde_json::json;

use super::*;
use crate::{
    diff::{HASH_ANNOTATION, plan},
    test_support::{FakeApi, MemoryApi, Reply},
};

const SERVICES: &str = "/api/v1/namespaces/a/services";

fn object(kind: &str, plural: &str, name: &str, spec: Value) -> Object {
    let resource = kube::core::ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: kind.into(),
        plural: plural.into(),
    };
    let value =
        json!({"metadata": {"namespace": "a", "name": name, "labels": {"owner": "us"}}, "spec": spec});
    Object::from_value(value, &resource).unwrap()
}

fn service(name: &str, spec: Value) -> Object {
    object("Service", "services", name, spec)
}

fn ours(object: &Object) -> bool {
    object.label("owner") == Some("us")
}

fn applier(client: Client) -> Applier {
    Applier::new(client, "test/controller", &["Secret", "Service"])
}

fn live(api: &MemoryApi, names: &[&str]) -> Vec<Object> {
    let found = names
        .iter()
        .filter_map(|name| api.get(&format!("{SERVICES}/{name}")));
    found
        .map(|value| Object::from_value(value, service("x", json!({})).resource()).unwrap())
        .collect()
}

async fn run(api: &MemoryApi, desired: Vec<Object>, world: &[Object]) -> Report {
    let plan = plan(desired, world, ours);
    applier(api.client())
        .execute(plan, Some(&Synced::assumed()), ours)
        .await
}

#[tokio::test]
async fn an_object_is_applied_with_force_and_its_hash_in_the_name_of_the_controller() {
    let api = MemoryApi::new();
    let report = run(&api, vec![service("web", json!({"type": "ClusterIP"}))], &[]).await;
    assert_eq!(report.applied.len(), 1);
    let write = &api.fake().writes()[0];
    assert_eq!(write.line(), format!("PATCH {SERVICES}/web"));
    assert_eq!(
        (
            write.query["fieldManager"].as_str(),
            write.query["force"].as_str()
        ),
        ("test/controller", "true")
    );
    assert!(write.body["metadata"]["annotations"][HASH_ANNOTATION].is_string());
    assert_eq!(write.body["kind"], "Service");
}

#[tokio::test]
async fn a_second_round_over_what_is_there_writes_nothing() {
    let api = MemoryApi::new();
    let desired = vec![service("web", json!({"type": "ClusterIP"}))];
    run(&api, desired.clone(), &[]).await;
    api.fake().clear();
    run(&api, desired, &live(&api, &["web"])).await;
    assert!(api.fake().requests().is_empty());
}

#[tokio::test]
async fn a_field_that_is_not_wanted_any_more_goes_away() {
    let api = MemoryApi::new();
    run(
        &api,
        vec![service("web", json!({"type": "ClusterIP", "extra": "x"}))],
        &[],
    )
    .await;
    run(
        &api,
        vec![service("web", json!({"type": "ClusterIP"}))],
        &live(&api, &["web"]),
    )
    .await;
    assert_eq!(
        api.get(&format!("{SERVICES}/web")).unwrap()["spec"],
        json!({"type": "ClusterIP"})
    );
}

#[tokio::test]
async fn an_object_of_somebody_else_that_the_store_did_not_show_yet_is_not_overwritten() {
    let api = MemoryApi::new();
    api.put(SERVICES, json!({"metadata": {"name": "web"}, "spec": "theirs"}));
    let report = run(&api, vec![service("web", json!("ours"))], &[]).await;
    assert_eq!(report.foreign.len(), 1);
    assert_eq!(api.get(&format!("{SERVICES}/web")).unwrap()["spec"], "theirs");
    assert!(api.fake().writes().is_empty());
}

#[tokio::test]
async fn who_sees_all_objects_looks_none_up() {
    let api = MemoryApi::new();
    let plan = plan(vec![service("web", json!("ours"))], &[], ours);
    for applier in [
        applier(api.client()).sees_all(),
        applier(api.client()).sees_all_of(["Service"]),
    ] {
        api.fake().clear();
        applier
            .execute(plan.clone(), None, ours)
            .await
            .into_result()
            .unwrap();
        let lines: Vec<_> = api.fake().requests().iter().map(|r| r.line()).collect();
        assert_eq!(lines, [format!("PATCH {SERVICES}/web")]);
    }
    api.fake().clear();
    let applier = applier(api.client()).sees_all_of(["Secret"]);
    applier.execute(plan, None, ours).await.into_result().unwrap();
    assert_eq!(api.fake().requests()[0].line(), format!("GET {SERVICES}/web"));
}

#[tokio::test]
async fn an_object_that_took_the_name_of_ours_in_the_meantime_is_not_overwritten() {
    let api = MemoryApi::new();
    run(&api, vec![service("web", json!("old"))], &[]).await;
    let stale = live(&api, &["web"]);
    api.remove(&format!("{SERVICES}/web"));
    api.put(SERVICES, json!({"metadata": {"name": "web"}, "spec": "theirs"}));
    let report = run(&api, vec![service("web", json!("new"))], &stale).await;
    assert_eq!(report.failed.len(), 1);
    assert_eq!(api.get(&format!("{SERVICES}/web")).unwrap()["spec"], "theirs");
    assert!(report.into_result().unwrap_err().is_transient());
}

#[tokio::test]
async fn kinds_are_written_in_order_and_deleted_in_reverse() {
    let api = MemoryApi::new();
    let kinds = [("Zone", "zones"), ("Service", "services"), ("Secret", "secrets")];
    let all: Vec<_> = kinds
        .iter()
        .map(|(kind, plural)| object(kind, plural, "x", json!({})))
        .collect();
    run(&api, all.clone(), &[]).await;
    run(&api, vec![], &all).await;
    let seen: Vec<_> = api
        .fake()
        .write_lines()
        .iter()
        .filter_map(|l| l.split('/').nth(5).map(String::from))
        .collect();
    assert_eq!(
        seen,
        ["secrets", "services", "zones", "zones", "services", "secrets"]
    );
}

#[tokio::test]
async fn nothing_is_deleted_without_proof_that_the_stores_are_synced() {
    let api = MemoryApi::new();
    run(&api, vec![service("web", json!({}))], &[]).await;
    let plan = plan([], &live(&api, &["web"]), ours);
    assert_eq!(plan.delete.len(), 1);
    let report = applier(api.client()).execute(plan, None, ours).await;
    assert!(report.deleted.is_empty() && api.get(&format!("{SERVICES}/web")).is_some());
}

#[tokio::test]
async fn that_an_object_is_gone_or_replaced_already_is_a_successful_deletion() {
    let api = MemoryApi::new();
    run(&api, vec![service("web", json!({}))], &[]).await;
    let stale = live(&api, &["web"]);
    api.remove(&format!("{SERVICES}/web"));
    assert!(run(&api, vec![], &stale).await.failed.is_empty());
    api.put(SERVICES, json!({"metadata": {"name": "web"}, "spec": "another"}));
    assert!(run(&api, vec![], &stale).await.failed.is_empty());
    assert_eq!(api.get(&format!("{SERVICES}/web")).unwrap()["spec"], "another");
}

fn failing(code: u16) -> FakeApi {
    FakeApi::new(move |request| match request.method.as_str() {
        "GET" => Reply::error(404, "NotFound"),
        "PATCH" if request.path.ends_with("/bad") => Reply::error(code, "Refused"),
        "PATCH" => Reply::ok(request.body.clone()),
        _ => Reply::ok(json!({"kind": "Status", "status": "Success"})),
    })
}

#[tokio::test]
async fn a_refused_object_blocks_neither_the_others_nor_deletions() {
    let api = failing(422);
    let plan = plan(
        [service("bad", json!({})), service("good", json!({}))],
        &[service("old", json!({}))],
        ours,
    );
    let report = applier(api.client())
        .execute(plan, Some(&Synced::assumed()), ours)
        .await;
    assert_eq!(
        (report.applied.len(), report.deleted.len(), report.failed.len()),
        (1, 1, 1)
    );
    let error = report.into_result().unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.reason()),
        ("cannot apply Service a/bad", "Invalid")
    );
}

#[tokio::test]
async fn deletions_wait_while_a_write_fails_for_the_moment() {
    let api = failing(503);
    let plan = plan(
        [service("bad", json!({})), service("good", json!({}))],
        &[service("old", json!({}))],
        ours,
    );
    let report = applier(api.client())
        .execute(plan, Some(&Synced::assumed()), ours)
        .await;
    assert_eq!(
        (report.applied.len(), report.deleted.len(), report.held.len()),
        (1, 0, 1)
    );
}
