//! A node of a three-node tenant leaves and comes back while a Service is used.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::traffic::Stream;
use e2e::wait::{seconds, until};
use e2e::{echo, node};

use crate::support::{Scratch, answered, hub_namespace, lab, service_address};

/// Selects nodes that a load balancer may send to.
const EXCLUDED: &str = "!node.kubernetes.io/exclude-from-external-load-balancers";

#[test]
fn a_node_that_leaves_is_taken_out_and_taken_back_when_it_returns() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_a, &lab.hub);
    let scratch = Scratch::new("l4-nodes", &[tenant]);
    let ns = &scratch.namespace;
    assert_eq!(
        tenant.list(&["nodes"]).unwrap().len(),
        3,
        "the first tenant has three nodes"
    );
    // kubeadm labels control planes so that no load balancer sends to them: two take traffic.
    let serving = tenant.list(&["nodes", "-l", EXCLUDED]).unwrap().len();
    assert_eq!(serving, 2);
    let victim = node::worker(tenant).unwrap();
    // The pod must not be on the node that leaves: the story is about the way to it.
    let pinned = echo::deployment(ns, "web", 1).replace(
        "      containers:\n",
        "      nodeSelector: {node-role.kubernetes.io/control-plane: \"\"}\n      tolerations: [{operator: Exists}]\n      containers:\n",
    );
    tenant
        .apply(&(pinned + &echo::service(ns, "web", "LoadBalancer")))
        .unwrap();
    let url = format!("http://{}/", service_address(tenant, ns, "web"));
    answered(&url, None);
    until("every node address on the hub", seconds(60), || {
        addresses(hub, tenant, serving)
    })
    .unwrap();

    let stream = Stream::begin(url.clone(), None, Duration::from_millis(20), seconds(240));
    let stopped = node::remove(&lab.lab, tenant, &victim).unwrap();
    until("one node address less on the hub", seconds(60), || {
        addresses(hub, tenant, serving - 1)
    })
    .unwrap();
    requests(&stream, 100, "while the node is away");
    stopped.bring_back(tenant).unwrap();
    until("every node address again", seconds(120), || {
        addresses(hub, tenant, serving)
    })
    .unwrap();
    requests(&stream, 100, "with the node back");
    let report = stream.end();
    assert_eq!(
        report.failures,
        Vec::<String>::new(),
        "of {} requests",
        report.sent
    );
}

/// Waits until `count` more requests have been sent.
fn requests(stream: &Stream, count: u64, when: &str) {
    let wanted = stream.sent() + count;
    until(format!("{count} requests {when}"), seconds(60), || {
        let sent = stream.sent();
        if sent >= wanted {
            Ok(())
        } else {
            Err(format!("{sent} of {wanted}"))
        }
    })
    .unwrap();
}

fn addresses(hub: &Cluster, tenant: &Cluster, wanted: usize) -> Result<(), String> {
    let found = hub
        .get(&["addresses.kubelb.k8c.io", "-n", hub_namespace(tenant), "default"])
        .map_err(|e| e.to_string())?;
    let list = found["spec"]["addresses"].as_array().cloned().unwrap_or_default();
    if list.len() == wanted {
        Ok(())
    } else {
        Err(format!("{} addresses", list.len()))
    }
}
