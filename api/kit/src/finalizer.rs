//! Puts a finalizer on an object and takes it off again, without touching those of others.
//!
//! Both write only if there is something to change, and carry the resource version, so that a finalizer that
//! somebody else adds at the same moment is not lost. When to do which is the controller's decision.

use std::fmt::Debug;

use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::error::{self, ReconcileError};

const ATTEMPTS: u32 = 5;

/// Finalizers could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum FinalizerError {
    /// The object could not be read anew.
    #[error("cannot read {name} to change its finalizers")]
    Read {
        /// Name of the object.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server refused the change or could not be reached.
    #[error("cannot change the finalizers of {name}")]
    Write {
        /// Name of the object.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// Somebody else wrote in between every time.
    #[error("the finalizers of {name} change too fast")]
    Contended {
        /// Name of the object.
        name: String,
    },
}

impl ReconcileError for FinalizerError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => source.reason(),
            Self::Contended { .. } => "Conflict",
        }
    }
}

/// Whether the object has the finalizer.
pub fn has<K: Resource>(object: &K, finalizer: &str) -> bool {
    object.finalizers().iter().any(|other| other == finalizer)
}

/// Adds the finalizer. True if it is there now; false if the object is gone or being deleted, in which case
/// the API server takes no new finalizers.
pub async fn add<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<bool, FinalizerError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    change(api, object, |object| {
        if has(object, finalizer) {
            return Wanted::Already(true);
        }
        if object.meta().deletion_timestamp.is_some() {
            return Wanted::Already(false);
        }
        let mut all = object.finalizers().to_vec();
        all.push(finalizer.to_owned());
        Wanted::List(all)
    })
    .await
    .map(|end| end.unwrap_or(false))
}

/// Takes the finalizer off. That it or the object is gone already is success.
pub async fn remove<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<(), FinalizerError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    change(api, object, |object| match has(object, finalizer) {
        false => Wanted::Already(true),
        true => Wanted::List(
            object
                .finalizers()
                .iter()
                .filter(|f| *f != finalizer)
                .cloned()
                .collect(),
        ),
    })
    .await
    .map(|_| ())
}

enum Wanted {
    List(Vec<String>),
    Already(bool),
}

/// None if the object is gone.
async fn change<K>(
    api: &Api<K>,
    object: &K,
    wanted: impl Fn(&K) -> Wanted,
) -> Result<Option<bool>, FinalizerError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let name = object.name_any();
    let mut object = object.clone();
    for _ in 0..ATTEMPTS {
        let finalizers = match wanted(&object) {
            Wanted::Already(is_there) => return Ok(Some(is_there)),
            Wanted::List(finalizers) => finalizers,
        };
        let (version, uid) = (object.resource_version(), object.uid());
        let metadata = json!({"resourceVersion": version, "uid": uid, "finalizers": finalizers});
        let patch = Patch::Merge(json!({"metadata": metadata}));
        match api.patch(&name, &PatchParams::default(), &patch).await {
            Ok(_) => return Ok(Some(true)),
            Err(error) if error::is_not_found(&error) => return Ok(None),
            Err(error) if error::is_conflict(&error) => {}
            Err(source) => {
                return Err(FinalizerError::Write {
                    name,
                    source: Box::new(source),
                });
            }
        }
        match api.get_opt(&name).await {
            Ok(Some(fresh)) if fresh.uid() == object.uid() => object = fresh,
            Ok(_) => return Ok(None),
            Err(source) => {
                return Err(FinalizerError::Read {
                    name,
                    source: Box::new(source),
                });
            }
        }
    }
    Err(FinalizerError::Contended { name })
}

#[cfg(test)]
mod tests;
