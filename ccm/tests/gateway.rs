//! The Gateway API loop against API servers in memory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod harness;

use std::sync::atomic::Ordering;
use std::time::Duration;

use controller_kit::driver::Outcome;
use controller_kit::patience::Patience;
use harness::{BothLoops, World};
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

fn shadow_path(service: &str) -> String {
    let name = gateway_semantics::shadow_name("shop", service);
    format!("/api/v1/namespaces/shop/services/{name}")
}

/// What the API server does: it gives the shadow Service a NodePort.
fn allocate_node_port(world: &World) {
    let mut shadow = world.tenant.get(&shadow_path("web")).unwrap();
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
    // The shadow goes some time after the hub has let go of it.
    world.settle().await;
    world.forget();
    let outcome = gateway.reconcile().await.unwrap();
    assert!(
        outcome
            .requeue_after
            .is_some_and(|after| after <= Duration::from_secs(10)),
        "{outcome:?}"
    );
    world.later(9).await;
    gateway.reconcile().await.unwrap();
    assert_eq!(world.tenant_writes(), Vec::<String>::new());
    world.later(2).await;
    gateway.reconcile().await.unwrap();
    assert_eq!(world.tenant.get(&shadow_path("web")), None);
    world.settle().await;
    assert_eq!(gateway.reconcile().await.unwrap().requeue_after, None);
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
    world.fault(Some(kubelb_ccm::hub::fault::Fault::Unauthorized));
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

/// A Secret with a certificate.
fn add_certificate(world: &World, name: &str, uid: &str) {
    let certificate = rcgen::generate_simple_self_signed(vec!["shop.example.com".to_owned()]).unwrap();
    let text = |data: String| serde_json::to_value(k8s_openapi::ByteString(data.into_bytes())).unwrap();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": name, "uid": uid},
        "data": {"tls.crt": text(certificate.cert.pem()), "tls.key": text(certificate.signing_key.serialize_pem()), "ca.crt": "bm8="}});
    world.tenant.put("/api/v1/namespaces/shop/secrets", secret);
}

/// The Gateway, with one listener without TLS and one that uses this certificate.
fn use_certificate(world: &World, name: &str) {
    let listeners = json!([{"name": "http", "port": 80, "protocol": "HTTP"},
        {"name": "https", "port": 443, "protocol": "HTTPS", "hostname": "shop.example.com",
        "tls": {"certificateRefs": [{"name": name}]}}]);
    let gateway = json!({"metadata": {"name": "web", "uid": "gw-1"}, "spec": {"gatewayClassName": "kubelb", "listeners": listeners}});
    put(world, "gateways", Some("shop"), gateway);
}

fn on_hub(world: &World, name: &str) -> Option<Value> {
    world.hub.get(&format!("{}/syncsecrets/{name}", harness::HUB))
}

/// A shadow Service that nobody needs.
fn add_stale_shadow(world: &World) {
    let stale = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "stale", "uid": "svc-9",
        "labels": {"kubelb.k8c.io/managed-by": "kubelb", "kubelb.k8c.io/component": "shadow-service"}},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30099}]}});
    world.tenant.put("/api/v1/namespaces/shop/services", stale);
}

#[tokio::test]
async fn while_the_hub_refuses_one_route_a_certificate_that_is_gone_and_an_unneeded_shadow_go() {
    let world = World::new().await;
    shop(&world);
    add_certificate(&world, "cert", "sec-1");
    use_certificate(&world, "cert");
    let rules = json!([{"backendRefs": [{"name": "missing", "port": 80}]}]);
    let more = json!({"metadata": {"name": "more", "uid": "rt-2"}, "spec": {"parentRefs": [{"name": "web"}], "rules": rules}});
    put(&world, "httproutes", Some("shop"), more);
    world.refuse("rt-2", 403, "routes \"rt-2\" is forbidden: exceeded quota: bound");
    add_stale_shadow(&world);
    let gateway = world.gateway().await;
    gateway.reconcile().await.unwrap();
    assert!(on_hub(&world, "sec-1").is_some());

    world.tenant.remove("/api/v1/namespaces/shop/secrets/cert");
    world.settle().await;
    gateway.reconcile().await.unwrap();
    assert_eq!(on_hub(&world, "sec-1"), None);
    world.later(11).await;
    gateway.reconcile().await.unwrap();
    assert_eq!(world.tenant.get("/api/v1/namespaces/shop/services/stale"), None);
}

#[tokio::test]
async fn what_a_gateway_uses_that_the_hub_will_not_have_changed_stays_and_nothing_else() {
    let world = World::new().await;
    shop(&world);
    add_certificate(&world, "cert", "sec-1");
    use_certificate(&world, "cert");
    let gateway = world.gateway().await;
    gateway.reconcile().await.unwrap();
    world.settle().await;
    let mut unneeded = on_hub(&world, "sec-1").unwrap();
    unneeded["metadata"]["name"] = "sec-9".into();
    world.hub.put(&format!("{}/syncsecrets", harness::HUB), unneeded);

    world.refuse("gw-1", 422, "spec.gateway: refused");
    add_certificate(&world, "next", "sec-2");
    use_certificate(&world, "next");
    world.settle().await;
    gateway.reconcile().await.unwrap();
    assert!(
        on_hub(&world, "sec-1").is_some(),
        "the hub's Gateway still uses it"
    );
    assert!(on_hub(&world, "sec-2").is_some());
    assert_eq!(on_hub(&world, "sec-9"), None);
}

#[tokio::test]
async fn a_certificate_reaches_the_hub_before_the_gateway_that_uses_it() {
    let world = World::new().await;
    shop(&world);
    add_certificate(&world, "cert", "sec-1");
    use_certificate(&world, "cert");
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

fn parent_condition(world: &World, type_: &str) -> Value {
    let route = world
        .tenant
        .get(&format!("{GATEWAY_API}/namespaces/shop/httproutes/web"))
        .unwrap();
    let conditions = route["status"]["parents"][0]["conditions"].as_array().unwrap();
    conditions.iter().find(|c| c["type"] == type_).unwrap().clone()
}

#[tokio::test]
async fn a_shadow_that_the_own_cluster_refuses_costs_its_backend_only_and_comes_when_the_refusal_ends() {
    let world = World::new().await;
    shop(&world);
    let good = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "good", "uid": "svc-2"},
        "spec": {"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": 30081, "protocol": "TCP"}]}});
    world.tenant.put("/api/v1/namespaces/shop/services", good);
    let rules = json!([{"backendRefs": [{"name": "web", "port": 80}]}, {"backendRefs": [{"name": "good", "port": 80}]}]);
    let route = json!({"metadata": {"name": "web", "uid": "rt-1"}, "spec": {"parentRefs": [{"name": "web"}], "rules": rules}});
    put(&world, "httproutes", Some("shop"), route);
    let shadow = gateway_semantics::shadow_name("shop", "web");
    world.own_cluster_refuses(
        &shadow,
        403,
        "exceeded quota: node-ports, used: services.nodeports=2",
    );
    let gateway = world.gateway().await;
    let outcome = gateway.reconcile().await.unwrap();
    assert!(outcome.requeue_after.is_some());

    let hub = || world.hub.get(&format!("{}/routes/rt-1", harness::HUB)).unwrap();
    assert_eq!(hub()["spec"]["backends"][0]["invalid"], "UnsupportedValue");
    assert_eq!(hub()["spec"]["backends"][1]["service"]["nodePort"], 30081);
    let resolved = parent_condition(&world, "ResolvedRefs");
    assert_eq!(
        (&resolved["status"], &resolved["reason"]),
        (&json!("False"), &json!("ServiceRefused"))
    );
    let message = resolved["message"].as_str().unwrap();
    assert!(
        message.contains(&shadow) && message.contains("exceeded quota"),
        "{message}"
    );
    let events = world.events();
    let told = events.iter().filter(|e| e["reason"] == "ServiceRefused");
    let told: Vec<_> = told
        .map(|e| (&e["regarding"]["kind"], &e["regarding"]["name"]))
        .collect();
    assert_eq!(told, [(&json!("HTTPRoute"), &json!("web"))]);
    let text = world.metrics.text().unwrap();
    assert!(
        !text.contains("kubelb_ccm_hub_errors_total{"),
        "not the hub's fault: {text}"
    );

    world.settle().await;
    world.forget();
    gateway.reconcile().await.unwrap();
    assert_eq!(
        world.tenant_writes(),
        Vec::<String>::new(),
        "it is not tried with every run"
    );
    assert_eq!(world.hub_writes(), Vec::<String>::new());

    world.later(6).await;
    world.own_cluster_yields();
    gateway.reconcile().await.unwrap();
    allocate_node_port(&world);
    world.settle().await;
    gateway.reconcile().await.unwrap();
    assert_eq!(hub()["spec"]["backends"][0]["service"]["nodePort"], 30080);
    assert_eq!(parent_condition(&world, "ResolvedRefs")["status"], "True");
}

#[tokio::test]
async fn after_a_restart_a_standing_refusal_makes_no_write_but_the_try() {
    let world = World::new().await;
    shop(&world);
    let shadow = gateway_semantics::shadow_name("shop", "web");
    world.own_cluster_refuses(&shadow, 400, "admission webhook \"w\" denied the request: no");
    world.gateway().await.reconcile().await.unwrap();
    world.settle().await;
    world.forget();
    world.gateway().await.reconcile().await.unwrap();
    assert_eq!(
        world.tenant_writes(),
        [format!("PATCH /api/v1/namespaces/shop/services/{shadow}")]
    );
    assert_eq!(world.hub_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_shadow_that_could_not_be_made_for_a_moment_holds_the_route() {
    let world = World::new().await;
    shop(&world);
    world.own_cluster_refuses(&gateway_semantics::shadow_name("shop", "web"), 409, "conflict");
    let gateway = world.gateway().await;
    assert!(gateway.reconcile().await.is_err(), "the driver tries again");
    assert_eq!(world.hub.get(&format!("{}/routes/rt-1", harness::HUB)), None);
    assert_eq!(parent_condition(&world, "ResolvedRefs")["status"], "True");
}

#[tokio::test]
async fn what_the_own_cluster_refuses_keeps_nothing_else_from_being_removed() {
    let world = World::new().await;
    shop(&world);
    add_stale_shadow(&world);
    world.own_cluster_refuses(&gateway_semantics::shadow_name("shop", "web"), 422, "invalid");
    let gateway = world.gateway().await;
    gateway.reconcile().await.unwrap();
    world.later(11).await;
    gateway.reconcile().await.unwrap();
    assert_eq!(world.tenant.get("/api/v1/namespaces/shop/services/stale"), None);
}

/// A route on the hub, and then moved to a Service that is new. Gives the loop, which has made the shadow, and the
/// hub's Route as it was.
async fn moved(world: &World) -> (BothLoops, Value) {
    shop(world);
    world.add_node("n1", "10.9.9.9", true);
    let gateway = world.gateway().await;
    gateway.reconcile().await.unwrap();
    allocate_node_port(world);
    world.settle().await;
    gateway.reconcile().await.unwrap();
    let before = sent(world);
    let next = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "next", "uid": "svc-2"},
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.10", "selector": {"app": "next"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]}});
    world.tenant.put("/api/v1/namespaces/shop/services", next);
    let rules = json!([{"backendRefs": [{"name": "next", "port": 80}]}]);
    let route = json!({"metadata": {"name": "web", "uid": "rt-1"}, "spec": {"parentRefs": [{"name": "web"}], "rules": rules}});
    put(world, "httproutes", Some("shop"), route);
    world.settle().await;
    gateway.reconcile().await.unwrap();
    let mut shadow = world.tenant.get(&shadow_path("next")).unwrap();
    shadow["metadata"]["creationTimestamp"] = jiff::Timestamp::now().to_string().into();
    shadow["spec"]["ports"][0]["nodePort"] = 30090.into();
    world.tenant.put("/api/v1/namespaces/shop/services", shadow);
    world.settle().await;
    (gateway, before)
}

fn sent(world: &World) -> Value {
    world.hub.get(&format!("{}/routes/rt-1", harness::HUB)).unwrap()["spec"].clone()
}

#[tokio::test]
async fn a_route_that_is_moved_stays_as_it_was_until_the_new_node_port_answers() {
    let world = World::new().await;
    world.nodes_answer(false);
    let (gateway, before) = moved(&world).await;
    let outcome = gateway.reconcile().await.unwrap();
    assert_eq!(sent(&world), before);
    assert!(
        outcome
            .requeue_after
            .is_some_and(|after| after <= Duration::from_secs(2)),
        "{outcome:?}"
    );
    world.nodes_answer(true);
    while world.answered.load(Ordering::Relaxed) == 0 {
        world.settle().await;
    }
    gateway.reconcile().await.unwrap();
    assert_eq!(sent(&world)["backends"][0]["service"]["nodePort"], 30090);
    assert!(
        world.tenant.get(&shadow_path("web")).is_some(),
        "it is used for a moment yet"
    );
}

#[tokio::test]
async fn a_route_waits_only_so_long_for_a_node_port_that_never_answers() {
    let world = World::new().await;
    world.nodes_answer(false);
    let (gateway, before) = moved(&world).await;
    gateway.reconcile().await.unwrap();
    assert_eq!(sent(&world), before);
    world.later(2).await;
    gateway.reconcile().await.unwrap();
    assert_eq!(sent(&world)["backends"][0]["service"]["nodePort"], 30090);
}

#[tokio::test]
async fn a_grant_that_is_gone_acts_at_once_while_another_backend_of_the_route_cannot_be_made() {
    let world = World::new().await;
    shop(&world);
    let port = json!({"name": "http", "port": 80, "nodePort": 30081, "protocol": "TCP"});
    let api = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api", "uid": "svc-3"},
        "spec": {"type": "NodePort", "ports": [port]}});
    world.tenant.put("/api/v1/namespaces/other/services", api);
    let grants = "/apis/gateway.networking.k8s.io/v1beta1/namespaces/other/referencegrants";
    let grant = json!({"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
        "metadata": {"name": "shop", "uid": "rg-1", "generation": 1}, "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "shop"}],
            "to": [{"group": "", "kind": "Service"}]}});
    world.tenant.put(grants, grant);
    let leads_to = |backends: Value| {
        let spec = json!({"parentRefs": [{"name": "web"}], "rules": [{"backendRefs": backends}]});
        let route = json!({"metadata": {"name": "web", "uid": "rt-1"}, "spec": spec});
        put(&world, "httproutes", Some("shop"), route);
    };
    leads_to(json!([{"name": "api", "namespace": "other", "port": 80}]));
    let gateway = world.gateway().await;
    gateway.reconcile().await.unwrap();
    assert_eq!(sent(&world)["backends"][0]["service"]["nodePort"], 30081);

    world.own_cluster_refuses(&gateway_semantics::shadow_name("shop", "web"), 409, "conflict");
    leads_to(json!([{"name": "web", "port": 80}, {"name": "api", "namespace": "other", "port": 80}]));
    world.settle().await;
    assert!(gateway.reconcile().await.is_err());
    assert_eq!(
        sent(&world)["backends"][0]["service"]["nodePort"],
        30081,
        "it is waited for"
    );
    world.tenant.remove(&format!("{grants}/shop"));
    world.settle().await;
    assert!(gateway.reconcile().await.is_err());
    let backends = json!([{"pointer": "/spec/rules/0/backendRefs/0", "invalid": "RefNotPermitted"}]);
    assert_eq!(sent(&world)["backends"], backends);
    assert_eq!(
        parent_condition(&world, "ResolvedRefs")["reason"],
        "RefNotPermitted"
    );

    world.settle().await;
    world.forget();
    assert!(gateway.reconcile().await.is_err());
    assert_eq!(world.hub_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn after_a_time_without_the_hub_a_shadow_that_nobody_needs_has_its_whole_time_again() {
    let world = World::new().await;
    shop(&world);
    let gateway = world.gateway().await;
    add_stale_shadow(&world);
    world.settle().await;
    gateway.reconcile().await.unwrap();
    world.later(9).await;
    // While the hub cannot be asked, nobody knows what is needed.
    world.fault(Some(kubelb_ccm::hub::fault::Fault::Unauthorized));
    gateway.reconcile().await.unwrap();
    world.fault(None);
    world.later(2).await;
    gateway.reconcile().await.unwrap();
    let stale = || world.tenant.get("/api/v1/namespaces/shop/services/stale");
    assert!(stale().is_some());
    world.later(10).await;
    gateway.reconcile().await.unwrap();
    assert_eq!(stale(), None);
}

fn status_writes(world: &World) -> usize {
    let writes = world.tenant_writes();
    writes.iter().filter(|line| line.ends_with("/status")).count()
}

fn is_gateway_told(world: &World) -> bool {
    let line = format!("PATCH {GATEWAY_API}/namespaces/shop/gateways/web/status");
    world.tenant_writes().contains(&line)
}

/// A loop that has patience, and has just sent a Gateway to the hub.
async fn patient(world: &World) -> (BothLoops, Outcome) {
    shop(world);
    let mut gateway = world.gateway().await;
    gateway.0.patience = Patience::new(Duration::from_secs(60));
    let outcome = gateway.reconcile().await.unwrap();
    assert!(!is_gateway_told(world), "{:?}", world.tenant_writes());
    (gateway, outcome)
}

#[tokio::test]
async fn a_status_waits_a_moment_for_the_hubs_answer_and_no_longer() {
    let world = World::new().await;
    let (gateway, outcome) = patient(&world).await;
    assert!(outcome.requeue_after.is_some(), "{outcome:?}");
    world.settle().await;
    world.later(61).await;
    gateway.reconcile().await.unwrap();
    assert!(is_gateway_told(&world), "{:?}", world.tenant_writes());
    world.settle().await;
    world.forget();
    // What stands as it is waits for nothing.
    let outcome = gateway.reconcile().await.unwrap();
    assert_eq!((status_writes(&world), outcome.requeue_after), (0, None));
}

#[tokio::test]
async fn a_status_is_written_at_once_when_the_hub_has_answered() {
    let world = World::new().await;
    let (gateway, _) = patient(&world).await;
    hub_answers(&world, "gw-1", &json!([]));
    world.settle().await;
    gateway.reconcile().await.unwrap();
    assert!(is_gateway_told(&world), "{:?}", world.tenant_writes());
}

/// The hub has taken a Route as it is now, and says this of its parents.
fn hub_answers(world: &World, name: &str, parents: &Value) {
    let mut route = world.hub.get(&format!("{}/routes/{name}", harness::HUB)).unwrap();
    let generation = route["metadata"]["generation"].as_i64().unwrap_or_default();
    route["status"] = json!({"observedGeneration": generation, "sourceGeneration": 1, "parents": parents,
        "conditions": [
            {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "Programmed", "status": "True", "reason": "Programmed", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    world.hub.put(&format!("{}/routes", harness::HUB), route);
}

/// How often the status of the route was written.
fn route_told(world: &World) -> usize {
    let line = format!("PATCH {GATEWAY_API}/namespaces/shop/httproutes/web/status");
    world
        .tenant_writes()
        .iter()
        .filter(|written| **written == line)
        .count()
}

#[tokio::test]
async fn from_its_creation_to_the_hubs_answer_the_status_of_a_route_is_written_once() {
    let world = World::new().await;
    shop(&world);
    let mut gateway = world.gateway().await;
    gateway.0.patience = Patience::new(kubelb_ccm::controller::gateway::PATIENCE);
    gateway.reconcile().await.unwrap();
    allocate_node_port(&world);
    world.settle().await;
    gateway.reconcile().await.unwrap();
    world.settle().await;
    gateway.reconcile().await.unwrap();
    hub_answers(&world, "gw-1", &json!([]));
    let taken = json!([{"scope": "Tenant", "namespace": "shop", "name": "web", "accepted": true}]);
    hub_answers(&world, "rt-1", &taken);
    world.settle().await;
    gateway.reconcile().await.unwrap();
    world.settle().await;
    world.later(2).await;
    gateway.reconcile().await.unwrap();
    assert_eq!(route_told(&world), 1, "{:?}", world.tenant_writes());
    assert_eq!(parent_condition(&world, "Accepted")["status"], "True");
}

#[tokio::test]
async fn a_route_that_the_hub_refuses_is_not_told_that_it_is_accepted_first() {
    let world = World::new().await;
    shop(&world);
    let port = json!({"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "uid": "svc-1"},
        "spec": {"type": "NodePort", "ports": [port]}});
    world.tenant.put("/api/v1/namespaces/shop/services", service);
    let mut gateway = world.gateway().await;
    gateway.0.patience = Patience::new(Duration::from_secs(60));
    gateway.reconcile().await.unwrap();
    assert_eq!(route_told(&world), 0);
    let refused = json!([{"scope": "Tenant", "namespace": "shop", "name": "web", "accepted": false,
        "reason": "IncompatibleFilters", "message": "no"}]);
    hub_answers(&world, "rt-1", &refused);
    world.settle().await;
    gateway.reconcile().await.unwrap();
    world.settle().await;
    gateway.reconcile().await.unwrap();
    assert_eq!(route_told(&world), 1);
    assert_eq!(
        parent_condition(&world, "Accepted")["reason"],
        "IncompatibleFilters"
    );
}

/// A shop with this many routes that need no NodePort: their backend is missing.
fn crowded_shop(world: &World, routes: usize) {
    shop(world);
    let rules = json!([{"backendRefs": [{"name": "missing", "port": 80}]}]);
    for index in 0..routes {
        let route = json!({"metadata": {"name": format!("more-{index}"), "uid": format!("more-{index:03}")},
            "spec": {"parentRefs": [{"name": "web"}], "rules": rules}});
        put(world, "httproutes", Some("shop"), route);
    }
}

fn on_the_hub(world: &World) -> usize {
    let writes = world.hub_writes();
    writes
        .iter()
        .filter(|line| line.contains("/routes/more-"))
        .count()
}

#[tokio::test]
async fn many_new_routes_are_brought_in_portions_and_counted_with_the_first() {
    let world = World::new().await;
    crowded_shop(&world, 130);
    let gateway = world.gateway().await;
    let outcome = gateway.reconcile().await.unwrap();
    assert_eq!(outcome.requeue_after, Some(Duration::ZERO));
    let first = on_the_hub(&world);
    assert!((28..=32).contains(&first), "{first}");
    let status = world
        .tenant
        .get(&format!("{GATEWAY_API}/namespaces/shop/gateways/web"))
        .unwrap()["status"]
        .clone();
    assert_eq!(status["listeners"][0]["attachedRoutes"], 131);
    let mut runs = 1;
    while gateway.reconcile().await.unwrap().requeue_after == Some(Duration::ZERO) {
        runs += 1;
        assert!(runs < 9, "it does not come to an end");
    }
    assert_eq!((runs, on_the_hub(&world)), (4, 130), "each is written once");
}

#[tokio::test]
async fn routes_that_the_hub_refuses_keep_none_of_many_others_waiting() {
    let world = World::new().await;
    crowded_shop(&world, 130);
    for index in 0..10 {
        world.refuse(&format!("more-{index:03}"), 422, "no");
    }
    let gateway = world.gateway().await;
    while gateway.reconcile().await.unwrap().requeue_after == Some(Duration::ZERO) {}
    world.forget();
    for index in 130..260 {
        let route = json!({"metadata": {"name": format!("more-{index}"), "uid": format!("more-{index:03}")},
            "spec": {"parentRefs": [{"name": "web"}], "rules": []}});
        put(&world, "httproutes", Some("shop"), route);
    }
    world.settle().await;
    gateway.reconcile().await.unwrap();
    let refused = |line: &String| line.contains("/routes/more-00");
    assert!(
        !world.hub_writes().iter().any(refused),
        "{:?}",
        world.hub_writes()
    );
    assert_eq!(on_the_hub(&world), 32);
}
