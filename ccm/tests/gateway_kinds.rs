//! The Gateway API loop against API servers in memory: what goes beyond Gateways with HTTP routes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod harness;

use harness::{HUB, World};
use serde_json::{Value, json};

const GATEWAY_API: &str = "/apis/gateway.networking.k8s.io/v1";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";

fn put(world: &World, plural: &str, kind: &str, mut object: Value) {
    object["apiVersion"] = "gateway.networking.k8s.io/v1".into();
    object["kind"] = kind.into();
    object["metadata"]["generation"] = 1.into();
    object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
    let scope = if kind == "GatewayClass" {
        ""
    } else {
        "/namespaces/shop"
    };
    world
        .tenant
        .put(&format!("{GATEWAY_API}{scope}/{plural}"), object);
}

/// A class and a Gateway with what `spec` says besides its listener.
fn edge(world: &World, spec: &Value) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    world.tenant.put("/api/v1/namespaces", namespace);
    let class = json!({"metadata": {"name": "kubelb"}, "spec": {"controllerName": "kubelb.k8c.io/gateway-controller"}});
    put(world, "gatewayclasses", "GatewayClass", class);
    let mut gateway = json!({"metadata": {"name": "web", "uid": "gw-1"},
        "spec": {"gatewayClassName": "kubelb", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}});
    for (key, value) in spec.as_object().unwrap() {
        gateway["spec"][key] = value.clone();
    }
    put(world, "gateways", "Gateway", gateway);
}

fn route(world: &World, service: &str) {
    let route = json!({"metadata": {"name": "web", "uid": "rt-1"},
        "spec": {"parentRefs": [{"name": "web"}], "rules": [{"backendRefs": [{"name": service, "port": 80}]}]}});
    put(world, "httproutes", "HTTPRoute", route);
}

fn service(world: &World, spec: Value) {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "uid": "svc-1"}, "spec": spec});
    world.tenant.put("/api/v1/namespaces/shop/services", service);
}

fn slice(world: &World, address: &str) {
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "by-hand", "uid": "es-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [address]}], "ports": [{"name": "http", "port": 3000, "protocol": "TCP"}]});
    world.tenant.put(SLICES, slice);
}

fn authority(world: &World, name: &str, pem: &str) {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "uid": format!("cm-{name}")},
        "data": {"ca.crt": pem, "other": "secret"}});
    world.tenant.put("/api/v1/namespaces/shop/configmaps", map);
}

fn pem() -> String {
    rcgen::generate_simple_self_signed(vec!["ca.example.com".to_owned()])
        .unwrap()
        .cert
        .pem()
}

fn own_slices(world: &World) -> Vec<Value> {
    let name = api::names::derived_name("kubelb", "EndpointSlice", "shop", "by-hand");
    world
        .tenant
        .get(&format!("{SLICES}/{name}"))
        .into_iter()
        .collect()
}

async fn run(world: &World, gateway: &harness::BothLoops) {
    world.settle().await;
    gateway.reconcile().await.unwrap();
    world.settle().await;
}

#[tokio::test]
async fn slices_of_a_service_without_selector_are_kept_in_step_and_go_with_the_shadow() {
    let world = World::new().await;
    edge(&world, &json!({}));
    service(
        &world,
        json!({"type": "ClusterIP", "clusterIP": "None", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}),
    );
    slice(&world, "10.0.0.7");
    route(&world, "web");
    let gateway = world.gateway().await;
    run(&world, &gateway).await;
    assert_eq!(own_slices(&world)[0]["endpoints"][0]["addresses"][0], "10.0.0.7");
    let shadow = gateway_semantics::shadow_name("shop", "web");
    let shadow = format!("/api/v1/namespaces/shop/services/{shadow}");
    assert!(
        world.tenant.get(&shadow).unwrap()["spec"]
            .get("selector")
            .is_none()
    );

    slice(&world, "10.0.0.8");
    run(&world, &gateway).await;
    assert_eq!(own_slices(&world)[0]["endpoints"][0]["addresses"][0], "10.0.0.8");

    world.forget();
    run(&world, &gateway).await;
    world.gateway().await.reconcile().await.unwrap();
    assert_eq!(world.tenant_writes(), Vec::<String>::new());
    assert_eq!(world.hub_writes(), Vec::<String>::new());

    world
        .tenant
        .remove(&format!("{GATEWAY_API}/namespaces/shop/httproutes/web"));
    run(&world, &gateway).await;
    run(&world, &gateway).await;
    assert!(world.tenant.get(&shadow).is_some());
    assert_eq!(own_slices(&world).len(), 1);
    world.later(11).await;
    run(&world, &gateway).await;
    assert!(world.tenant.get(&shadow).is_none());
    assert_eq!(own_slices(&world), Vec::<Value>::new());
    assert!(
        world.tenant.get(&format!("{SLICES}/by-hand")).is_some(),
        "what others made stays"
    );
}

#[tokio::test]
async fn authorities_that_a_policy_names_reach_the_hub_before_the_route_and_nothing_else_is_read() {
    let world = World::new().await;
    edge(&world, &json!({}));
    service(
        &world,
        json!({"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"}]}),
    );
    route(&world, "web");
    let first = pem();
    authority(&world, "ca", &first);
    authority(&world, "unrelated", "nothing");
    let policy = json!({"metadata": {"name": "tls", "uid": "pol-1"}, "spec": {
        "targetRefs": [{"group": "", "kind": "Service", "name": "web"}],
        "validation": {"hostname": "web.example.com", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]}}});
    put(&world, "backendtlspolicies", "BackendTLSPolicy", policy);
    let gateway = world.gateway().await;
    gateway.reconcile().await.unwrap();

    let writes = world.hub_writes();
    let at = |end: &str| writes.iter().position(|line| line.ends_with(end));
    assert!(
        at("/syncsecrets/cm-ca").is_some() && at("/syncsecrets/cm-ca") < at("/routes/rt-1"),
        "{writes:?}"
    );
    let synced = || world.hub.get(&format!("{HUB}/syncsecrets/cm-ca")).unwrap();
    assert_eq!(synced()["spec"]["type"], "Opaque");
    assert_eq!(
        synced()["spec"]["data"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["ca.crt"]
    );
    let sent = world.hub.get(&format!("{HUB}/routes/rt-1")).unwrap();
    assert_eq!(
        sent["spec"]["backends"][0]["service"]["tls"]["certificateAuthorities"][0],
        "cm-ca"
    );
    let told = world
        .tenant
        .get(&format!("{GATEWAY_API}/namespaces/shop/backendtlspolicies/tls"))
        .unwrap();
    assert_eq!(told["status"]["ancestors"][0]["ancestorRef"]["name"], "web");
    let reads = world.tenant_reads();
    assert!(
        reads.iter().any(|line| line.ends_with("/configmaps/ca")),
        "{reads:?}"
    );
    assert!(
        !reads.iter().any(|line| line.ends_with("/configmaps/unrelated")),
        "{reads:?}"
    );

    world.settle().await;
    world.forget();
    gateway.reconcile().await.unwrap();
    assert_eq!(
        world.tenant_reads(),
        Vec::<String>::new(),
        "what did not change is not read again"
    );
    assert_eq!(world.hub_writes(), Vec::<String>::new());

    let before = synced()["spec"]["data"].clone();
    authority(&world, "ca", &pem());
    run(&world, &gateway).await;
    assert_ne!(
        synced()["spec"]["data"],
        before,
        "a new authority replaces the old one"
    );

    world.tenant.remove("/api/v1/namespaces/shop/configmaps/ca");
    run(&world, &gateway).await;
    let sent = world.hub.get(&format!("{HUB}/routes/rt-1")).unwrap();
    assert_eq!(
        sent["spec"]["backends"][0]["invalid"], "UnsupportedValue",
        "never plain text"
    );
    let is_there = || world.hub.get(&format!("{HUB}/syncsecrets/cm-ca")).is_some();
    assert!(is_there(), "as long as the hub knows the backend");
    world.later(16).await;
    run(&world, &gateway).await;
    assert!(!is_there());
}

#[tokio::test]
async fn authorities_that_a_held_route_needs_stay_on_the_hub() {
    let world = World::new().await;
    edge(&world, &json!({}));
    let port = json!({"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"});
    service(&world, json!({"type": "NodePort", "ports": [port]}));
    route(&world, "web");
    authority(&world, "ca", &pem());
    let policy = json!({"metadata": {"name": "tls", "uid": "pol-1"}, "spec": {
        "targetRefs": [{"group": "", "kind": "Service", "name": "web"}],
        "validation": {"hostname": "web.example.com", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]}}});
    put(&world, "backendtlspolicies", "BackendTLSPolicy", policy);
    let gateway = world.gateway().await;
    run(&world, &gateway).await;
    let authority = || world.hub.get(&format!("{HUB}/syncsecrets/cm-ca"));
    assert!(authority().is_some());

    let next = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "next", "uid": "svc-2"},
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.9", "selector": {"app": "next"}, "ports": [{"port": 80, "protocol": "TCP"}]}});
    world.tenant.put("/api/v1/namespaces/shop/services", next);
    route(&world, "next");
    run(&world, &gateway).await;
    run(&world, &gateway).await;
    world.later(16).await;
    run(&world, &gateway).await;
    assert!(authority().is_some(), "the hub goes on with what it has");

    let name = gateway_semantics::shadow_name("shop", "next");
    let mut shadow = world
        .tenant
        .get(&format!("/api/v1/namespaces/shop/services/{name}"))
        .unwrap();
    shadow["spec"]["ports"][0]["nodePort"] = 30090.into();
    world.tenant.put("/api/v1/namespaces/shop/services", shadow);
    run(&world, &gateway).await;
    world.later(16).await;
    run(&world, &gateway).await;
    assert_eq!(authority(), None);
}

#[tokio::test]
async fn a_listener_set_and_the_routes_on_it_are_delegated_and_told() {
    let world = World::new().await;
    edge(
        &world,
        &json!({"allowedListeners": {"namespaces": {"from": "Same"}}}),
    );
    service(
        &world,
        json!({"type": "NodePort", "ports": [{"name": "tcp", "port": 80, "nodePort": 30080, "protocol": "TCP"}]}),
    );
    let set = json!({"metadata": {"name": "more", "uid": "ls-1"}, "spec": {"parentRef": {"name": "web"},
        "listeners": [{"name": "tcp", "port": 9000, "protocol": "TCP"}]}});
    put(&world, "listenersets", "ListenerSet", set);
    let route = json!({"metadata": {"name": "tcp", "uid": "tcp-1"}, "spec": {"parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "ListenerSet", "name": "more"}],
        "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}});
    put(&world, "tcproutes", "TCPRoute", route);
    let gateway = world.gateway().await;
    run(&world, &gateway).await;
    let hub = |name: &str| world.hub.get(&format!("{HUB}/routes/{name}")).unwrap()["spec"].clone();
    assert_eq!(hub("ls-1")["gateway"]["listeners"][0]["name"], "tcp");
    assert_eq!(hub("ls-1")["parents"][0]["name"], "web");
    assert_eq!(hub("gw-1")["gateway"]["listenerSets"], true);
    assert_eq!(hub("tcp-1")["parents"][0]["kind"], "ListenerSet");
    let told = |path: &str| {
        world
            .tenant
            .get(&format!("{GATEWAY_API}/namespaces/shop/{path}"))
            .unwrap()["status"]
            .clone()
    };
    assert_eq!(told("gateways/web")["attachedListenerSets"], 1);
    assert_eq!(told("listenersets/more")["listeners"][0]["attachedRoutes"], 1);
    assert_eq!(
        told("tcproutes/tcp")["parents"][0]["conditions"][0]["status"],
        "True"
    );
    world.forget();
    run(&world, &gateway).await;
    assert_eq!(world.tenant_writes(), Vec::<String>::new());
    assert_eq!(world.hub_writes(), Vec::<String>::new());

    world
        .tenant
        .remove(&format!("{GATEWAY_API}/namespaces/shop/listenersets/more"));
    run(&world, &gateway).await;
    assert!(world.hub.get(&format!("{HUB}/routes/ls-1")).is_none());
    assert!(world.hub.get(&format!("{HUB}/routes/tcp-1")).is_none());
}

#[tokio::test]
async fn a_gateway_with_infrastructure_metadata_has_a_service_with_the_hubs_addresses() {
    let world = World::new().await;
    world.put_hub(
        "tenantstates",
        json!({"metadata": {"name": "default"}, "spec": {},
        "status": {"tenant": "a", "allowedDomains": ["**"], "gatewayAPI": {"infrastructureMetadata": true}}}),
    );
    edge(
        &world,
        &json!({"infrastructure": {"labels": {"key2": "value2"}, "annotations": {"key1": "value1"}}}),
    );
    let gateway = world.gateway().await;
    run(&world, &gateway).await;
    let name = gateway_semantics::gateway_service_name("shop", "web");
    let path = format!("/api/v1/namespaces/shop/services/{name}");
    let service = world.tenant.get(&path).unwrap();
    assert_eq!(service["metadata"]["labels"]["key2"], "value2");
    assert_eq!(
        service["metadata"]["labels"]["gateway.networking.k8s.io/gateway-name"],
        "web"
    );
    assert_eq!(service["metadata"]["annotations"]["key1"], "value1");

    let mut sent = world.hub.get(&format!("{HUB}/routes/gw-1")).unwrap();
    sent["metadata"]["generation"] = 1.into();
    sent["status"] = json!({"observedGeneration": 1, "sourceGeneration": 1, "addresses": [{"type": "IPAddress", "value": "192.0.2.1"}]});
    world.hub.put(&format!("{HUB}/routes"), sent);
    run(&world, &gateway).await;
    let slice = world.tenant.get(&format!("{SLICES}/{name}-ipv4")).unwrap();
    assert_eq!(slice["endpoints"][0]["addresses"][0], "192.0.2.1");
    assert_eq!(slice["ports"][0]["port"], 80);
    world.forget();
    run(&world, &gateway).await;
    assert_eq!(world.tenant_writes(), Vec::<String>::new());

    edge(&world, &json!({}));
    run(&world, &gateway).await;
    assert!(world.tenant.get(&path).is_none());
    assert!(world.tenant.get(&format!("{SLICES}/{name}-ipv4")).is_none());
}

#[tokio::test]
async fn a_cluster_without_the_newer_kinds_is_served_as_before() {
    let world = World::new().await;
    for plural in [
        "tlsroutes",
        "tcproutes",
        "udproutes",
        "listenersets",
        "backendtlspolicies",
    ] {
        world.tenant.uninstall(plural);
    }
    edge(&world, &json!({}));
    service(
        &world,
        json!({"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"}]}),
    );
    route(&world, "web");
    let gateway = world.gateway().await;
    run(&world, &gateway).await;
    assert!(world.hub.get(&format!("{HUB}/routes/rt-1")).is_some());
}
