//! How a load balancer moves from one fleet to another without losing a connection. Pure.
//!
//! ```text
//!  serving: old        both have its listeners          serving: new, and until a time that is recorded
//!  old ──────────────► the new one gets ready ────────► both still have them ────────► new
//! ```
//!
//! Everything is decided from what is recorded on the hub Service: its selector says who serves, its annotation until
//! when the other one goes on. So all replicas serve the same, and a restart in the middle goes on. The Service stays
//! the same object with the same ports, and so its address stays too. Connections that are open go on to the Envoys
//! that they were opened to, for as long as those live: the hub's nodes choose an Envoy for new connections only.

use std::borrow::Cow;
use std::collections::BTreeSet;

use api::v1alpha1::EnvoyProxyTopology;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use crate::fleet::FleetId;

/// Annotation of a hub Service: until when the fleet goes on that served it before, RFC 3339.
pub const FORMER_FLEET_UNTIL: &str = "kubelb.k8c.io/former-fleet-until";

/// Where a load balancer is served, as recorded, and where it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    load_balancer: String,
    wanted: FleetId,
    serving: Option<FleetId>,
    former_until: Option<Timestamp>,
}

/// What the hub Service shall say from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The fleet that it selects.
    pub fleet: FleetId,
    /// Until when the other one goes on.
    pub former_until: Option<Timestamp>,
}

impl Place {
    /// Reads the record. Without a hub Service nobody serves it yet, and it begins where it is wanted. One that is to
    /// go to the fleet of all tenants stays where it is in its own namespace: it gets another hub Service elsewhere.
    #[must_use]
    pub fn of(topology: EnvoyProxyTopology, load_balancer: &str, service: Option<&Service>) -> Self {
        let until = service.and_then(|service| service.annotations().get(FORMER_FLEET_UNTIL));
        let serving = service.and_then(|service| FleetId::selected(service, load_balancer));
        let stays = || serving.clone().unwrap_or(FleetId::Shared);
        Self {
            wanted: match topology {
                EnvoyProxyTopology::Global => stays(),
                EnvoyProxyTopology::Shared | EnvoyProxyTopology::Dedicated => {
                    FleetId::of(topology, load_balancer)
                }
            },
            serving,
            // What nobody can read was not written by us, and holds nothing.
            former_until: until.and_then(|text| text.parse().ok()),
            load_balancer: load_balancer.to_owned(),
        }
    }

    /// The fleet whose word counts: the one that clients reach.
    #[must_use]
    pub fn serving(&self) -> &FleetId {
        self.serving.as_ref().unwrap_or(&self.wanted)
    }

    /// The fleet that it is to move to, if it is not there yet.
    #[must_use]
    pub fn target(&self) -> Option<&FleetId> {
        let is_elsewhere = self
            .serving
            .as_ref()
            .is_some_and(|serving| *serving != self.wanted);
        is_elsewhere.then_some(&self.wanted)
    }

    /// All fleets of its own namespace that have its listeners. Each is named once.
    pub fn homes(&self) -> impl Iterator<Item = Cow<'_, FleetId>> {
        let serving = self.serving();
        let moves = (*serving != self.wanted).then_some(Cow::Borrowed(serving));
        let former = self.former_until.map(|_| self.other(serving));
        let former = former.filter(|former| *former != self.wanted).map(Cow::Owned);
        [Cow::Borrowed(&self.wanted)]
            .into_iter()
            .chain(moves)
            .chain(former)
    }

    /// Adds all fleets that have to be there after this step.
    pub fn need(&self, next: &Next, all: &mut BTreeSet<FleetId>) {
        for fleet in [&self.wanted, &next.fleet] {
            if !all.contains(fleet) {
                all.insert(fleet.clone());
            }
        }
        if next.former_until.is_some() {
            all.insert(self.other(&next.fleet));
        }
    }

    fn other(&self, than: &FleetId) -> FleetId {
        match than {
            FleetId::Dedicated(_) => FleetId::Shared,
            // The one of all tenants is none of the two between which it moves here.
            FleetId::Shared | FleetId::Global => FleetId::Dedicated(self.load_balancer.clone()),
        }
    }

    /// The next step. `arrived` is true when every Envoy of the target that takes clients has acknowledged what is
    /// served, and there is one.
    #[must_use]
    pub fn next(&self, arrived: bool, drain: SignedDuration, now: Timestamp) -> Next {
        if let Some(target) = self.target().filter(|_| arrived) {
            let until = now.as_second().saturating_add(drain.as_secs());
            return Next {
                fleet: target.clone(),
                former_until: Timestamp::from_second(until).ok(),
            };
        }
        Next {
            fleet: self.serving().clone(),
            former_until: self.former_until.filter(|until| *until > now),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DRAIN: SignedDuration = SignedDuration::from_secs(30);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn dedicated() -> FleetId {
        FleetId::Dedicated("web".into())
    }

    fn service(fleet: &FleetId, until: Option<Timestamp>) -> Service {
        let annotations = until.map(|until| json!({FORMER_FLEET_UNTIL: until.to_string()}));
        serde_json::from_value(json!({"metadata": {"annotations": annotations},
            "spec": {"selector": fleet.labels("a", "tenant-a")}}))
        .unwrap()
    }

    fn place(topology: EnvoyProxyTopology, fleet: &FleetId, until: Option<Timestamp>) -> Place {
        Place::of(topology, "web", Some(&service(fleet, until)))
    }

    fn homes(place: &Place) -> BTreeSet<FleetId> {
        let homes: Vec<_> = place.homes().map(Cow::into_owned).collect();
        let different: BTreeSet<_> = homes.iter().cloned().collect();
        assert_eq!(different.len(), homes.len(), "each is named once");
        different
    }

    fn needed(place: &Place, next: &Next) -> BTreeSet<FleetId> {
        let mut all = BTreeSet::new();
        place.need(next, &mut all);
        all
    }

    fn both() -> BTreeSet<FleetId> {
        BTreeSet::from([FleetId::Shared, dedicated()])
    }

    #[test]
    fn a_new_load_balancer_begins_where_it_is_wanted() {
        let new = Place::of(EnvoyProxyTopology::Dedicated, "web", None);
        assert_eq!((new.target(), new.serving()), (None, &dedicated()));
        assert_eq!(homes(&new), BTreeSet::from([dedicated()]));
        let next = new.next(false, DRAIN, at(0));
        assert_eq!((next.fleet, next.former_until), (dedicated(), None));
    }

    #[test]
    fn both_fleets_have_it_and_the_old_one_serves_until_the_new_one_has_arrived() {
        let place = place(EnvoyProxyTopology::Dedicated, &FleetId::Shared, None);
        assert_eq!(homes(&place), both());
        assert_eq!(place.serving(), &FleetId::Shared);
        let next = place.next(false, DRAIN, at(100));
        assert_eq!((next.fleet, next.former_until), (FleetId::Shared, None));
        let next = place.next(true, DRAIN, at(100));
        assert_eq!(needed(&place, &next), both());
        assert_eq!((next.fleet, next.former_until), (dedicated(), Some(at(130))));
    }

    #[test]
    fn the_old_fleet_has_it_until_the_recorded_time_is_over() {
        let moved = |until| place(EnvoyProxyTopology::Dedicated, &dedicated(), until);
        let place = moved(Some(at(130)));
        assert_eq!((place.target(), homes(&place)), (None, both()));
        assert_eq!(place.next(false, DRAIN, at(129)).former_until, Some(at(130)));
        let over = place.next(false, DRAIN, at(130));
        assert_eq!(over.former_until, None);
        assert_eq!(needed(&place, &over), BTreeSet::from([dedicated()]));
        assert_eq!(homes(&moved(None)), BTreeSet::from([dedicated()]));
    }

    #[test]
    fn a_change_of_mind_goes_back_by_the_same_steps() {
        // Before it moved: nothing happened.
        let back = place(EnvoyProxyTopology::Shared, &FleetId::Shared, None);
        assert_eq!(
            (back.target(), homes(&back)),
            (None, BTreeSet::from([FleetId::Shared]))
        );
        // After: the one that it left has it still, and takes it back when its Envoys say so.
        let back = place(EnvoyProxyTopology::Shared, &dedicated(), Some(at(130)));
        assert_eq!((back.target(), homes(&back)), (Some(&FleetId::Shared), both()));
        let next = back.next(true, DRAIN, at(110));
        assert_eq!((next.fleet, next.former_until), (FleetId::Shared, Some(at(140))));
    }

    #[test]
    fn a_time_that_nobody_can_read_holds_nothing() {
        let mut service = service(&FleetId::Shared, None);
        service.metadata.annotations = Some([(FORMER_FLEET_UNTIL.to_owned(), "soon".to_owned())].into());
        let place = Place::of(EnvoyProxyTopology::Shared, "web", Some(&service));
        assert_eq!(homes(&place), BTreeSet::from([FleetId::Shared]));
    }
}
