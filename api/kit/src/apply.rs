//! Writes objects: server-side apply, and the execution of a [`Plan`].
//!
//! The only writer of whole objects. It decides nothing: what to write comes from [`crate::diff::plan`]. One
//! object that is refused does not keep the others from being written.

use futures::StreamExt;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    core::DynamicObject,
};
use serde_json::Value;

use crate::{
    diff::{Change, Plan, with_hash},
    error::{self, ReconcileError},
    object::{Object, ObjectError, ObjectId, compare_in_order},
    watch::Synced,
};

/// Writing or deleting an object failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server refused the object or could not be reached.
    #[error("cannot apply {id}")]
    Apply {
        /// Which object.
        id: ObjectId,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The object could not be looked up before it was made.
    #[error("cannot look up {id}")]
    Get {
        /// Which object.
        id: ObjectId,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The object could not be deleted.
    #[error("cannot delete {id}")]
    Delete {
        /// Which object.
        id: ObjectId,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// What came back is no object.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

impl ApplyError {
    fn cause(&self) -> Option<&kube::Error> {
        match self {
            Self::Apply { source, .. } | Self::Get { source, .. } | Self::Delete { source, .. } => {
                Some(source)
            }
            Self::Object(_) => None,
        }
    }

    /// Whether the same request may succeed in a moment.
    pub fn is_transient(&self) -> bool {
        self.cause().is_some_and(error::is_transient)
    }
}

impl ReconcileError for ApplyError {
    fn reason(&self) -> &'static str {
        self.cause().map_or("InvalidObject", ReconcileError::reason)
    }

    /// What the API server refuses today it may take tomorrow: policies and quotas change without an event.
    fn is_retryable(&self) -> bool {
        self.cause().is_some()
    }
}

/// Makes the object what `desired` says, whoever set its fields before, and returns it as it is now.
///
/// The hash annotation is added. Does not look at what exists: see [`Applier`] for that.
pub async fn apply(client: &Client, field_manager: &str, desired: &Object) -> Result<Object, ApplyError> {
    patch(client, field_manager, desired, with_hash(desired.value())).await
}

async fn patch(
    client: &Client,
    field_manager: &str,
    desired: &Object,
    body: Value,
) -> Result<Object, ApplyError> {
    let id = desired.id();
    let params = PatchParams::apply(field_manager).force();
    let applied = api(client, desired)
        .patch(&id.key.name, &params, &Patch::Apply(body))
        .await
        .map_err(|source| ApplyError::Apply {
            id: id.clone(),
            source: Box::new(source),
        })?;
    Ok(Object::dynamic(&applied, desired.resource())?)
}

/// Deletes the object if it is still the same one. That it is gone already is success.
pub async fn delete(client: &Client, object: &Object) -> Result<(), ApplyError> {
    let id = object.id();
    let mut params = DeleteParams::background();
    if let Some(uid) = object.uid() {
        params = params.preconditions(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        });
    }
    match api(client, object).delete(&id.key.name, &params).await {
        Ok(_) => Ok(()),
        Err(error) if error::is_not_found(&error) => Ok(()),
        // The uid is another one by now: ours is gone.
        Err(error) if error::is_conflict(&error) && object.uid().is_some() => Ok(()),
        Err(source) => Err(ApplyError::Delete {
            id: id.clone(),
            source: Box::new(source),
        }),
    }
}

fn api(client: &Client, object: &Object) -> Api<DynamicObject> {
    match object.id().key.namespace.as_str() {
        "" => Api::all_with(client.clone(), object.resource()),
        namespace => Api::namespaced_with(client.clone(), namespace, object.resource()),
    }
}

/// What the execution of a plan did.
#[derive(Debug, Default)]
pub struct Report {
    /// Written, as they are now.
    pub applied: Vec<Object>,
    /// Deleted.
    pub deleted: Vec<ObjectId>,
    /// Found to exist and not to be ours when they should have been made.
    pub foreign: Vec<ObjectId>,
    /// Not deleted, since a write before them failed for a moment; they are left to the retry.
    pub held: Vec<ObjectId>,
    /// What went wrong, each with the object.
    pub failed: Vec<ApplyError>,
}

impl Report {
    /// The first failure, for a driver that shall try again; transient ones before permanent ones.
    pub fn into_result(mut self) -> Result<Self, ApplyError> {
        let transient = self.failed.iter().position(ApplyError::is_transient);
        match transient.or_else(|| (!self.failed.is_empty()).then_some(0)) {
            Some(index) => Err(self.failed.swap_remove(index)),
            None => Ok(self),
        }
    }
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        let Self {
            applied,
            deleted,
            foreign,
            held,
            failed,
        } = other;
        self.applied.extend(applied);
        self.deleted.extend(deleted);
        self.foreign.extend(foreign);
        self.held.extend(held);
        self.failed.extend(failed);
    }
}

/// Executes plans for one field manager.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    field_manager: String,
    order: Vec<&'static str>,
    concurrency: usize,
    seen: Seen,
}

/// Of which kinds plans are made over all objects, not over our own alone.
#[derive(Clone)]
enum Seen {
    All,
    Kinds(Vec<&'static str>),
}

impl Seen {
    fn includes(&self, kind: &str) -> bool {
        match self {
            Self::All => true,
            Self::Kinds(kinds) => kinds.contains(&kind),
        }
    }
}

impl Applier {
    /// `order` names kinds: they are written in that order and deleted in reverse; others come last.
    pub fn new(client: Client, field_manager: impl Into<String>, order: &[&'static str]) -> Self {
        Self {
            client,
            field_manager: field_manager.into(),
            order: order.to_vec(),
            concurrency: 8,
            seen: Seen::Kinds(Vec::new()),
        }
    }

    /// Plans are made over all objects of their kinds, not over our own alone: what they say is to be made is not
    /// looked up first.
    #[must_use]
    pub fn sees_all(mut self) -> Self {
        self.seen = Seen::All;
        self
    }

    /// As [`Applier::sees_all`], but for these kinds only.
    #[must_use]
    pub fn sees_all_of(mut self, kinds: impl IntoIterator<Item = &'static str>) -> Self {
        self.seen = Seen::Kinds(kinds.into_iter().collect());
        self
    }

    /// How many objects of one kind are written at the same time; 8 unless told.
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency.max(1);
        self
    }

    /// Writes only. Without a look at what is to be deleted: see [`Applier::execute`].
    pub async fn write_all(&self, changes: Vec<Change>, is_ours: impl Fn(&Object) -> bool + Sync) -> Report {
        let mut report = Report::default();
        self.apply_all(changes, &is_ours, &mut report).await;
        report
    }

    /// Writes, then deletes. Without `synced` nothing is deleted: a store that is not complete yet would make
    /// everything it does not show look unwanted.
    ///
    /// An object that should be made is looked up first, unless plans see all objects: `is_ours` decides, as in
    /// the plan, whether one that turns out to exist may be written. Deletions are held back while a write fails
    /// for a transient reason, so that a replacement that could not be made does not cost what it replaces.
    pub async fn execute(
        &self,
        plan: Plan,
        synced: Option<&Synced>,
        is_ours: impl Fn(&Object) -> bool + Sync,
    ) -> Report {
        let mut report = Report::default();
        self.apply_all(plan.apply, &is_ours, &mut report).await;
        if synced.is_some() {
            self.delete_all(plan.delete, &mut report).await;
        }
        report
    }

    async fn apply_all(
        &self,
        mut changes: Vec<Change>,
        is_ours: &(impl Fn(&Object) -> bool + Sync),
        report: &mut Report,
    ) {
        changes.sort_by(|a, b| compare_in_order(&self.order, a.desired.id(), b.desired.id()));
        for group in changes.chunk_by(|a, b| a.desired.id().kind == b.desired.id().kind) {
            // Collected first: a future that holds a lazy closure over references is not `Send` for callers.
            let mut writes = Vec::with_capacity(group.len());
            for change in group {
                writes.push(self.write(change, is_ours));
            }
            let results: Vec<_> = futures::stream::iter(writes)
                .buffered(self.concurrency)
                .collect()
                .await;
            for (change, result) in group.iter().zip(results) {
                match result {
                    Ok(Some(object)) => report.applied.push(object),
                    Ok(None) => report.foreign.push(change.desired.id().clone()),
                    Err(error) => report.failed.push(error),
                }
            }
        }
    }

    /// None if the object exists and is not ours.
    async fn write(
        &self,
        change: &Change,
        is_ours: &(impl Fn(&Object) -> bool + Sync),
    ) -> Result<Option<Object>, ApplyError> {
        let desired = &change.desired;
        let uid = match &change.replaces {
            Some(uid) => Some(uid.clone()),
            None if self.seen.includes(&desired.id().kind) => None,
            None => match self.look_up(desired).await? {
                Some(found) if !is_ours(&found) => return Ok(None),
                Some(found) => found.uid().map(str::to_owned),
                None => None,
            },
        };
        let mut body = with_hash(desired.value());
        // With a uid the server refuses to write to an object that took the name in the meantime.
        if let (Some(uid), Some(metadata)) = (uid, body.get_mut("metadata").and_then(Value::as_object_mut)) {
            metadata.insert("uid".into(), uid.into());
        }
        patch(&self.client, &self.field_manager, desired, body)
            .await
            .map(Some)
    }

    async fn look_up(&self, desired: &Object) -> Result<Option<Object>, ApplyError> {
        let id = desired.id();
        let found = api(&self.client, desired)
            .get_opt(&id.key.name)
            .await
            .map_err(|source| ApplyError::Get {
                id: id.clone(),
                source: Box::new(source),
            })?;
        Ok(found
            .map(|object| Object::dynamic(&object, desired.resource()))
            .transpose()?)
    }

    async fn delete_all(&self, mut objects: Vec<Object>, report: &mut Report) {
        objects.sort_by(|a, b| compare_in_order(&self.order, b.id(), a.id()));
        if report.failed.iter().any(ApplyError::is_transient) {
            report.held = objects.iter().map(|object| object.id().clone()).collect();
            return;
        }
        for group in objects.chunk_by(|a, b| a.id().kind == b.id().kind) {
            // Collected first, as above.
            let mut deletions = Vec::with_capacity(group.len());
            for object in group {
                deletions.push(delete(&self.client, object));
            }
            let results: Vec<_> = futures::stream::iter(deletions)
                .buffered(self.concurrency)
                .collect()
                .await;
            for (object, result) in group.iter().zip(results) {
                match result {
                    Ok(()) => report.deleted.push(object.id().clone()),
                    Err(error) => report.failed.push(error),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
