//! Objects that are not ours any more: what we wrote on them is taken back once, and nobody is fought with.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod harness;

use harness::World;
use serde_json::{Value, json};

const GATEWAY_API: &str = "/apis/gateway.networking.k8s.io/v1";
const GATEWAY: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/web";

fn class(world: &World, controller: &str) {
    world.tenant.put(
        &format!("{GATEWAY_API}/gatewayclasses"),
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": {"name": "kubelb", "generation": 1}, "spec": {"controllerName": controller}}),
    );
}

/// A Gateway of a class of ours, after a run.
async fn ours(world: &World) {
    world.tenant.put(
        "/api/v1/namespaces",
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
    );
    class(world, "kubelb.k8c.io/gateway-controller");
    let gateway = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "web", "uid": "gw-1", "generation": 1},
        "spec": {"gatewayClassName": "kubelb", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}});
    world
        .tenant
        .put(&format!("{GATEWAY_API}/namespaces/shop/gateways"), gateway);
    world.gateway().await.reconcile().await.unwrap();
    assert_eq!(condition(world, "Accepted")["status"], "True");
}

/// What the API server keeps: who wrote the status.
fn written_by(world: &World, manager: &str) {
    let condition = |type_: &str| (format!("k:{}", json!({"type": type_})), json!({"f:message": {}}));
    let conditions: serde_json::Map<_, _> = ["Accepted", "Programmed"].map(condition).into_iter().collect();
    let mut gateway = world.tenant.get(GATEWAY).unwrap();
    gateway["metadata"]["managedFields"] = json!([{"manager": manager, "operation": "Update", "subresource": "status",
        "apiVersion": "gateway.networking.k8s.io/v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:status": {"f:conditions": conditions}}}]);
    world
        .tenant
        .put(&format!("{GATEWAY_API}/namespaces/shop/gateways"), gateway);
}

fn condition(world: &World, type_: &str) -> Value {
    let gateway = world.tenant.get(GATEWAY).unwrap();
    let conditions = gateway["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|c| c["type"] == type_).unwrap().clone()
}

#[tokio::test]
async fn the_status_of_a_gateway_whose_class_is_deleted_is_taken_back_in_one_write() {
    let world = World::new().await;
    ours(&world).await;
    written_by(&world, "kubelb-ccm");
    world
        .tenant
        .remove(&format!("{GATEWAY_API}/gatewayclasses/kubelb"));
    world.settle().await;
    world.forget();
    let gateway = world.gateway().await;
    gateway.reconcile().await.unwrap();
    assert_eq!(world.tenant_writes(), [format!("PATCH {GATEWAY}/status")]);
    for type_ in ["Accepted", "Programmed"] {
        let condition = condition(&world, type_);
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!("Unknown"), &json!("Pending"))
        );
        assert_eq!(condition["message"], "Waiting for controller");
    }
    assert_eq!(world.hub.get(&format!("{}/routes/gw-1", harness::HUB)), None);
    world.settle().await;
    world.forget();
    gateway.reconcile().await.unwrap();
    world.gateway().await.reconcile().await.unwrap();
    assert_eq!(world.tenant_writes(), Vec::<String>::new());
    assert_eq!(world.tenant_reads(), Vec::<String>::new());
}

#[tokio::test]
async fn the_status_that_another_controller_wrote_is_read_about_once_and_never_touched() {
    let world = World::new().await;
    ours(&world).await;
    class(&world, "example.com/other");
    written_by(&world, "other");
    world.settle().await;
    world.forget();
    let gateway = world.gateway().await;
    gateway.reconcile().await.unwrap();
    written_by(&world, "other-of-another-name");
    world.settle().await;
    gateway.reconcile().await.unwrap();
    assert_eq!(world.tenant_writes(), Vec::<String>::new());
    assert_eq!(world.tenant_reads(), [GATEWAY]);
    assert_eq!(condition(&world, "Accepted")["status"], "True");
}
