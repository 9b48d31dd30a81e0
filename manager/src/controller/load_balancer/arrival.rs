//! Whether the Envoys that a load balancer is to move to have it. Pure.
//!
//! Clients must not be sent to an Envoy without a listener for them, so every Envoy of the fleet that takes clients has to
//! have acknowledged what is served. Each replica of the manager hears some of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use l4_xds::{LoadBalancerId, Report};
use serde::{Deserialize, Serialize};

use super::moves::Place;
use super::sites::{Site, Sites};
use crate::fleet::FleetId;
use crate::xds::served::{Served, ServedById};

/// Envoys that take clients, by the name of their fleet's objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Crews(BTreeMap<String, BTreeSet<String>>);

/// Envoys of a fleet that have this content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// The content.
    pub content: String,
    /// Names of their pods.
    pub envoys: BTreeSet<String>,
}

/// By name of the LoadBalancer, for those that are to move.
pub type Arrivals = BTreeMap<String, Arrival>;
/// Where LoadBalancers of a namespace are served.
pub type Seats = BTreeMap<LoadBalancerId, Seat>;

/// Where a LoadBalancer is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The fleet whose word counts: the one that clients reach.
    pub serving: FleetId,
    /// The fleet that it is to move to.
    pub target: Option<FleetId>,
}

impl Seat {
    /// From fleet to fleet in one namespace, or from one address to another.
    #[must_use]
    pub fn of(place: &Place, sites: &Sites) -> Self {
        match (sites.serving(), sites.target()) {
            (Site::Tenant, None) => Self {
                serving: place.serving().clone(),
                target: place.target().cloned(),
            },
            (Site::Tenant, Some(_)) => Self {
                serving: place.serving().clone(),
                target: Some(FleetId::Global),
            },
            (Site::Global, target) => Self {
                serving: FleetId::Global,
                target: target.map(|_| place.serving().clone()),
            },
        }
    }
}

/// What is served of the LoadBalancers of one namespace, there and by the fleet of all tenants.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// By fleets of the namespace.
    pub own: Arc<ServedById>,
    /// By the fleet of all tenants.
    pub global: Arc<ServedById>,
}

impl Contents {
    /// Those of which something else is served than before.
    #[must_use]
    pub fn changed_since(&self, before: &Self) -> BTreeSet<LoadBalancerId> {
        let Self { own, global } = self;
        let pairs = [(own, &before.own), (global, &before.global)];
        let others = pairs
            .into_iter()
            .filter(|(now, before)| !Arc::ptr_eq(now, before));
        others
            .flat_map(|(now, before)| now.changed_since(before))
            .collect()
    }

    /// What a fleet serves of one.
    #[must_use]
    pub fn at(&self, fleet: &FleetId, id: &LoadBalancerId) -> Option<&Served> {
        match fleet {
            FleetId::Shared | FleetId::Dedicated(_) => self.own.get(id),
            FleetId::Global => self.global.get(id),
        }
    }
}

impl Crews {
    /// Of the Envoys of one namespace.
    pub fn of<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Self {
        let mut crews: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for pod in pods.into_iter().filter(|pod| takes_clients(pod)) {
            if let Some(fleet) = FleetId::name_at(pod) {
                crews.entry(fleet).or_default().insert(pod.name_any());
            }
        }
        Self(crews)
    }

    /// Those of one fleet.
    #[must_use]
    pub fn of_fleet(&self, fleet: &FleetId, namespace: &str) -> BTreeSet<String> {
        self.0.get(&fleet.name(namespace)).cloned().unwrap_or_default()
    }
}

/// As the hub's Services see it: ready, and not going.
fn takes_clients(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    let mut conditions = conditions.unwrap_or_default().iter();
    pod.metadata.deletion_timestamp.is_none() && conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}

/// What one replica hears.
#[must_use]
pub fn heard(seats: &Seats, contents: &Contents, said: &Report, crews: &Crews) -> Arrivals {
    let mut arrivals = Arrivals::new();
    for (id, seat) in seats {
        let Some(target) = &seat.target else { continue };
        let Some(Served { content, .. }) = contents.at(target, id) else {
            continue;
        };
        let fleet = target
            .key(id.namespace())
            .ok()
            .and_then(|key| said.fleets.get(&key));
        let voices = fleet.and_then(|fleet| fleet.load_balancers.get(id));
        let Some(nodes) = voices.and_then(|voices| voices.programmed.get(content)) else {
            continue;
        };
        let crew = crews.of_fleet(target, id.namespace());
        let has_it = |envoy: &String| nodes.iter().any(|node| node.as_str() == envoy);
        let envoys: BTreeSet<String> = crew.into_iter().filter(has_it).collect();
        if !envoys.is_empty() {
            let content = content.to_string();
            arrivals.insert(id.name().to_owned(), Arrival { content, envoys });
        }
    }
    arrivals
}

/// LoadBalancers that may move now, by name. `heard` is what each replica hears.
#[must_use]
pub fn arrived(seats: &Seats, contents: &Contents, heard: &[Arrivals], crews: &Crews) -> BTreeSet<String> {
    let is_there = |(id, seat): &(&LoadBalancerId, &Seat)| {
        let Some(target) = &seat.target else { return false };
        let Some(now) = contents.at(target, id) else {
            return false;
        };
        let of_now = (heard.iter().filter_map(|arrivals| arrivals.get(id.name())))
            .filter(|arrival| arrival.content == now.content.as_str());
        let has_it: BTreeSet<&String> = of_now.flat_map(|arrival| &arrival.envoys).collect();
        let crew = crews.of_fleet(target, id.namespace());
        !crew.is_empty() && crew.iter().all(|envoy| has_it.contains(envoy))
    };
    (seats.iter().filter(is_there))
        .map(|(id, _)| id.name().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use api::v1alpha1::{EnvoyProxyTopology, LoadBalancer};
    use k8s_openapi::api::core::v1::Service;
    use l4_xds::ContentVersion;
    use l4_xds::report::FleetReport;
    use l4_xds::report::{LoadBalancerVoices, NodeId};
    use serde_json::json;

    use super::*;

    const NAMESPACE: &str = "tenant-a";

    fn pod(name: &str, fleet: &FleetId, ready: &str, going: Option<&str>) -> Pod {
        let labels = fleet.labels("a", NAMESPACE);
        let pod = json!({"metadata": {"name": name, "labels": labels, "deletionTimestamp": going},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        serde_json::from_value(pod).unwrap()
    }

    fn web() -> FleetId {
        FleetId::Dedicated("web".into())
    }

    fn id() -> LoadBalancerId {
        LoadBalancerId::new(NAMESPACE, "web").unwrap()
    }

    fn lb() -> LoadBalancer {
        let spec = json!({"type": "LoadBalancer", "endpoints": [], "ports": []});
        LoadBalancer::new("web", serde_json::from_value(spec).unwrap())
    }

    fn selecting(fleet: &FleetId) -> Service {
        let service = json!({"spec": {"selector": fleet.labels("a", NAMESPACE)}});
        serde_json::from_value(service).unwrap()
    }

    fn seat(topology: EnvoyProxyTopology, here: Option<&Service>, there: Option<&Service>) -> Seat {
        Seat::of(
            &Place::of(topology, "web", here),
            &Sites::of(topology, &lb(), here, there),
        )
    }

    fn seats(topology: EnvoyProxyTopology) -> Seats {
        BTreeMap::from([(id(), seat(topology, Some(&selecting(&FleetId::Shared)), None))])
    }

    fn served(content: &str) -> Contents {
        let served = Served {
            generation: 1,
            content: content.into(),
        };
        Contents {
            own: Arc::new([(id(), served)].into_iter().collect()),
            global: Arc::default(),
        }
    }

    #[test]
    fn whose_word_counts_is_said_by_what_is_recorded() {
        let (shared, global) = (selecting(&FleetId::Shared), selecting(&FleetId::Global));
        let is = |seat: Seat, serving: FleetId, target: Option<FleetId>| {
            assert_eq!((seat.serving, seat.target), (serving, target));
        };
        let (to_global, to_shared) = (EnvoyProxyTopology::Global, EnvoyProxyTopology::Shared);
        is(seat(to_global, None, None), FleetId::Global, None);
        is(
            seat(to_global, Some(&shared), Some(&global)),
            FleetId::Shared,
            Some(FleetId::Global),
        );
        is(
            seat(to_shared, Some(&shared), Some(&global)),
            FleetId::Global,
            Some(FleetId::Shared),
        );
        is(
            seat(EnvoyProxyTopology::Dedicated, Some(&shared), None),
            FleetId::Shared,
            Some(web()),
        );
    }

    fn arrival(content: &str, envoys: &[&str]) -> Arrivals {
        let arrival = Arrival {
            content: content.to_owned(),
            envoys: envoys.iter().map(|envoy| (*envoy).to_owned()).collect(),
        };
        BTreeMap::from([("web".to_owned(), arrival)])
    }

    fn two() -> Crews {
        let pods = [("one", "True"), ("two", "True"), ("three", "False")];
        Crews::of(&pods.map(|(name, ready)| pod(name, &web(), ready, None)))
    }

    fn may_move(heard: &[Arrivals], crews: &Crews) -> bool {
        let seats = seats(EnvoyProxyTopology::Dedicated);
        !arrived(&seats, &served("v2"), heard, crews).is_empty()
    }

    #[test]
    fn an_envoy_takes_clients_when_it_is_ready_and_not_going() {
        let takes = |ready, going| takes_clients(&pod("envoy-1", &web(), ready, going));
        assert!(takes("True", None));
        assert!(!takes("False", None));
        assert!(!takes("True", Some("2026-01-01T00:00:00Z")));
        assert!(!takes_clients(&Pod::default()));
    }

    #[test]
    fn it_has_arrived_when_every_envoy_that_takes_clients_has_what_is_served() {
        assert!(!may_move(&[], &two()));
        assert!(!may_move(&[arrival("v2", &["one"])], &two()));
        assert!(!may_move(&[arrival("v1", &["one", "two"])], &two()));
        assert!(may_move(&[arrival("v2", &["one", "two"])], &two()));
        // Two replicas, each of which hears one of the Envoys.
        assert!(may_move(
            &[arrival("v2", &["one"]), arrival("v2", &["two"])],
            &two()
        ));
    }

    #[test]
    fn without_an_envoy_that_takes_clients_nothing_has_arrived() {
        assert!(!may_move(&[arrival("v2", &["one", "two"])], &Crews::default()));
        let starting = Crews::of(&[pod("one", &web(), "False", None)]);
        assert!(!may_move(&[arrival("v2", &["one"])], &starting));
    }

    #[test]
    fn what_need_not_move_has_nowhere_to_arrive() {
        let seats = seats(EnvoyProxyTopology::Shared);
        let heard = [arrival("v2", &["one", "two"])];
        assert!(arrived(&seats, &served("v2"), &heard, &two()).is_empty());
    }

    #[test]
    fn a_replica_tells_which_envoys_of_the_other_fleet_have_what_is_served() {
        let said = |fleet: &FleetId, content: &str, nodes: &[&str]| {
            let nodes = nodes
                .iter()
                .map(|node| NodeId::from((*node).to_owned()))
                .collect();
            let voices = LoadBalancerVoices {
                programmed: BTreeMap::from([(ContentVersion::from(content), nodes)]),
                ..LoadBalancerVoices::default()
            };
            let report = FleetReport {
                streams: 1,
                load_balancers: [(id(), voices)].into_iter().collect(),
            };
            Report {
                fleets: [(fleet.key(NAMESPACE).unwrap(), report)].into_iter().collect(),
            }
        };
        let seats = seats(EnvoyProxyTopology::Dedicated);
        let heard = |said| heard(&seats, &served("v2"), &said, &two());
        let nodes = ["one", "three", "somebody"];
        assert_eq!(heard(said(&web(), "v2", &nodes)), arrival("v2", &["one"]));
        assert_eq!(heard(said(&web(), "v1", &nodes)), Arrivals::new());
        assert_eq!(heard(said(&FleetId::Shared, "v2", &nodes)), Arrivals::new());
    }
}
