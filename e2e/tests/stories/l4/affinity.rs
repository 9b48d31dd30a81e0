//! A client that shall stay where it is: two nodes, two pods on each, and two Envoys before them.

use std::collections::{BTreeMap, BTreeSet};

use e2e::cluster::Cluster;
use e2e::wait::{seconds, until};
use e2e::{echo, traffic};

use crate::support::{Scratch, answered, hub_namespace, is_ready, lab, service_address, text, tidy, warned};

/// Requests of one client, each by a connection of its own.
const REQUESTS: usize = 40;
/// Two pods on each of two nodes, of which the control plane's is none.
const SPREAD: &str = "      affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: node-role.kubernetes.io/control-plane, operator: DoesNotExist}]}]}}}
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, nodeTaintsPolicy: Honor, labelSelector: {matchLabels: {app: web}}}
      containers:\n";

/// Two Envoys for a tenant, until this is dropped.
struct TwoEnvoys<'a>(&'a Cluster, &'a Cluster);

impl<'a> TwoEnvoys<'a> {
    fn begin(hub: &'a Cluster, tenant: &'a Cluster) -> Self {
        let two = Self(hub, tenant);
        two.set(2);
        two
    }

    fn set(&self, replicas: u32) {
        let Self(hub, tenant) = self;
        let patch = format!(r#"{{"spec":{{"envoyProxy":{{"replicas":{replicas}}}}}}}"#);
        hub.kubectl(&["patch", "tenant", tenant.name, "--type=merge", "-p", &patch])
            .unwrap();
    }

    #[track_caller]
    fn ready(&self) {
        let Self(hub, tenant) = self;
        until("two Envoys to be ready", seconds(60), || {
            let pods = hub
                .list(&["pods", "-n", hub_namespace(tenant)])
                .map_err(|e| e.to_string())?;
            let envoys = pods
                .iter()
                .filter(|pod| text(&pod["metadata"]["name"]).is_some_and(|name| name.starts_with("envoy-")));
            let ready = envoys.filter(|pod| is_ready(pod)).count();
            if ready == 2 {
                Ok(())
            } else {
                Err(format!("{ready}"))
            }
        })
        .unwrap();
    }
}

impl Drop for TwoEnvoys<'_> {
    fn drop(&mut self) {
        tidy(|| self.set(1));
    }
}

#[test]
fn a_client_stays_with_one_node_while_affinity_is_asked_for() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratch = Scratch::new("l4-affinity", &[tenant]);
    let ns = &scratch.namespace;
    let two = TwoEnvoys::begin(&lab.hub, tenant);
    // Local, since the pod that answers tells the node that was sent to only then.
    let service = echo::service(ns, "web", "LoadBalancer").replace(
        "  type: LoadBalancer\n",
        "  type: LoadBalancer\n  externalTrafficPolicy: Local\n  sessionAffinity: ClientIP\n",
    );
    let pods = echo::deployment(ns, "web", 4).replace("      containers:\n", SPREAD);
    tenant.apply(&(pods + &service)).unwrap();
    let nodes = pods_on_two_nodes(tenant, ns);
    let url = format!("http://{}/", service_address(tenant, ns, "web"));
    answered(&url, None);
    two.ready();
    let hub_has_both = || sent_to(&lab.hub, tenant);
    until("both nodes on the hub", seconds(30), hub_has_both).unwrap();

    let used = nodes_of(&url, &nodes);
    assert_eq!(used.len(), 1, "one client, one node: {used:?}");
    warned(
        tenant,
        ns,
        "Service",
        "web",
        "pins a client to a node, not to a pod",
    );

    let none = r#"{"spec":{"sessionAffinity":"None"}}"#;
    tenant
        .kubectl(&["patch", "service", "-n", ns, "web", "--type=merge", "-p", none])
        .unwrap();
    until("both nodes to answer one client", seconds(30), || {
        let used = nodes_of(&url, &nodes);
        if used.len() == 2 {
            Ok(())
        } else {
            Err(format!("{used:?}"))
        }
    })
    .unwrap();
}

/// Waits for two pods on each of two nodes; the node of each pod.
#[track_caller]
fn pods_on_two_nodes(tenant: &Cluster, namespace: &str) -> BTreeMap<String, String> {
    until("two pods on each of two nodes", seconds(60), || {
        let pods = tenant
            .list(&["pods", "-n", namespace, "-l", "app=web"])
            .map_err(|e| e.to_string())?;
        let place = |pod: &serde_json::Value| {
            let node = text(&pod["spec"]["nodeName"]).filter(|_| is_ready(pod))?;
            Some((text(&pod["metadata"]["name"])?, node))
        };
        let places: BTreeMap<_, _> = pods.iter().filter_map(place).collect();
        let mut counts = BTreeMap::new();
        places
            .values()
            .for_each(|node| *counts.entry(node).or_insert(0) += 1);
        if counts.values().copied().collect::<Vec<_>>() == [2, 2] {
            Ok(places)
        } else {
            Err(format!("{places:?}"))
        }
    })
    .unwrap()
}

/// The hub sends to two nodes for this one LoadBalancer of the story.
fn sent_to(hub: &Cluster, tenant: &Cluster) -> Result<(), String> {
    let all = hub
        .list(&["loadbalancers", "-n", hub_namespace(tenant)])
        .map_err(|e| e.to_string())?;
    let own = all
        .iter()
        .find(|lb| lb["metadata"]["annotations"]["kubelb.k8c.io/origin-ns"] == "e2e-l4-affinity");
    let addresses = own.and_then(|lb| lb["spec"]["endpoints"][0]["addresses"].as_array());
    match addresses.map(Vec::len) {
        Some(2) => Ok(()),
        other => Err(format!("{other:?} addresses")),
    }
}

/// Nodes of the pods that answer one client.
#[track_caller]
fn nodes_of(url: &str, nodes: &BTreeMap<String, String>) -> BTreeSet<String> {
    (0..REQUESTS)
        .map(|_| nodes[&traffic::get(url, None).unwrap().pod].clone())
        .collect()
}
