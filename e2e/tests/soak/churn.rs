//! Services come and go all day: nothing is left of them.

use e2e::cluster::Cluster;
use e2e::wait::{seconds, until};

use crate::support::ccm;
use crate::support::served::Served;
use crate::support::{answered, gone, hub_namespace, lab, metrics, service_address, uid};

const ROUNDS: u32 = 50;

#[test]
fn fifty_services_that_come_and_go_leave_nothing_behind() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_b);
    let bystander = Served::begin("churn", tenant);
    let ns = &bystander.namespace;
    let hub_ns = hub_namespace(tenant);
    let (before, series) = (inventory(hub, hub_ns), series(tenant, hub));
    for round in 0..ROUNDS {
        let name = format!("round-{}", round % 3);
        bystander.expose(&name);
        let address = service_address(tenant, ns, &name);
        let load_balancer = uid(tenant, &["service", "-n", ns, &name]);
        if round % 10 == 0 {
            answered(&format!("http://{address}/"), None);
        }
        tenant.kubectl(&["delete", "service", "-n", ns, &name]).unwrap();
        gone(hub, &["loadbalancers", "-n", hub_ns, &load_balancer]);
    }
    until("the hub to hold what it held before", seconds(60), || {
        let now = inventory(hub, hub_ns);
        if now == before {
            Ok(())
        } else {
            let left = |line: &&String| !before.contains(line);
            Err(format!("{:?}", now.iter().filter(left).collect::<Vec<_>>()))
        }
    })
    .unwrap();
    // Objects have no series of their own: a process that has seen thousands is as large as at its beginning.
    assert_eq!(self::series(tenant, hub), series, "series of CCM and manager");
    assert_eq!(ccm::measured(tenant, &managed(ns)).unwrap(), 1);
    bystander.went_on();
}

fn managed(namespace: &str) -> String {
    format!("kubelb_ccm_managed_services_total{{namespace=\"{namespace}\"}}")
}

/// Kind and name of everything in the tenant's namespace on the hub but Events.
fn inventory(hub: &Cluster, namespace: &str) -> Vec<String> {
    let kinds = "loadbalancers.kubelb.k8c.io,routes.kubelb.k8c.io,addresses.kubelb.k8c.io,syncsecrets.kubelb.k8c.io,services,endpointslices,configmaps,secrets,deployments,serviceaccounts,poddisruptionbudgets";
    let found = hub
        .kubectl(&["get", kinds, "-n", namespace, "-o", "name"])
        .unwrap();
    let mut names: Vec<String> = found.lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// How many series the CCM and the leading manager show for gauges and counters of objects.
fn series(tenant: &Cluster, hub: &Cluster) -> (usize, usize) {
    let managed = |text: &str| {
        text.lines()
            .filter(|line| line.contains("_managed_") || line.contains("loadbalancers{"))
            .count()
    };
    let of = |cluster: &Cluster, app, port| managed(&metrics(cluster, app, port).unwrap());
    (of(tenant, "kubelb-ccm", 9445), of(hub, "kubelb-manager", 9443))
}
