//! The steps in their order.

use std::collections::{BTreeMap, BTreeSet};

use api::v1alpha1::{GatewayScope, ParentKind};
use serde_json::Value;

use crate::events;
use crate::former;
use crate::gateway::{self, JudgedGateway};
use crate::index::Index;
use crate::kind::ObjectRef;
use crate::listener_set::{self, JudgedListenerSet, ListenerSets};
use crate::outcome::{Outcome, Statuses};
use crate::plan;
use crate::policy::Policies;
use crate::provisional::provisional;
use crate::route::{self, JudgedRoute, Owners};
use crate::snapshot::{Settings, Snapshot};
use crate::{class, winner};

/// The Gateways that are ours, by namespace and name.
pub(crate) type Gateways<'a> = BTreeMap<(String, String), JudgedGateway<'a>>;

/// All that was judged.
#[derive(Clone, Copy)]
pub(crate) struct Judged<'a> {
    pub index: &'a Index<'a>,
    pub gateways: &'a Gateways<'a>,
    pub sets: &'a ListenerSets<'a>,
    pub policies: &'a Policies<'a>,
    pub routes: &'a [JudgedRoute<'a>],
}

/// What follows from a snapshot. Total, deterministic, and the same for any order of the input.
#[must_use]
pub fn evaluate(input: &Snapshot, settings: &Settings) -> Outcome {
    let index = Index::new(input, settings);
    let mut gateways: Gateways = index
        .gateways
        .iter()
        .filter_map(|(key, object)| Some((key.clone(), gateway::judge(&index, object)?)))
        .collect();
    let sets = listener_set::judge(&index, &mut gateways);
    let policies = Policies::judge(&index);
    let owners = Owners {
        gateways: &gateways,
        sets: &sets,
    };
    let mut routes: Vec<JudgedRoute> = index
        .routes
        .iter()
        .map(|((kind, _, _), object)| route::judge(&index, owners, &policies, *kind, object))
        .collect();
    winner::settle(&gateways, &sets, &mut routes);
    let judged = Judged {
        index: &index,
        gateways: &gateways,
        sets: &sets,
        policies: &policies,
        routes: &routes,
    };
    let (desired, hold) = plan::routes(judged);
    let (gateway_services, gateway_slices) = plan::gateway_services(judged);
    let (shadow_services, shadow_slices) = plan::shadows(judged);
    Outcome {
        statuses: statuses(judged),
        provisional: provisional(judged, &desired),
        routes: desired,
        hold,
        shadow_services,
        gateway_services,
        endpoint_slices: shadow_slices.into_iter().chain(gateway_slices).collect(),
        sync_secrets: plan::certificates(judged),
        authorities: plan::authorities(judged),
        events: events::all(judged),
    }
}

fn statuses(judged: Judged) -> Statuses {
    let Judged {
        index,
        gateways,
        sets,
        policies,
        routes,
    } = judged;
    let attached = attached_routes(index, routes);
    let none = BTreeMap::new();
    let counts = |kind: ParentKind, key: &(String, String)| {
        attached
            .get(&(kind, key.0.clone(), key.1.clone()))
            .unwrap_or(&none)
    };
    let attached_sets = |key: &(String, String)| {
        let accepted = |set: &&JudgedListenerSet| {
            let is_on = set.scope == GatewayScope::Tenant && set.gateway == *key;
            is_on && listener_set::not_accepted(index, set).is_none()
        };
        i32::try_from(sets.values().filter(accepted).count()).unwrap_or(i32::MAX)
    };
    let fresh = |object: &ObjectRef, raw: &Value| !stands(index, raw.pointer("/status"), object);
    Statuses {
        gateway_classes: index
            .classes
            .values()
            .map(|c| (c.reference.clone(), class::status(c)))
            .collect(),
        gateways: gateways
            .iter()
            .filter(|(_, gateway)| fresh(&gateway.object.reference, gateway.object.raw))
            .map(|(key, gateway)| {
                let counts = counts(ParentKind::Gateway, key);
                let status = gateway::status(index, gateway, counts, attached_sets(key));
                (gateway.object.reference.clone(), status)
            })
            .collect(),
        former: former::statuses(index),
        listener_sets: sets
            .iter()
            .filter(|(_, set)| fresh(&set.object.reference, set.object.raw))
            .map(|(key, set)| {
                let counts = counts(ParentKind::ListenerSet, key);
                let status = listener_set::status(index, gateways, set, counts);
                (set.object.reference.clone(), status)
            })
            .collect(),
        policies: policies
            .statuses(index, sets, routes)
            .into_iter()
            .filter(|(object, _)| !policy_stands(index, object))
            .collect(),
        routes: routes
            .iter()
            .filter(|route| !route.undecided && !route_stands(index, route))
            .map(|route| (route.object.reference.clone(), route.status(index)))
            .collect(),
    }
}

/// A status that was written for this generation stands while the hub is silent. To say now that nothing is
/// programmed, or that all is accepted, would be to know less than what is written there.
fn stands(index: &Index, status: Option<&Value>, object: &ObjectRef) -> bool {
    let conditions = status
        .and_then(|status| status.get("conditions"))
        .and_then(Value::as_array);
    let observed = |condition: &Value| {
        condition.get("observedGeneration").and_then(Value::as_i64) == Some(object.generation)
    };
    index.state().is_none() && conditions.is_some_and(|conditions| conditions.iter().any(observed))
}

fn route_stands(index: &Index, route: &JudgedRoute) -> bool {
    let object = route.object;
    entries_stand(index, object.raw.pointer("/status/parents"), &object.reference)
}

fn policy_stands(index: &Index, object: &ObjectRef) -> bool {
    let key = (object.namespace.clone(), object.name.clone());
    let raw = index.policies.get(&key).map(|policy| policy.raw);
    entries_stand(
        index,
        raw.and_then(|raw| raw.pointer("/status/ancestors")),
        object,
    )
}

/// Some entry of ours in a shared list stands.
fn entries_stand(index: &Index, list: Option<&Value>, object: &ObjectRef) -> bool {
    let ours = |entry: &&Value| {
        entry.get("controllerName").and_then(Value::as_str) == Some(&index.settings.controller_name)
    };
    let stands = |entry: &Value| stands(index, Some(entry), object);
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(ours)
        .any(stands)
}

/// Kind, namespace and name of a Gateway or ListenerSet.
type ParentKey = (ParentKind, String, String);

/// Accepted routes by Gateway or ListenerSet and listener. A route counts once for a listener, by however many parentRefs it
/// comes, and whatever state the listener is in.
fn attached_routes(index: &Index, routes: &[JudgedRoute]) -> BTreeMap<ParentKey, BTreeMap<String, i32>> {
    let mut counts = BTreeMap::<ParentKey, BTreeMap<String, i32>>::new();
    for route in routes {
        let mut seen = BTreeSet::new();
        for parent in &route.parents {
            if parent.scope != GatewayScope::Tenant || route.refusal(index, parent).is_some() {
                continue;
            }
            let key = (parent.kind, parent.namespace.clone(), parent.name.clone());
            for listener in parent.attached.iter().flatten() {
                if seen.insert((key.clone(), listener.name.clone())) {
                    *counts
                        .entry(key.clone())
                        .or_default()
                        .entry(listener.name.clone())
                        .or_default() += 1;
                }
            }
        }
    }
    counts
}
