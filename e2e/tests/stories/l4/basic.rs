//! A developer creates a Service of type LoadBalancer and uses its address.

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::wait::{seconds, until};

use crate::support::{Scratch, answered, hub_namespace, lab, programmed, service_address, text, uid};

#[test]
fn a_service_gets_an_address_and_answers_a_request_from_outside() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_a, &lab.hub);
    let scratch = Scratch::new("l4-basic", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &echo::service(ns, "web", "LoadBalancer")))
        .unwrap();

    let address = service_address(tenant, ns, "web");
    let echo = answered(&format!("http://{address}/"), None);
    assert_eq!(&echo.namespace, ns);

    let name = uid(tenant, &["service", "-n", ns, "web"]);
    let load_balancer = hub
        .get(&["loadbalancer", "-n", hub_namespace(tenant), &name])
        .unwrap();
    assert_eq!(
        load_balancer["metadata"]["annotations"]["kubelb.k8c.io/origin-name"],
        "web"
    );
    programmed(hub, hub_namespace(tenant), &name, seconds(30));
    until("a ready Envoy of the tenant", seconds(30), || {
        let envoy = hub
            .get(&["deployment", "-n", hub_namespace(tenant), "envoy"])
            .map_err(|e| e.to_string())?;
        if envoy["status"]["readyReplicas"].as_i64() >= Some(1) {
            Ok(())
        } else {
            Err(envoy["status"].to_string())
        }
    })
    .unwrap();
    no_node_ports(hub, hub_namespace(tenant));
}

/// Node ports of hub Services would run out after some 2,700 listeners.
fn no_node_ports(hub: &Cluster, namespace: &str) {
    for service in hub.list(&["services", "-n", namespace]).unwrap() {
        for port in service["spec"]["ports"].as_array().unwrap() {
            assert!(
                port["nodePort"].is_null(),
                "{} has a node port",
                service["metadata"]["name"]
            );
        }
    }
}

#[test]
fn a_scaled_backend_is_reached_without_a_change_on_the_hub() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_a, &lab.hub);
    let scratch = Scratch::new("l4-scale", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &echo::service(ns, "web", "LoadBalancer")))
        .unwrap();
    let url = format!("http://{}/", service_address(tenant, ns, "web"));
    let first = answered(&url, None);
    let name = uid(tenant, &["service", "-n", ns, "web"]);
    let version = || {
        let found = hub
            .get(&["loadbalancer", "-n", hub_namespace(tenant), &name])
            .unwrap();
        text(&found["metadata"]["resourceVersion"]).unwrap()
    };
    let before = version();

    tenant
        .kubectl(&["scale", "-n", ns, "deployment/web", "--replicas=3"])
        .unwrap();
    until(
        "an answer of another pod",
        seconds(60),
        || match e2e::traffic::get(&url, None) {
            Ok(echo) if echo.pod != first.pod => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .unwrap();
    assert_eq!(before, version(), "scaling pods must not touch the hub");
}
