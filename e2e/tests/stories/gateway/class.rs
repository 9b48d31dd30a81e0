//! A Gateway is ours by the controller of its class, and by nothing else.

use e2e::cluster::Cluster;
use e2e::echo;
use serde_json::Value;

use crate::support::{Scratch, answered, gateway_address, lab, tidy, uid};

/// What CRD defaults put into the status of a Gateway that no controller has looked at.
const UNSEEN: &str = "Waiting for controller";

fn gateway_of(namespace: &str, name: &str, class: &str) -> String {
    echo::gateway(namespace, name).replace("gatewayClassName: kubelb", &format!("gatewayClassName: {class}"))
}

/// Nothing of ours is on the Gateway or its route, in Events or on the hub.
fn is_left_alone(tenant: &Cluster, hub: &Cluster, namespace: &str, name: &str) {
    let gateway = tenant.get(&["gateway", "-n", namespace, name]).unwrap();
    let conditions = gateway["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for condition in &conditions {
        assert_eq!(condition["message"], UNSEEN, "{gateway}");
    }
    assert!(gateway["status"]["addresses"].is_null(), "{gateway}");
    let route = tenant.get(&["httproute", "-n", namespace, name]).unwrap();
    let parents = route["status"]["parents"].as_array().cloned().unwrap_or_default();
    assert_eq!(parents, Vec::<Value>::new(), "{route}");
    let events = tenant.list(&["events", "-n", namespace]).unwrap();
    let about: Vec<&Value> = events
        .iter()
        .filter(|event| event["involvedObject"]["name"] == name)
        .collect();
    assert!(about.is_empty(), "{about:?}");
    let uid = uid(tenant, &["gateway", "-n", namespace, name]);
    let found = hub
        .kubectl(&["get", "routes.kubelb.k8c.io", "-A", "-o", "name"])
        .unwrap();
    assert!(!found.contains(&uid), "{found}");
}

/// A Gateway and a route that are ours; they are evaluated in the same run as those that are not.
fn ours(namespace: &str, name: &str) -> String {
    echo::gateway(namespace, name)
        + &echo::http_route(namespace, name, name, &format!("{name}.example.com"), "web")
}

#[test]
fn a_gateway_of_an_unknown_class_is_left_alone_and_the_gateway_beside_it_is_served() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_b, &lab.hub);
    let scratch = Scratch::new("gw-foreign", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(
            &(echo::deployment(ns, "web", 1)
                + &echo::service(ns, "web", "ClusterIP")
                + &gateway_of(ns, "foreign", "somebody-elses")
                + &echo::http_route(ns, "foreign", "foreign", "foreign.example.com", "web")
                + &ours(ns, "edge")),
        )
        .unwrap();
    let url = format!("http://{}/", gateway_address(tenant, ns, "edge"));
    answered(&url, Some("edge.example.com"));
    is_left_alone(tenant, hub, ns, "foreign");
}

/// A class of ours that the story makes; it is not of a namespace and goes by itself.
struct Class<'a>(&'a Cluster);

const LATE: &str = "kubelb-late";

impl Drop for Class<'_> {
    fn drop(&mut self) {
        let delete = ["delete", "gatewayclass", LATE, "--ignore-not-found"];
        tidy(|| drop(self.0.kubectl(&delete).unwrap()));
    }
}

#[test]
fn a_gateway_whose_class_is_not_there_yet_is_left_alone_and_served_when_it_comes() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_b, &lab.hub);
    let scratch = Scratch::new("gw-late", &[tenant]);
    let ns = &scratch.namespace;
    let _class = Class(tenant);
    tenant
        .apply(
            &(echo::deployment(ns, "web", 1)
                + &echo::service(ns, "web", "ClusterIP")
                + &gateway_of(ns, "late", LATE)
                + &echo::http_route(ns, "late", "late", "late.example.com", "web")
                + &ours(ns, "edge")),
        )
        .unwrap();
    let url = format!("http://{}/", gateway_address(tenant, ns, "edge"));
    answered(&url, Some("edge.example.com"));
    is_left_alone(tenant, hub, ns, "late");

    let class = tenant.get(&["gatewayclass", "kubelb"]).unwrap();
    tenant
        .apply(&format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {{name: {LATE}}}\nspec: {{controllerName: {}}}\n",
            class["spec"]["controllerName"].as_str().unwrap()
        ))
        .unwrap();
    let late = format!("http://{}/", gateway_address(tenant, ns, "late"));
    answered(&late, Some("late.example.com"));
    answered(&url, Some("edge.example.com"));
}
