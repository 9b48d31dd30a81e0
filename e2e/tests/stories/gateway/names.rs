//! Names that are alike are not taken for each other.

use std::time::Instant;

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::wait::seconds;

use super::bad_input::unresolved;
use super::http::accepted;
use crate::support::{Scratch, answered, gateway_address, gone, lab, status_within};

/// Enough requests to see a backend that is reached by chance.
const REQUESTS: usize = 20;

/// Every one of many requests is answered by a pod of this namespace, whose name begins so.
#[track_caller]
fn only_by(url: &str, host: &str, namespace: &str, pods: &str) {
    for _ in 0..REQUESTS {
        let echo = answered(url, Some(host));
        assert!(
            echo.namespace == namespace && echo.pod.starts_with(pods),
            "{url} was answered by {} of {}",
            echo.pod,
            echo.namespace
        );
    }
}

#[test]
fn names_that_would_be_equal_when_joined_are_served_apart() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    // e2e-joined/b-c and e2e-joined-b/c
    let scratches = [
        (Scratch::new("joined", &[tenant]), "b-c"),
        (Scratch::new("joined-b", &[tenant]), "c"),
    ];
    let host = "joined.example.com";
    for (scratch, name) in &scratches {
        let ns = &scratch.namespace;
        tenant
            .apply(
                &(echo::deployment(ns, name, 1)
                    + &echo::service(ns, name, "ClusterIP")
                    + &echo::gateway(ns, name)
                    + &echo::http_route(ns, name, name, host, name)),
            )
            .unwrap();
    }
    let addresses = scratches
        .each_ref()
        .map(|(scratch, name)| gateway_address(tenant, &scratch.namespace, name));
    assert_ne!(addresses[0], addresses[1]);
    for ((scratch, name), address) in scratches.iter().zip(&addresses) {
        let pods = format!("{name}-");
        only_by(&format!("http://{address}/"), host, &scratch.namespace, &pods);
        accepted(tenant, &scratch.namespace, "httproute", name);
    }
}

const HOST: &str = "two.example.com";

/// Two rules, each to a Service `web`: of the route's own namespace, and of another one.
fn route(namespace: &str, other: &str) -> String {
    format!(
        r"apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{namespace: {namespace}, name: web}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [{HOST}]
  rules:
  - matches: [{{path: {{type: PathPrefix, value: /own}}}}]
    backendRefs: [{{name: web, port: 80}}]
  - matches: [{{path: {{type: PathPrefix, value: /other}}}}]
    backendRefs: [{{name: web, namespace: {other}, port: 80}}]
---
"
    )
}

/// Lets routes of `from` reach Services of `namespace`.
pub(super) fn grant(namespace: &str, from: &str) -> String {
    format!(
        r#"apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {{namespace: {namespace}, name: routes}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: {from}}}]
  to: [{{group: "", kind: Service}}]
---
"#
    )
}

#[track_caller]
fn leads_nowhere(tenant: &Cluster, namespace: &str, url: &str, reason: &str) {
    unresolved(tenant, namespace, "web", reason);
    status_within(url, HOST, 500, seconds(30), Instant::now());
}

#[test]
fn one_service_name_in_two_namespaces_of_a_route_reaches_the_right_pods() {
    let lab = lab();
    let tenant = &lab.tenant_a;
    let scratches = [
        Scratch::new("same-own", &[tenant]),
        Scratch::new("same-other", &[tenant]),
    ];
    let [own, other] = scratches.each_ref().map(|scratch| scratch.namespace.as_str());
    let pods = |ns: &str| echo::deployment(ns, "web", 1);
    let service = |ns: &str| echo::service(ns, "web", "ClusterIP");
    tenant
        .apply(&(pods(own) + &service(own) + &echo::gateway(own, "edge") + &route(own, other)))
        .unwrap();
    tenant.apply(&(pods(other) + &grant(other, own))).unwrap();
    let gateway = format!("http://{}", gateway_address(tenant, own, "edge"));
    let (to_own, to_other) = (format!("{gateway}/own"), format!("{gateway}/other"));
    only_by(&to_own, HOST, own, "web-");
    leads_nowhere(tenant, own, &to_other, "BackendNotFound");

    // The Service comes after its route, in a namespace that is not the route's.
    tenant.apply(&service(other)).unwrap();
    only_by(&to_other, HOST, other, "web-");
    only_by(&to_own, HOST, own, "web-");
    accepted(tenant, own, "httproute", "web");

    tenant
        .kubectl(&["delete", "referencegrant", "-n", other, "routes", "--timeout=30s"])
        .unwrap();
    leads_nowhere(tenant, own, &to_other, "RefNotPermitted");
    gone(
        tenant,
        &["services", "-n", other, "-l", "kubelb.k8c.io/managed-by=kubelb"],
    );
    only_by(&to_own, HOST, own, "web-");
}
