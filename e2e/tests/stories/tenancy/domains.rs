//! A platform team narrows a tenant's host names while they are served, and widens them again.

use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::traffic::Stream;
use e2e::wait::seconds;
use serde_json::{Value, json};

use crate::support::{Scratch, answered, condition, gateway_address, lab, route_says, status_within, tidy};

const INSIDE: &str = "inside.example.com";
const OUTSIDE: &str = "outside.example.com";

/// The Tenant's domains are others until this is dropped, also after a failed story: later ones need all.
struct Narrowed<'a> {
    hub: &'a Cluster,
    tenant: &'a str,
    before: Value,
}

impl<'a> Narrowed<'a> {
    fn to(hub: &'a Cluster, tenant: &'a str, domains: &Value) -> Self {
        let before = hub.get(&["tenant", tenant]).unwrap()["spec"]["allowedDomains"].take();
        let narrowed = Self { hub, tenant, before };
        narrowed.set(domains);
        narrowed
    }

    fn set(&self, domains: &Value) {
        let patch = json!({"spec": {"allowedDomains": domains}}).to_string();
        self.hub
            .kubectl(&["patch", "tenant", self.tenant, "--type=merge", "-p", &patch])
            .unwrap();
    }
}

impl Drop for Narrowed<'_> {
    fn drop(&mut self) {
        tidy(|| self.set(&self.before));
    }
}

/// Waits until the route's one parent says this of `Accepted`.
#[track_caller]
fn verdict(tenant: &Cluster, namespace: &str, name: &str, reason: &str, words: &str) {
    let what = format!("Accepted with the reason {reason} and {words:?}");
    let route = ["httproute", namespace, name];
    route_says(tenant, route, &what, seconds(60), |_, conditions| {
        let accepted = condition(conditions, "Accepted");
        let named = accepted["message"].as_str().is_some_and(|m| m.contains(words));
        let status = if reason == "Accepted" { "True" } else { "False" };
        named && accepted["reason"] == reason && accepted["status"] == status
    });
}

#[test]
fn a_host_outside_narrower_domains_is_refused_by_name_and_a_host_inside_stays_served() {
    let lab = lab();
    let tenant = &lab.tenant_b;
    let scratch = Scratch::new("domains", &[tenant]);
    let ns = &scratch.namespace;
    tenant
        .apply(
            &(echo::deployment(ns, "web", 1)
                + &echo::service(ns, "web", "ClusterIP")
                + &echo::gateway(ns, "edge")
                + &echo::http_route(ns, "inside", "edge", INSIDE, "web")
                + &echo::http_route(ns, "outside", "edge", OUTSIDE, "web")),
        )
        .unwrap();
    let url = format!("http://{}/", gateway_address(tenant, ns, "edge"));
    for host in [INSIDE, OUTSIDE] {
        answered(&url, Some(host));
    }
    let pause = Duration::from_millis(20);
    let inside = Stream::begin(url.clone(), Some(INSIDE.to_owned()), pause, seconds(300));

    let narrowed = Narrowed::to(&lab.hub, tenant.name, &json!([INSIDE]));
    verdict(tenant, ns, "outside", "DomainNotAllowed", OUTSIDE);
    status_within(&url, OUTSIDE, 404, seconds(30), Instant::now());
    verdict(tenant, ns, "inside", "Accepted", "");

    drop(narrowed);
    verdict(tenant, ns, "outside", "Accepted", "");
    answered(&url, Some(OUTSIDE));
    let report = inside.end();
    assert!(report.sent > 10, "only {} requests", report.sent);
    assert_eq!(report.failures, Vec::<String>::new());
}
