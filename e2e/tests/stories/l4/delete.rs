//! A developer deletes a Service: everything made for it goes, on both clusters.

use e2e::cluster::Cluster;
use e2e::echo;

use crate::support::envoys::{Fleet, settled};
use crate::support::served::only_ready_envoys;
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

/// The Service gets an address and answers, and not only for as long as Envoys that are going do.
#[track_caller]
fn is_served(tenant: &Cluster, namespace: &str) {
    let url = format!("http://{}/", service_address(tenant, namespace, "web"));
    answered(&url, None);
    only_ready_envoys(tenant);
    answered(&url, None);
}

#[test]
fn a_service_made_right_after_its_tenants_last_one_was_deleted_is_served() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_a, &lab.hub);
    let scratch = Scratch::new("l4-last", &[tenant]);
    let ns = &scratch.namespace;
    let service = echo::service(ns, "web", "LoadBalancer");
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &service))
        .unwrap();
    is_served(tenant, ns);
    // It is the tenant's last one. Only where the demo is applied, the Envoys are needed for that, too.
    settled(&Fleet::LoadBalancers(tenant, ns));
    let name = || uid(tenant, &["service", "-n", ns, "web"]);
    let envoys = || uid(hub, &["deployment", "-n", hub_namespace(tenant), "envoy"]);
    let fleet = envoys();

    // One command deletes it and makes it again: the hub may not yet know of the one when it hears of the other.
    let last = name();
    tenant
        .kubectl_with_input(&["replace", "--force", "--timeout=30s", "-f", "-"], &service)
        .unwrap();
    assert_ne!(name(), last, "another Service of the same name");
    is_served(tenant, ns);

    // The hub has just let it go; its Envoys stay for the next one.
    let last = name();
    tenant
        .kubectl(&["delete", "service", "-n", ns, "web", "--timeout=30s"])
        .unwrap();
    gone(hub, &["loadbalancer", "-n", hub_namespace(tenant), &last]);
    tenant.apply(&service).unwrap();
    is_served(tenant, ns);
    assert_eq!(envoys(), fleet, "the same Envoys");
}
