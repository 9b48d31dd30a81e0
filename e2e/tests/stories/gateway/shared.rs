//! Tenants attach routes to the platform team's Gateway: one address, separated by host name.

use e2e::cluster::Cluster;
use e2e::wait::seconds;
use e2e::{echo, traffic};

use super::http::accepted;
use crate::support::{Scratch, answered, condition, gateway_address, lab, route_says};

fn with_parent(route: &str, parent: &str) -> String {
    route.replace("  parentRefs: [{name: none}]\n", parent)
}

#[test]
fn routes_of_two_tenants_share_one_address_and_reach_their_own_pods() {
    let lab = lab();
    let tenants = [&lab.tenant_a, &lab.tenant_b];
    let scratch = Scratch::new("shared", &tenants);
    let ns = &scratch.namespace;
    let address = gateway_address(&lab.hub, "shared", "shared-gateway");
    let url = format!("http://{address}/");
    for (tenant, host) in tenants
        .iter()
        .zip(["a.shared.example.com", "b.shared.example.com"])
    {
        let route = with_parent(
            &echo::http_route(ns, "web", "none", host, &format!("web-{}", tenant.name)),
            "  parentRefs: [{name: shared-gateway, namespace: shared}]\n",
        );
        let name = format!("web-{}", tenant.name);
        tenant
            .apply(&(echo::deployment(ns, &name, 1) + &echo::service(ns, &name, "ClusterIP") + &route))
            .unwrap();
        let echo = answered(&url, Some(host));
        assert!(echo.pod.starts_with(&name), "{host} was answered by {}", echo.pod);
    }
    for tenant in tenants {
        // A route serves before its status says so.
        accepted(tenant, ns, "httproute", "web");
        let route = tenant.get(&["httproute", "-n", ns, "web"]).unwrap();
        let parent = &route["status"]["parents"][0];
        assert_eq!(parent["parentRef"]["name"], "shared-gateway");
    }
}

#[test]
fn a_route_without_parent_attaches_to_the_default_gateway() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratch = Scratch::new("default-gw", &[tenant]);
    let ns = &scratch.namespace;
    let route = with_parent(
        &echo::http_route(ns, "web", "none", "default.example.com", "web"),
        "",
    );
    tenant
        .apply(&(echo::deployment(ns, "web", 1) + &echo::service(ns, "web", "ClusterIP") + &route))
        .unwrap();
    let address = gateway_address(&lab.hub, "shared", "shared-gateway");
    assert_eq!(
        &answered(&format!("http://{address}/"), Some("default.example.com")).namespace,
        ns
    );
}

#[test]
fn a_host_that_another_tenant_holds_is_refused_and_the_holder_keeps_it() {
    let lab = lab();
    let tenants = [&lab.tenant_a, &lab.tenant_b];
    let scratch = Scratch::new("claim", &tenants);
    let ns = &scratch.namespace;
    let url = format!(
        "http://{}/",
        gateway_address(&lab.hub, "shared", "shared-gateway")
    );
    let host = "claimed.example.com";
    for (index, tenant) in tenants.iter().enumerate() {
        let name = format!("web-{}", tenant.name);
        let route = with_parent(
            &echo::http_route(ns, "web", "none", host, &name),
            "  parentRefs: [{name: shared-gateway, namespace: shared}]\n",
        );
        tenant
            .apply(&(echo::deployment(ns, &name, 1) + &echo::service(ns, &name, "ClusterIP") + &route))
            .unwrap();
        if index == 0 {
            answered(&url, Some(host));
        }
    }
    refused(tenants[1], ns, "HostnameConflict");
    assert!(
        traffic::get(&url, Some(host))
            .unwrap()
            .pod
            .starts_with("web-tenant-a")
    );
}

#[track_caller]
fn refused(cluster: &Cluster, namespace: &str, reason: &str) {
    let what = format!("that it is refused with {reason}");
    let route = ["httproute", namespace, "web"];
    route_says(cluster, route, &what, seconds(60), |_, conditions| {
        let accepted = condition(conditions, "Accepted");
        accepted["status"] == "False" && accepted["reason"] == reason
    });
}
