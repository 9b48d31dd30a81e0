//! A node of a three-node tenant leaves, or turns not ready, and comes back while a Service is used.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::environment::Environment;
use e2e::traffic::Stream;
use e2e::wait::{seconds, until};
use e2e::{echo, node};

use crate::support::{Scratch, answered, condition, hub_namespace, lab, more_requests, service_address};

/// Selects nodes that a load balancer may send to.
const EXCLUDED: &str = "!node.kubernetes.io/exclude-from-external-load-balancers";

/// A Service whose pod is on no node that takes traffic, so that a story is about the way to it, with its traffic.
struct Used<'a> {
    hub: &'a Cluster,
    tenant: &'a Cluster,
    serving: usize,
    victim: String,
    stream: Stream,
    _scratch: Scratch,
}

impl<'a> Used<'a> {
    #[track_caller]
    fn begin(story: &str, lab: &'a Environment) -> Self {
        let (hub, tenant) = (&lab.hub, &lab.tenant_a);
        let scratch = Scratch::new(story, &[tenant]);
        let ns = &scratch.namespace;
        let nodes = tenant.list(&["nodes"]).unwrap().len();
        assert_eq!(nodes, 3, "the first tenant has three nodes");
        // kubeadm labels control planes so that no load balancer sends to them: two take traffic.
        let serving = tenant.list(&["nodes", "-l", EXCLUDED]).unwrap().len();
        assert_eq!(serving, 2);
        let pinned = echo::deployment(ns, "web", 1).replace(
            "      containers:\n",
            "      nodeSelector: {node-role.kubernetes.io/control-plane: \"\"}\n      tolerations: [{operator: Exists}]\n      containers:\n",
        );
        tenant
            .apply(&(pinned + &echo::service(ns, "web", "LoadBalancer")))
            .unwrap();
        let url = format!("http://{}/", service_address(tenant, ns, "web"));
        answered(&url, None);
        let used = Self {
            hub,
            tenant,
            serving,
            victim: node::worker(tenant).unwrap(),
            stream: Stream::begin(url, None, Duration::from_millis(20), seconds(300)),
            _scratch: scratch,
        };
        used.published(serving, seconds(60));
        used
    }

    /// Waits until so many addresses are on the hub.
    #[track_caller]
    fn published(&self, count: usize, limit: Duration) {
        let what = format!("{count} node addresses on the hub");
        until(what, limit, || addresses(self.hub, self.tenant, count)).unwrap();
    }

    /// Every request was answered.
    #[track_caller]
    fn went_on(self) {
        let report = self.stream.end();
        let none = Vec::<String>::new();
        assert_eq!(report.failures, none, "of {} requests", report.sent);
    }
}

#[test]
fn a_node_that_leaves_is_taken_out_and_taken_back_when_it_returns() {
    let lab = lab();
    let used = Used::begin("l4-nodes", &lab);
    let away = node::remove(&lab.lab, used.tenant, &used.victim).unwrap();
    used.published(used.serving - 1, seconds(60));
    more_requests(&used.stream, 100, "while the node is away");
    away.bring_back(used.tenant).unwrap();
    used.published(used.serving, seconds(120));
    more_requests(&used.stream, 100, "with the node back");
    used.went_on();
}

#[test]
fn a_node_that_turns_not_ready_is_out_within_five_seconds() {
    let lab = lab();
    let used = Used::begin("l4-not-ready", &lab);
    let away = node::silence(&lab.lab, &used.victim).unwrap();
    // How long the cluster takes to find out is its own affair: 50 seconds by default.
    until("the node to be not ready", seconds(120), || {
        let node = used
            .tenant
            .get(&["node", &used.victim])
            .map_err(|e| e.to_string())?;
        let ready = condition(&node["status"]["conditions"], "Ready");
        if ready["status"] == "True" {
            Err(ready.to_string())
        } else {
            Ok(())
        }
    })
    .unwrap();
    used.published(used.serving - 1, seconds(5));
    more_requests(&used.stream, 100, "while the node is not ready");
    away.bring_back(used.tenant).unwrap();
    used.published(used.serving, seconds(120));
    used.went_on();
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
