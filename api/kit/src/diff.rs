//! What differs between what is wanted and what exists: pure functions over JSON.
//!
//! An object needs no write when everything wanted is there already *and* the hash that the last apply left
//! behind is the hash of what is wanted now. The first half notices what others changed; the second notices
//! what we do not want any more. No client, no clock.

mod compare;
mod plan;
mod rendered;

use std::borrow::Cow;

use serde_json::Value;
use sha2::{Digest, Sha256};

pub use compare::is_subset;
pub use plan::{Change, Plan, Portion, Settled, plan};
pub use rendered::Rendered;

/// Annotation that holds the hash of what was last applied.
pub const HASH_ANNOTATION: &str = "kubelb.k8c.io/applied-hash";

/// SHA-256, in hex, over JSON with sorted keys and without nulls. The hash annotation itself is left out, and
/// annotations where there are no others.
pub fn hash(desired: &Value) -> String {
    let mut text = Canonical(Sha256::new());
    text.value(&without_hash(desired));
    format!("{:x}", text.0.finalize())
}

/// `desired` with the annotation that holds its hash. What is not a map comes back unchanged.
pub fn with_hash(desired: &Value) -> Value {
    let hash = hash(desired);
    let mut out = desired.clone();
    let annotations = ["metadata", "annotations"]
        .iter()
        .try_fold(&mut out, |value, name| child(value, name));
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.insert(HASH_ANNOTATION.into(), hash.into());
    }
    out
}

/// Whether `live` must be written to become `desired`. Give the same `desired` here as to [`with_hash`].
pub fn needs_apply(desired: &Value, live: &Value) -> bool {
    let recorded = live
        .get("metadata")
        .and_then(|m| m.get("annotations"))
        .and_then(|a| a.get(HASH_ANNOTATION));
    recorded.and_then(Value::as_str) != Some(hash(desired).as_str())
        || !is_subset(&without_hash(desired), live)
}

/// The map under `name`, made where it is missing or null.
fn child<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let child = value.as_object_mut()?.entry(name).or_insert(Value::Null);
    if child.is_null() {
        *child = Value::Object(serde_json::Map::new());
    }
    Some(child)
}

/// Without the hash annotation, and without annotations where there are no others: a wish for none would never
/// come true.
fn without_hash(value: &Value) -> Cow<'_, Value> {
    let annotations = value.get("metadata").and_then(|m| m.get("annotations"));
    let is_meant = match annotations {
        None => true,
        Some(Value::Object(map)) => !map.contains_key(HASH_ANNOTATION),
        Some(other) => !other.is_null(),
    };
    if is_meant {
        return Cow::Borrowed(value);
    }
    let mut out = value.clone();
    if let Some(metadata) = out.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.get_mut("annotations").and_then(Value::as_object_mut);
        let is_void = annotations.is_none_or(|map| {
            map.remove(HASH_ANNOTATION);
            map.is_empty()
        });
        if is_void {
            metadata.remove("annotations");
        }
    }
    Cow::Owned(out)
}

/// Takes in JSON in its canonical form.
struct Canonical(Sha256);

impl Canonical {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(map) => self.map(map),
            Value::Array(items) => {
                self.0.update(b"[");
                for item in items {
                    self.value(item);
                    self.0.update(b",");
                }
                self.0.update(b"]");
            }
            scalar => self.0.update(scalar.to_string().as_bytes()),
        }
    }

    fn map(&mut self, map: &serde_json::Map<String, Value>) {
        let mut entries: Vec<_> = map.iter().filter(|(_, value)| !value.is_null()).collect();
        entries.sort_by_key(|(key, _)| key.as_str());
        self.0.update(b"{");
        for (key, value) in entries {
            self.0.update(Value::from(key.as_str()).to_string().as_bytes());
            self.0.update(b":");
            self.value(value);
            self.0.update(b",");
        }
        self.0.update(b"}");
    }
}

#[cfg(test)]
mod tests;
