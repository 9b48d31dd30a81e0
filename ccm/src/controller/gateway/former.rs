//! Reads who wrote the status of Gateways and ListenerSets that are not ours, to find what we left there.
//!
//! Watches do not keep `managedFields`. They are read once for each such object: of one in which nothing is ours
//! nothing can become ours, unless the object does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use gateway_semantics::{ObjectRef, Snapshot, StatusWriters, possibly_former};
use kube::Api;
use kube::core::DynamicObject;

use super::GatewayApi;
use crate::FIELD_MANAGER;
use crate::hub::fault::chain;

/// How many objects are read at the same time.
const READS: usize = 8;

/// What was read, by UID.
#[derive(Debug, Default)]
pub struct Writers {
    known: Mutex<BTreeMap<String, StatusWriters>>,
}

impl Writers {
    /// Forgets all but `objects`, and gives those that are to be read.
    fn to_read<'a>(
        &self,
        objects: &'a [ObjectRef],
        version_of: impl Fn(&ObjectRef) -> Option<String>,
    ) -> Vec<&'a ObjectRef> {
        let uids: BTreeSet<&str> = objects.iter().map(|object| object.uid.as_str()).collect();
        let mut known = self.lock();
        known.retain(|uid, _| uids.contains(uid.as_str()));
        let is_stale = |object: &&ObjectRef| {
            known.get(&object.uid).is_none_or(|writers| {
                !writers.is_foreign() && Some(&writers.resource_version) != version_of(object).as_ref()
            })
        };
        objects.iter().filter(is_stale).collect()
    }

    fn keep(&self, writers: StatusWriters) {
        self.lock().insert(writers.uid.clone(), writers);
    }

    fn ours(&self) -> Vec<StatusWriters> {
        let known = self.lock();
        known
            .values()
            .filter(|writers| !writers.is_foreign())
            .cloned()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, StatusWriters>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GatewayApi {
    /// Puts into the snapshot who wrote the status of what may have been ours. True if something could not be read:
    /// it is left as it is, and nothing else waits for it.
    pub(super) async fn read_writers(&self, snapshot: &mut Snapshot) -> bool {
        let objects = possibly_former(snapshot, &self.settings);
        let version_of = |object: &ObjectRef| {
            let store = self.stores.of_kind(object.kind);
            store
                .get(&object.namespace, &object.name)?
                .metadata
                .resource_version
                .clone()
        };
        // Collected first: a future that holds a lazy closure over references is not `Send` for callers.
        let mut reads = Vec::new();
        for object in self.writers.to_read(&objects, version_of) {
            reads.push(self.read_writer(object));
        }
        let results: Vec<bool> = futures::stream::iter(reads).buffered(READS).collect().await;
        snapshot.status_writers = self.writers.ours();
        results.contains(&false)
    }

    async fn read_writer(&self, object: &ObjectRef) -> bool {
        let resource = self.stores.of_kind(object.kind).resource();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.context.tenant.clone(), &object.namespace, resource);
        match api.get_metadata_opt(&object.name).await {
            Ok(Some(found)) => {
                let entries = found.metadata.managed_fields.unwrap_or_default();
                let version = found.metadata.resource_version.unwrap_or_default();
                self.writers
                    .keep(StatusWriters::new(&object.uid, &version, &entries, FIELD_MANAGER));
                true
            }
            Ok(None) => true,
            Err(error) => {
                let (kind, namespace, name) = (object.kind.as_str(), &object.namespace, &object.name);
                tracing::warn!(
                    kind,
                    namespace,
                    name,
                    error = chain(&error),
                    "it cannot be read who wrote the status of an object that may have been ours"
                );
                false
            }
        }
    }
}
