//! Which objects to write and which to delete.

use std::collections::HashMap;

use crate::object::{Object, ObjectId};

use super::needs_apply;

/// One object to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What it shall be, without the hash annotation; that is added when it is written.
    pub desired: Object,
    /// The uid of the object that this updates; none if there is no such object yet.
    pub replaces: Option<String>,
}

/// The difference between what is wanted and what exists, each list sorted by identity.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// To be written.
    pub apply: Vec<Change>,
    /// Ours and not wanted any more. Objects that are being deleted already are not listed again.
    pub delete: Vec<Object>,
    /// Wanted, but there is an object of that name which is not ours. Never written.
    pub foreign: Vec<ObjectId>,
    /// Wanted, but the old object is still being deleted. Its disappearance is the next event.
    pub terminating: Vec<ObjectId>,
    /// Wanted twice with different content: the first stays, the others are dropped and named here.
    pub ambiguous: Vec<ObjectId>,
    /// As they should be.
    pub unchanged: usize,
}

impl Plan {
    /// Whether nothing is to be written or deleted.
    pub fn is_empty(&self) -> bool {
        self.apply.is_empty() && self.delete.is_empty()
    }

    /// Whether all that is wanted is there, and nothing else that is ours: there is nothing to do and nothing to say.
    pub fn is_settled(&self) -> bool {
        let settled = Self {
            unchanged: self.unchanged,
            ..Self::default()
        };
        *self == settled
    }

    /// This plan and one over other objects.
    #[must_use]
    pub fn join(mut self, other: Self) -> Self {
        let Self {
            apply,
            delete,
            foreign,
            terminating,
            ambiguous,
            unchanged,
        } = other;
        self.apply.extend(apply);
        self.delete.extend(delete);
        self.foreign.extend(foreign);
        self.terminating.extend(terminating);
        self.ambiguous.extend(ambiguous);
        self.unchanged += unchanged;
        self.sort();
        self
    }
}

/// As much of a plan as one run should do, so that what comes meanwhile does not wait for all of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Portion {
    /// What to do now.
    pub plan: Plan,
    /// What is left to be written.
    pub left: Vec<ObjectId>,
}

impl Plan {
    /// At most `limit` writes, first of what exists: that may take something away from somebody. None of those that
    /// were refused before while there are others, so that those keep nobody waiting. Nothing is deleted before all is
    /// written.
    #[must_use]
    pub fn portion(mut self, limit: usize, was_refused: impl Fn(&ObjectId) -> bool) -> Portion {
        let (refused, mut fresh): (Vec<_>, Vec<_>) = std::mem::take(&mut self.apply)
            .into_iter()
            .partition(|change| was_refused(change.desired.id()));
        let mut left = Vec::new();
        if fresh.len() > limit {
            fresh.sort_by_key(|change| change.replaces.is_none());
            let rest = fresh.split_off(limit).into_iter().chain(refused);
            left = rest.map(|change| change.desired.id().clone()).collect();
            self.delete.clear();
        } else {
            fresh.extend(refused);
        }
        self.apply = fresh;
        Portion { plan: self, left }
    }
}

/// Compares two sets of objects. `is_ours` is asked about live objects only.
pub fn plan<'a>(
    desired: impl IntoIterator<Item = Object>,
    live: impl IntoIterator<Item = &'a Object>,
    is_ours: impl Fn(&Object) -> bool,
) -> Plan {
    Settled::default().plan(desired, live, is_ours)
}

/// What was found to be as it should be the last time, so that the same is not compared in full again.
///
/// It changes what a comparison costs, never what comes of it.
#[derive(Debug, Default)]
pub struct Settled(HashMap<ObjectId, Pair>);

#[derive(Debug)]
struct Pair {
    desired: Object,
    live: Object,
}

impl Settled {
    /// As [`plan`](fn@plan). Remembers what needs no write, and nothing else.
    pub fn plan<'a>(
        &mut self,
        desired: impl IntoIterator<Item = Object>,
        live: impl IntoIterator<Item = &'a Object>,
        is_ours: impl Fn(&Object) -> bool,
    ) -> Plan {
        let mut plan = Plan::default();
        let desired: Vec<Object> = desired.into_iter().collect();
        let mut wanted: HashMap<&ObjectId, &Object> = HashMap::with_capacity(desired.len());
        for object in &desired {
            let first = *wanted.entry(object.id()).or_insert(object);
            if first != object {
                plan.ambiguous.push(object.id().clone());
            }
        }
        let live: HashMap<&ObjectId, &Object> =
            live.into_iter().map(|object| (object.id(), object)).collect();
        plan.delete = live
            .values()
            .filter(|object| !wanted.contains_key(object.id()) && !object.is_terminating() && is_ours(object))
            .map(|object| (*object).clone())
            .collect();
        let mut before = std::mem::take(&mut self.0);
        for (id, object) in wanted {
            let known = before.remove_entry(id);
            let pair = known.as_ref().map(|(_, pair)| pair);
            let live = live.get(id).copied();
            if let Some(live) = plan.add(object, live, pair, &is_ours) {
                let id = known.map_or_else(|| id.clone(), |(id, _)| id);
                let desired = object.clone();
                self.0.insert(id, Pair { desired, live });
            }
        }
        plan.sort();
        plan
    }
}

impl Plan {
    /// The live object, if it is as it should be.
    fn add(
        &mut self,
        desired: &Object,
        live: Option<&Object>,
        before: Option<&Pair>,
        is_ours: impl Fn(&Object) -> bool,
    ) -> Option<Object> {
        let Some(live) = live else {
            self.apply.push(Change {
                desired: desired.clone(),
                replaces: None,
            });
            return None;
        };
        // What was settled was ours, and still is: it is the very same object.
        let is_settled = before.is_some_and(|pair| pair.live.is(live) && pair.desired == *desired);
        if !is_settled && !is_ours(live) {
            self.foreign.push(desired.id().clone());
        } else if !is_settled && live.is_terminating() {
            self.terminating.push(desired.id().clone());
        } else if !is_settled && needs_apply(desired.value(), live.value()) {
            self.apply.push(Change {
                desired: desired.clone(),
                replaces: live.uid().map(str::to_owned),
            });
        } else {
            self.unchanged += 1;
            return Some(live.clone());
        }
        None
    }

    /// The order does not depend on how anything is kept.
    fn sort(&mut self) {
        let Self {
            apply,
            delete,
            foreign,
            terminating,
            ambiguous,
            unchanged: _,
        } = self;
        apply.sort_by(|one, other| one.desired.id().cmp(other.desired.id()));
        delete.sort_by(|one, other| one.id().cmp(other.id()));
        foreign.sort();
        terminating.sort();
        ambiguous.sort();
        ambiguous.dedup();
    }
}
