//! A cluster that has a load balancer of its own, and the hub in front of it.

use e2e::cluster::Cluster;
use e2e::product;
use e2e::wait::{seconds, until};
use e2e::{echo, traffic};
use serde_json::{Value, json};

use crate::support::diagnosis::internal_address;
use crate::support::{Scratch, answered, ccm, gone, hub_namespace, lab, programmed, text, tidy, uid};

/// The chart's switch, as it was again at the end.
struct AnotherProvider<'a>(&'a Cluster);

impl<'a> AnotherProvider<'a> {
    fn begin(tenant: &'a Cluster) -> Self {
        let another = Self(tenant);
        another.set(false);
        another
    }

    fn set(&self, ours: bool) {
        product::set_value(
            self.0,
            "kubelb-ccm",
            &format!("kubelb.enableCloudProvider={ours}"),
        )
        .unwrap();
        product::rollout(self.0, "kubelb-ccm").unwrap();
        ccm::connected(self.0);
    }
}

impl Drop for AnotherProvider<'_> {
    fn drop(&mut self) {
        tidy(|| self.set(true));
    }
}

/// Does what a load balancer does that binds a Service's ports on a node: it writes the node's address as the
/// Service's, and kube-proxy of every node answers there.
fn give_address(tenant: &Cluster, namespace: &str, ingress: &Value) {
    let patch = json!({"status": {"loadBalancer": {"ingress": ingress}}}).to_string();
    let arguments = [
        "patch",
        "service",
        "-n",
        namespace,
        "web",
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ];
    tenant.kubectl(&arguments).unwrap();
}

fn a_node_of(tenant: &Cluster) -> String {
    let nodes = tenant.list(&["nodes"]).unwrap();
    nodes.iter().find_map(internal_address).unwrap()
}

/// What the hub sends to.
fn endpoints(hub: &Cluster, namespace: &str, name: &str) -> Value {
    let load_balancer = hub.get(&["loadbalancer", "-n", namespace, name]).unwrap();
    load_balancer["spec"]["endpoints"][0].clone()
}

#[test]
fn a_service_of_another_load_balancer_is_reached_at_its_own_address_and_keeps_its_status() {
    let lab = lab();
    let (hub, tenant) = (&lab.hub, &lab.tenant_a);
    let _another = AnotherProvider::begin(tenant);
    let scratch = Scratch::new("provider", &[tenant]);
    let ns = &scratch.namespace;
    let without_node_ports = "  type: LoadBalancer\n  allocateLoadBalancerNodePorts: false\n";
    let service =
        echo::service(ns, "web", "LoadBalancer").replace("  type: LoadBalancer\n", without_node_ports);
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &service))
        .unwrap();
    let own = json!([{"ip": a_node_of(tenant), "ipMode": "VIP"}]);
    give_address(tenant, ns, &own);

    let (namespace, name) = (hub_namespace(tenant), uid(tenant, &["service", "-n", ns, "web"]));
    let address = told(tenant, ns);
    programmed(hub, namespace, &name, seconds(60));
    let sent_to = endpoints(hub, namespace, &name);
    assert_eq!(
        (&sent_to["addresses"][0]["ip"], &sent_to["ports"][0]["port"]),
        (&own[0]["ip"], &json!(80))
    );
    let url = format!("http://{address}/");
    answered(&url, None);
    let shown = tenant.get(&["service", "-n", ns, "web"]).unwrap();
    assert_eq!(shown["status"]["loadBalancer"]["ingress"], own);

    give_address(tenant, ns, &Value::Null);
    until("the hub to send nowhere", seconds(30), || {
        let endpoints = endpoints(hub, namespace, &name);
        let none = endpoints["addresses"].as_array().is_none_or(Vec::is_empty);
        if none { Ok(()) } else { Err(endpoints.to_string()) }
    })
    .unwrap();
    until(
        "the hub's address to answer no more",
        seconds(30),
        || match traffic::get(&url, None) {
            Ok(_) => Err("it still answers"),
            Err(_) => Ok(()),
        },
    )
    .unwrap();
    tenant.kubectl(&["delete", "service", "-n", ns, "web"]).unwrap();
    gone(hub, &["loadbalancers", "-n", namespace, &name]);
}

/// The address of the hub's that an Event on the Service tells.
fn told(tenant: &Cluster, namespace: &str) -> String {
    let of_service = "involvedObject.kind=Service,involvedObject.name=web,reason=ServedByHub";
    until(
        "an Event that says where the hub serves the Service",
        seconds(60),
        || {
            let events = tenant
                .list(&["events", "-n", namespace, "--field-selector", of_service])
                .map_err(|e| e.to_string())?;
            let message = events
                .last()
                .and_then(|event| text(&event["message"]))
                .ok_or("no such Event")?;
            let address = message
                .strip_prefix("the hub serves it at ")
                .ok_or(message.clone())?;
            Ok::<_, String>(address.to_owned())
        },
    )
    .unwrap()
}
