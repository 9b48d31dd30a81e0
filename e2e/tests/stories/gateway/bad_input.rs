//! What cannot be served is said on the object, by field, and the rest stays served.

use e2e::wait::{seconds, until};
use e2e::{echo, traffic};

use crate::support::{Scratch, answered, condition, gateway_address, lab, warned};

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
    until(
        "500 for the missing backend",
        seconds(30),
        || match traffic::status(&url, Some("missing.example.com")) {
            Ok(500) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .unwrap();
}

/// Waits until the route's one parent says that a reference of it leads nowhere, and why.
#[track_caller]
pub fn unresolved(cluster: &e2e::cluster::Cluster, namespace: &str, name: &str, reason: &str) {
    until(
        format!("ResolvedRefs=False/{reason} on {name}"),
        seconds(30),
        || {
            let route = cluster
                .get(&["httproute", "-n", namespace, name])
                .map_err(|e| e.to_string())?;
            let found = condition(&route["status"]["parents"][0]["conditions"], "ResolvedRefs");
            if found["status"] == "False" && found["reason"] == reason {
                Ok(())
            } else {
                Err(route["status"].to_string())
            }
        },
    )
    .unwrap();
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
