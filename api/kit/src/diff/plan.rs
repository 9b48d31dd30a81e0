//! Which objects to write and which to delete.

use std::collections::BTreeMap;

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
}

/// Compares two sets of objects. `is_ours` is asked about live objects only.
pub fn plan<'a>(
    desired: impl IntoIterator<Item = Object>,
    live: impl IntoIterator<Item = &'a Object>,
    is_ours: impl Fn(&Object) -> bool,
) -> Plan {
    let mut plan = Plan::default();
    let wanted = index(desired, &mut plan.ambiguous);
    let live: BTreeMap<&ObjectId, &Object> = live.into_iter().map(|object| (object.id(), object)).collect();
    plan.delete = live
        .values()
        .filter(|object| !wanted.contains_key(object.id()) && !object.is_terminating() && is_ours(object))
        .map(|object| (*object).clone())
        .collect();
    for (id, desired) in wanted {
        let live = live.get(&id).copied();
        plan.add(desired, live, &is_ours);
    }
    plan
}

impl Plan {
    fn add(&mut self, desired: Object, live: Option<&Object>, is_ours: impl Fn(&Object) -> bool) {
        match live {
            None => self.apply.push(Change {
                desired,
                replaces: None,
            }),
            Some(live) if !is_ours(live) => self.foreign.push(desired.id().clone()),
            Some(live) if live.is_terminating() => self.terminating.push(desired.id().clone()),
            Some(live) if needs_apply(desired.value(), live.value()) => {
                self.apply.push(Change {
                    desired,
                    replaces: live.uid().map(str::to_owned),
                });
            }
            Some(_) => self.unchanged += 1,
        }
    }
}

fn index(
    desired: impl IntoIterator<Item = Object>,
    ambiguous: &mut Vec<ObjectId>,
) -> BTreeMap<ObjectId, Object> {
    let mut wanted: BTreeMap<ObjectId, Object> = BTreeMap::new();
    for object in desired {
        match wanted.get(object.id()) {
            None => {
                wanted.insert(object.id().clone(), object);
            }
            Some(first) if *first == object => {}
            Some(_) => ambiguous.push(object.id().clone()),
        }
    }
    ambiguous.sort();
    ambiguous.dedup();
    wanted
}
