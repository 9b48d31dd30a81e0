//! How a route changes its backends: what it is to lead to is named in it before, and what it has led to after. Pure
//! but for what [`Bridges`] remembers; it must not write, and it must not hold up for long what is wanted.
//!
//! Envoy hears of clusters and of routes in two updates. A route that comes to a new backend names a cluster that is
//! not warm yet, and one that leaves its old backend names a cluster that is already gone: Envoy answers 503 until the
//! other update is there. Clusters are named after backends, so a rule that never matches keeps them:
//!
//! - *Begin*, for a new route: nothing but a rule that names those of its backends that no other route leads to. It
//!   has no host names yet, so that it takes none from the routes that answer for them.
//! - *Warm*: the route as it is, with a rule that names the new backends.
//! - *Wait*, until Envoy Gateway has confirmed that route, and then a moment for Envoy.
//! - *Drain*: the route as it is wanted, with a rule that names the old backends.

mod known;
mod rule;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use api::meta;
use controller_kit::diff::{Change, HASH_ANNOTATION, Plan, is_subset, needs_apply};
use controller_kit::object::{Object, ObjectId};
use controller_kit::patience::remaining;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::by_namespace::ByNamespace;
use known::Known;
use rule::{Backend, Held, MAX_BACKENDS, Rules};

/// Longest time for which a new backend holds up a change: Envoy Gateway may be away.
const WARM_LIMIT: Duration = Duration::from_secs(2);
/// From Envoy Gateway's word on a route until Envoys have its clusters.
const SETTLE: Duration = Duration::from_millis(300);
/// The same for a route that has not begun: nobody relies on it yet, and somebody waits for it.
const SETTLE_NEW: Duration = Duration::from_millis(100);
/// How long a backend is named that no rule leads to any more, also one that none has led to yet: see
/// [`super::young`] for why no cluster must go right after it came. Its Service must outlast this:
/// [`LINGER`](super::apply::LINGER) is longer, also by [`WARM_LIMIT`].
const DRAIN: Duration = Duration::from_secs(5);

/// What is to be done about a route that is not as it is wanted.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// It is written as it is wanted.
    AsDesired,
    /// This is written meanwhile: what it is, and the new backends.
    Warm(Value),
    /// It is left as it is.
    Wait,
    /// This is written: what is wanted, and the old backends.
    Drain(Value),
}

/// Since when, for one route.
#[derive(Debug, Default)]
pub struct Memory {
    /// It has needed new backends since then.
    warming: Option<Instant>,
    /// Envoy Gateway has confirmed this generation since then.
    confirmed: Option<(i64, Instant)>,
    leaving: BTreeMap<Backend, Leaving>,
}

/// A backend that is not wanted any more.
#[derive(Debug, Clone, Copy)]
struct Leaving {
    since: Instant,
    /// Rules still lead to it. Counted separately: draining begins when they do not, but a hub that refuses the
    /// bridge must not keep the route from changing.
    is_led_to: bool,
}

/// Decides about a live route that is not as it is wanted, and when to decide again. `is_there` knows the Services: a
/// reference to one that is missing would make Envoy Gateway complain of the route.
pub fn step(
    desired: &Value,
    live: &Value,
    is_there: impl Fn(&str) -> bool,
    memory: &mut Memory,
    now: Instant,
) -> (Step, Option<Duration>) {
    let (wanted, present) = (Rules::of(desired), Rules::of(live));
    let new = (wanted.named.difference(&present.named)).filter(|backend| is_there(&backend.name));
    let new: BTreeSet<&Backend> = new.take(MAX_BACKENDS).collect();
    let known = present.named.iter().chain(present.held.keys());
    let old = known.filter(|backend| !wanted.named.contains(backend) && is_there(&backend.name));
    let old = memory.leave(old, &present.named, now);
    let patience = memory.patience(&new, now);
    let is_alike = |field| is_alike(field, desired, live);
    let is_attached_alike = is_alike("parentRefs") && (present.has_not_begun() || is_alike("hostnames"));
    if let Some(patience) = patience.filter(|_| present.has_room() && is_attached_alike) {
        if new.iter().any(|backend| !present.held.contains_key(backend)) {
            let value = warm(desired, live, &present, &new, old.keys());
            return (Step::Warm(value), Some(patience));
        }
        let is_cold = |backend: &&Backend| present.held.get(backend) == Some(&Held::Cold);
        let settle = if present.has_not_begun() {
            SETTLE_NEW
        } else {
            SETTLE
        };
        if let Some(left) = memory.unconfirmed(live, settle, patience, now)
            && new.iter().any(is_cold)
        {
            return (Step::Wait, Some(left));
        }
    }
    if old.is_empty() || !wanted.has_room() {
        return (Step::AsDesired, None);
    }
    let due_in = old.values().min().copied();
    let held = old.into_keys().take(MAX_BACKENDS);
    let mut value = desired.clone();
    let held = held.map(|backend| {
        let warmth = present.warmth(&backend);
        (backend, warmth)
    });
    value["spec"]["rules"] = wanted.with(held.collect(), desired);
    (Step::Drain(value), due_in)
}

/// What is to be written first of a route that is not there yet, if it leads to backends that Envoys do not know.
pub fn begin(desired: &Value, is_there: impl Fn(&str) -> bool, known: &Known<'_>) -> Option<Value> {
    let wanted = Rules::of(desired);
    let new = wanted.named.iter().filter(|backend| is_there(&backend.name));
    let new = new.filter(|backend| !known.includes(desired, backend));
    let held: BTreeMap<_, _> = new
        .take(MAX_BACKENDS)
        .map(|backend| (backend.clone(), Held::Cold))
        .collect();
    if held.is_empty() || !wanted.has_room() {
        return None;
    }
    let mut value = desired.clone();
    value["spec"]["rules"] = Rules::default().with(held, desired);
    if let Some(spec) = value["spec"].as_object_mut() {
        spec.remove("hostnames");
    }
    // Nobody is to take this for what the route was made from.
    if let Some(annotations) = value["metadata"]["annotations"].as_object_mut() {
        annotations.remove(meta::SOURCE_GENERATION);
    }
    Some(value)
}

/// The route as it is, as far as it is ours, with new backends. What it was made from stays, and so its status is
/// honest.
fn warm<'a>(
    desired: &Value,
    live: &Value,
    present: &Rules<'_>,
    new: &BTreeSet<&Backend>,
    old: impl Iterator<Item = &'a Backend>,
) -> Value {
    let mut held: BTreeMap<Backend, Held> = BTreeMap::new();
    for backend in new {
        held.insert((*backend).clone(), present.warmth(backend));
    }
    for backend in old.filter(|backend| !present.named.contains(*backend)) {
        if held.len() < MAX_BACKENDS {
            held.insert(backend.clone(), present.warmth(backend));
        }
    }
    let mut value = json!({"apiVersion": desired["apiVersion"], "kind": desired["kind"],
        "metadata": metadata(desired, live), "spec": live["spec"]});
    value["spec"]["rules"] = present.with(held, desired);
    value
}

/// Of the live labels and annotations those that we set.
fn metadata(desired: &Value, live: &Value) -> Value {
    let (ours, live) = (&desired["metadata"], &live["metadata"]);
    let mut metadata = json!({"namespace": ours["namespace"], "name": ours["name"]});
    for field in ["labels", "annotations"] {
        let keys = ours[field].as_object().into_iter().flat_map(Map::keys);
        let kept = keys.filter(|key| *key != HASH_ANNOTATION);
        let kept = kept.filter_map(|key| Some((key.clone(), live[field].get(key)?.clone())));
        metadata[field] = kept.collect::<Map<_, _>>().into();
    }
    metadata
}

/// Host names and listeners are given out over all routes at once: a change of theirs is not held up.
fn is_alike(field: &str, desired: &Value, live: &Value) -> bool {
    match (desired["spec"].get(field), live["spec"].get(field)) {
        (Some(desired), Some(live)) => is_subset(desired, live),
        (desired, live) => desired.or(live).is_none_or(|value| *value == json!([])),
    }
}

impl Memory {
    /// Those of `old` that are to be named still, and how long.
    fn leave<'a>(
        &mut self,
        old: impl Iterator<Item = &'a Backend>,
        led_to: &BTreeSet<Backend>,
        now: Instant,
    ) -> BTreeMap<Backend, Duration> {
        let before = std::mem::take(&mut self.leaving);
        for backend in old {
            let is_led_to = led_to.contains(backend);
            let known = before.get(backend).filter(|known| known.is_led_to == is_led_to);
            let since = known.map_or(now, |known| known.since);
            self.leaving.insert(backend.clone(), Leaving { since, is_led_to });
        }
        let all = self.leaving.iter();
        all.filter_map(|(backend, leaving)| Some((backend.clone(), remaining(leaving.since, DRAIN, now)?)))
            .collect()
    }

    /// How long the route may yet be held up for its new backends.
    fn patience(&mut self, new: &BTreeSet<&Backend>, now: Instant) -> Option<Duration> {
        if new.is_empty() {
            (self.warming, self.confirmed) = (None, None);
            return None;
        }
        remaining(*self.warming.get_or_insert(now), WARM_LIMIT, now)
    }

    /// How long until the clusters of the live route may be taken for warm.
    fn unconfirmed(
        &mut self,
        live: &Value,
        settle: Duration,
        patience: Duration,
        now: Instant,
    ) -> Option<Duration> {
        let before = self.confirmed;
        self.confirmed = confirmed_generation(live).map(|generation| match before {
            Some((known, since)) if known == generation => (known, since),
            _ => (generation, now),
        });
        match self.confirmed {
            Some((_, since)) => remaining(since, settle, now).map(|left| left.min(patience)),
            None => Some(patience),
        }
    }

    fn is_void(&self) -> bool {
        self.warming.is_none() && self.leaving.is_empty()
    }
}

/// The generation of the route, if Envoy Gateway has looked at it, whatever it thought of it.
fn confirmed_generation(live: &Value) -> Option<i64> {
    let generation = live["metadata"]["generation"].as_i64()?;
    let parents = live["status"]["parents"].as_array()?;
    let is_about = |condition: &Value| {
        condition["type"] == "Accepted" && condition["observedGeneration"].as_i64() == Some(generation)
    };
    let is_seen = |parent: &Value| {
        let conditions = parent["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(is_about))
    };
    (!parents.is_empty() && parents.iter().all(is_seen)).then_some(generation)
}

/// Remembers, by tenant namespace, what [`step`] goes by. A process that starts anew counts anew.
#[derive(Debug, Default)]
pub struct Bridges(ByNamespace<BTreeMap<ObjectId, Memory>>);

/// What staging leaves to be done.
#[derive(Debug, Default)]
pub struct Staged {
    /// Routes that are left as they are for now.
    pub waiting: BTreeSet<ObjectId>,
    /// When to look again.
    pub due_in: Option<Duration>,
}

impl Bridges {
    /// Puts into the plan what is to be written of routes now. Looks only at routes that the plan writes: one with a
    /// bridge is never as it is wanted, nor is one that has not begun. To be called when it is known what is really
    /// deleted.
    pub fn stage(&self, namespace: &str, plan: &mut Plan, live: &[Object], now: Instant) -> Staged {
        let mut before = self.0.take(namespace);
        let mut staged = Staged::default();
        if !plan.apply.iter().any(|change| is_bridged(change.desired.id())) {
            return staged;
        }
        let services = services(plan, live);
        let known = known(plan, live);
        let live: HashMap<&ObjectId, &Object> = live.iter().map(|object| (object.id(), object)).collect();
        let mut memories = BTreeMap::new();
        plan.apply.retain_mut(|change| {
            let id = change.desired.id().clone();
            if !is_bridged(&id) {
                return true;
            }
            let is_there = |name: &str| services.contains(name);
            let Some(live) = live.get(&id) else {
                if let Some(value) = begin(change.desired.value(), is_there, &known) {
                    change.desired = change.desired.with_value(value);
                }
                return true;
            };
            let mut memory = before.remove(&id).unwrap_or_default();
            let (step, due_in) = step(change.desired.value(), live.value(), is_there, &mut memory, now);
            staged.due_in = staged.due_in.into_iter().chain(due_in).min();
            if !memory.is_void() {
                memories.insert(id.clone(), memory);
            }
            match step {
                Step::AsDesired => true,
                Step::Warm(value) => {
                    change.desired = change.desired.with_value(value);
                    true
                }
                Step::Wait => {
                    staged.waiting.insert(id);
                    false
                }
                Step::Drain(value) => {
                    change.desired = change.desired.with_value(value);
                    needs_apply(change.desired.value(), live.value())
                }
            }
        });
        if !memories.is_empty() {
            self.0.put(namespace, memories);
        }
        staged
    }
}

fn is_bridged(id: &ObjectId) -> bool {
    matches!(id.kind.as_str(), "HTTPRoute" | "GRPCRoute")
}

/// What live routes lead to that stay. Only new routes ask.
fn known<'a>(plan: &Plan, live: &'a [Object]) -> Known<'a> {
    let is_new_route = |change: &Change| change.replaces.is_none() && is_bridged(change.desired.id());
    if !plan.apply.iter().any(is_new_route) {
        return Known::default();
    }
    let going: HashSet<&ObjectId> = plan.delete.iter().map(Object::id).collect();
    let live = live.iter().filter(|object| is_bridged(object.id()));
    let stay = live.filter(|object| !object.is_terminating() && !going.contains(object.id()));
    Known::of(stay.map(Object::value))
}

/// Names of the Services that are there when routes are written, and after.
fn services(plan: &Plan, live: &[Object]) -> BTreeSet<String> {
    let is_service = |object: &&Object| object.id().kind == "Service";
    let name = |object: &Object| object.id().key.name.clone();
    let going: BTreeSet<String> = plan.delete.iter().filter(is_service).map(name).collect();
    let live = live.iter().filter(|object| !object.is_terminating());
    let written = plan.apply.iter().map(|change| &change.desired);
    let all = live.chain(written).filter(is_service).map(name);
    all.filter(|name| !going.contains(name)).collect()
}

#[cfg(test)]
mod tests;
