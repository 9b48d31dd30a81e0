//! A client that does what Envoy does ends up with the current snapshot, whatever happens on the way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy.toml allows these in test functions only, and here the helpers are tests too"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use l4_xds::ir::{Balancing, Frontend};
use l4_xds::snapshot::{ResourceType, Snapshot};
use l4_xds::stream::Stream;
use proptest::prelude::*;
use support::{ack, nack, snapshot, subscribe, web};

#[derive(Debug, Clone, Copy)]
enum Verdict {
    Ack,
    /// Names the first resource and applies the others.
    NackNamed,
    /// Names nobody and applies nothing.
    NackSilent,
}

#[derive(Debug, Clone)]
enum Step {
    Offer(Vec<Frontend>),
    Deliver(Verdict),
    Reconnect,
}

/// Four load balancers, each absent or in one of a few shapes.
fn any_frontends() -> impl Strategy<Value = Vec<Frontend>> {
    let shape = prop::option::of((0..2u16, any::<bool>(), 1..3u8));
    prop::collection::vec(shape, 4).prop_map(|shapes| {
        let mut frontends = Vec::new();
        for (index, shape) in (0u16..).zip(shapes) {
            let Some((port, sticky, node)) = shape else {
                continue;
            };
            let mut frontend = web(
                &format!("lb-{index}"),
                10000 + 2 * index + port,
                &format!("10.0.0.{node}"),
            );
            if sticky {
                frontend.listeners[0].policy.balancing = Balancing::SourceIp;
            }
            frontends.push(frontend);
        }
        frontends
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any_frontends().prop_map(Step::Offer),
        6 => Just(Step::Deliver(Verdict::Ack)),
        1 => Just(Step::Deliver(Verdict::NackNamed)),
        1 => Just(Step::Deliver(Verdict::NackSilent)),
        1 => Just(Step::Reconnect),
    ]
}

struct Client {
    stream: Stream,
    current: Option<Arc<Snapshot>>,
    inbox: VecDeque<DeltaDiscoveryResponse>,
    holds: BTreeMap<&'static str, BTreeMap<String, String>>,
    responses: usize,
    nacked: bool,
}

impl Client {
    fn connect() -> Self {
        let mut client = Self {
            stream: Stream::new(),
            current: None,
            inbox: VecDeque::new(),
            holds: BTreeMap::new(),
            responses: 0,
            nacked: false,
        };
        client.reconnect();
        client
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Offer(frontends) => self.offer(&frontends),
            Step::Deliver(verdict) => self.deliver(verdict),
            Step::Reconnect => self.reconnect(),
        }
        self.check_references();
    }

    fn offer(&mut self, frontends: &[Frontend]) {
        self.current = Some(Arc::new(snapshot(frontends)));
        self.stream.on_snapshot(self.current.clone());
        self.flush();
    }

    fn reconnect(&mut self) {
        self.stream = Stream::new();
        self.inbox.clear();
        self.stream.on_snapshot(self.current.clone());
        self.nacked = false;
        let clusters: Vec<String> = self.held(ResourceType::Cluster).keys().cloned().collect();
        for ty in ResourceType::ALL {
            let names = if ty == ResourceType::Endpoint {
                clusters.clone()
            } else {
                vec![]
            };
            let known = self.held(ty).clone();
            // Envoy forgets endpoints of clusters that it does not have.
            let known = known
                .into_iter()
                .filter(|(name, _)| ty != ResourceType::Endpoint || names.contains(name));
            let known = known.collect();
            self.say(DeltaDiscoveryRequest {
                resource_names_subscribe: names,
                initial_resource_versions: known,
                ..subscribe(ty, &[])
            });
        }
    }

    fn held(&mut self, ty: ResourceType) -> &mut BTreeMap<String, String> {
        self.holds.entry(ty.type_url()).or_default()
    }

    fn say(&mut self, request: DeltaDiscoveryRequest) {
        self.stream.on_request(request);
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(response) = self.stream.next_response() {
            self.responses += 1;
            self.inbox.push_back(response.into());
        }
    }

    fn deliver(&mut self, verdict: Verdict) {
        let Some(response) = self.inbox.pop_front() else {
            return;
        };
        let culprit = response.resources.first().map(|resource| resource.name.clone());
        match (verdict, culprit) {
            (Verdict::NackSilent, _) => {
                self.nacked = true;
                self.say(nack(&response, "no"));
            }
            (Verdict::NackNamed, Some(culprit)) => {
                self.nacked = true;
                self.apply(&response, Some(&culprit));
                self.say(nack(&response, &format!("Error adding/updating {culprit}: no")));
            }
            (Verdict::Ack | Verdict::NackNamed, _) => {
                self.apply(&response, None);
                self.say(ack(&response));
            }
        }
    }

    fn apply(&mut self, response: &DeltaDiscoveryResponse, except: Option<&String>) {
        let ty = ResourceType::from_type_url(&response.type_url).unwrap();
        let before: BTreeSet<String> = self.held(ty).keys().cloned().collect();
        for name in &response.removed_resources {
            self.held(ty).remove(name);
        }
        let clusters = self.held(ResourceType::Cluster).clone();
        for resource in response
            .resources
            .iter()
            .filter(|resource| Some(&resource.name) != except)
        {
            // Endpoints of a cluster that has gone meanwhile interest nobody any more.
            if ty != ResourceType::Endpoint || clusters.contains_key(&resource.name) {
                self.held(ty)
                    .insert(resource.name.clone(), resource.version.clone());
            }
        }
        if ty == ResourceType::Cluster {
            let after: BTreeSet<String> = self.held(ty).keys().cloned().collect();
            self.follow_clusters(&before, &after);
        }
    }

    /// Envoy subscribes to the endpoints of new clusters, and drops those of removed ones, before it answers.
    fn follow_clusters(&mut self, before: &BTreeSet<String>, after: &BTreeSet<String>) {
        let gone: Vec<String> = before.difference(after).cloned().collect();
        for name in &gone {
            self.held(ResourceType::Endpoint).remove(name);
        }
        let new = after.difference(before).cloned().collect();
        let request = subscribe(ResourceType::Endpoint, &[]);
        let request = DeltaDiscoveryRequest {
            resource_names_subscribe: new,
            resource_names_unsubscribe: gone,
            ..request
        };
        self.say(request);
    }

    /// Make before break: traffic never finds a listener without its cluster.
    fn check_references(&mut self) {
        let clusters = self.held(ResourceType::Cluster).clone();
        for listener in self.held(ResourceType::Listener).keys() {
            assert!(
                clusters.contains_key(listener),
                "{listener} has lost its cluster, or came before it"
            );
        }
    }

    fn check_converged(&mut self) {
        let current = self.current.clone().unwrap();
        for ty in ResourceType::ALL {
            let wanted = current.resources(ty).iter();
            let wanted: BTreeMap<String, String> = wanted
                .map(|(name, resource)| (name.to_string(), resource.version().to_string()))
                .collect();
            assert_eq!(*self.held(ty), wanted, "{ty:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_client_converges_and_no_listener_is_ever_without_its_cluster(
        steps in prop::collection::vec(any_step(), 0..60),
        last in any_frontends(),
    ) {
        let mut client = Client::connect();
        let nacks = steps.iter().filter(|step| {
            matches!(step, Step::Deliver(Verdict::NackNamed | Verdict::NackSilent))
        }).count();
        let other = steps.len();
        steps.into_iter().for_each(|step| client.take(step));
        client.take(Step::Offer(last));
        // What was refused is not sent again on the same stream, so only a new one can bring it.
        if client.nacked {
            client.take(Step::Reconnect);
        }
        for _ in 0..100 {
            client.take(Step::Deliver(Verdict::Ack));
        }
        prop_assert!(client.inbox.is_empty(), "there is no end to responses");
        client.check_converged();
        prop_assert!(client.stream.is_settled());
        prop_assert!(client.responses <= 8 * (other + nacks + 4), "{} responses", client.responses);
    }

    /// Without a reconnect, NACKs come to an end by themselves: no response is ever repeated for ever.
    #[test]
    fn a_client_that_refuses_everything_is_left_alone_in_the_end(frontends in any_frontends(), silent in any::<bool>()) {
        let mut client = Client::connect();
        client.take(Step::Offer(frontends));
        for _ in 0..100 {
            client.take(Step::Deliver(if silent { Verdict::NackSilent } else { Verdict::NackNamed }));
        }
        prop_assert!(client.inbox.is_empty());
        prop_assert!(client.responses <= 20, "{} responses", client.responses);
    }
}
