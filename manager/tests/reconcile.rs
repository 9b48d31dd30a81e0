//! The whole manager against an API server in memory: what it writes, and above all what it does not.

mod hub;

use std::time::{Duration, Instant};

use hub::{FOLLOWER, Hub};
use kubelb_manager::build::envoy::UNNEEDED_UNTIL;
use kubelb_manager::build::hub_service;
use l4_xds::stream::LoadBalancerState;
use serde_json::json;

fn allowed() -> serde_json::Value {
    json!({"endpointCIDRs": ["10.0.0.0/8"], "envoyProxy": {"replicas": 2}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_and_its_load_balancer_are_served_and_a_second_look_writes_nothing() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.load_balancer("tenant-a", "web");
    let manager = hub.manager().await;
    let mut writes = hub.settled().await;
    writes.sort();
    writes.dedup();
    insta::assert_yaml_snapshot!(writes);

    hub.api.clear();
    manager.ctx.triggers.everything();
    assert_eq!(hub.settled().await, Vec::<String>::new(), "a second look");
    manager.stop().await;

    let manager = hub.manager().await;
    assert_eq!(hub.settled().await, Vec::<String>::new(), "a restart");
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_the_lease_writes_nothing_and_serves_the_same() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.load_balancer("tenant-a", "web");
    let leader = hub.manager().await;
    hub.settled().await;
    let follower = hub.follower().await;
    hub.api.clear();
    assert_eq!(hub.settled().await, Vec::<String>::new());
    let served = follower.ctx.snapshots.served("tenant-a");
    assert_eq!(served.len(), 1);
    assert_eq!(served, leader.ctx.snapshots.served("tenant-a"));
    follower.stop().await;
    leader.stop().await;
}

/// A tenant that changes all it has, again and again, has the API server of everybody write for it once more each time.
#[tokio::test(flavor = "multi_thread")]
async fn many_statuses_that_only_tell_of_a_newer_generation_are_written_one_after_the_other() {
    const ALL: usize = 60;
    let hub = Hub::new();
    hub.tenant("a", allowed());
    let names: Vec<_> = (0..ALL).map(|number| format!("lb-{number:02}")).collect();
    for name in &names {
        hub.load_balancer("tenant-a", name);
    }
    hub.envoy("tenant-a", "envoy-1");
    let manager = hub.manager().await;
    let served = || manager.ctx.snapshots.served("tenant-a");
    hub.until("all to be served", || served().len() == ALL).await;
    let _envoy = manager.acknowledge_all("tenant-a", "envoy-1");
    for name in &names {
        hub.give_address("tenant-a", &hub_service::name("tenant-a", name), "192.0.2.7");
    }
    let is_programmed = |name: &String| {
        hub.programmed("tenant-a", name) == Some(("True".to_owned(), "Programmed".to_owned()))
    };
    hub.until("all to be programmed", || names.iter().all(is_programmed))
        .await;

    let writes = || {
        hub.writes()
            .iter()
            .filter(|write| write.ends_with("/status"))
            .count()
    };
    let (before, begun) = (writes(), Instant::now());
    for name in &names {
        hub.change("tenant-a", name, |spec| {
            spec["endpoints"][0]["ports"][0]["port"] = json!(30081)
        });
    }
    let observed = || {
        let observes = |name: &&String| hub.observed_generation("tenant-a", name) == Some(2);
        names.iter().filter(observes).count()
    };
    hub.until("all to be told", || observed() == ALL).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "the last ones wait");
    assert_eq!(writes() - before, ALL, "each once");
    manager.stop().await;
}

/// All Envoys happen to ask the replica that does not lead.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_replica_without_the_lease_hears_is_recorded_and_both_serve_the_same() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    for name in ["good", "bad"] {
        hub.load_balancer("tenant-a", name);
    }
    hub.ready_pod("kubelb", FOLLOWER, json!({}));
    hub.envoy("tenant-a", "envoy-1");
    let (leader, follower) = (hub.manager().await, hub.follower().await);
    let served = |replica: &hub::Running| replica.ctx.snapshots.served("tenant-a");
    hub.until("both to be served", || served(&follower).len() == 2)
        .await;
    for name in ["good", "bad"] {
        hub.give_address("tenant-a", &hub_service::name("tenant-a", name), "192.0.2.7");
    }

    let content = |name: &str| {
        let all = served(&follower);
        let found = all.iter().find(|(id, _)| id.name() == name).unwrap();
        (found.0.clone(), found.1.content.clone())
    };
    let (good, bad) = (content("good"), content("bad"));
    let envoy = follower.ctx.reports.open("tenant-a".parse().unwrap(), 9).unwrap();
    envoy.introduce("envoy-1".to_owned().into());
    let acknowledged = LoadBalancerState {
        programmed: Some(good.1.clone()),
        rejected: None,
    };
    let rejected = LoadBalancerState {
        programmed: None,
        rejected: Some((bad.1, "cannot bind".to_owned())),
    };
    envoy.report(vec![
        (good.0.clone(), Some(acknowledged)),
        (bad.0, Some(rejected)),
    ]);

    let is = |name: &str, status: &str, reason: &str| {
        hub.programmed("tenant-a", name) == Some((status.to_owned(), reason.to_owned()))
    };
    hub.until("the good one to be programmed", || {
        is("good", "True", "Programmed")
    })
    .await;
    hub.until("the bad one to be rejected", || is("bad", "False", "Rejected"))
        .await;
    hub.until("both to leave out the bad one", || {
        served(&leader).len() == 1 && served(&follower).len() == 1
    })
    .await;
    assert_eq!(served(&leader), served(&follower));
    assert_eq!(served(&leader).get(&good.0).unwrap().content, good.1);
    hub.settled().await;
    assert!(is("good", "True", "Programmed") && is("bad", "False", "Rejected"));

    // Another policy of the platform team's: nobody has acknowledged it, and the bad one has another chance.
    let mut other = allowed();
    other["loadBalancer"] = json!({"trafficPolicy": {"idleTimeoutSeconds": 7}});
    hub.tenant("a", other);
    hub.until("the good one to wait for an Envoy", || {
        is("good", "False", "Pending")
    })
    .await;
    hub.until("both to try both", || {
        served(&leader).len() == 2 && served(&follower).len() == 2
    })
    .await;
    assert_eq!(served(&leader), served(&follower));
    follower.stop().await;
    leader.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_before_every_store_is_complete() {
    let hub =
        Hub::that_refuses(|request| request.method == "GET" && request.path.ends_with("/loadbalancers"));
    hub.tenant("a", allowed());
    hub.memory.put(
        "/api/v1/namespaces",
        json!({"metadata": {"name": "tenant-a", "labels": {
        "kubelb.k8c.io/managed-by": "kubelb", "kubelb.k8c.io/tenant": "a"}}}),
    );
    hub.memory.put(
        "/api/v1/namespaces/tenant-a/services",
        json!({"metadata": {"name": "lb-old", "labels": {
        "kubelb.k8c.io/managed-by": "kubelb", "kubelb.k8c.io/tenant": "a",
        "kubelb.k8c.io/component": "load-balancer"}}, "spec": {}}),
    );
    let manager = hub.manager().await;
    assert_eq!(hub.settled().await, Vec::<String>::new());
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_for_a_load_balancer_goes_with_it_also_if_nobody_looked_meanwhile() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.load_balancer("tenant-a", "web");
    let manager = hub.manager().await;
    hub.settled().await;
    manager.stop().await;
    hub.memory
        .remove("/apis/kubelb.k8c.io/v1alpha1/namespaces/tenant-a/loadbalancers/web");
    hub.api.clear();
    let manager = hub.manager().await;
    hub.settled().await;
    // Another Service may come, so its Envoys stay until a time that is recorded.
    let deployments = "/apis/apps/v1/namespaces/tenant-a/deployments";
    hub.annotate(deployments, "envoy", UNNEEDED_UNTIL, "2026-01-01T00:00:00Z");
    insta::assert_yaml_snapshot!(hub.settled().await);
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_leaves_rights_first_namespace_last() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.load_balancer("tenant-a", "web");
    let manager = hub.manager().await;
    hub.settled().await;
    hub.api.clear();
    hub.delete_tenant("a");
    let writes = hub.settled().await;
    let position = |what: &str| {
        let found = writes
            .iter()
            .position(|line| line.starts_with("DELETE") && line.ends_with(what));
        found.unwrap_or_else(|| panic!("nobody deleted {what}: {writes:#?}"))
    };
    assert!(position("rolebindings/kubelb-ccm") < position("loadbalancers/web"));
    assert!(position("secrets/kubelb-ccm-token") < position("loadbalancers/web"));
    assert!(position("loadbalancers/web") < position("namespaces/tenant-a"));
    assert_eq!(hub.memory.get("/apis/kubelb.k8c.io/v1alpha1/tenants/a"), None);
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_things_were_deleted_by_hand_before_leaves_all_the_same() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.load_balancer("tenant-a", "web");
    let manager = hub.manager().await;
    hub.settled().await;
    manager.stop().await;
    for path in [
        "/api/v1/namespaces/tenant-a",
        "/apis/kubelb.k8c.io/v1alpha1/namespaces/tenant-a/loadbalancers/web",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/tenant-a/roles/kubelb-ccm",
    ] {
        hub.memory.remove(path);
    }
    hub.delete_tenant("a");
    let manager = hub.manager().await;
    hub.settled().await;
    assert_eq!(hub.memory.get("/apis/kubelb.k8c.io/v1alpha1/tenants/a"), None);
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_somebody_deletes_with_all_in_it_is_made_again_and_serves_what_comes_back() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.load_balancer("tenant-a", "web");
    let manager = hub.manager().await;
    let made = hub.settled().await;
    let mut in_it: Vec<&str> = (made.iter())
        .filter_map(|write| write.split_once(' ').map(|(_, path)| path))
        .filter(|path| path.contains("/namespaces/tenant-a/") && !path.ends_with("/status"))
        .collect();
    in_it.sort_unstable();
    in_it.dedup();
    assert!(in_it.iter().any(|path| path.contains("/services/")), "{in_it:#?}");

    hub.api.clear();
    hub.memory.remove("/api/v1/namespaces/tenant-a");
    in_it.iter().for_each(|path| hub.memory.remove(path));
    hub.memory
        .remove("/apis/kubelb.k8c.io/v1alpha1/namespaces/tenant-a/loadbalancers/web");
    hub.written("PATCH /api/v1/namespaces/tenant-a").await;
    hub.load_balancer("tenant-a", "web");
    hub.settled().await;
    for path in in_it {
        assert!(hub.memory.get(path).is_some(), "{path} did not come back");
    }
    let ready = ("True".to_owned(), "Reconciled".to_owned());
    assert_eq!(hub.ready_condition("a"), Some(ready));
    assert_eq!(manager.ctx.snapshots.served("tenant-a").len(), 1);
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_with_somebodys_things_in_it_is_not_taken_and_an_empty_one_is() {
    let hub = Hub::new();
    hub.memory
        .put("/api/v1/namespaces", json!({"metadata": {"name": "tenant-full"}}));
    hub.memory.put(
        "/api/v1/namespaces/tenant-full/configmaps",
        json!({"metadata": {"name": "theirs"}}),
    );
    hub.memory.put(
        "/api/v1/namespaces",
        json!({"metadata": {"name": "tenant-empty"}}),
    );
    hub.memory.put(
        "/api/v1/namespaces/tenant-empty/configmaps",
        json!({"metadata": {"name": "kube-root-ca.crt"}}),
    );
    hub.tenant("full", allowed());
    hub.tenant("empty", allowed());
    let manager = hub.manager().await;
    hub.settled().await;
    assert_eq!(
        hub.ready_condition("full"),
        Some(("False".into(), "NamespaceNotEmpty".into()))
    );
    assert_eq!(
        hub.ready_condition("empty"),
        Some(("True".into(), "Reconciled".into()))
    );
    let full = hub.memory.get("/api/v1/namespaces/tenant-full").unwrap();
    assert_eq!(full["metadata"]["labels"], json!(null));
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_tenant_for_a_namespace_is_refused_and_the_first_feels_nothing() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    let manager = hub.manager().await;
    hub.settled().await;
    hub.tenant("tenant-a", allowed());
    hub.settled().await;
    assert_eq!(
        hub.ready_condition("a"),
        Some(("True".into(), "Reconciled".into()))
    );
    assert_eq!(
        hub.ready_condition("tenant-a"),
        Some(("False".into(), "NamespaceTaken".into()))
    );
    hub.delete_tenant("tenant-a");
    hub.settled().await;
    assert!(hub.memory.get("/api/v1/namespaces/tenant-a").is_some());
    manager.stop().await;
}

fn service_of_web() -> String {
    let name = hub_service::name("tenant-a", "web");
    format!("/api/v1/namespaces/tenant-a/services/{name}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_service_that_somebody_deletes_or_changes_is_put_right_with_the_port_it_had() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.load_balancer("tenant-a", "web");
    let manager = hub.manager().await;
    hub.settled().await;
    let path = service_of_web();
    let before = hub.memory.get(&path).unwrap()["spec"].clone();
    hub.memory.remove(&path);
    hub.until("the Service to be made again", || hub.memory.get(&path).is_some())
        .await;
    assert_eq!(hub.memory.get(&path).unwrap()["spec"], before);
    let mut changed = hub.memory.get(&path).unwrap();
    changed["spec"]["type"] = json!("NodePort");
    hub.memory.put("/api/v1/namespaces/tenant-a/services", changed);
    hub.until("it to be as it was", || {
        hub.memory
            .get(&path)
            .is_some_and(|service| service["spec"] == before)
    })
    .await;
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn l4_that_is_switched_off_goes_with_a_word_and_comes_back_when_it_is_switched_on() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.load_balancer("tenant-a", "web");
    let manager = hub.manager().await;
    hub.settled().await;
    let path = service_of_web();
    let mut off = allowed();
    off["loadBalancer"] = json!({"disable": true});
    hub.tenant("a", off);
    hub.until("the Service to go", || hub.memory.get(&path).is_none())
        .await;
    hub.until("the word", || {
        hub.programmed("tenant-a", "web") == Some(("False".into(), "NotAccepted".into()))
    })
    .await;
    hub.tenant("a", allowed());
    hub.until("the Service to come back", || hub.memory.get(&path).is_some())
        .await;
    hub.until("the word", || {
        hub.programmed("tenant-a", "web") == Some(("False".into(), "Pending".into()))
    })
    .await;
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_none_to_envoy_takes_programmed_back_at_no_moment() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    hub.load_balancer("tenant-a", "web");
    hub.envoy("tenant-a", "envoy-1");
    let manager = hub.manager().await;
    let served = || manager.ctx.snapshots.served("tenant-a");
    hub.until("it to be served", || served().len() == 1).await;
    hub.give_address("tenant-a", &hub_service::name("tenant-a", "web"), "192.0.2.7");
    let envoy = manager.acknowledge_all("tenant-a", "envoy-1");
    let yes = Some(("True".to_owned(), "Programmed".to_owned()));
    hub.until("it to be programmed", || hub.programmed("tenant-a", "web") == yes)
        .await;
    hub.settled().await;
    // Nobody says anything any more, and other nodes come.
    drop(envoy);
    hub.api.clear();
    let nodes = json!([{"ip": "10.0.0.2"}]);
    hub.change("tenant-a", "web", |spec| {
        spec["endpoints"][0]["addresses"] = nodes
    });
    hub.until("a status of the new generation", || {
        hub.observed_generation("tenant-a", "web") == Some(2)
    })
    .await;
    hub.settled().await;
    assert_eq!(hub.programmed("tenant-a", "web"), yes);
    let taken_back: Vec<_> = (hub.api.writes().into_iter())
        .filter(|write| write.body.to_string().contains("Pending"))
        .map(|write| write.body)
        .collect();
    assert_eq!(taken_back, Vec::<serde_json::Value>::new());
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_load_balancers_the_first_are_told_before_the_last_are_written() {
    let hub = Hub::new();
    hub.tenant("a", allowed());
    for index in 0..150 {
        hub.load_balancer("tenant-a", &format!("web-{index:03}"));
    }
    let manager = hub.manager().await;
    let writes = hub.settled().await;
    let is_service = |line: &&String| line.contains("/services/lb-");
    assert_eq!(writes.iter().filter(is_service).count(), 150, "each once");
    let told = writes
        .iter()
        .position(|line| line.contains("/loadbalancers/web-000/status"));
    let before = writes[..told.unwrap()].iter().filter(is_service).count();
    assert!(before < 150, "{before}");
    hub.api.clear();
    manager.ctx.triggers.everything();
    assert_eq!(hub.settled().await, Vec::<String>::new(), "a second look");
    manager.stop().await;
}
