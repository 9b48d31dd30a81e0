//! The delta ADS protocol, sentence by sentence, without a network.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy.toml allows these in test functions only, and here the helpers are tests too"
)]

mod support;

use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use l4_xds::ir::{Balancing, Frontend, Hostname};
use l4_xds::snapshot::ResourceType::{self, Cluster, Endpoint, Listener};
use l4_xds::snapshot::{Resource, ResourceName, Snapshot};
use l4_xds::stream::LoadBalancerState;
use l4_xds::subscription::Heard;
use support::client::{Client, names};
use support::{ack, id, nack, snapshot, subscribe, web};

const A: &str = "tenant-a/a/tcp/80";
const B: &str = "tenant-a/b/tcp/80";

fn a() -> Frontend {
    web("a", 10001, "10.0.0.1")
}

fn b() -> Frontend {
    web("b", 10002, "10.0.0.1")
}

fn sticky(mut frontend: Frontend) -> Frontend {
    frontend
        .listeners
        .iter_mut()
        .for_each(|listener| listener.policy.balancing = Balancing::SourceIp);
    frontend
}

#[test]
fn nothing_is_said_before_the_first_snapshot() {
    let mut client = Client::new();
    for ty in ResourceType::ALL {
        client.say(subscribe(ty, &[]));
    }
    client.hear_nothing();
    client.offer(&[a()]);
    assert_eq!(names(&client.hear(Cluster)), [A]);
}

#[test]
fn a_snapshot_that_is_withdrawn_takes_nothing_away() {
    let mut client = Client::with(&[a()]);
    client.settle();
    client.stream.on_snapshot(None);
    client.hear_nothing();
    client.say(subscribe(Endpoint, &[A]));
    client.hear_nothing();
}

#[test]
fn an_empty_snapshot_is_answered_so_that_envoy_can_start() {
    let mut client = Client::with(&[]);
    client.say(subscribe(Cluster, &[]));
    let response = client.hear_and_ack(Cluster);
    assert!(response.resources.is_empty() && response.removed_resources.is_empty());
    client.hear_nothing();
}

#[test]
fn nothing_is_said_about_a_type_that_was_not_asked_for() {
    let mut client = Client::with(&[a()]);
    client.hear_nothing();
    client.say(subscribe(Listener, &[]));
    assert_eq!(names(&client.hear(Listener)), [A]);
    client.hear_nothing();
}

#[test]
fn a_type_that_is_not_served_is_ignored() {
    let mut client = Client::with(&[a()]);
    let request = DeltaDiscoveryRequest {
        type_url: "type.googleapis.com/other".to_owned(),
        ..Default::default()
    };
    assert_eq!(client.say(request), None);
    client.hear_nothing();
}

#[test]
fn the_wildcard_can_be_asked_for_by_name() {
    let mut client = Client::with(&[a(), b()]);
    client.say(subscribe(Cluster, &["*"]));
    assert_eq!(names(&client.hear(Cluster)), [A, B]);
}

#[test]
fn an_empty_first_request_for_endpoints_is_no_wildcard() {
    let mut client = Client::with(&[a()]);
    client.say(subscribe(Endpoint, &[]));
    client.hear_nothing();
}

#[test]
fn a_wildcard_stays_when_names_are_added_and_goes_when_it_is_unsubscribed() {
    let mut client = Client::with(&[a(), b()]);
    client.say(subscribe(Cluster, &[]));
    client.hear_and_ack(Cluster);
    client.say(subscribe(Cluster, &[A]));
    assert_eq!(names(&client.hear_and_ack(Cluster)), [A]);
    let request = DeltaDiscoveryRequest {
        resource_names_unsubscribe: vec!["*".to_owned()],
        ..subscribe(Cluster, &[])
    };
    client.say(request);
    client.hear_nothing();
    client.offer(&[sticky(a()), sticky(b())]);
    assert_eq!(names(&client.hear(Cluster)), [A], "b is no longer subscribed to");
}

#[test]
fn unsubscribing_a_name_under_a_wildcard_sends_the_resource_again() {
    let mut client = Client::with(&[a()]);
    client.say(subscribe(Cluster, &["*", A]));
    client.hear_and_ack(Cluster);
    client.say(DeltaDiscoveryRequest {
        resource_names_unsubscribe: vec![A.to_owned()],
        ..subscribe(Cluster, &[])
    });
    assert_eq!(names(&client.hear_and_ack(Cluster)), [A]);
    client.hear_nothing();
}

#[test]
fn a_name_that_is_unsubscribed_is_not_updated() {
    let mut client = Client::with(&[a(), b()]);
    client.say(subscribe(Cluster, &[A, B]));
    client.hear_and_ack(Cluster);
    client.say(DeltaDiscoveryRequest {
        resource_names_unsubscribe: vec![A.to_owned()],
        ..subscribe(Cluster, &[])
    });
    client.hear_nothing();
    client.offer(&[sticky(a()), sticky(b())]);
    assert_eq!(names(&client.hear(Cluster)), [B]);
}

#[test]
fn a_name_that_is_subscribed_again_is_sent_again() {
    let mut client = Client::with(&[a()]);
    client.say(subscribe(Endpoint, &[A]));
    client.hear_and_ack(Endpoint);
    client.say(subscribe(Endpoint, &[A]));
    assert_eq!(names(&client.hear_and_ack(Endpoint)), [A]);
    client.hear_nothing();
}

#[test]
fn a_name_that_is_subscribed_again_before_the_ack_is_sent_again_after_it() {
    let mut client = Client::with(&[a()]);
    client.say(subscribe(Endpoint, &[A]));
    let first = client.hear(Endpoint);
    client.say(subscribe(Endpoint, &[A]));
    client.hear_nothing();
    client.say(ack(&first));
    assert_eq!(names(&client.hear_and_ack(Endpoint)), [A]);
    client.hear_nothing();
}

#[test]
fn a_name_that_does_not_exist_is_reported_as_removed_once_and_sent_when_it_comes() {
    let mut client = Client::with(&[a()]);
    client.say(subscribe(Listener, &[B]));
    assert_eq!(client.hear_and_ack(Listener).removed_resources, [B]);
    client.hear_nothing();
    client.offer(&[sticky(a())]);
    client.hear_nothing();
    client.offer(&[a(), b()]);
    assert_eq!(names(&client.hear(Listener)), [B]);
}

#[test]
fn one_response_of_a_type_is_in_flight_at_a_time_and_the_newest_state_follows() {
    let mut client = Client::with(&[a()]);
    client.say(subscribe(Cluster, &[]));
    let first = client.hear(Cluster);
    client.say(subscribe(Listener, &["no such listener"]));
    client.hear_and_ack(Listener);
    client.offer(&[a(), b()]);
    client.offer(&[b()]);
    client.hear_nothing();
    client.say(ack(&first));
    let second = client.hear_and_ack(Cluster);
    assert_eq!(
        (names(&second), second.removed_resources.as_slice()),
        (vec![B], [A.to_owned()].as_slice())
    );
    assert_ne!(first.nonce, second.nonce);
    client.hear_nothing();
}

#[test]
fn a_stale_nonce_acknowledges_nothing_but_its_subscriptions_count() {
    let mut client = Client::with(&[a(), b()]);
    client.say(subscribe(Endpoint, &[A]));
    let first = client.hear(Endpoint);
    let stale = DeltaDiscoveryRequest {
        response_nonce: "0".to_owned(),
        ..subscribe(Endpoint, &[B])
    };
    assert_eq!(client.say(stale), Some(Heard::Stale));
    client.hear_nothing();
    client.say(ack(&first));
    assert_eq!(names(&client.hear(Endpoint)), [B]);
}

#[test]
fn an_unchanged_snapshot_sends_nothing() {
    let mut client = Client::with(&[a(), b()]);
    client.settle();
    let next = Frontend { generation: 2, ..a() };
    client.offer(&[b(), next]);
    client.hear_nothing();
}

#[test]
fn a_changed_node_is_an_endpoint_update_only() {
    let mut client = Client::with(&[a(), b()]);
    client.settle();
    client.offer(&[web("a", 10001, "10.0.0.2"), b()]);
    assert_eq!(names(&client.hear_and_ack(Endpoint)), [A]);
    client.hear_nothing();
}

#[test]
fn a_reconnecting_client_is_sent_the_differences_only() {
    let old = snapshot(&[a(), b()]);
    let new = [sticky(a()), web("c", 10003, "10.0.0.1")];
    let mut client = Client::with(&new);
    let known = |ty: ResourceType| {
        let versions = old.resources(ty).iter();
        versions
            .map(|(name, resource)| (name.to_string(), resource.version().to_string()))
            .collect()
    };
    client.say(DeltaDiscoveryRequest {
        initial_resource_versions: known(Cluster),
        ..subscribe(Cluster, &[])
    });
    client.say(DeltaDiscoveryRequest {
        initial_resource_versions: known(Endpoint),
        ..subscribe(Endpoint, &[A, B])
    });
    client.say(DeltaDiscoveryRequest {
        initial_resource_versions: known(Listener),
        ..subscribe(Listener, &[])
    });
    let clusters = client.hear(Cluster);
    assert_eq!(names(&clusters), [A, "tenant-a/c/tcp/80"]);
    assert_eq!(
        names(&client.hear_and_ack(Endpoint)),
        [A],
        "its cluster has changed and warms up again"
    );
    let listeners = client.hear_and_ack(Listener);
    assert_eq!(
        (names(&listeners), listeners.removed_resources.as_slice()),
        (vec![A], [B.to_owned()].as_slice())
    );
}

#[test]
fn a_client_that_reconnects_to_an_unchanged_snapshot_is_sent_nothing_and_counts_as_programmed() {
    let known = snapshot(&[a()]);
    let mut client = Client::with(&[a()]);
    for ty in ResourceType::ALL {
        let versions = known.resources(ty).iter();
        let versions = versions
            .map(|(name, resource)| (name.to_string(), resource.version().to_string()))
            .collect();
        let names: &[&str] = if ty == Endpoint { &[A] } else { &[] };
        client.say(DeltaDiscoveryRequest {
            initial_resource_versions: versions,
            ..subscribe(ty, names)
        });
    }
    client.hear_nothing();
    assert_eq!(
        client.state("a").unwrap().programmed.as_ref(),
        known.content_version(&id("a"))
    );
}

#[test]
fn a_client_that_comes_back_is_sent_what_changed_meanwhile_and_nothing_that_it_has() {
    let known = snapshot(&[a(), b()]);
    let mut client = Client::with(&[a(), sticky(b())]);
    for ty in [Cluster, Endpoint, Listener] {
        let versions = known.resources(ty).iter();
        let versions = versions.map(|(name, resource)| (name.to_string(), resource.version().to_string()));
        let names: &[&str] = if ty == Endpoint { &[A, B] } else { &[] };
        client.say(DeltaDiscoveryRequest {
            initial_resource_versions: versions.collect(),
            ..subscribe(ty, names)
        });
    }
    let clusters = client.hear(Cluster);
    assert_eq!(names(&clusters), [B]);
    assert_eq!(
        names(&client.hear_and_ack(Endpoint)),
        [B],
        "a changed cluster needs them"
    );
    client.say(ack(&clusters));
    assert_eq!(names(&client.hear_and_ack(Listener)), [B]);
    client.hear_nothing();
}

#[test]
fn new_load_balancers_come_as_cluster_then_endpoints_then_listener() {
    let mut client = Client::with(&[a()]);
    client.settle();
    client.offer(&[a(), b()]);
    let clusters = client.hear(Cluster);
    assert_eq!(names(&clusters), [B]);
    client.hear_nothing();
    client.say(subscribe(Endpoint, &[B]));
    client.say(ack(&clusters));
    let endpoints = client.hear(Endpoint);
    assert_eq!(names(&endpoints), [B]);
    client.hear_nothing();
    client.say(ack(&endpoints));
    assert_eq!(names(&client.hear_and_ack(Listener)), [B]);
    client.hear_nothing();
}

#[test]
fn removed_load_balancers_go_as_listener_then_cluster_then_endpoints() {
    let mut client = Client::with(&[a(), b()]);
    client.settle();
    client.offer(&[a()]);
    let listeners = client.hear(Listener);
    assert_eq!(listeners.removed_resources, [B]);
    client.hear_nothing();
    client.say(ack(&listeners));
    let clusters = client.hear(Cluster);
    assert_eq!(clusters.removed_resources, [B]);
    client.hear_nothing();
    client.say(ack(&clusters));
    assert_eq!(client.hear_and_ack(Endpoint).removed_resources, [B]);
    client.hear_nothing();
}

#[test]
fn a_cluster_is_not_removed_while_its_listener_waits_behind_another_response() {
    let mut client = Client::with(&[a(), b()]);
    client.settle();
    client.offer(&[web("a", 10009, "10.0.0.1"), b()]);
    let moved = client.hear(Listener);
    client.offer(&[web("a", 10009, "10.0.0.1")]);
    client.hear_nothing();
    client.say(ack(&moved));
    assert_eq!(client.hear_and_ack(Listener).removed_resources, [B]);
    assert_eq!(client.hear_and_ack(Cluster).removed_resources, [B]);
}

#[test]
fn a_reconnecting_client_loses_no_cluster_before_it_has_said_which_listeners_it_has() {
    let old = snapshot(&[a()]);
    let mut client = Client::with(&[]);
    let known = |ty: ResourceType| {
        let versions = old.resources(ty).iter();
        versions
            .map(|(name, resource)| (name.to_string(), resource.version().to_string()))
            .collect()
    };
    client.say(DeltaDiscoveryRequest {
        initial_resource_versions: known(Cluster),
        ..subscribe(Cluster, &[])
    });
    client.hear_nothing();
    client.say(DeltaDiscoveryRequest {
        initial_resource_versions: known(Listener),
        ..subscribe(Listener, &[])
    });
    assert_eq!(client.hear_and_ack(Listener).removed_resources, [A]);
    assert_eq!(client.hear_and_ack(Cluster).removed_resources, [A]);
}

#[test]
fn a_swap_adds_before_it_removes() {
    let mut client = Client::with(&[a()]);
    client.settle();
    client.offer(&[b()]);
    let clusters = client.hear(Cluster);
    assert_eq!(
        (names(&clusters), clusters.removed_resources.len()),
        (vec![B], 0),
        "a's listener is still there"
    );
    assert_eq!(
        client.hear_and_ack(Listener).removed_resources,
        [A],
        "a removal has nothing to wait for"
    );
    client.say(subscribe(Endpoint, &[B]));
    client.say(ack(&clusters));
    assert_eq!(client.hear_and_ack(Cluster).removed_resources, [A]);
    assert_eq!(names(&client.hear_and_ack(Endpoint)), [B]);
    assert_eq!(names(&client.hear_and_ack(Listener)), [B]);
}

#[test]
fn a_changed_cluster_gets_its_unchanged_endpoints_again() {
    let mut client = Client::with(&[a(), b()]);
    client.settle();
    client.offer(&[sticky(a()), b()]);
    let clusters = client.hear(Cluster);
    assert_eq!(names(&clusters), [A]);
    assert_eq!(
        names(&client.hear_and_ack(Endpoint)),
        [A],
        "Envoy acknowledges the cluster only when it has them"
    );
    client.say(ack(&clusters));
    assert_eq!(names(&client.hear_and_ack(Listener)), [A]);
    client.hear_nothing();
}

#[test]
fn endpoints_of_a_cluster_that_turns_to_dns_stay_until_the_cluster_has_turned() {
    let mut client = Client::with(&[a()]);
    client.settle();
    let mut by_name = a();
    let name: Hostname = "node.example".parse().unwrap();
    by_name.listeners[0].backends[0].address = l4_xds::Address::Hostname(name);
    client.offer(&[by_name]);
    let clusters = client.hear(Cluster);
    client.hear_nothing();
    client.say(DeltaDiscoveryRequest {
        resource_names_unsubscribe: vec![A.to_owned()],
        ..subscribe(Endpoint, &[])
    });
    client.say(ack(&clusters));
    client.hear_nothing();
}

#[test]
fn a_nack_that_names_nobody_parks_the_type_until_its_resources_change() {
    let mut client = Client::with(&[a(), b()]);
    client.say(subscribe(Cluster, &[]));
    let clusters = client.hear(Cluster);
    let Some(Heard::Nack { culprits, named, .. }) = client.say(nack(&clusters, "no idea")) else {
        panic!("not a NACK")
    };
    assert_eq!((culprits.len(), named), (2, false));
    client.hear_nothing();
    client.offer(&[web("a", 10001, "10.0.0.9"), b()]);
    client.hear_nothing();
    client.offer(&[sticky(a()), b()]);
    assert_eq!(names(&client.hear_and_ack(Cluster)), [A, B]);
}

#[test]
fn a_nack_that_names_the_culprit_holds_back_the_culprit_and_nothing_else() {
    let mut client = Client::with(&[a(), b()]);
    client.say(subscribe(Cluster, &[]));
    let clusters = client.hear(Cluster);
    client.say(nack(
        &clusters,
        &format!("Error adding/updating cluster(s) {A}: bad"),
    ));
    assert_eq!(
        names(&client.hear_and_ack(Cluster)),
        [B],
        "whether b was taken is not known, so it is sent again"
    );
    client.hear_nothing();
    client.offer(&[a(), sticky(b())]);
    assert_eq!(
        names(&client.hear_and_ack(Cluster)),
        [B],
        "a would be refused again"
    );
    client.offer(&[sticky(a()), sticky(b())]);
    assert_eq!(names(&client.hear_and_ack(Cluster)), [A]);
}

#[test]
fn the_listener_of_a_refused_cluster_waits_and_others_do_not() {
    let mut client = Client::with(&[a(), b()]);
    client.say(subscribe(Cluster, &[]));
    let clusters = client.hear(Cluster);
    client.say(subscribe(Endpoint, &[B]));
    client.say(nack(&clusters, &format!("{A}: bad")));
    client.hear_and_ack(Cluster);
    client.hear_and_ack(Endpoint);
    client.say(subscribe(Listener, &[]));
    assert_eq!(names(&client.hear_and_ack(Listener)), [B]);
    client.hear_nothing();
}

#[test]
fn a_refused_resource_that_leaves_the_snapshot_is_removed_from_the_client() {
    let mut client = Client::with(&[a()]);
    client.settle();
    client.offer(&[web("a", 10009, "10.0.0.1")]);
    let listeners = client.hear(Listener);
    client.say(nack(&listeners, &format!("{A}: bad")));
    client.hear_nothing();
    client.offer(&[]);
    assert_eq!(client.hear_and_ack(Listener).removed_resources, [A]);
}

#[test]
fn a_load_balancer_is_programmed_when_its_listeners_and_clusters_are_acknowledged() {
    let mut client = Client::with(&[a()]);
    client.say(subscribe(Cluster, &[]));
    client.hear_and_ack(Cluster);
    client.say(subscribe(Listener, &[]));
    let listeners = client.hear(Listener);
    assert_eq!(client.state("a").and_then(|state| state.programmed), None);
    client.say(ack(&listeners));
    let content = snapshot(&[a()]).content_version(&id("a")).cloned();
    assert_eq!(client.state("a").unwrap().programmed, content);
}

#[test]
fn endpoints_that_change_do_not_change_what_is_programmed() {
    let mut client = Client::with(&[a()]);
    client.settle();
    assert!(client.state("a").is_some());
    client.offer(&[web("a", 10001, "10.0.0.2")]);
    client.hear_and_ack(Endpoint);
    assert_eq!(client.state("a"), None, "there is no news");
}

#[test]
fn what_was_programmed_stays_so_while_newer_content_is_on_its_way_or_refused() {
    let mut client = Client::with(&[a()]);
    client.settle();
    let before = client.state("a").unwrap().programmed;
    client.offer(&[web("a", 10009, "10.0.0.1")]);
    let listeners = client.hear(Listener);
    client.say(nack(&listeners, &format!("listener(s) {A}: cannot bind")));
    let state = client.state("a").unwrap();
    let refused = snapshot(&[web("a", 10009, "10.0.0.1")])
        .content_version(&id("a"))
        .cloned()
        .unwrap();
    assert_eq!(
        state,
        LoadBalancerState {
            programmed: before,
            rejected: Some((refused, format!("{A}: cannot bind")))
        }
    );
}

#[test]
fn a_rejection_is_over_when_the_content_changes() {
    let mut client = Client::with(&[a()]);
    client.settle();
    client.offer(&[web("a", 10009, "10.0.0.1")]);
    let listeners = client.hear(Listener);
    client.say(nack(&listeners, &format!("{A}: bad")));
    assert!(client.state("a").unwrap().rejected.is_some());
    client.offer(&[web("a", 10010, "10.0.0.1")]);
    assert_eq!(client.state("a").unwrap().rejected, None);
    client.hear_and_ack(Listener);
    let state = client.state("a").unwrap();
    assert_eq!(
        state.programmed.as_ref(),
        snapshot(&[web("a", 10010, "10.0.0.1")]).content_version(&id("a"))
    );
}

#[test]
fn a_load_balancer_that_leaves_the_snapshot_leaves_the_report() {
    let mut client = Client::with(&[a()]);
    client.settle();
    client.stream.take_changes();
    client.offer(&[]);
    assert_eq!(client.stream.take_changes(), [(id("a"), None)]);
}

#[test]
fn a_snapshot_with_a_dangling_reference_is_inconsistent() {
    use envoy_types::pb::envoy::config::listener::v3 as lds;
    let refers_to = std::iter::once(ResourceName::from("nowhere")).collect();
    let orphan = Resource::new(Listener, id("a"), &lds::Listener::default(), refers_to);
    let part = l4_xds::snapshot::Part::new(id("a"), vec![("a".into(), Arc::new(orphan))]);
    let bad = Snapshot::assemble([Arc::new(part)]);
    let good = snapshot(&[a(), b()]);
    assert!(bad.consistent().is_err());
    assert!(good.consistent().is_ok());
    assert!(bad.consistent_since(&good).is_err());
    assert_eq!(good.consistent_since(&Snapshot::default()), Ok(()));
}

#[test]
fn a_snapshot_made_from_another_one_is_the_one_made_from_nothing() {
    let whole = |frontends: &[Frontend]| snapshot(frontends);
    let parts = |frontends: &[Frontend]| -> Vec<Arc<l4_xds::snapshot::Part>> {
        let part = |frontend| Arc::new(l4_xds::translate::part(frontend, &l4_xds::Settings::default()));
        frontends.iter().map(part).collect()
    };
    let moved = web("a", 10099, "10.0.0.9");
    let (first, second) = ([a(), b()], [moved]);
    let before = whole(&first);
    let after = before.with(&parts(&second));
    assert_eq!(after, whole(&second));
    for ty in l4_xds::snapshot::ResourceType::ALL {
        assert_eq!(after.resources(ty), whole(&second).resources(ty));
        assert_eq!(
            after.resources(ty).version(),
            whole(&second).resources(ty).version()
        );
    }
    let changed: Vec<_> = after.changed_since(&before).collect();
    assert_eq!(changed, [id("a"), id("b")]);
    let same: Vec<_> = before.with(&parts(&first)).changed_since(&before).collect();
    assert_eq!(same, []);
}
