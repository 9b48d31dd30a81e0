//! The loops against API servers in memory: what is asked of them, and that silence follows.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod harness;

use std::sync::Arc;
use std::time::Duration;

use controller_kit::CancellationToken;
use controller_kit::driver::{Driver, Settings};
use controller_kit::metrics::{Metrics, ReconcileMetrics};
use harness::{World, service};
use kubelb_ccm::convert::provider::CloudProvider;
use kubelb_ccm::convert::service::ClassPolicy;
use serde_json::json;

#[tokio::test]
async fn a_service_becomes_a_load_balancer_and_the_second_run_writes_nothing() {
    let world = World::new().await;
    world.add_service(service("web", "u1"));
    let services = world.services().await;
    services.reconcile().await.unwrap();
    assert_eq!(
        world.hub_writes(),
        ["PATCH /apis/kubelb.k8c.io/v1alpha1/namespaces/tenant-a/loadbalancers/u1"]
    );
    world.settle().await;
    world.forget();
    services.reconcile().await.unwrap();
    assert_eq!(world.hub_writes(), Vec::<String>::new());
    assert_eq!(world.tenant_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn after_a_restart_nothing_is_written_either() {
    let world = World::new().await;
    world.add_service(service("web", "u1"));
    world.services().await.reconcile().await.unwrap();
    world.forget();
    world.services().await.reconcile().await.unwrap();
    assert_eq!(world.hub_writes(), Vec::<String>::new());
    assert_eq!(world.tenant_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn the_hubs_address_reaches_the_service_in_one_write() {
    let world = World::new().await;
    world.add_service(service("web", "u1"));
    let services = world.services().await;
    services.reconcile().await.unwrap();
    world.hub_says("u1", json!([{"ip": "192.0.2.7"}]));
    world.settle().await;
    world.forget();
    services.reconcile().await.unwrap();
    assert_eq!(
        world.tenant_writes(),
        ["PATCH /api/v1/namespaces/shop/services/web/status"]
    );
    let service = world.tenant.get("/api/v1/namespaces/shop/services/web").unwrap();
    assert_eq!(service["status"]["loadBalancer"]["ingress"][0]["ip"], "192.0.2.7");
    world.settle().await;
    world.forget();
    services.reconcile().await.unwrap();
    assert_eq!(world.tenant_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn beside_another_provider_a_status_is_read_and_never_written_whatever_the_hub_says() {
    let world = World::new().await;
    let mut web = service("web", "u1");
    web["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.50"}]}});
    world.add_service(web);
    let mut services = world.services().await;
    services.provider = CloudProvider::Another;
    services.reconcile().await.unwrap();
    let endpoints = || world.hub_lb("u1").unwrap()["spec"]["endpoints"][0].clone();
    assert_eq!(endpoints()["addresses"], json!([{"ip": "192.0.2.50"}]));
    assert_eq!(endpoints()["ports"][0]["port"], 80);

    world.hub_says("u1", json!([{"ip": "203.0.113.7"}]));
    for class in [ClassPolicy::DefaultOrOurs, ClassPolicy::OursOnly] {
        world.settle().await;
        services.class_policy = class;
        services.reconcile().await.unwrap();
        services.reconcile().await.unwrap();
        let service = world.tenant.get("/api/v1/namespaces/shop/services/web").unwrap();
        assert_eq!(
            service["status"],
            json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.50"}]}})
        );
    }
    assert!(world.hub_lb("u1").is_none(), "not ours any more");
    let events = world.events();
    let said: Vec<_> = events
        .iter()
        .map(|event| (event["reason"].as_str(), event["note"].as_str()))
        .collect();
    let served = (Some("ServedByHub"), Some("the hub serves it at 203.0.113.7"));
    assert_eq!(said, [served]);
}

#[tokio::test]
async fn a_quota_of_the_hub_is_told_on_the_service_and_others_go_on() {
    let world = World::new().await;
    world.add_service(service("first", "u1"));
    world.add_service(service("second", "u2"));
    world.refuse(
        "u1",
        403,
        "loadbalancers \"u1\" is forbidden: exceeded quota: bound, requested: 1",
    );
    let services = world.services().await;
    let outcome = services.reconcile().await.unwrap();
    assert!(outcome.requeue_after.is_some(), "a quota may be raised later");
    assert!(world.hub_lb("u2").is_some());
    let events = world.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(
        (
            events[0]["reason"].as_str(),
            events[0]["regarding"]["name"].as_str()
        ),
        (Some("QuotaExceeded"), Some("first"))
    );
    assert!(
        world
            .metrics
            .text()
            .unwrap()
            .contains(r#"kubelb_ccm_hub_errors_total{reason="quota_exceeded"} 1"#)
    );
    services.reconcile().await.unwrap();
    assert_eq!(world.events().len(), 1, "told once");
}

#[tokio::test]
async fn a_service_that_went_away_while_nobody_looked_is_pruned() {
    let world = World::new().await;
    world.add_service(service("web", "u1"));
    world.services().await.reconcile().await.unwrap();
    world.tenant.remove("/api/v1/namespaces/shop/services/web");
    world.services().await.reconcile().await.unwrap();
    assert!(world.hub_lb("u1").is_none());
}

#[tokio::test]
async fn a_load_balancer_made_by_hand_is_ignored() {
    let world = World::new().await;
    world.put_hub(
        "loadbalancers",
        json!({"metadata": {"name": "by-hand"}, "spec": {"endpoints": [], "ports": []}}),
    );
    world.services().await.reconcile().await.unwrap();
    assert_eq!(world.hub_writes(), Vec::<String>::new());
    assert!(world.hub_lb("by-hand").is_some());
}

#[tokio::test]
async fn a_class_that_is_not_ours_any_more_clears_our_address_and_prunes() {
    let world = World::new().await;
    world.add_service(service("web", "u1"));
    let services = world.services().await;
    services.reconcile().await.unwrap();
    world.hub_says("u1", json!([{"ip": "192.0.2.7"}]));
    world.settle().await;
    services.reconcile().await.unwrap();
    world.settle().await;
    let mut services = world.services().await;
    services.class_policy = ClassPolicy::OursOnly;
    services.reconcile().await.unwrap();
    let service = world.tenant.get("/api/v1/namespaces/shop/services/web").unwrap();
    assert!(
        service["status"]["loadBalancer"]["ingress"].is_null(),
        "{service}"
    );
    assert!(world.hub_lb("u1").is_none());
}

#[tokio::test]
async fn while_the_hub_has_a_fault_nothing_is_written_pruned_or_cleared() {
    let world = World::new().await;
    world.add_service(service("web", "u1"));
    let services = world.services().await;
    services.reconcile().await.unwrap();
    world.tenant.remove("/api/v1/namespaces/shop/services/web");
    world.settle().await;
    world.forget();
    world.fault(Some(kubelb_ccm::hub::fault::Fault::Unauthorized));
    services.reconcile().await.unwrap();
    assert_eq!(world.hub_writes(), Vec::<String>::new());
    assert_eq!(world.tenant_writes(), Vec::<String>::new());
    assert!(world.hub_lb("u1").is_some());
}

#[tokio::test]
async fn nothing_is_pruned_before_every_store_is_synced() {
    let world = World::new().await;
    world.add_service(service("web", "u1"));
    world.services().await.reconcile().await.unwrap();
    world.forget();
    // The Services of the own cluster cannot be listed: an empty store must not look like no Services.
    world.tenant_is_away();
    let services = world.services_unsynced();
    services.reconcile().await.unwrap();
    assert_eq!(world.hub_writes(), Vec::<String>::new());
    assert!(world.hub_lb("u1").is_some());
}

#[tokio::test]
async fn without_node_ports_what_is_on_the_hub_stays() {
    let world = World::new().await;
    world.add_service(service("web", "u1"));
    world.services().await.reconcile().await.unwrap();
    let mut without = service("web", "u1");
    without["spec"]["ports"][0]["nodePort"] = json!(null);
    world.add_service(without);
    world.forget();
    world.services().await.reconcile().await.unwrap();
    assert_eq!(world.hub_writes(), Vec::<String>::new());
    assert_eq!(world.events()[0]["reason"], "UnsupportedValue");
}

#[tokio::test]
async fn nodes_are_published_once_and_stay_when_all_are_not_ready() {
    let world = World::new().await;
    world.add_node("a", "10.0.0.1", true);
    let nodes = world.nodes().await;
    nodes.reconcile().await.unwrap();
    assert_eq!(world.hub_addresses(), json!([{"ip": "10.0.0.1"}]));
    world.settle().await;
    world.forget();
    nodes.reconcile().await.unwrap();
    world.add_node("a", "10.0.0.1", false);
    world.settle().await;
    nodes.reconcile().await.unwrap();
    assert_eq!(world.hub_writes(), Vec::<String>::new());
    assert_eq!(world.hub_addresses(), json!([{"ip": "10.0.0.1"}]));
    assert_eq!(world.events()[0]["reason"], "NodesNotReady");
}

#[tokio::test]
async fn a_burst_of_node_events_is_one_write() {
    let world = World::new().await;
    let runs = ReconcileMetrics::new(&Metrics::new(), "test").unwrap();
    let driver = Driver::<()>::new("nodes", Settings::default(), &runs);
    let nodes = Arc::new(world.nodes_with(driver.handle()).await);
    world.forget();
    let stop = CancellationToken::new();
    let running = tokio::spawn(driver.run(stop.clone(), move |()| {
        let nodes = nodes.clone();
        async move { nodes.reconcile().await }
    }));
    for index in 0..100 {
        world.add_node(&format!("n{index}"), &format!("10.0.0.{index}"), true);
    }
    let published = async {
        while world.hub_addresses().as_array().map(Vec::len) != Some(100) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = Duration::from_secs(10);
    assert!(
        tokio::time::timeout(limit, published).await.is_ok(),
        "{}",
        world.hub_addresses()
    );
    world.settle().await;
    assert_eq!(
        world.hub_writes(),
        ["PATCH /apis/kubelb.k8c.io/v1alpha1/namespaces/tenant-a/addresses/default"]
    );
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_service_made_again_under_its_name_is_another_one_and_nothing_of_the_first_is_left() {
    let world = World::new().await;
    world.add_service(service("web", "u1"));
    world.services().await.reconcile().await.unwrap();
    assert!(world.hub_lb("u1").is_some());
    // As after a restore from a backup: names are the same, identities are not.
    world.tenant.remove("/api/v1/namespaces/shop/services/web");
    world.add_service(service("web", "u2"));
    world.services().await.reconcile().await.unwrap();
    assert!(world.hub_lb("u1").is_none());
    assert!(world.hub_lb("u2").is_some());
}
