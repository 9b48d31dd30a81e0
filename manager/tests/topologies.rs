//! A tenant's topology changes: what the whole manager writes and serves, against an API server in memory. Envoys are
//! played: they are pods that are ready and say what they have.
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in test functions only, and here the helpers are tests too"
)]

mod hub;

use hub::{Hub, Running};
use k8s_openapi::api::core::v1::Service;
use kubelb_manager::build::envoy::UNNEEDED_UNTIL;
use kubelb_manager::controller::load_balancer::moves::FORMER_FLEET_UNTIL;
use kubelb_manager::controller::load_balancer::sites::ADDRESS_UNTIL;
use kubelb_manager::fleet::FleetId;
use l4_xds::LoadBalancerId;
use l4_xds::report::Reporter;
use l4_xds::stream::LoadBalancerState;
use serde_json::{Value, json};

const NAMESPACE: &str = "tenant-a";
const SERVICES: &str = "/api/v1/namespaces/tenant-a/services";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/tenant-a/deployments";
const SERVICE: &str = "lb-jn7g47354swbwpfdwxht-web";
const LONG_AGO: &str = "2026-01-01T00:00:00Z";

fn topology(hub: &Hub, topology: &str) {
    let spec = json!({"endpointCIDRs": ["10.0.0.0/8"], "envoyProxy": {"replicas": 1, "topology": topology}});
    match hub.memory.get("/apis/kubelb.k8c.io/v1alpha1/tenants/a") {
        None => hub.tenant("a", spec),
        Some(mut tenant) => {
            tenant["spec"] = spec;
            hub.memory.put("/apis/kubelb.k8c.io/v1alpha1/tenants", tenant);
        }
    }
}

fn web() -> FleetId {
    FleetId::Dedicated("web".into())
}

/// A ready pod of this fleet.
fn envoy(hub: &Hub, fleet: &FleetId, name: &str) {
    let pod = json!({"metadata": {"name": name, "labels": fleet.labels("a", NAMESPACE)},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    hub.memory.put("/api/v1/namespaces/tenant-a/pods", pod);
}

/// Says to this replica that the pod has what is served. It says so until it is dropped.
fn says(manager: &Running, fleet: &FleetId, pod: &str) -> Reporter {
    let id = LoadBalancerId::new(NAMESPACE, "web").unwrap();
    let contents = manager.ctx.snapshots.contents(NAMESPACE);
    let content = contents.at(fleet, &id).unwrap().content.clone();
    let reporter = manager
        .ctx
        .reports
        .open(fleet.key(NAMESPACE).unwrap(), 8)
        .unwrap();
    reporter.introduce(pod.to_owned().into());
    let state = LoadBalancerState {
        programmed: Some(content),
        rejected: None,
    };
    reporter.report(vec![(id, Some(state))]);
    reporter
}

fn service(hub: &Hub) -> Value {
    hub.memory.get(&format!("{SERVICES}/{SERVICE}")).unwrap()
}

fn serving(hub: &Hub) -> FleetId {
    let service: Service = serde_json::from_value(service(hub)).unwrap();
    FleetId::selected(&service, "web").unwrap()
}

fn until(hub: &Hub) -> Value {
    service(hub)["metadata"]["annotations"][FORMER_FLEET_UNTIL].clone()
}

fn has(hub: &Hub, fleet: &FleetId) -> bool {
    let deployment = format!("{DEPLOYMENTS}/{}", fleet.name(NAMESPACE));
    hub.memory.get(&deployment).is_some()
}

/// Whether the snapshot of a fleet has the load balancer.
fn is_served_by(manager: &Running, fleet: &FleetId) -> bool {
    let snapshot = manager.ctx.snapshots.of(&fleet.key(NAMESPACE).unwrap());
    snapshot.is_some_and(|snapshot| snapshot.owners().any(|id| id.name() == "web"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_topology_is_finished_by_a_manager_that_starts_in_the_middle() {
    let hub = Hub::new();
    topology(&hub, "shared");
    hub.load_balancer(NAMESPACE, "web");
    let manager = hub.manager().await;
    hub.settled().await;
    let made = service(&hub);

    // Nobody of the new fleet says anything: both have it, and the old one serves.
    topology(&hub, "dedicated");
    hub.settled().await;
    assert_eq!((serving(&hub), until(&hub)), (FleetId::Shared, Value::Null));
    assert!(has(&hub, &FleetId::Shared) && has(&hub, &web()));
    assert!(is_served_by(&manager, &FleetId::Shared) && is_served_by(&manager, &web()));

    // An Envoy that is ready has it, but not the other one.
    envoy(&hub, &web(), "envoy-1");
    envoy(&hub, &web(), "envoy-2");
    let _first = says(&manager, &web(), "envoy-1");
    hub.settled().await;
    assert_eq!(serving(&hub), FleetId::Shared);

    // Now both have it.
    let second = says(&manager, &web(), "envoy-2");
    hub.settled().await;
    assert_eq!(serving(&hub), web());
    assert_ne!(until(&hub), Value::Null);
    assert!(is_served_by(&manager, &FleetId::Shared) && is_served_by(&manager, &web()));
    // What an Envoy says counts no more, once it has moved.
    drop(second);
    hub.api.clear();
    manager.ctx.triggers.everything();
    assert_eq!(hub.settled().await, Vec::<String>::new(), "a second look");
    manager.stop().await;

    // Another manager, and the time is over.
    hub.annotate(SERVICES, SERVICE, FORMER_FLEET_UNTIL, LONG_AGO);
    let manager = hub.manager().await;
    hub.settled().await;
    assert_eq!((serving(&hub), until(&hub)), (web(), Value::Null));
    assert!(!is_served_by(&manager, &FleetId::Shared) && is_served_by(&manager, &web()));
    assert!(has(&hub, &FleetId::Shared), "it stays for a while");
    hub.annotate(DEPLOYMENTS, "envoy", UNNEEDED_UNTIL, LONG_AGO);
    hub.settled().await;
    assert!(!has(&hub, &FleetId::Shared) && has(&hub, &web()));

    // It is the same Service all the while, with the same ports.
    let moved = service(&hub);
    assert_eq!(moved["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(moved["spec"]["ports"], made["spec"]["ports"]);
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_another_replica_hears_counts_and_nothing_is_left_of_what_it_said() {
    let hub = Hub::new();
    topology(&hub, "shared");
    hub.load_balancer(NAMESPACE, "web");
    let leader = hub.manager().await;
    hub.settled().await;
    let other = hub.second_replica().await;
    topology(&hub, "dedicated");
    hub.settled().await;
    for fleet in [FleetId::Shared, web()] {
        let snapshot = |manager: &Running| manager.ctx.snapshots.of(&fleet.key(NAMESPACE).unwrap());
        assert_eq!(snapshot(&leader), snapshot(&other), "replicas serve the same");
    }

    envoy(&hub, &web(), "envoy-1");
    envoy(&hub, &web(), "envoy-2");
    let _one = says(&leader, &web(), "envoy-1");
    let _two = says(&other, &web(), "envoy-2");
    hub.settled().await;
    assert_eq!(serving(&hub), web());
    let reports = |line: &&String| line.contains("/configmaps/xds-report-");
    let last = hub.settled().await.iter().rfind(reports).cloned();
    assert!(
        last.is_some_and(|line| line.starts_with("DELETE")),
        "it says nothing any more"
    );
    other.stop().await;
    leader.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_load_balancer_of_a_dedicated_topology_has_objects_of_its_own_which_go_with_the_tenant() {
    let hub = Hub::new();
    topology(&hub, "dedicated");
    hub.load_balancer(NAMESPACE, "web");
    hub.load_balancer(NAMESPACE, "api");
    let manager = hub.manager().await;
    hub.settled().await;
    assert!(!has(&hub, &FleetId::Shared));
    for name in ["web", "api"] {
        let fleet = FleetId::Dedicated(name.into());
        assert!(has(&hub, &fleet));
        let secret = format!(
            "/api/v1/namespaces/tenant-a/secrets/{}",
            fleet.certificate(NAMESPACE)
        );
        let issued_for =
            &hub.memory.get(&secret).unwrap()["metadata"]["annotations"]["kubelb.k8c.io/issued-for"];
        assert_eq!(
            *issued_for,
            format!("fleet spiffe://kubelb/fleet/tenant-a/{name}")
        );
        let snapshot = manager.ctx.snapshots.of(&fleet.key(NAMESPACE).unwrap()).unwrap();
        assert_eq!(
            snapshot.owners().map(LoadBalancerId::name).collect::<Vec<_>>(),
            [name]
        );
    }
    hub.api.clear();
    manager.ctx.triggers.everything();
    assert_eq!(hub.settled().await, Vec::<String>::new(), "a second look");

    hub.delete_tenant("a");
    hub.settled().await;
    assert_eq!(hub.memory.get("/apis/kubelb.k8c.io/v1alpha1/tenants/a"), None);
    assert!(!has(&hub, &web()));
    manager.stop().await;
}

const GLOBAL_SERVICES: &str = "/api/v1/namespaces/kubelb/services";

/// As the implementation does that gives the hub its addresses.
fn gives(hub: &Hub, collection: &str, ip: &str) {
    let mut service = hub.memory.get(&format!("{collection}/{SERVICE}")).unwrap();
    service["status"] = json!({"loadBalancer": {"ingress": [{"ip": ip}]}});
    hub.memory.put(collection, service);
}

fn global_envoy(hub: &Hub) {
    let pod = json!({"metadata": {"name": "envoy-g", "labels": FleetId::Global.labels("", "kubelb")},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    hub.memory.put("/api/v1/namespaces/kubelb/pods", pod);
}

/// Address in the status, and whether it is programmed.
fn told(hub: &Hub) -> (Value, Value) {
    let path = "/apis/kubelb.k8c.io/v1alpha1/namespaces/tenant-a/loadbalancers/web";
    let status = hub.memory.get(path).unwrap()["status"].clone();
    let conditions = status["conditions"].as_array().unwrap();
    let programmed = conditions.iter().find(|c| c["type"] == "Programmed").unwrap();
    (
        status["loadBalancer"]["ingress"][0]["ip"].clone(),
        programmed["status"].clone(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_global_fleet_a_tenant_gets_another_address_and_nothing_of_it_is_left_there() {
    let hub = Hub::new();
    topology(&hub, "global");
    hub.load_balancer(NAMESPACE, "web");
    let manager = hub.manager().await;
    hub.settled().await;
    // All of it is in the manager's namespace, and nothing in the tenant's.
    assert_eq!(hub.memory.get(&format!("{SERVICES}/{SERVICE}")), None);
    assert!(!has(&hub, &FleetId::Shared));
    let deployment = "/apis/apps/v1/namespaces/kubelb/deployments/envoy-global";
    assert!(hub.memory.get(deployment).is_some());
    let global = || hub.memory.get(&format!("{GLOBAL_SERVICES}/{SERVICE}"));
    let made = global().unwrap();
    assert_eq!(made["metadata"]["ownerReferences"], Value::Null);
    assert_eq!(
        made["metadata"]["annotations"]["kubelb.k8c.io/tenant-namespace"],
        NAMESPACE
    );
    assert!(is_served_by(&manager, &FleetId::Global));

    gives(&hub, GLOBAL_SERVICES, "192.0.2.2");
    global_envoy(&hub);
    let _global = says(&manager, &FleetId::Global, "envoy-g");
    hub.settled().await;
    assert_eq!(told(&hub), (json!("192.0.2.2"), json!("True")));
    hub.api.clear();
    manager.ctx.triggers.everything();
    assert_eq!(hub.settled().await, Vec::<String>::new(), "a second look");

    // Both are there; the old address is told until the new one leads somewhere.
    topology(&hub, "shared");
    hub.settled().await;
    gives(&hub, SERVICES, "192.0.2.1");
    hub.settled().await;
    assert_eq!(told(&hub), (json!("192.0.2.2"), json!("True")));
    assert!(is_served_by(&manager, &FleetId::Shared) && is_served_by(&manager, &FleetId::Global));
    envoy(&hub, &FleetId::Shared, "envoy-1");
    let _shared = says(&manager, &FleetId::Shared, "envoy-1");
    hub.settled().await;
    assert_eq!(told(&hub), (json!("192.0.2.1"), json!("True")));
    assert!(is_served_by(&manager, &FleetId::Shared) && is_served_by(&manager, &FleetId::Global));
    assert_ne!(
        global().unwrap()["metadata"]["annotations"][ADDRESS_UNTIL],
        Value::Null
    );

    // The time is over, also for Envoys that nobody needs.
    hub.annotate(GLOBAL_SERVICES, SERVICE, ADDRESS_UNTIL, LONG_AGO);
    hub.settled().await;
    assert_eq!(global(), None);
    let deployments = "/apis/apps/v1/namespaces/kubelb/deployments";
    hub.annotate(deployments, "envoy-global", UNNEEDED_UNTIL, LONG_AGO);
    hub.settled().await;
    for left in [
        deployment,
        "/api/v1/namespaces/kubelb/serviceaccounts/envoy-global",
        "/api/v1/namespaces/kubelb/secrets/envoy-xds-tls-global",
    ] {
        assert_eq!(hub.memory.get(left), None, "{left}");
    }
    assert_eq!(told(&hub), (json!("192.0.2.1"), json!("True")));
    let global = FleetId::Global.key(NAMESPACE).unwrap();
    assert_eq!(manager.ctx.snapshots.of(&global), None);
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_leaves_the_hub_leaves_nothing_in_the_global_fleet_and_others_stay() {
    let hub = Hub::new();
    topology(&hub, "global");
    hub.tenant(
        "b",
        json!({"endpointCIDRs": ["10.0.0.0/8"], "envoyProxy": {"topology": "global"}}),
    );
    hub.load_balancer(NAMESPACE, "web");
    hub.load_balancer("tenant-b", "web");
    let manager = hub.manager().await;
    hub.settled().await;
    let served = || -> Vec<String> {
        let key = FleetId::Global.key(NAMESPACE).unwrap();
        let snapshot = manager.ctx.snapshots.of(&key).unwrap();
        snapshot.owners().map(ToString::to_string).collect()
    };
    assert_eq!(served(), ["tenant-a/web", "tenant-b/web"]);
    hub.delete_tenant("a");
    hub.settled().await;
    assert_eq!(hub.memory.get("/apis/kubelb.k8c.io/v1alpha1/tenants/a"), None);
    assert_eq!(hub.memory.get(&format!("{GLOBAL_SERVICES}/{SERVICE}")), None);
    assert_eq!(served(), ["tenant-b/web"]);
    manager.stop().await;
}
