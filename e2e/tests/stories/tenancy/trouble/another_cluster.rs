//! Two clusters with one credential: the later one keeps its hands off.

use e2e::cluster::Cluster;
use serde_json::Value;

use crate::support::ccm::{self, Restored};
use crate::support::lab;
use crate::support::served::Served;

#[test]
fn a_second_cluster_with_the_same_credential_writes_nothing_and_says_so() {
    let lab = lab();
    let (hub, intruder) = (&lab.hub, &lab.tenant_b);
    let first = Served::begin("first-cluster", &lab.tenant_a);
    let second = Served::begin("second-cluster", intruder);
    let before = world(hub);
    let uid = heartbeat(hub);
    let statuses = gateway_statuses(intruder);

    let restored = Restored {
        hub,
        tenant: intruder,
    };
    ccm::put(intruder, &ccm::kubeconfig(&lab.tenant_a));
    ccm::set_cluster_name(intruder, "tenant-a");
    ccm::named(intruder, "another_cluster", &["another cluster", &uid]);
    second.expose("not-yet");
    // A minute and a bit: every loop of the second cluster has had its turn, and the first its heartbeat.
    std::thread::sleep(e2e::wait::seconds(75));
    assert_untouched(&before, &world(hub), &first.namespace);
    assert_eq!(heartbeat(hub), uid, "the first cluster's heartbeat goes on");
    assert_eq!(
        gateway_statuses(intruder),
        statuses,
        "what the second cluster's Gateways say stays"
    );
    ccm::connected(&lab.tenant_a);

    drop(restored);
    second.is_open_for_more("not-yet");
    second.went_on();
    first.went_on();
}

/// Something that a CCM wrote: kind, name, generation, and the tenant's namespace that it is from, where it has one.
type Written = (Value, Value, Value, Value);

/// Everything in tenant-a's namespace that a CCM writes.
fn world(hub: &Cluster) -> Vec<Written> {
    let kinds =
        "loadbalancers.kubelb.k8c.io,routes.kubelb.k8c.io,addresses.kubelb.k8c.io,syncsecrets.kubelb.k8c.io";
    let objects = hub.list(&[kinds, "-n", "tenant-a"]).unwrap();
    let of = |object: &Value| {
        let meta = &object["metadata"];
        (
            object["kind"].clone(),
            meta["name"].clone(),
            meta["generation"].clone(),
            meta["annotations"]["kubelb.k8c.io/origin-ns"].clone(),
        )
    };
    objects.iter().map(of).collect()
}

/// Nothing is new or changed, and nothing has gone but what the first cluster itself still tidied up from
/// another story.
fn assert_untouched(before: &[Written], after: &[Written], namespace: &str) {
    for object in after {
        assert!(before.contains(object), "new or changed: {object:?}");
    }
    let stays = |(_, _, _, origin): &&Written| origin.is_null() || origin == namespace;
    let staying: Vec<_> = before.iter().filter(stays).collect();
    assert!(
        staying.len() > 1,
        "the first cluster has written something: {before:?}"
    );
    for object in staying {
        assert!(after.contains(object), "gone: {object:?}");
    }
}

/// UID of the cluster that writes the heartbeat.
fn heartbeat(hub: &Cluster) -> String {
    let state = hub.get(&["tenantstates", "-n", "tenant-a", "default"]).unwrap();
    state["spec"]["heartbeat"]["clusterUID"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Addresses and conditions of all Gateways.
fn gateway_statuses(cluster: &Cluster) -> Vec<Value> {
    let gateways = cluster.list(&["gateways", "-A"]).unwrap();
    gateways.iter().map(|gateway| gateway["status"].clone()).collect()
}
