//! A developer deletes routes and Gateways: everything made for them goes, on both clusters.

use std::collections::BTreeSet;

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::wait::{seconds, until};
use serde_json::Value;

use crate::support::{Scratch, answered, gateway_address, gone, hub_namespace, lab, uid};

#[test]
fn deleted_routes_and_gateways_leave_nothing_on_either_cluster() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_b, &lab.hub);
    let scratch = Scratch::new("gw-delete", &[tenant]);
    let (ns, hub_ns) = (&scratch.namespace, hub_namespace(tenant));
    let before = hub_objects(hub, hub_ns);
    let route = echo::http_route(ns, "web", "edge", "gone.example.com", "web");
    tenant
        .apply(
            &(echo::deployment(ns, "web", 1)
                + &echo::service(ns, "web", "ClusterIP")
                + &echo::gateway(ns, "edge")
                + &route),
        )
        .unwrap();
    let url = format!("http://{}/", gateway_address(tenant, ns, "edge"));
    answered(&url, Some("gone.example.com"));
    let route_uid = uid(tenant, &["httproute", "-n", ns, "web"]);
    let gateway_uid = uid(tenant, &["gateway", "-n", ns, "edge"]);

    tenant
        .kubectl(&["delete", "httproute", "-n", ns, "web", "--timeout=30s"])
        .unwrap();
    gone(hub, &["routes.kubelb.k8c.io", "-n", hub_ns, &route_uid]);
    gone(
        tenant,
        &["services", "-n", ns, "-l", "kubelb.k8c.io/managed-by=kubelb"],
    );
    until(
        "404 after the route is gone",
        seconds(30),
        || match e2e::traffic::status(&url, Some("gone.example.com")) {
            Ok(404) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .unwrap();

    tenant
        .kubectl(&["delete", "gateway", "-n", ns, "edge", "--timeout=30s"])
        .unwrap();
    gone(hub, &["routes.kubelb.k8c.io", "-n", hub_ns, &gateway_uid]);
    until("nothing more on the hub than before", seconds(60), || {
        let more: Vec<String> = hub_objects(hub, hub_ns).difference(&before).cloned().collect();
        if more.is_empty() {
            Ok(())
        } else {
            Err(more.join(", "))
        }
    })
    .unwrap();
}

/// Every object in a tenant's hub namespace that can be a route's or a Gateway's.
fn hub_objects(hub: &Cluster, namespace: &str) -> BTreeSet<String> {
    let kinds = "gateways,httproutes,services,endpointslices,secrets,deployments,configmaps,serviceaccounts";
    let found = hub
        .kubectl(&["get", kinds, "-n", namespace, "-o", "name"])
        .unwrap();
    found.lines().map(str::to_owned).collect()
}

#[test]
fn a_hub_route_that_somebody_edits_or_deletes_is_put_right() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_b, &lab.hub);
    let scratch = Scratch::new("gw-repair", &[tenant]);
    let ns = &scratch.namespace;
    let host = "kept.example.com";
    tenant
        .apply(
            &(echo::deployment(ns, "web", 1)
                + &echo::service(ns, "web", "ClusterIP")
                + &echo::gateway(ns, "edge")
                + &echo::http_route(ns, "web", "edge", host, "web")),
        )
        .unwrap();
    let url = format!("http://{}/", gateway_address(tenant, ns, "edge"));
    answered(&url, Some(host));
    let made = hub_route(hub, hub_namespace(tenant), ns).unwrap();
    let name = made["metadata"]["name"].as_str().unwrap();
    let target = ["httproute", "-n", hub_namespace(tenant), name];

    let edit = r#"{"spec":{"hostnames":["edited.example.com"]}}"#;
    let patch = [&["patch"], &target[..], &["--type=merge", "-p", edit]].concat();
    hub.kubectl(&patch).unwrap();
    until("the hub's route to be as it was", seconds(60), || {
        let route = hub_route(hub, hub_namespace(tenant), ns)?;
        let same = route["spec"] == made["spec"];
        if same {
            Ok(())
        } else {
            Err(route["spec"].to_string())
        }
    })
    .unwrap();
    answered(&url, Some(host));

    hub.kubectl(&[&["delete"], &target[..], &["--timeout=30s"]].concat())
        .unwrap();
    until("the hub's route to be there again", seconds(60), || {
        let route = hub_route(hub, hub_namespace(tenant), ns)?;
        let another = route["metadata"]["uid"] != made["metadata"]["uid"];
        if another && route["spec"] == made["spec"] {
            Ok(())
        } else {
            Err(route.to_string())
        }
    })
    .unwrap();
    answered(&url, Some(host));
}

/// The one HTTPRoute on the hub that is made from a route of the tenant's `namespace`.
fn hub_route(hub: &Cluster, hub_namespace: &str, namespace: &str) -> Result<Value, String> {
    let label = format!("kubelb.k8c.io/origin-ns={namespace}");
    let mut routes = hub
        .list(&["httproutes", "-n", hub_namespace, "-l", &label])
        .map_err(|e| e.to_string())?;
    match (routes.pop(), routes.is_empty()) {
        (Some(route), true) => Ok(route),
        (route, _) => Err(format!("{} routes", routes.len() + usize::from(route.is_some()))),
    }
}
