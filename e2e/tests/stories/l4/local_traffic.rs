//! A developer wants traffic to go to nodes with a pod only.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::traffic::Stream;
use e2e::wait::{seconds, until};

use crate::support::{
    Scratch, answered, hub_namespace, is_ready, lab, more_requests, service_address, text, tidy, uid,
};

/// Pods on nodes that a load balancer may send to: kubeadm labels a control plane beside workers so that none does.
const ON_SERVING_NODES: &str = "      affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: node.kubernetes.io/exclude-from-external-load-balancers, operator: DoesNotExist}]}]}}}
      containers:\n";

/// A node that takes no new pods until this is dropped.
struct Cordoned<'a>(&'a Cluster, String);

impl<'a> Cordoned<'a> {
    fn begin(cluster: &'a Cluster, node: &str) -> Self {
        cluster.kubectl(&["cordon", node]).unwrap();
        Self(cluster, node.to_owned())
    }
}

impl Drop for Cordoned<'_> {
    fn drop(&mut self) {
        tidy(|| drop(self.0.kubectl(&["uncordon", &self.1]).unwrap()));
    }
}

#[test]
fn with_local_traffic_only_the_nodes_of_ready_pods_are_sent_to() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_a, &lab.hub);
    let scratch = Scratch::new("l4-local", &[tenant]);
    let ns = &scratch.namespace;
    let service = echo::service(ns, "web", "LoadBalancer").replace(
        "  type: LoadBalancer\n",
        "  type: LoadBalancer\n  externalTrafficPolicy: Local\n",
    );
    let pods = echo::deployment(ns, "web", 1).replace("      containers:\n", ON_SERVING_NODES);
    tenant.apply(&(pods + &service)).unwrap();
    let url = format!("http://{}/", service_address(tenant, ns, "web"));
    answered(&url, None);
    let load_balancer = uid(tenant, &["service", "-n", ns, "web"]);
    let sent_to_pods = |pods: usize| {
        until("the nodes of the ready pods on the hub", seconds(60), || {
            let (nodes, sent) = (nodes_of_pods(tenant, ns)?, sent_to(hub, tenant, &load_balancer)?);
            if nodes.len() == pods && nodes == sent {
                Ok(nodes)
            } else {
                Err(format!("{sent:?}, and pods are on {nodes:?}"))
            }
        })
        .unwrap()
    };
    let first = sent_to_pods(1);
    // Half of the requests would go to a node that drops them.
    all_answered(&url);

    let pod = &tenant.list(&["pods", "-n", ns, "-l", "app=web"]).unwrap()[0];
    let _cordoned = Cordoned::begin(tenant, &text(&pod["spec"]["nodeName"]).unwrap());
    tenant
        .kubectl(&["scale", "-n", ns, "deployment/web", "--replicas=2"])
        .unwrap();
    let both = sent_to_pods(2);
    assert!(both.is_superset(&first));
    all_answered(&url);

    let name = text(&pod["metadata"]["name"]).unwrap();
    tenant.kubectl(&["delete", "pod", "-n", ns, &name]).unwrap();
    let moved = sent_to_pods(1);
    assert!(moved.is_disjoint(&first));
    answered(&url, None);
    all_answered(&url);
}

#[track_caller]
fn all_answered(url: &str) {
    let stream = Stream::begin(url.to_owned(), None, Duration::from_millis(10), seconds(60));
    more_requests(&stream, 50, "in a row");
    assert_eq!(stream.end().failures, Vec::<String>::new());
}

/// Addresses of the nodes with a ready pod.
fn nodes_of_pods(tenant: &Cluster, namespace: &str) -> Result<BTreeSet<String>, String> {
    let pods = tenant
        .list(&["pods", "-n", namespace, "-l", "app=web"])
        .map_err(|e| e.to_string())?;
    Ok(pods
        .iter()
        .filter(|pod| is_ready(pod))
        .filter_map(|pod| text(&pod["status"]["hostIP"]))
        .collect())
}

/// Addresses in the LoadBalancer on the hub.
fn sent_to(hub: &Cluster, tenant: &Cluster, name: &str) -> Result<BTreeSet<String>, String> {
    let found = hub
        .get(&["loadbalancer", "-n", hub_namespace(tenant), name])
        .map_err(|e| e.to_string())?;
    let listed = found["spec"]["endpoints"][0]["addresses"].as_array();
    Ok(listed
        .into_iter()
        .flatten()
        .filter_map(|address| text(&address["ip"]))
        .collect())
}
