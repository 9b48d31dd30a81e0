//! A platform team looks around: lists, logs and metrics.

use e2e::cluster::Cluster;
use e2e::wait::{seconds, until};
use e2e::{echo, product};

use crate::support::{Scratch, hub_namespace, lab, metrics, service_address};

#[test]
fn lists_logs_and_metrics_name_the_tenant_and_the_object() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_a, &lab.hub);
    let scratch = Scratch::new("look", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &echo::service(ns, "my-service", "LoadBalancer")))
        .unwrap();
    service_address(tenant, ns, "my-service");

    let tenants = hub.kubectl(&["get", "tenants"]).unwrap();
    assert!(
        tenants.contains("tenant-a") && tenants.contains("CONNECTED"),
        "{tenants}"
    );
    let balancers = hub
        .kubectl(&["get", "loadbalancers", "-n", hub_namespace(tenant)])
        .unwrap();
    assert!(
        balancers.contains("my-service") && balancers.contains("ORIGINNAME"),
        "{balancers}"
    );
    hub.kubectl(&["get", "routes.kubelb.k8c.io", "-A"]).unwrap();

    let logs = [
        "logs",
        "-n",
        product::NAMESPACE,
        "-l",
        "app.kubernetes.io/name=kubelb-ccm",
        "--tail=-1",
    ];
    let log = tenant.kubectl(&logs).unwrap();
    let line = log.lines().find(|line| line.contains("my-service"));
    assert!(line.is_some_and(|line| line.contains("tenant-a")), "{line:?}");

    let managed = format!("kubelb_ccm_managed_services_total{{namespace=\"{ns}\"}} 1");
    measures(tenant, "kubelb-ccm", 9445, &managed);
    measures(
        tenant,
        "kubelb-ccm",
        9445,
        "kubelb_ccm_service_reconcile_duration_seconds",
    );
    measures(hub, "kubelb-manager", 9443, "kubelb_manager_tenants");
}

/// Waits until the metrics of a component have these words.
fn measures(cluster: &Cluster, app: &str, port: u16, words: &str) {
    until(
        format!("metrics of {app} with {words}"),
        seconds(30),
        || match metrics(cluster, app, port)? {
            found if found.contains(words) => Ok(()),
            found => Err(found),
        },
    )
    .unwrap();
}
