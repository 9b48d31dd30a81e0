//! A platform team adds a tenant and removes it: nothing is left on the hub, others feel nothing.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::traffic::Stream;
use e2e::wait::{seconds, until};

use crate::support::{Scratch, answered, condition, gone, lab, programmed, service_address};

const TENANT: &str = "tenant-cluster-3";

struct Removed<'a>(&'a Cluster);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        self.0
            .kubectl(&["delete", "tenant", TENANT, "--ignore-not-found", "--timeout=90s"])
            .unwrap();
    }
}

fn ready(hub: &Cluster, tenant: &str, status: &str, reason: &str) {
    until(
        format!("tenant {tenant} to be Ready={status}/{reason}"),
        seconds(60),
        || {
            let found = hub.get(&["tenant", tenant]).map_err(|e| e.to_string())?;
            let ready = condition(&found["status"]["conditions"], "Ready");
            if ready["status"] == status && ready["reason"] == reason {
                Ok(())
            } else {
                Err(found["status"].to_string())
            }
        },
    )
    .unwrap();
}

/// A LoadBalancer made by hand, as a person with the tenant's credential would.
fn load_balancer_by_hand(address: &str) -> String {
    format!(
        r"apiVersion: kubelb.k8c.io/v1alpha1
kind: LoadBalancer
metadata: {{namespace: {TENANT}, name: by-hand}}
spec:
  type: LoadBalancer
  ports: [{{name: http, port: 80, protocol: TCP}}]
  endpoints: [{{addresses: [{{ip: {address}}}], ports: [{{name: http, port: 30999, protocol: TCP}}]}}]
"
    )
}

#[test]
fn a_tenant_in_a_namespace_made_beforehand_comes_and_goes_without_a_trace() {
    let lab = lab();
    let hub = &lab.hub;
    let scratch = Scratch::new("bystander", &[&lab.tenant_b]);
    let ns = &scratch.namespace;
    lab.tenant_b
        .apply(&(echo::deployment(ns, "web", 1) + &echo::service(ns, "web", "LoadBalancer")))
        .unwrap();
    let url = format!("http://{}/", service_address(&lab.tenant_b, ns, "web"));
    answered(&url, None);
    let bystander = Stream::begin(url, None, Duration::from_millis(20), seconds(180));

    hub.kubectl(&["create", "namespace", TENANT]).unwrap();
    let _removed = Removed(hub);
    hub.apply(&format!(
        "apiVersion: kubelb.k8c.io/v1alpha1\nkind: Tenant\nmetadata: {{name: {TENANT}}}\nspec: {{endpointCIDRs: [\"192.0.2.0/24\"], envoyProxy: {{replicas: 1}}}}\n"
    ))
    .unwrap();
    ready(hub, TENANT, "True", "Reconciled");
    hub.apply(&load_balancer_by_hand("192.0.2.10")).unwrap();
    programmed(hub, TENANT, "by-hand", seconds(90));

    hub.kubectl(&["delete", "tenant", TENANT, "--timeout=90s"])
        .unwrap();
    gone(hub, &["namespace", TENANT]);
    gone(
        hub,
        &[
            "configmaps",
            "-n",
            "kubelb",
            "-l",
            &format!("kubelb.k8c.io/tenant={TENANT}"),
        ],
    );
    let report = bystander.end();
    assert!(report.sent > 50, "only {} requests", report.sent);
    assert_eq!(report.failures, Vec::<String>::new());
}

#[test]
fn an_endpoint_outside_the_tenants_ranges_is_refused_by_name() {
    let lab = lab();
    let hub = &lab.hub;
    let _removed = Removed(hub);
    hub.apply(&format!(
        "apiVersion: kubelb.k8c.io/v1alpha1\nkind: Tenant\nmetadata: {{name: {TENANT}}}\nspec: {{envoyProxy: {{replicas: 1}}}}\n"
    ))
    .unwrap();
    ready(hub, TENANT, "True", "Reconciled");
    hub.apply(&load_balancer_by_hand("192.0.2.10")).unwrap();
    until("Accepted=False/EndpointNotAllowed", seconds(30), || {
        let found = hub
            .get(&["loadbalancer", "-n", TENANT, "by-hand"])
            .map_err(|e| e.to_string())?;
        let accepted = condition(&found["status"]["conditions"], "Accepted");
        let named = accepted["message"]
            .as_str()
            .is_some_and(|m| m.contains("192.0.2.10"));
        let good = accepted["status"] == "False" && accepted["reason"] == "EndpointNotAllowed" && named;
        if good {
            Ok(())
        } else {
            Err(found["status"].to_string())
        }
    })
    .unwrap();
}

#[test]
fn a_second_tenant_for_the_same_namespace_is_refused() {
    let lab = lab();
    let hub = &lab.hub;
    // `tenant-b` and `b` both name the namespace tenant-b.
    hub.apply("apiVersion: kubelb.k8c.io/v1alpha1\nkind: Tenant\nmetadata: {name: b}\nspec: {}\n")
        .unwrap();
    ready(hub, "b", "False", "NamespaceTaken");
    hub.kubectl(&["delete", "tenant", "b", "--timeout=60s"]).unwrap();
    ready(hub, "tenant-b", "True", "Reconciled");
    hub.get(&["namespace", "tenant-b"]).unwrap();
}
