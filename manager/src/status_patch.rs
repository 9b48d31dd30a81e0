//! The JSON merge patch that turns one status into another. Pure.

use serde_json::{Map, Value};

/// None where both are the same. Keys that are gone become null, because a merge patch keeps what it does not
/// name; lists are replaced whole.
#[must_use]
pub fn between(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => between_maps(old, new).map(Value::Object),
        (old, new) if old == new => None,
        (_, new) => Some(new.clone()),
    }
}

fn between_maps(old: &Map<String, Value>, new: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            None => drop(patch.insert(key.clone(), value.clone())),
            Some(before) => {
                if let Some(change) = between(before, value) {
                    patch.insert(key.clone(), change);
                }
            }
        }
    }
    (!patch.is_empty()).then_some(patch)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_gone_is_named_as_null_at_every_depth() {
        let old = json!({"a": 1, "b": {"c": [1], "d": 2}});
        let new = json!({"b": {"d": 2}});
        assert_eq!(between(&old, &new), Some(json!({"a": null, "b": {"c": null}})));
    }

    #[test]
    fn the_same_status_needs_no_patch() {
        let status = json!({"a": {"b": [1, 2]}});
        assert_eq!(between(&status, &status), None);
        assert_eq!(between(&Value::Null, &json!({"a": 1})), Some(json!({"a": 1})));
    }

    #[test]
    fn lists_are_replaced_whole() {
        assert_eq!(
            between(&json!({"a": [1, 2]}), &json!({"a": [2]})),
            Some(json!({"a": [2]}))
        );
    }
}
