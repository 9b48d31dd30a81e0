//! State of the world: the same content in other words, without a network.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy.toml allows these in test functions only, and here the helpers are tests too"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3 as cds;
use envoy_types::pb::envoy::config::endpoint::v3 as eds;
use envoy_types::pb::envoy::config::listener::v3 as lds;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::rpc::Status;
use l4_xds::dialect::{Dialect, Own, Said, World};
use l4_xds::ir::{Balancing, Frontend};
use l4_xds::snapshot::ResourceType::{self, Cluster, Endpoint, Listener};
use l4_xds::snapshot::Snapshot;
use l4_xds::stream::Stream;
use proptest::prelude::*;
use prost::Message;
use support::{id, snapshot, web};

type Resources = BTreeMap<String, Vec<u8>>;

/// What an Envoy has of one type.
#[derive(Debug, Clone, Default, PartialEq)]
struct Has {
    version: String,
    nonce: String,
    resources: Resources,
}

/// An Envoy that speaks state of the world, and the server's side of its stream.
struct Client {
    stream: Stream,
    world: World,
    has: BTreeMap<&'static str, Has>,
    said: Vec<(ResourceType, usize)>,
}

impl Client {
    fn connect(offer: &Arc<Snapshot>) -> Self {
        let mut client = Self {
            stream: Stream::new(),
            world: World::default(),
            has: BTreeMap::new(),
            said: Vec::new(),
        };
        client.offer(offer);
        client.subscribe();
        client
    }

    fn offer(&mut self, snapshot: &Arc<Snapshot>) {
        self.world.on_snapshot(Some(snapshot.clone()));
        self.stream.on_snapshot(Some(snapshot.clone()));
    }

    fn subscribe(&mut self) {
        self.ask(Cluster, None);
        self.ask(Endpoint, None);
        self.ask(Listener, None);
    }

    /// A new stream; the client keeps what it has.
    fn reconnect(&mut self, offer: &Arc<Snapshot>) {
        self.reconnect_in(&[Cluster, Endpoint, Listener], 0, offer);
    }

    /// A new stream. It asks in this order, and there is a snapshot only after so many requests.
    fn reconnect_in(&mut self, order: &[ResourceType], before: usize, offer: &Arc<Snapshot>) {
        let has = std::mem::take(&mut self.has);
        let nonces_are_gone = |(ty, has): (&'static str, Has)| {
            let nonce = String::new();
            (ty, Has { nonce, ..has })
        };
        let has = has.into_iter().map(nonces_are_gone).collect();
        *self = Self {
            stream: Stream::new(),
            world: World::default(),
            has,
            said: Vec::new(),
        };
        for (index, ty) in order.iter().enumerate() {
            if index == before {
                self.offer(offer);
            }
            self.ask(*ty, None);
        }
        if before >= order.len() {
            self.offer(offer);
        }
    }

    fn ask(&mut self, ty: ResourceType, error: Option<&str>) {
        let has = self.has.entry(ty.type_url()).or_default().clone();
        let names = match ty {
            Endpoint => self.has.get(Cluster.type_url()).cloned().unwrap_or_default(),
            Cluster | Listener => Has::default(),
        };
        let request = DiscoveryRequest {
            type_url: ty.type_url().to_owned(),
            version_info: has.version,
            response_nonce: has.nonce,
            resource_names: names.resources.into_keys().collect(),
            error_detail: error.map(|message| Status {
                code: 3,
                message: message.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        if let Some(request) = self.world.hear(request) {
            self.stream.on_request(request);
        }
    }

    fn next(&mut self) -> Option<(ResourceType, DiscoveryResponse)> {
        loop {
            match self.world.next_own() {
                Some(Own::Hear(request)) => {
                    self.stream.on_request(*request);
                    continue;
                }
                Some(Own::Send(ty, message)) => {
                    self.said.push((ty, message.resources.len()));
                    return Some((ty, message));
                }
                None => {}
            }
            let response = self.stream.next_response()?;
            let ty = response.ty;
            match self.world.say(response) {
                Said::Send(message) => {
                    self.said.push((ty, message.resources.len()));
                    return Some((ty, message));
                }
                Said::Unsaid(answer) => drop(self.stream.on_request(*answer)),
            }
        }
    }

    fn take(&mut self, ty: ResourceType, response: &DiscoveryResponse) {
        let named = response
            .resources
            .iter()
            .map(|any| (name(ty, &any.value), any.value.clone()));
        let has = self.has.entry(ty.type_url()).or_default();
        match ty {
            Endpoint => has.resources.extend(named),
            Cluster | Listener => has.resources = named.collect(),
        }
        has.version.clone_from(&response.version_info);
        has.nonce.clone_from(&response.nonce);
        self.check_references();
        self.ask(ty, None);
        if ty == Cluster {
            self.ask(Endpoint, None);
        }
    }

    /// Make before break: traffic never finds a listener without its cluster.
    fn check_references(&self) {
        let has = |ty: ResourceType| self.has.get(ty.type_url()).map(|has| &has.resources);
        for listener in has(Listener).into_iter().flat_map(Resources::keys) {
            assert!(
                has(Cluster).is_some_and(|clusters| clusters.contains_key(listener)),
                "{listener} has lost its cluster, or came before it"
            );
        }
    }

    fn refuse(&mut self, ty: ResourceType, response: &DiscoveryResponse, message: &str) {
        self.has
            .entry(ty.type_url())
            .or_default()
            .nonce
            .clone_from(&response.nonce);
        self.ask(ty, Some(message));
    }

    /// Takes all that comes.
    fn settle(&mut self) {
        for _ in 0..100 {
            let Some((ty, response)) = self.next() else { return };
            self.take(ty, &response);
        }
        panic!("there is no end to responses");
    }

    fn names(&self, ty: ResourceType) -> BTreeSet<String> {
        self.has[ty.type_url()].resources.keys().cloned().collect()
    }
}

fn name(ty: ResourceType, bytes: &[u8]) -> String {
    match ty {
        Cluster => cds::Cluster::decode(bytes).unwrap().name,
        Endpoint => eds::ClusterLoadAssignment::decode(bytes).unwrap().cluster_name,
        Listener => lds::Listener::decode(bytes).unwrap().name,
    }
}

fn bytes(snapshot: &Snapshot, ty: ResourceType) -> Resources {
    let all = snapshot.resources(ty).iter();
    all.map(|(name, resource)| (name.to_string(), resource.body().value.clone()))
        .collect()
}

fn offered(frontends: &[Frontend]) -> Arc<Snapshot> {
    Arc::new(snapshot(frontends))
}

fn sticky(mut frontend: Frontend) -> Frontend {
    frontend.listeners[0].policy.balancing = Balancing::SourceIp;
    frontend
}

const A: &str = "tenant-a/a/tcp/80";
const B: &str = "tenant-a/b/tcp/80";

#[test]
fn everything_comes_as_cluster_endpoints_listener_and_then_nothing() {
    let offer = offered(&[web("a", 10001, "10.0.0.1"), web("b", 10002, "10.0.0.1")]);
    let mut client = Client::connect(&offer);
    client.settle();
    assert_eq!(client.said, [(Cluster, 2), (Endpoint, 2), (Listener, 2)]);
    client.offer(&offer);
    assert_eq!(client.next(), None);
}

#[test]
fn a_change_is_told_with_all_that_stays_and_endpoints_alone() {
    let mut client = Client::connect(&offered(&[web("a", 10001, "10.0.0.1")]));
    client.settle();
    client.said.clear();
    client.offer(&offered(&[web("a", 10001, "10.0.0.2")]));
    client.settle();
    assert_eq!(client.said, [(Endpoint, 1)]);
    client.said.clear();
    client.offer(&offered(&[
        web("a", 10001, "10.0.0.2"),
        web("b", 10002, "10.0.0.1"),
    ]));
    client.settle();
    assert_eq!(client.said, [(Cluster, 2), (Endpoint, 1), (Listener, 2)]);
}

#[test]
fn what_is_gone_is_left_out_listener_first() {
    let mut client = Client::connect(&offered(&[
        web("a", 10001, "10.0.0.1"),
        web("b", 10002, "10.0.0.1"),
    ]));
    client.settle();
    client.said.clear();
    client.offer(&offered(&[web("b", 10002, "10.0.0.1")]));
    client.settle();
    assert_eq!(client.said, [(Listener, 1), (Cluster, 1)]);
    assert_eq!(client.names(Listener), [B.to_owned()].into());
}

#[test]
fn an_empty_world_is_told_so_that_envoy_can_start() {
    let mut client = Client::connect(&offered(&[]));
    client.settle();
    assert_eq!(client.said, [(Cluster, 0), (Listener, 0)]);
}

#[test]
fn a_client_that_reconnects_is_told_its_endpoints_alone_unless_something_changed() {
    let offer = offered(&[web("a", 10001, "10.0.0.1"), web("b", 10002, "10.0.0.1")]);
    let mut client = Client::connect(&offer);
    client.settle();
    client.reconnect(&offer);
    client.settle();
    assert_eq!(client.said, [(Endpoint, 2)]);
    let changes = client.stream.take_changes();
    let programmed = |name| {
        let state = changes.iter().find(|(changed, _)| *changed == id(name));
        state.is_some_and(|(_, state)| state.as_ref().is_some_and(|state| state.programmed.is_some()))
    };
    assert!(programmed("a") && programmed("b"));
    client.reconnect(&offered(&[web("a", 10001, "10.0.0.1")]));
    client.settle();
    assert_eq!(client.names(Cluster), [A.to_owned()].into());
}

#[test]
fn a_client_that_comes_back_to_another_world_parts_with_listeners_before_their_clusters() {
    let mut client = Client::connect(&offered(&[
        web("a", 10001, "10.0.0.1"),
        web("b", 10002, "10.0.0.1"),
    ]));
    client.settle();
    let other = offered(&[sticky(web("a", 10001, "10.0.0.1")), web("c", 10003, "10.0.0.1")]);
    client.reconnect(&other);
    client.settle();
    let order: Vec<_> = client.said.iter().filter(|(ty, _)| *ty != Endpoint).collect();
    assert_eq!(order, [&(Listener, 1), &(Cluster, 2), &(Listener, 2)]);
    assert!(client.stream.is_settled());
}

#[test]
fn one_that_refuses_the_listeners_it_could_keep_is_sent_the_world_all_the_same() {
    let mut client = Client::connect(&offered(&[
        web("a", 10001, "10.0.0.1"),
        web("b", 10002, "10.0.0.1"),
    ]));
    client.settle();
    client.reconnect(&offered(&[web("a", 10009, "10.0.0.1")]));
    loop {
        let (ty, response) = client.next().unwrap();
        if ty == Listener {
            client.refuse(Listener, &response, "no");
            break;
        }
        client.take(ty, &response);
    }
    let (ty, clusters) = std::iter::from_fn(|| client.next())
        .find(|(ty, _)| *ty == Cluster)
        .unwrap();
    assert_eq!((ty, clusters.resources.len()), (Cluster, 1));
}

#[test]
fn a_refused_listener_stays_as_it_was_and_others_go_on() {
    let mut client = Client::connect(&offered(&[web("a", 10001, "10.0.0.1")]));
    client.settle();
    let before = client.has[Listener.type_url()].resources.clone();
    client.offer(&offered(&[
        sticky(web("a", 10001, "10.0.0.1")),
        web("b", 10002, "10.0.0.1"),
    ]));
    loop {
        let (ty, response) = client.next().unwrap();
        if ty == Listener {
            client.refuse(
                Listener,
                &response,
                &format!("Error adding/updating listener(s) {A}: no\n"),
            );
            break;
        }
        client.take(ty, &response);
    }
    client.settle();
    let after = &client.has[Listener.type_url()].resources;
    assert_eq!(
        after[A], before[A],
        "as it was, since leaving it out would take it away"
    );
    assert!(after.contains_key(B));
}

fn any_world() -> impl Strategy<Value = Vec<Frontend>> {
    let one = (0_u16..5, 1_u8..4, any::<bool>());
    prop::collection::vec(one, 0..6).prop_map(|all| {
        let by_name: BTreeMap<u16, Frontend> = all
            .into_iter()
            .map(|(n, node, is_sticky)| {
                let frontend = web(&format!("lb-{n}"), 10_000 + n, &format!("10.0.0.{node}"));
                (n, if is_sticky { sticky(frontend) } else { frontend })
            })
            .collect();
        by_name.into_values().collect()
    })
}

/// In which order it asks, and after how many requests there is a snapshot.
fn any_return() -> impl Strategy<Value = (Vec<ResourceType>, usize)> {
    (Just(vec![Cluster, Endpoint, Listener]).prop_shuffle(), 0_usize..4)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_client_has_what_is_offered_and_no_listener_is_ever_without_its_cluster(
        worlds in prop::collection::vec((any_world(), 0_usize..6, prop::option::of(any_return())), 1..8),
    ) {
        let mut offer = offered(&[]);
        let mut client = Client::connect(&offer);
        for (frontends, delivered, reconnects) in worlds {
            offer = offered(&frontends);
            match reconnects {
                Some((order, before)) => client.reconnect_in(&order, before, &offer),
                None => client.offer(&offer),
            }
            for _ in 0..delivered {
                if let Some((ty, response)) = client.next() {
                    client.take(ty, &response);
                }
            }
        }
        client.settle();
        for ty in [Cluster, Listener] {
            prop_assert_eq!(&client.has[ty.type_url()].resources, &bytes(&offer, ty));
        }
        let has = &client.has[Endpoint.type_url()].resources;
        for (name, endpoints) in bytes(&offer, Endpoint) {
            prop_assert_eq!(has.get(&name), Some(&endpoints));
        }
        prop_assert!(client.stream.is_settled());
    }
}
