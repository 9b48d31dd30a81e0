//! Writes status without touching what others wrote, and only if it changes something.
//!
//! [`update_status`] is read-modify-write with the resource version, because several controllers may share a status
//! (`status.parents` of routes is one atomic list). What the status shall be is decided by pure functions elsewhere.

use std::fmt::Debug;

use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::error::{self, ReconcileError};

/// How often a write is tried again after somebody else wrote in between.
const ATTEMPTS: u32 = 5;

/// Status could not be written.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The object could not be read anew.
    #[error("cannot read {name} to update its status")]
    Read {
        /// Name of the object.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server refused the status or could not be reached.
    #[error("cannot write the status of {name}")]
    Write {
        /// Name of the object.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// Somebody else wrote in between every time.
    #[error("the status of {name} changes too fast")]
    Contended {
        /// Name of the object.
        name: String,
    },
    /// The object cannot be turned into JSON.
    #[error("cannot turn {name} into JSON")]
    Serialize {
        /// Name of the object.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl ReconcileError for StatusError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => source.reason(),
            Self::Contended { .. } => "Conflict",
            Self::Serialize { .. } => "InvalidObject",
        }
    }
}

/// What became of a status.
#[derive(Debug, Clone, PartialEq)]
pub enum StatusWrite<K> {
    /// Written. The object as it is now, if nothing but this was changed since it was looked at:
    /// [`Watched::take_in`](crate::watch::Watched::take_in) may have it.
    Written(Option<Box<K>>),
    /// It was so already; no request was made for it.
    Unchanged,
    /// The object does not exist any more.
    Gone,
}

/// Merges what `change` returns into the status of the object.
///
/// `change` sees an object and returns the part of its status that shall be different, as a JSON merge patch
/// (lists are replaced whole, null removes), or none if it is right. It is asked about `current` first, which
/// may come from a store; when somebody else wrote in between, the object is read and `change` asked again.
pub async fn update_status<K, F>(
    api: &Api<K>,
    current: &K,
    field_manager: &str,
    change: F,
) -> Result<StatusWrite<K>, StatusError>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug,
    F: Fn(&K) -> Option<Value>,
{
    let name = current.name_any();
    let mut read = None;
    for _ in 0..ATTEMPTS {
        let object = read.as_ref().unwrap_or(current);
        let Some(status) = pending(object, &change)? else {
            return Ok(StatusWrite::Unchanged);
        };
        let metadata = json!({"resourceVersion": object.resource_version(), "uid": object.uid()});
        let patch = Patch::Merge(json!({"metadata": metadata, "status": status}));
        let params = PatchParams {
            field_manager: Some(field_manager.into()),
            ..PatchParams::default()
        };
        match api.patch_status(&name, &params, &patch).await {
            Ok(written) => {
                let is_all = read.is_none();
                return Ok(StatusWrite::Written(is_all.then(|| Box::new(written))));
            }
            Err(error) if error::is_not_found(&error) => return Ok(StatusWrite::Gone),
            Err(error) if error::is_conflict(&error) => {}
            Err(source) => {
                return Err(StatusError::Write {
                    name,
                    source: Box::new(source),
                });
            }
        }
        read = read_again(api, object).await?;
        if read.is_none() {
            return Ok(StatusWrite::Gone);
        }
    }
    Err(StatusError::Contended { name })
}

/// None if the object is gone, or if another one has taken its name.
async fn read_again<K>(api: &Api<K>, object: &K) -> Result<Option<K>, StatusError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let name = object.name_any();
    match api.get_opt(&name).await {
        Ok(fresh) => Ok(fresh.filter(|fresh| fresh.uid() == object.uid())),
        Err(source) => Err(StatusError::Read {
            name,
            source: Box::new(source),
        }),
    }
}

fn pending<K, F>(object: &K, change: F) -> Result<Option<Value>, StatusError>
where
    K: Resource + Serialize,
    F: Fn(&K) -> Option<Value>,
{
    let Some(patch) = change(object) else {
        return Ok(None);
    };
    let before = status_of(object)?;
    Ok((merged(&before, &patch) != before).then_some(patch))
}

fn status_of<K: Resource + Serialize>(object: &K) -> Result<Value, StatusError> {
    let mut value = serde_json::to_value(object).map_err(|source| StatusError::Serialize {
        name: object.name_any(),
        source,
    })?;
    Ok(value.get_mut("status").map(Value::take).unwrap_or_default())
}

/// RFC 7396. Pure.
pub fn merged(target: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut out = target.as_object().cloned().unwrap_or_default();
    for (key, value) in patch {
        if value.is_null() {
            out.remove(key);
        } else {
            let merged = merged(out.get(key).unwrap_or(&Value::Null), value);
            out.insert(key.clone(), merged);
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests;
