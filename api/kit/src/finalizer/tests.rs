use k8s_openapi::api::core::v1::Service;

use super::*;
use crate::test_support::MemoryApi;

const SERVICES: &str = "/api/v1/namespaces/a/services";
const WEB: &str = "/api/v1/namespaces/a/services/web";
const OURS: &str = "kubelb.k8c.io/cleanup";

fn put(server: &MemoryApi, finalizers: &[&str]) -> Service {
    let metadata = json!({"name": "web", "finalizers": finalizers});
    server.put(
        SERVICES,
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata}),
    );
    serde_json::from_value(server.get(WEB).unwrap()).unwrap()
}

fn api(server: &MemoryApi) -> Api<Service> {
    Api::namespaced(server.client(), "a")
}

fn stored(server: &MemoryApi) -> Vec<String> {
    serde_json::from_value(server.get(WEB).unwrap()["metadata"]["finalizers"].clone()).unwrap()
}

#[tokio::test]
async fn adding_keeps_those_of_others_even_if_they_came_in_between() {
    let server = MemoryApi::new();
    let stale = put(&server, &[]);
    put(&server, &["theirs"]);
    assert!(add(&api(&server), &stale, OURS).await.unwrap());
    assert_eq!(stored(&server), ["theirs", OURS]);
}

#[tokio::test]
async fn what_is_there_or_gone_already_makes_no_write() {
    let server = MemoryApi::new();
    let with = put(&server, &[OURS]);
    assert!(add(&api(&server), &with, OURS).await.unwrap());
    let without = put(&server, &["theirs"]);
    remove(&api(&server), &without, OURS).await.unwrap();
    assert!(server.fake().requests().is_empty());
}

#[tokio::test]
async fn taking_off_the_last_finalizer_lets_a_deleted_object_go() {
    let server = MemoryApi::new();
    put(&server, &[OURS]);
    let api = api(&server);
    api.delete("web", &Default::default()).await.unwrap();
    let terminating: Service = serde_json::from_value(server.get(WEB).unwrap()).unwrap();
    assert!(
        !add(&api, &terminating, "late").await.unwrap(),
        "no new finalizers while being deleted"
    );
    remove(&api, &terminating, OURS).await.unwrap();
    assert!(server.get(WEB).is_none());
    remove(&api, &terminating, OURS).await.unwrap();
}
