//! What cannot be served is said on the object, by field, and the rest stays served.

use std::time::Instant;

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::wait::seconds;

use crate::support::{Scratch, answered, condition, gateway_address, lab, route_says, status_within, warned};

#[test]
fn a_route_to_a_missing_service_says_so_and_the_route_beside_it_is_served() {
    let lab = lab();
    let tenant = &lab.tenant_b;
    let scratch = Scratch::new("gw-bad", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(
            &(echo::deployment(ns, "web", 1)
                + &echo::service(ns, "web", "ClusterIP")
                + &echo::gateway(ns, "edge")
                + &echo::http_route(ns, "good", "edge", "good.example.com", "web")
                + &echo::http_route(ns, "missing", "edge", "missing.example.com", "absent")
                + &echo::http_route(ns, "external", "edge", "external.example.com", "elsewhere")),
        )
        .unwrap();
    tenant
        .apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{namespace: {ns}, name: elsewhere}}\nspec: {{type: ExternalName, externalName: internal.example.com, ports: [{{port: 80}}]}}\n"
        ))
        .unwrap();
    let url = format!("http://{}/", gateway_address(tenant, ns, "edge"));
    answered(&url, Some("good.example.com"));
    unresolved(tenant, ns, "missing", "BackendNotFound");
    unresolved(tenant, ns, "external", "UnsupportedValue");
    warned(tenant, ns, "HTTPRoute", "missing", "spec.rules[0].backendRefs[0]");
    status_within(&url, "missing.example.com", 500, seconds(30), Instant::now());
}

/// Waits until the route's one parent says that a reference of it leads nowhere, and why.
#[track_caller]
pub fn unresolved(cluster: &Cluster, namespace: &str, name: &str, reason: &str) {
    let what = format!("ResolvedRefs=False/{reason}");
    let route = ["httproute", namespace, name];
    route_says(cluster, route, &what, seconds(30), |_, conditions| {
        let found = condition(conditions, "ResolvedRefs");
        found["status"] == "False" && found["reason"] == reason
    });
}

#[test]
fn names_of_253_characters_are_served() {
    let lab = lab();
    let tenant = &lab.tenant_b;
    let scratch = Scratch::new("long-names", &[tenant]);
    let ns = &scratch.namespace;
    let long = format!("g{}", "-long".repeat(50) + "xx");
    assert_eq!(long.len(), 253);
    tenant
        .apply(
            &(echo::deployment(ns, "web", 1)
                + &echo::service(ns, "web", "ClusterIP")
                + &echo::gateway(ns, &long)
                + &echo::http_route(ns, &long, &long, "long.example.com", "web")),
        )
        .unwrap();
    let url = format!("http://{}/", gateway_address(tenant, ns, &long));
    answered(&url, Some("long.example.com"));
}
