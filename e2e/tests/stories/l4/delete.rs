//! A developer deletes a Service: everything made for it goes, on both clusters.

use e2e::echo;

use crate::support::{Scratch, answered, gone, hub_namespace, lab, service_address, uid};

#[test]
fn a_deleted_service_leaves_nothing_on_either_cluster() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_a, &lab.hub);
    let scratch = Scratch::new("l4-delete", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &echo::service(ns, "web", "LoadBalancer")))
        .unwrap();
    let address = service_address(tenant, ns, "web");
    answered(&format!("http://{address}/"), None);
    let name = uid(tenant, &["service", "-n", ns, "web"]);
    let label = format!("kubelb.k8c.io/lb-name={name}");
    let found = hub
        .list(&["services", "-n", hub_namespace(tenant), "-l", &label])
        .unwrap();
    assert_eq!(found.len(), 1, "the hub Service that must go is there first");

    tenant
        .kubectl(&["delete", "service", "-n", ns, "web", "--timeout=30s"])
        .unwrap();
    gone(hub, &["loadbalancer", "-n", hub_namespace(tenant), &name]);
    gone(hub, &["services", "-n", hub_namespace(tenant), "-l", &label]);
    assert!(e2e::traffic::get(&format!("http://{address}/"), None).is_err());
}

#[test]
fn a_service_that_becomes_a_cluster_ip_is_taken_off_the_hub() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_a, &lab.hub);
    let scratch = Scratch::new("l4-type", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &echo::service(ns, "web", "LoadBalancer")))
        .unwrap();
    service_address(tenant, ns, "web");
    let name = uid(tenant, &["service", "-n", ns, "web"]);

    let patch = r#"{"spec":{"type":"ClusterIP"}}"#;
    tenant
        .kubectl(&["patch", "service", "-n", ns, "web", "--type=merge", "-p", patch])
        .unwrap();
    gone(hub, &["loadbalancer", "-n", hub_namespace(tenant), &name]);
}
