//! A developer makes a Gateway of class `kubelb` and an HTTPRoute to a ClusterIP Service.

use std::time::Instant;

use e2e::cluster::Cluster;
use e2e::wait::{seconds, until};
use e2e::{echo, traffic};

use crate::support::{Scratch, answered, condition, gateway_address, lab, route_says, status_within};

#[test]
fn a_gateway_and_an_http_route_answer_through_one_address() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratch = Scratch::new("http", &[tenant]);
    let ns = &scratch.namespace;
    let route = echo::http_route(ns, "web", "edge", "web.example.com", "web");
    tenant
        .apply(
            &(echo::deployment(ns, "web", 1)
                + &echo::service(ns, "web", "ClusterIP")
                + &echo::gateway(ns, "edge")
                + &route),
        )
        .unwrap();
    let url = format!("http://{}/", gateway_address(tenant, ns, "edge"));
    assert_eq!(&answered(&url, Some("web.example.com")).namespace, ns);
    assert_eq!(traffic::status(&url, Some("other.example.com")).unwrap(), 404);
    accepted(tenant, ns, "httproute", "web");
    until("the listener to count its route", seconds(30), || {
        let gateway = tenant
            .get(&["gateway", "-n", ns, "edge"])
            .map_err(|e| e.to_string())?;
        let listener = &gateway["status"]["listeners"][0];
        if listener["attachedRoutes"] == 1 {
            Ok(())
        } else {
            Err(listener.to_string())
        }
    })
    .unwrap();
}

#[test]
fn a_changed_route_is_served_and_its_status_carries_the_new_generation() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratch = Scratch::new("http-change", &[tenant]);
    let ns = &scratch.namespace;
    let route = |host: &str| echo::http_route(ns, "web", "edge", host, "web");
    tenant
        .apply(
            &(echo::deployment(ns, "web", 1)
                + &echo::service(ns, "web", "ClusterIP")
                + &echo::gateway(ns, "edge")
                + &route("one.example.com")),
        )
        .unwrap();
    let url = format!("http://{}/", gateway_address(tenant, ns, "edge"));
    answered(&url, Some("one.example.com"));
    tenant.apply(&route("two.example.com")).unwrap();
    answered(&url, Some("two.example.com"));
    status_within(&url, "one.example.com", 404, seconds(30), Instant::now());
    accepted(tenant, ns, "httproute", "web");
}

/// Waits until the route's one parent says Accepted and ResolvedRefs at the newest generation.
#[track_caller]
pub fn accepted(cluster: &Cluster, namespace: &str, kind: &str, name: &str) {
    let what = "that it is accepted";
    let route = [kind, namespace, name];
    route_says(cluster, route, what, seconds(30), |route, conditions| {
        ["Accepted", "ResolvedRefs"].iter().all(|type_| {
            let found = condition(conditions, type_);
            found["status"] == "True" && found["observedGeneration"] == route["metadata"]["generation"]
        })
    });
}
