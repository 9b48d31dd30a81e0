//! Keeps all objects of one kind in memory and says which of them changed.
//!
//! A [`Watch`] describes what to watch; [`Watch::spawn`] starts it and gives a [`Watched`] to read from. An
//! object that cannot be decoded is logged, counted and left out, or stays as it last was: it never stalls
//! the watch. Lost connections are taken up again with jittered backoff. A watch holds on to the client it
//! was made with: after a change of credentials, cancel it and start a new one.
//!
//! Nothing here decides what a change means.

mod failures;
mod guard;
mod retry;
mod shelves;
mod store;
mod task;

use std::{any::Any, fmt::Debug, sync::Arc, time::Duration};

use futures::future::join_all;
use kube::{
    Api, Client, Resource,
    core::{ApiResource, DynamicObject, NamespaceResourceScope},
    runtime::watcher,
};
use prometheus::{IntCounterVec, IntGaugeVec};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::{Metrics, MetricsError},
    object::{Object, ObjectError, ObjectKey},
    ready::Handle,
};

pub use failures::Failures;
use guard::Guarded;
pub use store::State;
use store::{Held, Store};

/// How often an optional kind that is not installed is looked for.
pub const ABSENT_RETRY: Duration = Duration::from_secs(30);

/// What a watch says happened. It is a hint to look at the store, not the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// This object was made, changed or removed.
    Changed(ObjectKey),
    /// The store is complete for the first time, or the kind turned out to be absent.
    Synced,
}

/// What a watch can hold.
pub trait Watchable:
    Resource<DynamicType: Clone + Send + Sync> + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
}
impl<K> Watchable for K where
    K: Resource<DynamicType: Clone + Send + Sync> + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
}

type Hook = Arc<dyn Fn(&Event) + Send + Sync>;
type Modify<K> = Box<dyn Fn(&mut K) + Send + Sync>;

/// Counts what goes wrong with watches, and how many objects they hold, by kind.
#[derive(Debug, Clone)]
pub struct WatchMetrics {
    errors: IntCounterVec,
    undecodable: IntCounterVec,
    objects: IntGaugeVec,
}

impl WatchMetrics {
    /// Registers `<prefix>_watch_errors_total`, `<prefix>_watch_undecodable_total` and `<prefix>_watch_objects`.
    pub fn new(metrics: &Metrics, prefix: &str) -> Result<Self, MetricsError> {
        let name = |what: &str| format!("{prefix}_watch_{what}");
        Ok(Self {
            errors: metrics.counters(&name("errors_total"), "Failures of lists and watches.", &["kind"])?,
            undecodable: metrics.counters(
                &name("undecodable_total"),
                "Objects received that could not be decoded.",
                &["kind"],
            )?,
            objects: metrics.gauges(&name("objects"), "Objects held in memory.", &["kind"])?,
        })
    }
}

/// Describes a watch; nothing happens before [`Watch::spawn`]. Of a `PartialObjectMeta` only metadata is asked for.
pub struct Watch<K: Resource> {
    api: Api<Guarded<K>>,
    resource: ApiResource,
    config: watcher::Config,
    modify: Option<Modify<K>>,
    hook: Option<Hook>,
    metrics: Option<WatchMetrics>,
    failures: Failures,
    readiness: Option<Handle>,
    absent_retry: Option<Duration>,
}

impl<K: Watchable> Watch<K> {
    /// Watches a kind known at compile time, in all namespaces.
    pub fn all(client: Client) -> Self
    where
        K::DynamicType: Default,
    {
        Self::with_api(
            Api::all(client),
            ApiResource::erase::<K>(&K::DynamicType::default()),
        )
    }

    /// Watches a kind known at compile time, in one namespace.
    pub fn namespaced(client: Client, namespace: &str) -> Self
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Self::with_api(
            Api::namespaced(client, namespace),
            ApiResource::erase::<K>(&K::DynamicType::default()),
        )
    }

    fn with_api(api: Api<Guarded<K>>, resource: ApiResource) -> Self {
        Self {
            api,
            resource,
            config: watcher::Config::default(),
            modify: None,
            hook: None,
            metrics: None,
            failures: Failures::default(),
            readiness: None,
            absent_retry: None,
        }
    }

    /// Selectors, page size and the like.
    #[must_use]
    pub fn config(mut self, config: watcher::Config) -> Self {
        self.config = config;
        self
    }

    /// Changes every object before it is kept, to drop what nobody reads. `managedFields` and kubectl's
    /// last-applied annotation are always dropped.
    #[must_use]
    pub fn modify(mut self, modify: impl Fn(&mut K) + Send + Sync + 'static) -> Self {
        self.modify = Some(Box::new(modify));
        self
    }

    /// Called after the store has changed, from the task of the watch: it must not block.
    #[must_use]
    pub fn on_event(mut self, hook: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// Where failures are counted.
    #[must_use]
    pub fn metrics(mut self, metrics: &WatchMetrics) -> Self {
        self.metrics = Some(metrics.clone());
        self
    }

    /// Logs failures together with the other watches that were given the same.
    #[must_use]
    pub fn failures(mut self, failures: &Failures) -> Self {
        self.failures = failures.clone();
        self
    }

    /// Becomes ready when the store is complete for the first time.
    #[must_use]
    pub fn ready(mut self, handle: Handle) -> Self {
        self.readiness = Some(handle);
        self
    }

    /// The kind may not be installed. While the API server does not know it, the store is empty, counts as
    /// synced with [`State::Absent`], and the kind is looked for again every [`ABSENT_RETRY`].
    #[must_use]
    pub fn optional(self) -> Self {
        self.optional_every(ABSENT_RETRY)
    }

    /// As [`Watch::optional`], looking at another interval.
    #[must_use]
    pub fn optional_every(mut self, retry: Duration) -> Self {
        self.absent_retry = Some(retry);
        self
    }

    /// Starts the watch. It ends when `stop` is cancelled; the store keeps what it had.
    pub fn spawn(mut self, stop: &CancellationToken) -> Watched<K> {
        let store = Arc::new(Store::new(self.modify.take()));
        let watched = Watched {
            store: store.clone(),
            resource: Arc::new(self.resource.clone()),
        };
        tokio::spawn(task::run(self, store, stop.child_token()));
        watched
    }
}

impl Watch<DynamicObject> {
    /// Watches a kind known at run time only, in one namespace or in all.
    pub fn dynamic(client: Client, resource: &ApiResource, namespace: Option<&str>) -> Self {
        let api = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, resource),
            None => Api::all_with(client, resource),
        };
        Self::with_api(api, resource.clone())
    }
}

/// Objects of one namespace, sorted by name. Shared: nothing is copied with it.
pub type List<K> = Arc<Vec<Arc<K>>>;

/// All objects of one kind, as last seen. Cheap to clone.
#[derive(Debug)]
pub struct Watched<K> {
    store: Arc<Store<K>>,
    resource: Arc<ApiResource>,
}

impl<K> Clone for Watched<K> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            resource: self.resource.clone(),
        }
    }
}

impl<K> Watched<K> {
    /// All objects, sorted by namespace and name.
    pub fn snapshot(&self) -> Vec<Arc<K>> {
        self.store.all().into_iter().map(|held| held.object).collect()
    }

    /// The objects of one namespace, sorted by name. Costs what the namespace holds.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.store.list(namespace).to_vec()
    }

    /// The same as one list. It is the very same list again for as long as nothing in the namespace changes.
    pub fn list(&self, namespace: &str) -> List<K> {
        self.store.list(namespace)
    }

    /// One object. The namespace is empty for cluster-scoped kinds.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.store.get(&ObjectKey::new(namespace, name))
    }

    /// The keys of objects that exist but cannot be decoded, sorted. Such an object is either missing from the
    /// snapshot or in it as it was when it could last be read: what was made from it must not be pruned.
    pub fn undecodable(&self) -> Vec<ObjectKey> {
        self.store.undecodable()
    }

    /// Whether the store is complete, absent or still being filled.
    pub fn state(&self) -> State {
        self.store.state()
    }

    /// The kind that is watched.
    pub fn resource(&self) -> &ApiResource {
        &self.resource
    }

    /// Waits until the store is complete, or the kind is known to be absent.
    pub async fn synced(&self) {
        self.store.synced().await;
    }

    /// Waits until the store shows an object that was written, as it was written or later. For ever, if it never
    /// comes: the caller sets a limit.
    pub async fn shown(&self, written: &Object)
    where
        K: Resource,
    {
        if let Some(version) = written.resource_version() {
            self.store.shown(&written.id().key, version).await;
        }
    }

    /// Takes in an object as it came back from a write of our own that was made from the version that is held here,
    /// so that the watch has nothing new to tell when it brings it. What is not there, or is there in a later
    /// version, stays as it is.
    pub fn take_in(&self, written: K)
    where
        K: Resource,
    {
        self.store.advance(self.store.stripped(written));
    }

    /// A store that is filled by hand and never changes, for tests of what reads stores.
    #[cfg(any(test, feature = "test-support"))]
    pub fn fixed(objects: impl IntoIterator<Item = K>, resource: &ApiResource) -> Self
    where
        K: Resource,
    {
        let store = Store::new(None);
        store.replace(
            objects.into_iter().map(Arc::new).collect(),
            std::collections::BTreeSet::new(),
        );
        Self {
            store: Arc::new(store),
            resource: Arc::new(resource.clone()),
        }
    }
}

/// Longest time until a watch shows what was written; longer, and it is not worth waiting.
const SHOWN_LIMIT: std::time::Duration = std::time::Duration::from_secs(1);

/// Waits until watches show what was written, a second at most: a run that begins before would write it again. `shown`
/// ends when they do; see [`Watched::shown`].
pub async fn await_shown<F: Future>(shown: F) {
    if tokio::time::timeout(SHOWN_LIMIT, shown).await.is_err() {
        tracing::warn!("the watches do not show what was written within {SHOWN_LIMIT:?}");
    }
}

impl<K: Resource + serde::Serialize> Watched<K> {
    /// All objects as JSON with their kind, to be compared with what is wanted. Each version of an object is
    /// converted once.
    pub fn objects(&self) -> Result<Vec<Object>, ObjectError> {
        self.to_json(&self.store.all())
    }

    /// The objects of one namespace as JSON with their kind.
    pub fn objects_in(&self, namespace: &str) -> Result<Vec<Object>, ObjectError> {
        self.to_json(&self.store.in_namespace(namespace))
    }

    /// The objects that `is_wanted` picks, as JSON with their kind.
    pub fn objects_where(&self, is_wanted: impl Fn(&K) -> bool) -> Result<Vec<Object>, ObjectError> {
        let mut all = self.store.all();
        all.retain(|held| is_wanted(&held.object));
        self.to_json(&all)
    }

    fn to_json(&self, objects: &[Held<K>]) -> Result<Vec<Object>, ObjectError> {
        let convert = |object: &K| Object::dynamic(object, &self.resource);
        objects.iter().map(|held| held.json(convert)).collect()
    }
}

/// Any store, whatever it holds, seen only for whether it is complete.
pub trait SyncState: Any + Send + Sync {
    /// Whether the store is complete, or its kind known to be absent.
    fn is_synced(&self) -> bool;

    /// The kind, for logs and probes.
    fn kind(&self) -> &str;

    /// Waits until the store is synced.
    fn wait(&self) -> futures::future::BoxFuture<'_, ()>;
}

impl<K: Send + Sync + 'static> SyncState for Watched<K> {
    fn is_synced(&self) -> bool {
        self.state() != State::Pending
    }

    fn kind(&self) -> &str {
        &self.resource.kind
    }

    fn wait(&self) -> futures::future::BoxFuture<'_, ()> {
        Box::pin(self.synced())
    }
}

/// Proof that stores were complete. Pruning asks for it, since what an incomplete store does not show looks as
/// if nobody wanted it.
#[derive(Debug, Clone)]
pub struct Synced(());

impl Synced {
    /// The proof, if every one of the stores is synced.
    pub fn of(stores: &[&dyn SyncState]) -> Option<Self> {
        stores.iter().all(|store| store.is_synced()).then_some(Self(()))
    }

    /// Waits for all of the stores.
    pub async fn wait(stores: &[&dyn SyncState]) -> Self {
        join_all(stores.iter().map(|store| store.wait())).await;
        Self(())
    }

    /// For tests of what asks for the proof.
    #[cfg(any(test, feature = "test-support"))]
    pub fn assumed() -> Self {
        Self(())
    }
}

#[cfg(test)]
mod tests;
