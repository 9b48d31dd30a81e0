//! The Gateway API loop against API servers in memory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod harness;

use harness::World;
use serde_json::{Value, json};

const GATEWAY_API: &str = "/apis/gateway.networking.k8s.io/v1";

fn put(world: &World, plural: &str, namespace: Option<&str>, mut object: Value) {
    let kind = match plural {
        "gatewayclasses" => "GatewayClass",
        "gateways" => "Gateway",
        _ => "HTTPRoute",
    };
    object["apiVersion"] = "gateway.networking.k8s.io/v1".into();
    object["kind"] = kind.into();
    object["metadata"]["generation"] = 1.into();
    object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    let scope = namespace
        .map(|namespace| format!("/namespaces/{namespace}"))
        .unwrap_or_default();
    world
        .tenant
        .put(&format!("{GATEWAY_API}{scope}/{plural}"), object);
}

/// A class, a Gateway with one listener, a Service and a route to it.
fn shop(world: &World) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    world.tenant.put("/api/v1/namespaces", namespace);
    let class = json!({"metadata": {"name": "kubelb"}, "spec": {"controllerName": "kubelb.k8c.io/gateway-controller"}});
    put(world, "gatewayclasses", None, class);
    let listeners = json!([{"name": "http", "port": 80, "protocol": "HTTP"}]);
    let gateway = json!({"metadata": {"name": "web", "uid": "gw-1"}, "spec": {"gatewayClassName": "kubelb", "listeners": listeners}});
    put(world, "gateways", Some("shop"), gateway);
    let rules = json!([{"backendRefs": [{"name": "web", "port": 80}]}]);
    let route = json!({"metadata": {"name": "web", "uid": "rt-1"}, "spec": {"parentRefs": [{"name": "web"}], "rules": rules}});
    put(world, "httproutes", Some("shop"), route);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "uid": "svc-1"},
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.9", "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]}});
    world.tenant.put("/api/v1/namespaces/shop/services", service);
}

/// What the API server does: it gives the shadow Service a NodePort.
fn allocate_node_port(world: &World) {
    let name = gateway_semantics::shadow_name("shop", "web");
    let mut shadow = world
        .tenant
        .get(&format!("/api/v1/namespaces/shop/services/{name}"))
        .unwrap();
    shadow["spec"]["ports"][0]["nodePort"] = 30080.into();
    world.tenant.put("/api/v1/namespaces/shop/services", shadow);
}

#[tokio::test]
async fn a_route_goes_to_the_hub_once_its_backend_has_a_node_port_and_then_silence() {
    let world = World::new().await;
    shop(&world);
    let gateway = world.gateway().await;
    gateway.reconcile().await.unwrap();
    assert!(
        world
            .hub_writes()
            .iter()
            .any(|line| line.ends_with("/routes/gw-1")),
        "{:?}",
        world.hub_writes()
    );
    assert!(
        !world
            .hub_writes()
            .iter()
            .any(|line| line.ends_with("/routes/rt-1")),
        "its NodePort is not known yet"
    );
    allocate_node_port(&world);
    world.settle().await;
    gateway.reconcile().await.unwrap();
    let route = world.hub.get(&format!("{}/routes/rt-1", harness::HUB)).unwrap();
    assert_eq!(route["spec"]["backends"][0]["service"]["nodePort"], 30080);
    world.settle().await;
    gateway.reconcile().await.unwrap();
    world.settle().await;
    world.forget();
    gateway.reconcile().await.unwrap();
    world.gateway().await.reconcile().await.unwrap();
    assert_eq!(world.hub_writes(), Vec::<String>::new());
    assert_eq!(world.tenant_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_route_that_is_gone_is_pruned_with_its_shadow() {
    let world = World::new().await;
    shop(&world);
    let gateway = world.gateway().await;
    gateway.reconcile().await.unwrap();
    allocate_node_port(&world);
    world.settle().await;
    gateway.reconcile().await.unwrap();
    world
        .tenant
        .remove(&format!("{GATEWAY_API}/namespaces/shop/httproutes/web"));
    world.settle().await;
    gateway.reconcile().await.unwrap();
    assert!(world.hub.get(&format!("{}/routes/rt-1", harness::HUB)).is_none());
    let shadow = gateway_semantics::shadow_name("shop", "web");
    assert!(
        world
            .tenant
            .get(&format!("/api/v1/namespaces/shop/services/{shadow}"))
            .is_none()
    );
    assert!(world.hub.get(&format!("{}/routes/gw-1", harness::HUB)).is_some());
}

#[tokio::test]
async fn a_quota_of_the_hub_is_told_on_the_gateway_and_statuses_are_written_all_the_same() {
    let world = World::new().await;
    shop(&world);
    world.refuse("gw-1", 403, "routes \"gw-1\" is forbidden: exceeded quota: bound");
    let outcome = world.gateway().await.reconcile().await.unwrap();
    assert!(outcome.requeue_after.is_some());
    let events = world.events();
    let told = events
        .iter()
        .any(|e| e["reason"] == "QuotaExceeded" && e["regarding"]["kind"] == "Gateway");
    assert!(told, "{events:?}");
    let writes = world.tenant_writes();
    assert!(
        writes.iter().any(|line| line.ends_with("/gateways/web/status")),
        "{writes:?}"
    );
}

#[tokio::test]
async fn while_the_hub_has_a_fault_status_is_told_but_nothing_goes_to_the_hub() {
    let world = World::new().await;
    shop(&world);
    world.fault(kubelb_ccm::hub::fault::Fault::Unauthorized);
    world.gateway().await.reconcile().await.unwrap();
    assert_eq!(world.hub_writes(), Vec::<String>::new());
    assert!(
        world.tenant_writes().iter().all(|line| line.ends_with("/status")),
        "{:?}",
        world.tenant_writes()
    );
}

#[tokio::test]
async fn without_gateway_api_in_the_cluster_the_loop_waits_and_prunes_nothing_foreign() {
    let world = World::new().await;
    for plural in [
        "gatewayclasses",
        "gateways",
        "httproutes",
        "grpcroutes",
        "tlsroutes",
        "tcproutes",
        "udproutes",
        "listenersets",
        "backendtlspolicies",
        "referencegrants",
    ] {
        world.tenant.uninstall(plural);
    }
    world.put_hub(
        "routes",
        json!({"metadata": {"name": "by-hand"}, "spec": {"source": {}}}),
    );
    world.gateway().await.reconcile().await.unwrap();
    assert_eq!(world.hub_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_certificate_reaches_the_hub_before_the_gateway_that_uses_it() {
    let world = World::new().await;
    shop(&world);
    let certificate = rcgen::generate_simple_self_signed(vec!["shop.example.com".to_owned()]).unwrap();
    let text = |data: String| serde_json::to_value(k8s_openapi::ByteString(data.into_bytes())).unwrap();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "cert", "uid": "sec-1"},
        "data": {"tls.crt": text(certificate.cert.pem()), "tls.key": text(certificate.signing_key.serialize_pem()), "ca.crt": "bm8="}});
    world.tenant.put("/api/v1/namespaces/shop/secrets", secret);
    let listeners = json!([{"name": "https", "port": 443, "protocol": "HTTPS", "hostname": "shop.example.com",
        "tls": {"certificateRefs": [{"name": "cert"}]}}]);
    let gateway = json!({"metadata": {"name": "web", "uid": "gw-1"}, "spec": {"gatewayClassName": "kubelb", "listeners": listeners}});
    put(&world, "gateways", Some("shop"), gateway);
    world.gateway().await.reconcile().await.unwrap();
    let writes = world.hub_writes();
    let at = |end: &str| writes.iter().position(|line| line.ends_with(end));
    assert!(at("/syncsecrets/sec-1").is_some(), "{writes:?}");
    assert!(at("/syncsecrets/sec-1") < at("/routes/gw-1"), "{writes:?}");
    let synced = world
        .hub
        .get(&format!("{}/syncsecrets/sec-1", harness::HUB))
        .unwrap();
    assert!(
        synced["spec"]["data"].get("ca.crt").is_none(),
        "only what the certificate needs leaves the cluster"
    );
}
