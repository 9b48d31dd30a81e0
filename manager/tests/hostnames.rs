//! Host names of load balancers, and HTTPS at them: what the manager makes on the hub, and that it all goes again.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows these in test functions only, and here the helpers are tests too"
)]

mod hub;

use hub::{Hub, Running};
use kubelb_manager::hostnames::HostnameTable;
use serde_json::{Value, json};

const OURS: &str = "/apis/kubelb.k8c.io/v1alpha1";
const GATEWAYS: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/tenant-a/gateways";
const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/tenant-a/httproutes";
const EXTERNAL_DNS: &str = "external-dns.alpha.kubernetes.io/hostname";

fn named() -> Value {
    json!({"endpointCIDRs": ["10.0.0.0/8"], "certificates": {"defaultClusterIssuer": "hub"},
        "dns": {"wildcardDomain": "lb.example.com", "useDNSAnnotations": true, "useCertificateAnnotations": true}})
}

/// LoadBalancer `web` of a Service of that name.
fn load_balancer(hub: &Hub, namespace: &str, https: bool) {
    hub.load_balancer(namespace, "web");
    let path = format!("{OURS}/namespaces/{namespace}/loadbalancers");
    let mut object = hub.memory.get(&format!("{path}/web")).unwrap();
    object["metadata"]["annotations"] = json!({"kubelb.k8c.io/origin-name": "web"});
    if https {
        object["spec"]["https"] = json!({});
    }
    hub.memory.put(&path, object);
}

fn change_tenant(hub: &Hub, name: &str, spec: Value) {
    let path = format!("{OURS}/tenants");
    let mut tenant = hub.memory.get(&format!("{path}/{name}")).unwrap();
    tenant["spec"] = spec;
    hub.memory.put(&path, tenant);
}

fn status(hub: &Hub, namespace: &str) -> Value {
    let path = format!("{OURS}/namespaces/{namespace}/loadbalancers/web");
    hub.memory.get(&path).unwrap()["status"].take()
}

fn hostname(hub: &Hub, namespace: &str) -> String {
    let status = status(hub, namespace);
    status["hostname"]["hostname"].as_str().unwrap().to_owned()
}

/// Status and reason of a condition, or nothing where it is not there.
fn condition(hub: &Hub, type_: &str) -> Option<(String, String)> {
    let status = status(hub, "tenant-a");
    let all = status["conditions"].as_array().unwrap().clone();
    let condition = all.into_iter().find(|c| c["type"] == type_)?;
    let text = |key: &str| condition[key].as_str().unwrap().to_owned();
    Some((text("status"), text("reason")))
}

fn pair(status: &str, reason: &str) -> Option<(String, String)> {
    Some((status.to_owned(), reason.to_owned()))
}

/// Names of what was written or deleted of the Gateway API, and of Services and EndpointSlices.
fn about_names(writes: Vec<String>) -> Vec<String> {
    let kinds = ["/gateways/", "/httproutes/", "/services/", "/endpointslices/"];
    let mut all: Vec<String> = writes
        .into_iter()
        .filter(|line| kinds.iter().any(|kind| line.contains(kind)))
        .collect();
    all.sort();
    all.dedup();
    all
}

fn hub_service(hub: &Hub, writes: &[String]) -> Value {
    let line = writes.iter().find(|line| line.contains("/services/lb-")).unwrap();
    let path = line.split_once(' ').unwrap().1;
    hub.memory.get(path).unwrap()
}

async fn second_look(hub: &Hub, manager: &Running) {
    hub.api.clear();
    manager.ctx.triggers.everything();
    assert_eq!(hub.settled().await, Vec::<String>::new(), "a second look");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_name_with_https_comes_and_goes_with_all_that_it_needs() {
    let hub = Hub::new();
    hub.tenant("a", named());
    load_balancer(&hub, "tenant-a", true);
    let manager = hub.manager().await;
    let writes = hub.settled().await;
    insta::assert_yaml_snapshot!("https_comes", about_names(writes.clone()));
    assert_eq!(hostname(&hub, "tenant-a"), "web.lb.example.com");
    assert_eq!(condition(&hub, "HTTPSProgrammed"), pair("False", "Pending"));
    let service = hub_service(&hub, &writes);
    assert_eq!(
        service["metadata"]["annotations"]["kubelb.k8c.io/hostname"],
        "web.lb.example.com"
    );
    assert!(service["metadata"]["annotations"][EXTERNAL_DNS].is_null());
    second_look(&hub, &manager).await;
    manager.stop().await;
    let manager = hub.manager().await;
    assert_eq!(hub.settled().await, Vec::<String>::new(), "a restart");

    let name = writes
        .iter()
        .find_map(|line| Some(line.split_once("/gateways/")?.1))
        .unwrap();
    let mut gateway = hub.memory.get(&format!("{GATEWAYS}/{name}")).unwrap();
    let generation = gateway["metadata"]["generation"].clone();
    let says = |type_: &str| json!({"type": type_, "status": "True", "observedGeneration": generation});
    gateway["status"] = json!({"conditions": [says("Programmed")], "listeners": [{"name": "https", "conditions": [says("ResolvedRefs"),
        says("Programmed")]}]});
    hub.memory.put(GATEWAYS, gateway);
    hub.settled().await;
    assert_eq!(condition(&hub, "HTTPSProgrammed"), pair("True", "Programmed"));
    assert_eq!(status(&hub, "tenant-a")["hostname"]["tlsEnabled"], true);

    hub.memory.remove(&format!("{ROUTES}/{name}"));
    hub.settled().await;
    assert!(
        hub.memory.get(&format!("{ROUTES}/{name}")).is_some(),
        "it is repaired"
    );

    hub.api.clear();
    change_tenant(&hub, "a", json!({"endpointCIDRs": ["10.0.0.0/8"]}));
    let writes = hub.settled().await;
    insta::assert_yaml_snapshot!("https_goes", about_names(writes));
    assert_eq!(condition(&hub, "HostnameAssigned"), None);
    assert_eq!(condition(&hub, "HTTPSProgrammed"), pair("False", "NoHostname"));
    assert!(status(&hub, "tenant-a")["hostname"].is_null());
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_https_the_name_in_dns_is_the_services_and_goes_with_the_switch() {
    let hub = Hub::new();
    hub.tenant("a", named());
    load_balancer(&hub, "tenant-a", false);
    let manager = hub.manager().await;
    let writes = hub.settled().await;
    let annotation = || hub_service(&hub, &writes)["metadata"]["annotations"][EXTERNAL_DNS].take();
    assert_eq!(annotation(), "web.lb.example.com");
    let mut spec = named();
    spec["dns"]["useDNSAnnotations"] = json!(false);
    change_tenant(&hub, "a", spec);
    hub.settled().await;
    assert!(annotation().is_null());
    assert_eq!(hostname(&hub, "tenant-a"), "web.lb.example.com");
    second_look(&hub, &manager).await;
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_with_one_domain_have_two_names_and_keep_them_also_over_a_restart() {
    let hub = Hub::new();
    for (tenant, namespace) in [("a", "tenant-a"), ("b", "tenant-b")] {
        hub.tenant(tenant, named());
        load_balancer(&hub, namespace, false);
    }
    let manager = hub.manager().await;
    hub.settled().await;
    let [first, second] = [hostname(&hub, "tenant-a"), hostname(&hub, "tenant-b")];
    assert_ne!(first, second);
    manager.stop().await;

    let (gone, left, kept) = if first == "web.lb.example.com" {
        ("tenant-a", "tenant-b", second)
    } else {
        ("tenant-b", "tenant-a", first)
    };
    hub.memory
        .remove(&format!("{OURS}/namespaces/{gone}/loadbalancers/web"));
    let manager = hub.manager().await;
    hub.settled().await;
    assert_eq!(hostname(&hub, left), kept);
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_the_fleet_of_all_tenants_are_recorded_there_and_stay_over_a_restart() {
    let hub = Hub::new();
    let mut spec = named();
    spec["envoyProxy"] = json!({"topology": "global"});
    for (tenant, namespace) in [("a", "tenant-a"), ("b", "tenant-b")] {
        hub.tenant(tenant, spec.clone());
        load_balancer(&hub, namespace, false);
    }
    let manager = hub.manager().await;
    let writes = hub.settled().await;
    let names = || [hostname(&hub, "tenant-a"), hostname(&hub, "tenant-b")];
    let given = names();
    assert_ne!(given[0], given[1]);
    let services = writes
        .iter()
        .filter_map(|line| line.strip_prefix("PATCH "))
        .filter(|path| path.starts_with("/api/v1/namespaces/kubelb/services/lb-"))
        .map(|path| hub.memory.get(path).unwrap());
    let in_dns: std::collections::BTreeSet<String> = services
        .map(|service| service["metadata"]["annotations"][EXTERNAL_DNS].clone())
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(in_dns, given.clone().into());
    second_look(&hub, &manager).await;
    manager.stop().await;
    let manager = hub.manager().await;
    assert_eq!(hub.settled().await, Vec::<String>::new(), "a restart");
    assert_eq!(names(), given);
    // As right after a start, when the run for all tenants comes first.
    hub.api.clear();
    manager.ctx.hostnames.replace(HostnameTable::default());
    manager.ctx.triggers.global.trigger(());
    assert_eq!(hub.settled().await, Vec::<String>::new(), "nobody had a name yet");
    manager.stop().await;
}
