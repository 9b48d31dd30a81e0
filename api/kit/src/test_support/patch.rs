//! What the API server in memory does about preconditions and about fields that are not applied any more.

use serde_json::{Value, json};

/// Whether the resource version and uid that a write carries, if any, are those of the object.
pub(super) fn may_write(old: &Value, new: &Value) -> bool {
    ["resourceVersion", "uid"].iter().all(|field| {
        let (old, new) = (&old["metadata"][field], &new["metadata"][field]);
        new.is_null() || old == new
    })
}

/// What this manager applied last and does not apply any more goes. Lists are replaced whole.
pub(super) fn without_removed(live: &Value, last: &Value, new: &Value) -> Value {
    let (Some(live_map), Some(last)) = (live.as_object(), last.as_object()) else {
        return live.clone();
    };
    let mut out = live_map.clone();
    for (field, was) in last {
        match (new.get(field), live_map.get(field)) {
            (Some(new), Some(live)) => {
                out.insert(field.clone(), without_removed(live, was, new));
            }
            (None, Some(live)) if was.is_object() => {
                let rest = without_removed(live, was, &json!({}));
                match rest.as_object().is_some_and(serde_json::Map::is_empty) {
                    true => out.remove(field),
                    false => out.insert(field.clone(), rest),
                };
            }
            _ => {
                out.remove(field);
            }
        }
    }
    Value::Object(out)
}
