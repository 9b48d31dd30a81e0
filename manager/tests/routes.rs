//! Gateways and routes: what the manager makes of them on the hub, and that it all goes again.

mod hub;

use hub::Hub;
use serde_json::json;

const GATEWAYS: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/tenant-a/gateways";

fn allowed() -> serde_json::Value {
    json!({"endpointCIDRs": ["10.0.0.0/8"], "allowedDomains": ["**.example.com"]})
}

fn of_routes(writes: Vec<String>) -> Vec<String> {
    let about = |line: &String| {
        [
            "gateway.networking.k8s.io",
            "gateway.envoyproxy.io",
            "/services/",
            "/endpointslices/",
        ]
        .iter()
        .any(|kind| line.contains(kind))
    };
    writes.into_iter().filter(about).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_a_route_becomes_hub_objects_and_a_second_look_writes_nothing() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.gateway_and_route("tenant-a");
    let manager = hub.manager().await;
    insta::assert_yaml_snapshot!(of_routes(hub.settled().await));
    assert_eq!(
        hub.accepted("tenant-a", "uid-of-httproute"),
        ("True".into(), "Accepted".into())
    );
    hub.api.clear();
    manager.ctx.triggers.everything();
    assert_eq!(hub.settled().await, Vec::<String>::new(), "a second look");
    manager.stop().await;
    let manager = hub.manager().await;
    assert_eq!(hub.settled().await, Vec::<String>::new(), "a restart");
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn switching_the_gateway_api_off_removes_what_was_made_and_says_so() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.gateway_and_route("tenant-a");
    let manager = hub.manager().await;
    hub.settled().await;
    hub.api.clear();
    let mut spec = allowed();
    spec["gatewayAPI"] = json!({"disable": true});
    let mut tenant = hub.memory.get("/apis/kubelb.k8c.io/v1alpha1/tenants/a").unwrap();
    tenant["spec"] = spec;
    hub.memory.put("/apis/kubelb.k8c.io/v1alpha1/tenants", tenant);
    // The route was only just written. The backends stay longer: Envoys learn later that no route leads to them.
    hub.written("DELETE /apis/gateway.networking.k8s.io/v1/namespaces/tenant-a/httproutes/")
        .await;
    insta::assert_yaml_snapshot!(of_routes(hub.settled().await));
    assert_eq!(
        hub.accepted("tenant-a", "uid-of-gateway"),
        ("False".into(), "Disabled".into())
    );
    hub.api.clear();
    hub.written("DELETE /api/v1/namespaces/tenant-a/services/svc-")
        .await;
    insta::assert_yaml_snapshot!(
        "backends_that_no_route_needs_go_later",
        of_routes(hub.settled().await)
    );
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_somebody_else_made_is_not_overwritten() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.gateway_and_route("tenant-a");
    let manager = hub.manager().await;
    let writes = hub.settled().await;
    manager.stop().await;
    let made = writes
        .iter()
        .find_map(|line| line.strip_prefix(&format!("PATCH {GATEWAYS}/")))
        .unwrap();
    hub.memory.remove(&format!("{GATEWAYS}/{made}"));
    hub.memory.put(
        GATEWAYS,
        json!({"metadata": {"name": made}, "spec": {"gatewayClassName": "theirs"}}),
    );
    let manager = hub.manager().await;
    hub.settled().await;
    let theirs = hub.memory.get(&format!("{GATEWAYS}/{made}")).unwrap();
    assert_eq!(theirs["spec"], json!({"gatewayClassName": "theirs"}));
    assert_eq!(
        hub.accepted("tenant-a", "uid-of-gateway"),
        ("False".into(), "NameConflict".into())
    );
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_somebody_else_made_is_not_overwritten_and_none_is_looked_up() {
    const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/tenant-a/httproutes";
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.gateway_and_route("tenant-a");
    let manager = hub.manager().await;
    let writes = hub.settled().await;
    let of_envoy_gateway = |line: &&String| line.contains("/httproutes/") || line.contains("/gateways/");
    let lines: Vec<_> = hub.api.requests().iter().map(|request| request.line()).collect();
    let about = lines.iter().filter(of_envoy_gateway);
    assert!(about.clone().count() >= 2);
    assert_eq!(
        about.filter(|line| line.starts_with("GET ")).count(),
        0,
        "{lines:?}"
    );
    manager.stop().await;
    let mut made = writes
        .iter()
        .filter_map(|line| line.strip_prefix(&format!("PATCH {ROUTES}/")));
    let made = made.next().unwrap();
    hub.memory.remove(&format!("{ROUTES}/{made}"));
    hub.memory.put(
        ROUTES,
        json!({"metadata": {"name": made}, "spec": {"hostnames": ["theirs.example.com"]}}),
    );
    let manager = hub.manager().await;
    hub.settled().await;
    let theirs = hub.memory.get(&format!("{ROUTES}/{made}")).unwrap();
    assert_eq!(theirs["spec"], json!({"hostnames": ["theirs.example.com"]}));
    assert_eq!(
        hub.accepted("tenant-a", "uid-of-httproute"),
        ("False".into(), "NameConflict".into())
    );
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_made_for_envoy_gateway_in_a_tenants_namespace_stays() {
    const POLICIES: &str = "/apis/gateway.envoyproxy.io/v1alpha1/namespaces/tenant-a/envoypatchpolicies";
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.gateway_and_route("tenant-a");
    let theirs = json!({"metadata": {"name": "theirs"}, "spec": {"type": "JSONPatch", "jsonPatches": []}});
    hub.memory.put(POLICIES, theirs.clone());
    let manager = hub.manager().await;
    hub.settled().await;
    let left = hub.memory.get(&format!("{POLICIES}/theirs"));
    assert_eq!(
        left.map(|policy| policy["spec"].clone()),
        Some(theirs["spec"].clone())
    );
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_gateway_api_on_the_hub_l4_goes_on() {
    let hub = Hub::new();
    for plural in [
        "gateways",
        "listenersets",
        "httproutes",
        "grpcroutes",
        "tlsroutes",
        "tcproutes",
        "udproutes",
        "backendtlspolicies",
        "clienttrafficpolicies",
        "envoypatchpolicies",
        "gatewayclasses",
    ] {
        hub.memory.uninstall(plural);
    }
    hub.tenant("a", allowed());
    hub.gateway_and_route("tenant-a");
    hub.load_balancer("tenant-a", "web");
    let manager = hub.manager().await;
    let writes = hub.settled().await;
    assert!(
        writes.iter().any(|line| line.contains("services/lb-")),
        "{writes:#?}"
    );
    assert!(
        !writes.iter().any(|line| line.contains("gateway.networking")),
        "{writes:#?}"
    );
    hub.api.clear();
    manager.ctx.triggers.everything();
    assert_eq!(hub.settled().await, Vec::<String>::new());
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_hub_refuses_is_told_on_the_route() {
    let hub = Hub::that_answers(403, |request| {
        request.method == "PATCH" && request.path.contains("/httproutes/")
    });
    hub.tenant("a", allowed());
    hub.gateway_and_route("tenant-a");
    let manager = hub.manager().await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(
        hub.accepted("tenant-a", "uid-of-httproute"),
        ("False".into(), "NotApplied".into())
    );
    assert_eq!(
        hub.accepted("tenant-a", "uid-of-gateway"),
        ("True".into(), "Accepted".into())
    );
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_on_the_command_line_no_kind_of_l7s_is_even_asked_for() {
    let l7 = |path: &str| path.contains("gateway.networking") || path.contains("endpointslices");
    let hub = Hub::that_answers(403, move |request| l7(&request.path));
    hub.tenant("a", allowed());
    hub.load_balancer("tenant-a", "web");
    hub.gateway_and_route("tenant-a");
    let manager = hub.manager_without_gateway_api().await;
    let writes = hub.settled().await;
    assert!(
        writes.iter().any(|line| line.contains("services/lb-")),
        "{writes:#?}"
    );
    assert!(!hub.api.requests().iter().any(|request| l7(&request.path)));
    assert_eq!(
        hub.accepted("tenant-a", "uid-of-gateway"),
        ("False".into(), "Disabled".into())
    );
    manager.stop().await;
}

/// A Gateway with an HTTPS listener for every host and, or not, one for a host of its own.
fn https_gateway(hub: &Hub, with_own: bool) {
    let tls = json!({"certificateRefs": [{"name": "cert"}]});
    let mut listeners = vec![json!({"name": "any", "port": 443, "protocol": "HTTPS", "tls": tls})];
    let mut decided = vec![json!({"name": "any", "certificates": ["uid-cert"]})];
    if with_own {
        let hostname = "own.example.com";
        listeners
            .push(json!({"name": "own", "port": 443, "protocol": "HTTPS", "hostname": hostname, "tls": tls}));
        decided.push(json!({"name": "own", "certificates": ["uid-cert"]}));
    }
    let spec = json!({"gatewayClassName": "kubelb", "listeners": listeners});
    hub.route(
        "tenant-a",
        "Gateway",
        "web",
        spec,
        json!({"gateway": {"listeners": decided}}),
    );
}

fn position(writes: &[String], verb: &str, kind: &str) -> Option<usize> {
    writes
        .iter()
        .position(|line| line.starts_with(verb) && line.contains(kind))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_for_a_host_goes_before_a_route_gets_the_host_and_comes_after() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.certificate("tenant-a", "uid-cert");
    hub.gateway_and_route("tenant-a");
    https_gateway(&hub, true);
    let spec = json!({"parentRefs": [{"name": "web"}], "hostnames": ["own.example.com", "www.example.com"],
        "rules": [{"backendRefs": [{"name": "shop", "port": 80}]}]});
    let on_any =
        json!({"parents": [{"scope": "Tenant", "namespace": "shop", "name": "web", "listeners": ["any"]}]});
    hub.route("tenant-a", "HTTPRoute", "shop", spec, on_any);
    let manager = hub.manager().await;
    let first = hub.settled().await;
    assert!(
        position(&first, "PATCH", "/httproutes/") < position(&first, "PATCH", "/envoypatchpolicies/"),
        "{first:#?}"
    );

    hub.api.clear();
    https_gateway(&hub, false);
    let shrunk = hub.settled().await;
    let gone = position(&shrunk, "DELETE", "/envoypatchpolicies/");
    assert!(gone.is_some(), "{shrunk:#?}");
    assert!(gone < position(&shrunk, "PATCH", "/gateways/"), "{shrunk:#?}");
    assert!(gone < position(&shrunk, "PATCH", "/httproutes/"), "{shrunk:#?}");

    hub.api.clear();
    https_gateway(&hub, true);
    let grown = hub.settled().await;
    let back = position(&grown, "PATCH", "/envoypatchpolicies/");
    assert!(back > position(&grown, "PATCH", "/gateways/"), "{grown:#?}");
    assert!(back > position(&grown, "PATCH", "/httproutes/"), "{grown:#?}");
    hub.api.clear();
    manager.ctx.triggers.everything();
    assert_eq!(hub.settled().await, Vec::<String>::new(), "a second look");
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_the_hub_lacks_keeps_nothing_else_from_being_served() {
    let hub = Hub::new();
    for plural in [
        "listenersets",
        "envoypatchpolicies",
        "clienttrafficpolicies",
        "udproutes",
    ] {
        hub.memory.uninstall(plural);
    }
    hub.tenant("a", allowed());
    hub.certificate("tenant-a", "uid-cert");
    hub.gateway_and_route("tenant-a");
    https_gateway(&hub, true);
    hub.route(
        "tenant-a",
        "ListenerSet",
        "more",
        json!({"parentRef": {"name": "web"}, "listeners": [{"name": "more", "port": 81, "protocol": "HTTP"}]}),
        json!({"parents": [{"scope": "Tenant", "namespace": "shop", "name": "web"}], "gateway": {"listeners": [{"name": "more"}]}}),
    );
    let manager = hub.manager().await;
    let writes = of_routes(hub.settled().await);
    assert!(position(&writes, "PATCH", "/gateways/").is_some(), "{writes:#?}");
    assert!(
        position(&writes, "PATCH", "/httproutes/").is_some(),
        "{writes:#?}"
    );
    assert!(
        position(&writes, "PATCH", "/listenersets/").is_none(),
        "{writes:#?}"
    );
    assert_eq!(
        hub.accepted("tenant-a", "uid-of-listenerset"),
        ("True".into(), "Accepted".into())
    );
    manager.stop().await;
}

/// The rules of every HTTPRoute written so far, as the Services that each of them names.
fn written_backends(hub: &Hub) -> Vec<Vec<Vec<String>>> {
    let items = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let name = |reference: serde_json::Value| reference["name"].as_str().unwrap_or_default().to_owned();
    let names = |rule: serde_json::Value| items(&rule["backendRefs"]).into_iter().map(name).collect();
    let requests = hub.api.requests().into_iter();
    requests
        .filter(|request| request.method == "PATCH" && request.path.contains("/httproutes/"))
        .map(|request| {
            items(&request.body["spec"]["rules"])
                .into_iter()
                .map(names)
                .collect()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_names_its_new_backend_before_it_leads_there_and_its_old_one_after() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.gateway_and_route("tenant-a");
    let manager = hub.manager().await;
    let made = hub.settled().await;
    let path = made[position(&made, "PATCH", "/httproutes/").unwrap()].trim_start_matches("PATCH ");
    let (collection, _) = path.rsplit_once('/').unwrap();
    let old = written_backends(&hub).pop().unwrap().remove(0).remove(0);

    hub.api.clear();
    let spec = json!({"parentRefs": [{"name": "web"}], "hostnames": ["shop.example.com"],
        "rules": [{"backendRefs": [{"name": "next", "port": 80}]}]});
    let decisions = json!({
        "parents": [{"scope": "Tenant", "namespace": "shop", "name": "web", "listeners": ["http"]}],
        "backends": [{"pointer": "/spec/rules/0/backendRefs/0", "service": {"namespace": "shop",
            "name": "next", "port": 80, "portName": "http", "nodePort": 30081}}]});
    hub.route("tenant-a", "HTTPRoute", "shop", spec, decisions);
    hub.written(&format!("PATCH {path}")).await;
    // Nothing else may come before Envoy Gateway has looked at it.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let warm = written_backends(&hub).pop().unwrap();
    let new = warm[1][0].clone();
    assert_eq!(written_backends(&hub), [[[old.clone()], [new.clone()]]]);
    let writes = hub.writes();
    assert!(
        position(&writes, "PATCH", &format!("/services/{new}")) < position(&writes, "PATCH", "/httproutes/"),
        "{writes:#?}"
    );

    // Envoy Gateway has looked at it.
    let mut route = hub.memory.get(path).unwrap();
    let accepted = json!({"type": "Accepted", "status": "True", "observedGeneration": 2});
    route["metadata"]["generation"] = 2.into();
    route["status"] = json!({"parents": [{"conditions": [accepted]}]});
    hub.api.clear();
    hub.memory.put(collection, route);
    let confirmed = std::time::Instant::now();
    hub.written(&format!("PATCH {path}")).await;
    assert!(confirmed.elapsed() < std::time::Duration::from_secs(1));
    assert_eq!(written_backends(&hub), [[[new.clone()], [old.clone()]]]);

    hub.api.clear();
    hub.written("DELETE /api/v1/namespaces/tenant-a/services/svc-")
        .await;
    assert_eq!(
        written_backends(&hub),
        [[[new]]],
        "it lets go before the Service goes"
    );
    hub.api.clear();
    manager.ctx.triggers.everything();
    let later = of_routes(hub.settled().await);
    assert!(later.iter().all(|line| line.starts_with("DELETE")), "{later:#?}");
    manager.stop().await;
}

/// Names of the Secrets that the listeners of a hub Gateway show.
fn shown_secrets(gateway: &serde_json::Value) -> Vec<String> {
    let items = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let listeners = items(&gateway["spec"]["listeners"]).into_iter();
    let references = listeners.flat_map(|listener| items(&listener["tls"]["certificateRefs"]));
    references
        .map(|reference| reference["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_loses_its_last_certificate_keeps_its_address_and_shows_it_no_more() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.certificate("tenant-a", "uid-cert");
    https_gateway(&hub, true);
    let manager = hub.manager().await;
    let made = hub.settled().await;
    let path = made[position(&made, "PATCH", "/gateways/").unwrap()]
        .trim_start_matches("PATCH ")
        .to_owned();
    let mut gateway = hub.memory.get(&path).unwrap();
    let secret = shown_secrets(&gateway).pop().unwrap();
    let condition =
        |type_: &str| json!({"type": type_, "status": "True", "reason": type_, "observedGeneration": 1});
    gateway["metadata"]["generation"] = 1.into();
    gateway["status"] = json!({"addresses": [{"type": "IPAddress", "value": "192.0.2.7"}],
        "conditions": [condition("Accepted"), condition("Programmed")]});
    hub.memory.put(GATEWAYS, gateway);
    hub.settled().await;
    assert_eq!(
        hub.condition("tenant-a", "uid-of-gateway", "Programmed").0,
        "True"
    );

    hub.api.clear();
    hub.withdraw_certificate("tenant-a", "uid-cert");
    let lost = hub.settled().await;
    assert_eq!(position(&lost, "DELETE", "/gateways/"), None, "{lost:#?}");
    assert!(
        position(&lost, "DELETE", &format!("/secrets/{secret}")).is_some(),
        "{lost:#?}"
    );
    let shown = shown_secrets(&hub.memory.get(&path).unwrap());
    assert_eq!(shown, ["missing-certificate", "missing-certificate"]);
    assert_eq!(
        hub.condition("tenant-a", "uid-of-gateway", "Programmed"),
        ("False".into(), "Rejected".into())
    );
    let status = hub.route_status("tenant-a", "uid-of-gateway");
    assert_eq!(status["addresses"][0]["value"], "192.0.2.7");
    assert_eq!(status["listeners"][0]["reason"], "SecretNotFound");

    hub.api.clear();
    hub.certificate("tenant-a", "uid-cert");
    let back = hub.settled().await;
    assert_eq!(position(&back, "DELETE", ""), None, "{back:#?}");
    assert_eq!(
        shown_secrets(&hub.memory.get(&path).unwrap()),
        [secret.clone(), secret]
    );
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_secret_that_somebody_edits_or_deletes_is_put_right() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.certificate("tenant-a", "uid-cert");
    https_gateway(&hub, false);
    let manager = hub.manager().await;
    let made = hub.settled().await;
    let gateway = made[position(&made, "PATCH", "/gateways/").unwrap()].trim_start_matches("PATCH ");
    let secret = shown_secrets(&hub.memory.get(gateway).unwrap()).pop().unwrap();
    let path = made[position(&made, "PATCH", &format!("/secrets/{secret}")).unwrap()]
        .trim_start_matches("PATCH ")
        .to_owned();
    let again = format!("PATCH {path}");
    let content = || hub.memory.get(&path).unwrap()["data"].clone();
    let good = content();
    let mut edited = hub.memory.get(&path).unwrap();
    edited["data"]["tls.key"] = "b3RoZXI=".into();
    let (collection, _) = path.rsplit_once('/').unwrap();
    hub.api.clear();
    hub.memory.put(collection, edited);
    hub.written(&again).await;
    hub.settled().await;
    assert_eq!(content(), good);

    hub.api.clear();
    hub.memory.remove(&path);
    hub.written(&again).await;
    hub.settled().await;
    assert_eq!(content(), good);
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_that_cannot_shrink_holds_back_what_could_take_its_host_and_nothing_else() {
    let refuses = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let switch = refuses.clone();
    let hub = Hub::that_answers(403, move |request| {
        let writes = ["DELETE", "PATCH"].contains(&request.method.as_str());
        writes
            && request.path.contains("/envoypatchpolicies/")
            && switch.load(std::sync::atomic::Ordering::Relaxed)
    });
    hub.tenant("a", allowed());
    hub.certificate("tenant-a", "uid-cert");
    hub.gateway_and_route("tenant-a");
    https_gateway(&hub, true);
    let spec = json!({"parentRefs": [{"name": "web"}], "hostnames": ["own.example.com", "www.example.com"],
        "rules": [{"backendRefs": [{"name": "shop", "port": 80}]}]});
    let on_any = json!({
        "parents": [{"scope": "Tenant", "namespace": "shop", "name": "web", "listeners": ["any"]}],
        "backends": [{"pointer": "/spec/rules/0/backendRefs/0", "service": {"namespace": "shop",
            "name": "shop", "port": 80, "portName": "http", "nodePort": 30080}}]});
    hub.route("tenant-a", "HTTPRoute", "shop", spec, on_any);
    let manager = hub.manager().await;
    let made = hub.settled().await;
    assert!(
        position(&made, "PATCH", "/envoypatchpolicies/").is_some(),
        "{made:#?}"
    );

    refuses.store(true, std::sync::atomic::Ordering::Relaxed);
    hub.api.clear();
    https_gateway(&hub, false);
    hub.certificate("tenant-a", "uid-more");
    hub.addresses("tenant-a", "10.0.0.2");
    hub.written("DELETE /apis/gateway.envoyproxy.io").await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let writes = hub.writes();
    assert!(position(&writes, "PATCH", "/secrets/").is_some(), "{writes:#?}");
    assert!(
        position(&writes, "PATCH", "/endpointslices/").is_some(),
        "{writes:#?}"
    );
    assert_eq!(position(&writes, "PATCH", "/gateways/"), None, "{writes:#?}");
    assert_eq!(position(&writes, "PATCH", "/httproutes/"), None, "{writes:#?}");
    let refused = ("False".to_owned(), "NotApplied".to_owned());
    assert_eq!(hub.accepted("tenant-a", "uid-of-gateway"), refused);
    assert_eq!(hub.accepted("tenant-a", "uid-of-httproute"), refused);

    refuses.store(false, std::sync::atomic::Ordering::Relaxed);
    hub.api.clear();
    manager.ctx.triggers.everything();
    hub.written("PATCH /apis/gateway.networking.k8s.io/v1/namespaces/tenant-a/httproutes/")
        .await;
    let writes = hub.settled().await;
    let gone = position(&writes, "DELETE", "/envoypatchpolicies/");
    assert!(gone.is_some(), "{writes:#?}");
    assert!(gone < position(&writes, "PATCH", "/gateways/"), "{writes:#?}");
    assert!(gone < position(&writes, "PATCH", "/httproutes/"), "{writes:#?}");
    assert_eq!(
        hub.accepted("tenant-a", "uid-of-httproute"),
        ("True".into(), "Accepted".into())
    );
    manager.stop().await;
}
