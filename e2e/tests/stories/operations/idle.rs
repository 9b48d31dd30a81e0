//! Nothing changes, so nothing is written: counted from the API servers' audit logs.

use std::collections::BTreeMap;
use std::thread;

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::wait::{seconds, until};
use serde_json::Value;

use crate::support::{Scratch, answered, gateway_address, lab, service_address};

/// User agents of the product's components begin with these.
const OURS: [&str; 2] = ["kubelb-manager/", "kubelb-ccm/"];

#[test]
fn idle_clusters_see_no_write_but_leases_and_the_heartbeat() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_a, &lab.hub);
    let scratch = Scratch::new("idle", &[tenant]);
    let ns = &scratch.namespace;
    let mut manifest = echo::deployment(ns, "web", 1) + &echo::gateway(ns, "edge");
    for name in ["one", "two", "three"] {
        manifest += &echo::service(ns, name, "LoadBalancer").replace(&format!("app: {name}"), "app: web");
        manifest += &echo::http_route(ns, name, "edge", &format!("{name}.example.com"), name);
    }
    tenant.apply(&manifest).unwrap();
    let url = format!("http://{}/", gateway_address(tenant, ns, "edge"));
    for name in ["one", "two", "three"] {
        answered(&format!("http://{}/", service_address(tenant, ns, name)), None);
        answered(&url, Some(&format!("{name}.example.com")));
    }
    let clusters = [hub, tenant, &lab.tenant_b];
    settled(&clusters);

    let before: Vec<usize> = clusters.iter().map(|c| writes(c).len()).collect();
    // This is the story itself, not a wait for something: a minute in which nothing may be written.
    thread::sleep(seconds(60));
    for (cluster, before) in clusters.iter().zip(&before) {
        let after = writes(cluster);
        let idle: Vec<String> = after[*before..]
            .iter()
            .filter(|w| !w.allowed)
            .map(|w| w.what.clone())
            .collect();
        assert_eq!(
            idle,
            Vec::<String>::new(),
            "{} was written to while idle",
            cluster.name
        );
    }

    // The counter knows how to count: one deliberate change is seen on both clusters.
    let counts: Vec<usize> = [hub, tenant].iter().map(|c| unallowed(c)).collect();
    tenant
        .apply(&echo::service(ns, "four", "LoadBalancer").replace("app: four", "app: web"))
        .unwrap();
    service_address(tenant, ns, "four");
    for (cluster, before) in [hub, tenant].iter().zip(counts) {
        until(
            format!("a counted write in {}", cluster.name),
            seconds(30),
            || {
                let now = unallowed(cluster);
                if now > before {
                    Ok(())
                } else {
                    Err(format!("{now} writes"))
                }
            },
        )
        .unwrap();
    }
}

/// Waits until ten seconds bring no write in any of the clusters.
fn settled(clusters: &[&Cluster]) {
    until("ten seconds without a write", seconds(120), || {
        let count = || clusters.iter().map(|c| unallowed(c)).sum::<usize>();
        let before = count();
        thread::sleep(seconds(10));
        let after = count();
        if before == after {
            Ok(())
        } else {
            Err(format!("{} writes", after - before))
        }
    })
    .unwrap();
}

struct Write {
    what: String,
    allowed: bool,
}

fn unallowed(cluster: &Cluster) -> usize {
    writes(cluster).iter().filter(|w| !w.allowed).count()
}

/// Writes of the product's components in a cluster's audit log, oldest first.
fn writes(cluster: &Cluster) -> Vec<Write> {
    // The log may be read while a line is written: an unfinished last line is left for the next look.
    let lines = lab().lab.audit(cluster.name).unwrap();
    let events = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut seen = BTreeMap::new();
    for event in events.filter(is_ours) {
        let id = event["auditID"].as_str().unwrap_or_default().to_owned();
        let moment = event["requestReceivedTimestamp"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        seen.insert((moment, id), to_write(&event));
    }
    seen.into_values().collect()
}

fn is_ours(event: &Value) -> bool {
    let agent = event["userAgent"].as_str().unwrap_or_default();
    let verb = event["verb"].as_str().unwrap_or_default();
    event["stage"] == "ResponseComplete"
        && OURS.iter().any(|ours| agent.starts_with(ours))
        && matches!(
            verb,
            "create" | "update" | "patch" | "delete" | "deletecollection"
        )
}

fn to_write(event: &Value) -> Write {
    let reference = &event["objectRef"];
    let resource = reference["resource"].as_str().unwrap_or_default();
    let subresource = reference["subresource"].as_str().unwrap_or_default();
    let heartbeat = resource == "tenantstates" && subresource.is_empty();
    Write {
        what: format!(
            "{} {} {resource}/{subresource} {}/{}",
            event["userAgent"].as_str().unwrap_or_default(),
            event["verb"].as_str().unwrap_or_default(),
            reference["namespace"].as_str().unwrap_or_default(),
            reference["name"].as_str().unwrap_or_default()
        ),
        allowed: resource == "leases" || heartbeat,
    }
}
