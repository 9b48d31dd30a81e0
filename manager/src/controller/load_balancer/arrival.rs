//! Whether the Envoys that a load balancer is to move to have it. Pure.
//!
//! Clients must not be sent to an Envoy without a listener for them, so every Envoy of the fleet that takes clients has to
//! have acknowledged what is served. Each replica of the manager hears some of them.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use l4_xds::report::FleetReport;
use l4_xds::{FleetKey, LoadBalancerId};
use serde::{Deserialize, Serialize};

use super::moves::Place;
use crate::fleet::FleetId;
use crate::xds::Served;

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
/// Where each LoadBalancer of a namespace is served.
pub type Places = BTreeMap<LoadBalancerId, Place>;

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
pub fn heard(
    places: &Places,
    served: &BTreeMap<LoadBalancerId, Served>,
    said: &BTreeMap<FleetKey, FleetReport>,
    crews: &Crews,
) -> Arrivals {
    let mut arrivals = Arrivals::new();
    for (id, place) in places {
        let (Some(target), Some(Served { content, .. })) = (place.target(), served.get(id)) else {
            continue;
        };
        let fleet = target.key(id.namespace()).ok().and_then(|key| said.get(&key));
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
pub fn arrived(
    places: &Places,
    served: &BTreeMap<LoadBalancerId, Served>,
    heard: &[Arrivals],
    crews: &Crews,
) -> BTreeSet<String> {
    let is_there = |(id, place): &(&LoadBalancerId, &Place)| {
        let (Some(target), Some(now)) = (place.target(), served.get(*id)) else {
            return false;
        };
        let of_now = (heard.iter().filter_map(|arrivals| arrivals.get(id.name())))
            .filter(|arrival| arrival.content == now.content.as_str());
        let has_it: BTreeSet<&String> = of_now.flat_map(|arrival| &arrival.envoys).collect();
        let crew = crews.of_fleet(target, id.namespace());
        !crew.is_empty() && crew.iter().all(|envoy| has_it.contains(envoy))
    };
    (places.iter().filter(is_there))
        .map(|(id, _)| id.name().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use api::v1alpha1::EnvoyProxyTopology;
    use k8s_openapi::api::core::v1::Service;
    use l4_xds::ContentVersion;
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

    fn places(topology: EnvoyProxyTopology) -> Places {
        let shared = json!({"spec": {"selector": FleetId::Shared.labels("a", NAMESPACE)}});
        let service: Service = serde_json::from_value(shared).unwrap();
        BTreeMap::from([(id(), Place::of(topology, "web", Some(&service)))])
    }

    fn served(content: &str) -> BTreeMap<LoadBalancerId, Served> {
        let served = Served {
            generation: 1,
            content: content.into(),
        };
        BTreeMap::from([(id(), served)])
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
        let places = places(EnvoyProxyTopology::Dedicated);
        !arrived(&places, &served("v2"), heard, crews).is_empty()
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
        let places = places(EnvoyProxyTopology::Shared);
        let heard = [arrival("v2", &["one", "two"])];
        assert!(arrived(&places, &served("v2"), &heard, &two()).is_empty());
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
                load_balancers: BTreeMap::from([(id(), voices)]),
            };
            BTreeMap::from([(fleet.key(NAMESPACE).unwrap(), report)])
        };
        let places = places(EnvoyProxyTopology::Dedicated);
        let heard = |said| heard(&places, &served("v2"), &said, &two());
        let nodes = ["one", "three", "somebody"];
        assert_eq!(heard(said(&web(), "v2", &nodes)), arrival("v2", &["one"]));
        assert_eq!(heard(said(&web(), "v1", &nodes)), Arrivals::new());
        assert_eq!(heard(said(&FleetId::Shared, "v2", &nodes)), Arrivals::new());
    }
}
