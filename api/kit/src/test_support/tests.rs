use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};

use super::*;
use crate::error::{is_conflict, is_not_found};

const MAPS: &str = "/api/v1/namespaces/a/configmaps";

fn setup() -> (MemoryApi, Api<ConfigMap>) {
    let server = MemoryApi::new();
    let api = Api::namespaced(server.client(), "a");
    (server, api)
}

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"n": name}}, "data": data})
}

#[tokio::test]
async fn a_stale_replacement_is_a_conflict_and_a_fresh_one_is_not() {
    let (server, api) = setup();
    server.put(MAPS, map("x", json!({"a": "1"})));
    let stale = api.get("x").await.unwrap();
    server.put(MAPS, map("x", json!({"a": "2"})));
    assert!(is_conflict(
        &api.replace("x", &PostParams::default(), &stale)
            .await
            .unwrap_err()
    ));
    let fresh = api.get("x").await.unwrap();
    api.replace("x", &PostParams::default(), &fresh).await.unwrap();
    assert!(is_not_found(&api.get("y").await.unwrap_err()));
}

#[tokio::test]
async fn an_apply_removes_what_the_manager_applied_before_and_keeps_what_others_did() {
    let (server, api) = setup();
    let params = |manager: &str| PatchParams::apply(manager).force();
    api.patch(
        "x",
        &params("one"),
        &Patch::Apply(map("x", json!({"a": "1", "b": "1"}))),
    )
    .await
    .unwrap();
    api.patch("x", &params("two"), &Patch::Apply(map("x", json!({"c": "2"}))))
        .await
        .unwrap();
    api.patch("x", &params("one"), &Patch::Apply(map("x", json!({"a": "1"}))))
        .await
        .unwrap();
    let stored = server.get(&format!("{MAPS}/x")).unwrap();
    assert_eq!(stored["data"], json!({"a": "1", "c": "2"}));
    let again = api
        .patch("x", &params("one"), &Patch::Apply(map("x", json!({"a": "1"}))))
        .await
        .unwrap();
    assert_eq!(
        again.metadata.resource_version.as_deref(),
        stored["metadata"]["resourceVersion"].as_str()
    );
}

#[tokio::test]
async fn lists_honour_labels_and_namespaces_and_requests_are_recorded() {
    let (server, api) = setup();
    server.put(MAPS, map("x", json!({})));
    server.put(MAPS, map("y", json!({})));
    server.put("/api/v1/namespaces/b/configmaps", map("x", json!({})));
    assert_eq!(
        api.list(&ListParams::default().labels("n=x"))
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    assert_eq!(
        Api::<ConfigMap>::all(server.client())
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        3
    );
    let requests = server.fake().requests();
    assert_eq!(requests[0].query["labelSelector"], "n=x");
    assert_eq!(requests[1].line(), "GET /api/v1/configmaps");
    assert!(server.fake().writes().is_empty());
    server.fake().clear();
    assert!(server.fake().requests().is_empty());
}

#[test]
fn tests_take_place_at_a_fixed_time() {
    assert_eq!(NOW.to_string(), "2026-01-01T00:00:00Z");
}
