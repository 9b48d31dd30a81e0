//! Wanted statuses merged into those that exist. Pure: the clock is an argument.
//!
//! What others wrote stays: conditions of other types, fields that we do not set, and in `status.parents`, which
//! is an atomic list, the entries of other controllers.

use api::condition::{self, ConditionValue};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

use crate::kind::GATEWAY_GROUP;
use crate::outcome::{
    Address, AncestorStatus, ClassStatus, GatewayStatus, ListenerSetStatus, ListenerStatus, ParentStatus,
};
use crate::reason;

/// Most entries that `status.parents` may have.
const MAX_PARENTS: usize = 32;
/// Most entries that `status.ancestors` may have.
const MAX_ANCESTORS: usize = 16;

/// Conditions of a Gateway that go when their cause goes.
pub const OPTIONAL_GATEWAY_CONDITIONS: [&str; 2] =
    [reason::RESOLVED_REFS, reason::INSECURE_FRONTEND_VALIDATION_MODE];

/// The whole new status of a GatewayClass. `None` when nothing changes.
#[must_use]
pub fn merge_class_status(
    existing: &Value,
    wanted: &ClassStatus,
    generation: i64,
    now: &Time,
) -> Option<Value> {
    let ClassStatus {
        conditions,
        supported_features,
    } = wanted;
    let mut status = fields(existing);
    let features = supported_features
        .iter()
        .map(|name| json!({"name": name}))
        .collect();
    status.insert("supportedFeatures".to_owned(), Value::Array(features));
    put_conditions(&mut status, conditions, generation, now);
    changed(existing, status)
}

/// The whole new status of a Gateway. `None` when nothing changes.
#[must_use]
pub fn merge_gateway_status(
    existing: &Value,
    wanted: &GatewayStatus,
    generation: i64,
    now: &Time,
) -> Option<Value> {
    let GatewayStatus {
        conditions,
        addresses,
        listeners,
        attached_listener_sets,
    } = wanted;
    let mut status = fields(existing);
    put_addresses(&mut status, addresses);
    match attached_listener_sets {
        Some(count) => status.insert("attachedListenerSets".to_owned(), json!(count)),
        None => status
            .contains_key("attachedListenerSets")
            .then(|| status.insert("attachedListenerSets".to_owned(), json!(0)))
            .flatten(),
    };
    drop_conditions(&mut status, conditions);
    put_listeners(&mut status, existing, listeners, generation, now);
    put_conditions(&mut status, conditions, generation, now);
    changed(existing, status)
}

/// The whole new status of a ListenerSet. `None` when nothing changes.
#[must_use]
pub fn merge_listener_set_status(
    existing: &Value,
    wanted: &ListenerSetStatus,
    generation: i64,
    now: &Time,
) -> Option<Value> {
    let ListenerSetStatus {
        conditions,
        listeners,
    } = wanted;
    let mut status = fields(existing);
    put_listeners(&mut status, existing, listeners, generation, now);
    put_conditions(&mut status, conditions, generation, now);
    changed(existing, status)
}

/// The whole new status of a route, whose entries of `controller_name` are exactly `wanted`. `None` when nothing
/// changes.
#[must_use]
pub fn merge_route_parents(
    existing: &Value,
    wanted: &[ParentStatus],
    controller_name: &str,
    generation: i64,
    now: &Time,
) -> Option<Value> {
    let wanted: Vec<Entry<'_>> = wanted
        .iter()
        .map(
            |ParentStatus {
                 parent_ref,
                 conditions,
             }| (parent_ref, conditions.as_slice()),
        )
        .collect();
    PARENTS.merge(existing, &wanted, controller_name, generation, now)
}

/// The whole new status of a policy, whose entries of `controller_name` are exactly `wanted`. `None` when nothing
/// changes.
#[must_use]
pub fn merge_policy_ancestors(
    existing: &Value,
    wanted: &[AncestorStatus],
    controller_name: &str,
    generation: i64,
    now: &Time,
) -> Option<Value> {
    let wanted: Vec<Entry<'_>> = wanted
        .iter()
        .map(
            |AncestorStatus {
                 ancestor_ref,
                 conditions,
             }| (ancestor_ref, conditions.as_slice()),
        )
        .collect();
    ANCESTORS.merge(existing, &wanted, controller_name, generation, now)
}

/// What an entry refers to, and its conditions.
type Entry<'a> = (&'a Value, &'a [ConditionValue]);

const PARENTS: SharedList = SharedList {
    list: "parents",
    reference: "parentRef",
    room: MAX_PARENTS,
};
const ANCESTORS: SharedList = SharedList {
    list: "ancestors",
    reference: "ancestorRef",
    room: MAX_ANCESTORS,
};

/// A list in a status into which several controllers write.
struct SharedList {
    list: &'static str,
    reference: &'static str,
    room: usize,
}

impl SharedList {
    fn merge(
        &self,
        existing: &Value,
        wanted: &[Entry<'_>],
        controller_name: &str,
        generation: i64,
        now: &Time,
    ) -> Option<Value> {
        let old = list(existing, self.list);
        let ours =
            |entry: &Value| entry.get("controllerName").and_then(Value::as_str) == Some(controller_name);
        let merge = |entry: &Value, (reference, conditions): &Entry<'_>| {
            let mut entry = fields(entry);
            entry.insert(self.reference.to_owned(), (*reference).clone());
            entry.insert("controllerName".to_owned(), json!(controller_name));
            put_conditions(&mut entry, conditions, generation, now);
            Value::Object(entry)
        };
        let mut written = vec![false; wanted.len()];
        let mut entries = Vec::with_capacity(old.len());
        for entry in old {
            if !ours(entry) {
                entries.push(entry.clone());
                continue;
            }
            let found = wanted
                .iter()
                .zip(&mut written)
                .find(|(wanted, written)| !**written && entry.get(self.reference) == Some(wanted.0));
            if let Some((wanted, written)) = found {
                *written = true;
                entries.push(merge(entry, wanted));
            }
        }
        let new = wanted.iter().zip(&written).filter(|(_, written)| !**written);
        let room = self.room.saturating_sub(entries.len());
        entries.extend(new.map(|(wanted, _)| merge(&Value::Null, wanted)).take(room));
        if entries.is_empty() && old.is_empty() {
            return None;
        }
        let mut status = fields(existing);
        status.insert(self.list.to_owned(), Value::Array(entries));
        changed(existing, status)
    }
}

fn put_listeners(
    status: &mut Map<String, Value>,
    existing: &Value,
    listeners: &[ListenerStatus],
    generation: i64,
    now: &Time,
) {
    let old = list(existing, "listeners");
    let merged = listeners
        .iter()
        .map(|listener| merge_listener(old, listener, generation, now))
        .collect();
    status.insert("listeners".to_owned(), Value::Array(merged));
}

/// Takes those of [`OPTIONAL_GATEWAY_CONDITIONS`] away that are not wanted any more.
fn drop_conditions(status: &mut Map<String, Value>, wanted: &[ConditionValue]) {
    let stale = |condition: &Value| {
        let type_ = condition.get("type").and_then(Value::as_str).unwrap_or_default();
        OPTIONAL_GATEWAY_CONDITIONS.contains(&type_) && wanted.iter().all(|wanted| wanted.type_ != type_)
    };
    if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.retain(|condition| !stale(condition));
    }
}

fn merge_listener(existing: &[Value], wanted: &ListenerStatus, generation: i64, now: &Time) -> Value {
    let ListenerStatus {
        name,
        supported_kinds,
        attached_routes,
        conditions,
    } = wanted;
    let old = existing
        .iter()
        .find(|entry| entry.get("name").and_then(Value::as_str) == Some(name));
    let mut entry = fields(old.unwrap_or(&Value::Null));
    let kinds = supported_kinds
        .iter()
        .map(|kind| json!({"group": GATEWAY_GROUP, "kind": kind.as_str()}));
    entry.insert("name".to_owned(), json!(name));
    entry.insert("supportedKinds".to_owned(), Value::Array(kinds.collect()));
    entry.insert("attachedRoutes".to_owned(), json!(attached_routes));
    put_conditions(&mut entry, conditions, generation, now);
    Value::Object(entry)
}

fn put_addresses(status: &mut Map<String, Value>, addresses: &[Address]) {
    if addresses.is_empty() {
        status.remove("addresses");
        return;
    }
    let addresses = addresses
        .iter()
        .map(|Address { type_, value }| json!({"type": type_, "value": value}));
    status.insert("addresses".to_owned(), Value::Array(addresses.collect()));
}

/// Works on raw JSON, so that not a byte changes of a condition that is not ours.
fn put_conditions(into: &mut Map<String, Value>, wanted: &[ConditionValue], generation: i64, now: &Time) {
    let mut conditions = match into.remove("conditions") {
        Some(Value::Array(conditions)) => conditions,
        _ => Vec::new(),
    };
    for new in condition::merge(&[], wanted, generation, now) {
        let Ok(mut new) = serde_json::to_value(new) else {
            continue;
        };
        let same = |old: &Value, key: &str| old.get(key).is_some() && old.get(key) == new.get(key);
        match conditions
            .iter()
            .position(|old| same(old, "type"))
            .and_then(|i| conditions.get_mut(i))
        {
            Some(old) => {
                let since = if same(old, "status") {
                    old.get("lastTransitionTime").cloned()
                } else {
                    None
                };
                if let (Some(since), Some(fields)) = (since, new.as_object_mut()) {
                    fields.insert("lastTransitionTime".to_owned(), since);
                }
                *old = new;
            }
            None => conditions.push(new),
        }
    }
    into.insert("conditions".to_owned(), Value::Array(conditions));
}

fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn changed(existing: &Value, status: Map<String, Value>) -> Option<Value> {
    let status = Value::Object(status);
    (*existing != status).then_some(status)
}
