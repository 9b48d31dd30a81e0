//! What is left of our status on Gateways and ListenerSets that are not ours any more: their class or Gateway is
//! gone, or somebody else's.
//!
//! Conditions there carry no name of a controller. Who wrote them is told by `metadata.managedFields` alone: a
//! condition is ours as long as we wrote its message last. What is ours goes back to what the API server gives a
//! new object; everything else is left as it is, so that there is nothing to fight about with the controller
//! that comes after us.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::index::Index;
use crate::kind::ObjectRef;
use crate::listener_set;
use crate::outcome::FormerStatus;
use crate::reason;
use crate::snapshot::{Settings, Snapshot};

/// The `lastTransitionTime` of a condition that no controller wrote.
const NEVER: &str = "1970-01-01T00:00:00Z";
/// Conditions that every new object has. Others go.
const INITIAL: [&str; 2] = [reason::ACCEPTED, reason::PROGRAMMED];
/// Fields of a status that are of one piece.
const WHOLE_FIELDS: [&str; 2] = ["addresses", "attachedListenerSets"];

/// Who wrote what of an object's status.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusWriters {
    /// UID of the object.
    pub uid: String,
    /// The version of the object that this is about. It says nothing about any other.
    pub resource_version: String,
    /// What was written by this agent, in the form of `managedFields`, from `f:status` on.
    pub ours: Vec<Value>,
    /// What was written by others.
    pub others: Vec<Value>,
}

impl StatusWriters {
    /// Reads `managedFields`. `manager` is the name under which this agent writes.
    #[must_use]
    pub fn new(uid: &str, resource_version: &str, entries: &[ManagedFieldsEntry], manager: &str) -> Self {
        let mut writers = Self {
            uid: uid.to_owned(),
            resource_version: resource_version.to_owned(),
            ..Self::default()
        };
        for entry in entries {
            let Some(status) = entry
                .fields_v1
                .as_ref()
                .and_then(|fields| fields.0.get("f:status"))
            else {
                continue;
            };
            let list = match entry.manager.as_deref() == Some(manager) {
                true => &mut writers.ours,
                false => &mut writers.others,
            };
            list.push(status.clone());
        }
        writers
    }

    /// This agent wrote nothing of it, or nothing of what it wrote is left.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.ours.is_empty()
    }

    fn is_ours(&self, path: &[String]) -> bool {
        let has = |fields: &Value| {
            let mut at = Some(fields);
            for key in path {
                at = at.and_then(|fields| fields.get(key));
            }
            at.is_some()
        };
        self.ours.iter().any(has) && !self.others.iter().any(has)
    }

    fn condition(&self, within: &[String], type_: &str) -> bool {
        let own = [
            "f:conditions".to_owned(),
            key("type", type_),
            "f:message".to_owned(),
        ];
        self.is_ours(&[within, &own].concat())
    }

    /// We wrote all its conditions last.
    fn listener(&self, listener: &Value) -> bool {
        let name = listener.get("name").and_then(Value::as_str).unwrap_or_default();
        let within = ["f:listeners".to_owned(), key("name", name)];
        let mut types = types(listener).peekable();
        types.peek().is_some() && types.all(|type_| self.condition(&within, type_))
    }
}

/// The key of a list's item, as `managedFields` writes it.
fn key(field: &str, value: &str) -> String {
    format!("k:{}", json!({field: value}))
}

fn types(of: &Value) -> impl Iterator<Item = &str> {
    let conditions = of.get("conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .filter_map(|condition| condition.get("type").and_then(Value::as_str))
}

/// Gateways and ListenerSets that are not ours, and whose status some controller wrote. Only for these it matters
/// who that was.
#[must_use]
pub fn possibly_former(snapshot: &Snapshot, settings: &Settings) -> Vec<ObjectRef> {
    let index = Index::new(snapshot, settings);
    former(&index).map(|(object, _)| object.clone()).collect()
}

/// Their references, and their status.
fn former<'a>(index: &'a Index) -> impl Iterator<Item = (&'a ObjectRef, &'a Value)> {
    let gateways = index
        .gateways
        .values()
        .filter(|gateway| index.settings.gateways && index.class_of(gateway).is_none())
        .map(|gateway| (&gateway.reference, gateway.raw));
    let sets = index
        .listener_sets
        .values()
        .filter(|set| index.settings.gateways && listener_set::is_nobodys(index, set))
        .map(|set| (&set.reference, set.raw));
    gateways.chain(sets).filter_map(|(reference, raw)| {
        let status = raw.get("status")?;
        is_written(status).then_some((reference, status))
    })
}

/// Some controller wrote this status.
fn is_written(status: &Value) -> bool {
    let conditions = status.get("conditions").and_then(Value::as_array);
    let by_server =
        |condition: &Value| condition.get("lastTransitionTime").and_then(Value::as_str) == Some(NEVER);
    conditions.is_some_and(|conditions| !conditions.iter().all(by_server))
}

/// What is to be cleaned.
pub(crate) fn statuses(index: &Index) -> Vec<(ObjectRef, FormerStatus)> {
    former(index)
        .filter_map(|(object, status)| {
            let writers = index.status_writers.get(object.uid.as_str())?;
            let wanted = cleaned(writers, status);
            (!wanted.is_empty()).then(|| (object.clone(), wanted))
        })
        .collect()
}

fn cleaned(writers: &StatusWriters, status: &Value) -> FormerStatus {
    let listeners = status.get("listeners").and_then(Value::as_array);
    let listeners = listeners.into_iter().flatten().filter(|l| writers.listener(l));
    let whole = WHOLE_FIELDS
        .into_iter()
        .filter(|field| status.get(field).is_some() && writers.is_ours(&[format!("f:{field}")]));
    FormerStatus {
        resource_version: writers.resource_version.clone(),
        conditions: types(status)
            .filter(|type_| writers.condition(&[], type_))
            .map(str::to_owned)
            .collect(),
        listeners: listeners
            .filter_map(|listener| Some(listener.get("name")?.as_str()?.to_owned()))
            .collect(),
        fields: whole.map(str::to_owned).collect(),
    }
}

/// The whole new status of an object that is not ours any more. `None` when nothing changes.
#[must_use]
pub fn clean_former_status(existing: &Value, wanted: &FormerStatus) -> Option<Value> {
    let FormerStatus {
        resource_version: _,
        conditions,
        listeners,
        fields,
    } = wanted;
    let mut status = existing.as_object().cloned()?;
    status.retain(|field, _| !fields.contains(field));
    clean(&mut status, "conditions", |condition| {
        let type_ = condition.get("type").and_then(Value::as_str).unwrap_or_default();
        match (conditions.contains(type_), INITIAL.contains(&type_)) {
            (false, _) => Some(condition.clone()),
            (true, true) => Some(initial(type_)),
            (true, false) => None,
        }
    });
    clean(&mut status, "listeners", |listener| {
        let name = listener.get("name").and_then(Value::as_str).unwrap_or_default();
        (!listeners.contains(name)).then(|| listener.clone())
    });
    let status = Value::Object(status);
    (*existing != status).then_some(status)
}

/// Keeps of a list what `keep` gives, and nothing of a list of which nothing is left.
fn clean(status: &mut Map<String, Value>, list: &str, keep: impl Fn(&Value) -> Option<Value>) {
    let Some(items) = status.get(list).and_then(Value::as_array) else {
        return;
    };
    let kept: Vec<Value> = items.iter().filter_map(keep).collect();
    if kept.is_empty() {
        status.remove(list);
    } else {
        status.insert(list.to_owned(), Value::Array(kept));
    }
}

/// As the API server gives it to a new object.
fn initial(type_: &str) -> Value {
    json!({"type": type_, "status": "Unknown", "reason": reason::PENDING,
        "message": "Waiting for controller", "lastTransitionTime": NEVER})
}

impl FormerStatus {
    /// Nothing of ours is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let none = BTreeSet::is_empty;
        none(&self.conditions) && none(&self.listeners) && none(&self.fields)
    }
}
