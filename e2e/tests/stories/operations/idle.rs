//! Nothing changes, so nothing is written: counted from the API servers' audit logs.

use std::collections::BTreeMap;
use std::thread;

use e2e::cluster::Cluster;
use e2e::echo;
use e2e::wait::{seconds, until};
use serde_json::Value;

use crate::support::{Scratch, answered, gateway_address, hub_namespace, lab, service_address, text, uid};

/// User agents of the product's components begin with these.
const MANAGER: &str = "kubelb-manager/";
const CCM: &str = "kubelb-ccm/";
/// A CCM shows that it is alive once a minute, a twentieth sooner or later.
const HEARTBEATS: usize = 2;

#[test]
fn idle_clusters_see_no_write_but_leases_and_the_heartbeat() {
    let lab = lab();
    let (tenant, hub) = (&lab.tenant_a, &lab.hub);
    let scratch = Scratch::new("idle", &[tenant]);
    let ns = &scratch.namespace;
    let mut manifest = echo::deployment(ns, "web", 1) + &echo::gateway(ns, "edge");
    for name in ["one", "two", "three"] {
        manifest += &service(ns, name);
        manifest += &echo::http_route(ns, name, "edge", &format!("{name}.example.com"), name);
    }
    tenant.apply(&manifest).unwrap();
    let url = format!("http://{}/", gateway_address(tenant, ns, "edge"));
    for name in ["one", "two", "three"] {
        answered(&format!("http://{}/", service_address(tenant, ns, name)), None);
        answered(&url, Some(&format!("{name}.example.com")));
    }
    let clusters = [hub, tenant, &lab.tenant_b];
    no_fleet_is_about_to_go(hub);
    settled(&clusters);
    a_change_is_counted(hub, tenant, ns);
    settled(&clusters);

    let before = clusters.map(|cluster| writes(cluster).len());
    // This is the story itself, not a wait for something: a minute in which nothing may be written.
    thread::sleep(seconds(60));
    for (cluster, before) in clusters.iter().zip(before) {
        let all = writes(cluster);
        only_what_is_allowed(cluster, &all[before..]);
    }
}

fn service(namespace: &str, name: &str) -> String {
    echo::service(namespace, name, "LoadBalancer").replace(&format!("app: {name}"), "app: web")
}

/// What is not counted cannot be missed later: a new Service is seen in the CCM's and the manager's writes.
fn a_change_is_counted(hub: &Cluster, tenant: &Cluster, namespace: &str) {
    let [on_hub, in_tenant] = [hub, tenant].map(|cluster| writes(cluster).len());
    tenant.apply(&service(namespace, "four")).unwrap();
    service_address(tenant, namespace, "four");
    let balancer = uid(tenant, &["service", "-n", namespace, "four"]);
    counted(
        hub,
        on_hub,
        CCM,
        &format!("loadbalancers/ {}/{balancer}", hub_namespace(tenant)),
    );
    counted(
        hub,
        on_hub,
        MANAGER,
        &format!("loadbalancers/status {}/{balancer}", hub_namespace(tenant)),
    );
    counted(
        tenant,
        in_tenant,
        CCM,
        &format!("services/status {namespace}/four"),
    );
}

/// Waits for a write of this component to this object, and takes it for one that an idle cluster must not see.
fn counted(cluster: &Cluster, since: usize, agent: &str, object: &str) {
    until(
        format!("a write of {agent} to {object} in {}", cluster.name),
        seconds(30),
        || {
            let all = writes(cluster);
            let is_it = |write: &&Write| write.by.starts_with(agent) && write.object == object;
            match all[since..].iter().find(is_it) {
                Some(write) if write.kind == Kind::Change => Ok(()),
                Some(write) => Err(format!("{write:?}")),
                None => Err(format!("{:?}", &all[since..])),
            }
        },
    )
    .unwrap();
}

fn only_what_is_allowed(cluster: &Cluster, writes: &[Write]) {
    let changes: Vec<_> = writes.iter().filter(|write| write.kind == Kind::Change).collect();
    assert!(
        changes.is_empty(),
        "{} was written to while idle: {changes:?}",
        cluster.name
    );
    let mut heartbeats: BTreeMap<&str, usize> = BTreeMap::new();
    for write in writes.iter().filter(|write| write.kind == Kind::Heartbeat) {
        *heartbeats.entry(&write.object).or_default() += 1;
    }
    assert!(
        heartbeats.values().all(|count| *count <= HEARTBEATS),
        "in a minute {} got {heartbeats:?}",
        cluster.name
    );
}

/// A fleet that nobody needs goes a minute later, and that is a write: what an earlier story left has to be gone.
fn no_fleet_is_about_to_go(hub: &Cluster) {
    const UNTIL: &str = "kubelb.k8c.io/unneeded-until";
    until("no fleet that is about to go", seconds(180), || {
        let fleets = hub.list(&["deployments", "-A"]).map_err(|e| e.to_string())?;
        let going = |fleet: &&Value| !fleet["metadata"]["annotations"][UNTIL].is_null();
        match fleets.iter().find(going) {
            None => Ok(()),
            Some(fleet) => Err(fleet["metadata"].to_string()),
        }
    })
    .unwrap();
}

/// Waits until ten seconds bring no write in any of the clusters.
fn settled(clusters: &[&Cluster]) {
    until("ten seconds without a write", seconds(120), || {
        let count = || clusters.iter().map(|c| changes(c)).sum::<usize>();
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

/// One write of ours.
#[derive(Debug)]
struct Write {
    /// User agent and verb.
    by: String,
    /// Resource and subresource, namespace and name.
    object: String,
    kind: Kind,
}

/// What a write is for.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// The writer of the component goes on to be the writer.
    Renewal,
    /// The CCM is alive.
    Heartbeat,
    /// All else.
    Change,
}

fn changes(cluster: &Cluster) -> usize {
    let all = writes(cluster);
    all.iter().filter(|write| write.kind == Kind::Change).count()
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
        && [MANAGER, CCM].iter().any(|ours| agent.starts_with(ours))
        && matches!(
            verb,
            "create" | "update" | "patch" | "delete" | "deletecollection"
        )
}

fn to_write(event: &Value) -> Write {
    let reference = &event["objectRef"];
    let word = |value: &Value| text(value).unwrap_or_default();
    let (agent, verb) = (word(&event["userAgent"]), word(&event["verb"]));
    let (resource, subresource) = (word(&reference["resource"]), word(&reference["subresource"]));
    let kind = match (resource.as_str(), subresource.as_str(), verb.as_str()) {
        ("leases", "", "update") => Kind::Renewal,
        ("tenantstates", "", "patch") if agent.starts_with(CCM) => Kind::Heartbeat,
        _ => Kind::Change,
    };
    Write {
        object: format!(
            "{resource}/{subresource} {}/{}",
            word(&reference["namespace"]),
            word(&reference["name"])
        ),
        by: format!("{agent} {verb}"),
        kind,
    }
}
