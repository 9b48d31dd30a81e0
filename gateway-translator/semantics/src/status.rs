//! Wanted statuses merged into those that exist. Pure: the clock is an argument.
//!
//! What others wrote stays: conditions of other types, fields that we do not set, and in `status.parents`, which
//! is an atomic list, the entries of other controllers.

use api::condition::{self, ConditionValue};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

use crate::kind::GATEWAY_GROUP;
use crate::outcome::{Address, ClassStatus, GatewayStatus, ListenerStatus, ParentStatus};

/// Most entries that `status.parents` may have.
const MAX_PARENTS: usize = 32;

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
    } = wanted;
    let mut status = fields(existing);
    put_addresses(&mut status, addresses);
    let old = list(existing, "listeners");
    let merged = listeners
        .iter()
        .map(|listener| merge_listener(old, listener, generation, now))
        .collect();
    status.insert("listeners".to_owned(), Value::Array(merged));
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
    let old = list(existing, "parents");
    let ours = |entry: &Value| entry.get("controllerName").and_then(Value::as_str) == Some(controller_name);
    let is_of = |entry: &Value, parent: &ParentStatus| entry.get("parentRef") == Some(&parent.parent_ref);
    let merge = |entry: Option<&Value>, parent: &ParentStatus| {
        merge_parent(
            entry.unwrap_or(&Value::Null),
            parent,
            controller_name,
            generation,
            now,
        )
    };
    let mut written = vec![false; wanted.len()];
    let mut parents = Vec::with_capacity(old.len());
    for entry in old {
        if !ours(entry) {
            parents.push(entry.clone());
            continue;
        }
        let found = wanted
            .iter()
            .zip(&mut written)
            .find(|(parent, written)| !**written && is_of(entry, parent));
        if let Some((parent, written)) = found {
            *written = true;
            parents.push(merge(Some(entry), parent));
        }
    }
    let new = wanted.iter().zip(&written).filter(|(_, written)| !**written);
    let room = MAX_PARENTS.saturating_sub(parents.len());
    parents.extend(new.map(|(parent, _)| merge(None, parent)).take(room));
    if parents.is_empty() && old.is_empty() {
        return None;
    }
    let mut status = fields(existing);
    status.insert("parents".to_owned(), Value::Array(parents));
    changed(existing, status)
}

fn merge_parent(
    existing: &Value,
    wanted: &ParentStatus,
    controller_name: &str,
    generation: i64,
    now: &Time,
) -> Value {
    let ParentStatus {
        parent_ref,
        conditions,
    } = wanted;
    let mut entry = fields(existing);
    entry.insert("parentRef".to_owned(), parent_ref.clone());
    entry.insert("controllerName".to_owned(), json!(controller_name));
    put_conditions(&mut entry, conditions, generation, now);
    Value::Object(entry)
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
