//! The memory of a watch: sorted, and replaced as a whole after a relist.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use kube::Resource;
use tokio::sync::watch;

use super::shelves::Shelves;
use super::{List, Modify};
use crate::object::{Object, ObjectKey};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// How far a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The first list is not complete.
    Pending,
    /// Complete. Stays so while a connection is lost: the content is then as last seen.
    Synced,
    /// The API server does not know the kind; the store is empty.
    Absent,
}

/// An object, and the same as JSON once somebody has asked for that.
#[derive(Debug)]
pub(super) struct Held<K> {
    pub object: Arc<K>,
    json: Arc<OnceLock<Object>>,
}

impl<K> Held<K> {
    fn new(object: Arc<K>) -> Self {
        Self {
            object,
            json: Arc::default(),
        }
    }

    /// The object as JSON, made by `convert` the first time.
    pub fn json<E>(&self, convert: impl FnOnce(&K) -> Result<Object, E>) -> Result<Object, E> {
        if let Some(json) = self.json.get() {
            return Ok(json.clone());
        }
        let json = convert(&self.object)?;
        Ok(self.json.get_or_init(|| json).clone())
    }
}

impl<K> Clone for Held<K> {
    fn clone(&self) -> Self {
        Self {
            object: self.object.clone(),
            json: self.json.clone(),
        }
    }
}

#[derive(Debug)]
struct Content<K> {
    objects: Shelves<K>,
    undecodable: BTreeSet<ObjectKey>,
}

pub(super) struct Store<K> {
    content: RwLock<Content<K>>,
    modify: Option<Modify<K>>,
    state: watch::Sender<State>,
    /// Told of every insertion.
    inserted: watch::Sender<()>,
}

impl<K> fmt::Debug for Store<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

impl<K> Store<K> {
    /// `modify` changes every object before it is kept.
    pub(super) fn new(modify: Option<Modify<K>>) -> Self {
        let content = Content {
            objects: Shelves::default(),
            undecodable: BTreeSet::new(),
        };
        Self {
            content: RwLock::new(content),
            modify,
            state: watch::Sender::new(State::Pending),
            inserted: watch::Sender::new(()),
        }
    }

    pub(super) fn all(&self) -> Vec<Held<K>> {
        self.read().objects.values().cloned().collect()
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> Vec<Held<K>> {
        self.read().objects.in_namespace(namespace).cloned().collect()
    }

    pub(super) fn list(&self, namespace: &str) -> List<K> {
        self.read().objects.list(namespace)
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read().objects.get(key).map(|held| held.object.clone())
    }

    /// Waits until the store has the object, in this version or a later one.
    pub(super) async fn shown(&self, key: &ObjectKey, version: &str)
    where
        K: Resource,
    {
        let mut inserted = self.inserted.subscribe();
        let is_shown = |object: Arc<K>| {
            let shown = object.meta().resource_version.as_deref();
            shown.is_some_and(|shown| !is_older(shown, version))
        };
        while !self.get(key).is_some_and(is_shown) {
            // The sender lives as long as the store.
            if inserted.changed().await.is_err() {
                return;
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.read().objects.len()
    }

    pub(super) fn undecodable(&self) -> Vec<ObjectKey> {
        self.read().undecodable.iter().cloned().collect()
    }

    pub(super) fn state(&self) -> State {
        *self.state.borrow()
    }

    pub(super) async fn synced(&self) {
        // The sender lives as long as the store, so this cannot fail while `self` is borrowed.
        let _ = self
            .state
            .subscribe()
            .wait_for(|state| *state != State::Pending)
            .await;
    }

    /// Sets the state and says whether it was another one.
    pub(super) fn set_state(&self, state: State) -> bool {
        self.state
            .send_if_modified(|old| std::mem::replace(old, state) != state)
    }

    /// Keeps an object, and says whether that changed anything.
    pub(super) fn insert(&self, key: ObjectKey, object: Arc<K>) -> bool
    where
        K: Resource,
    {
        let mut content = self.write();
        let was_undecodable = content.undecodable.remove(&key);
        let old = content.objects.get(&key);
        let is_same = old.is_some_and(|old| same_version(old.object.as_ref(), object.as_ref()));
        // What is the same keeps its JSON.
        if !is_same {
            content.objects.insert(key, Held::new(object));
        }
        drop(content);
        self.inserted.send_replace(());
        was_undecodable || !is_same
    }

    /// What is kept of an object.
    pub(super) fn stripped(&self, mut object: K) -> Arc<K>
    where
        K: Resource,
    {
        let meta = object.meta_mut();
        meta.managed_fields = None;
        if let Some(annotations) = &mut meta.annotations {
            annotations.remove(LAST_APPLIED);
        }
        if let Some(modify) = &self.modify {
            modify(&mut object);
        }
        Arc::new(object)
    }

    /// Keeps a later version of an object that is there already.
    pub(super) fn advance(&self, object: Arc<K>)
    where
        K: Resource,
    {
        let key = ObjectKey::of(object.as_ref());
        let is_later = |old: &K| {
            let (old, new) = (old.meta(), object.meta());
            let versions = (old.resource_version.as_deref(), new.resource_version.as_deref());
            old.uid == new.uid && matches!(versions, (Some(old), Some(new)) if is_older(old, new))
        };
        let mut content = self.write();
        let held = content.objects.get(&key);
        if !held.is_some_and(|held| is_later(&held.object)) {
            return;
        }
        content.objects.insert(key, Held::new(object));
        drop(content);
        self.inserted.send_replace(());
    }

    pub(super) fn remove(&self, key: &ObjectKey) -> bool {
        let mut content = self.write();
        let was_undecodable = content.undecodable.remove(key);
        content.objects.remove(key) || was_undecodable
    }

    /// The object exists but cannot be read; what was read before stays.
    pub(super) fn mark_undecodable(&self, key: ObjectKey) {
        self.write().undecodable.insert(key);
    }

    /// Everything anew after a relist. Returns the keys of what differs, sorted.
    pub(super) fn replace(&self, fresh: Vec<Arc<K>>, undecodable: BTreeSet<ObjectKey>) -> Vec<ObjectKey>
    where
        K: Resource,
    {
        let mut content = self.write();
        let mut fresh: Shelves<_> = fresh
            .into_iter()
            .map(|object| {
                let key = ObjectKey::of(object.as_ref());
                let old = content.objects.get(&key);
                let same = old.filter(|old| same_version(old.object.as_ref(), object.as_ref()));
                let held = same.cloned().unwrap_or_else(|| Held::new(object));
                (key, held)
            })
            .collect();
        for key in &undecodable {
            if let Some(old) = content.objects.get(key) {
                fresh.insert(key.clone(), old.clone());
            }
        }
        let changed = differences(&content.objects, &fresh);
        content.objects = fresh;
        content.undecodable = undecodable;
        drop(content);
        self.set_state(State::Synced);
        self.inserted.send_replace(());
        changed
    }

    /// The kind is gone. Returns the keys of what was there.
    pub(super) fn clear(&self) -> Vec<ObjectKey> {
        let mut content = self.write();
        content.undecodable.clear();
        let gone = std::mem::take(&mut content.objects);
        gone.iter().map(|(key, _)| key).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Content<K>> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content<K>> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn differences<K: Resource>(old: &Shelves<K>, new: &Shelves<K>) -> Vec<ObjectKey> {
    let gone = old.iter().filter(|(key, _)| new.get(key).is_none());
    let other = new.iter().filter(|(key, new)| {
        !old.get(key)
            .is_some_and(|old| same_version(old.object.as_ref(), new.object.as_ref()))
    });
    let keys: BTreeSet<_> = gone.chain(other).map(|(key, _)| key).collect();
    keys.into_iter().collect()
}

/// Versions of one kind are numbers that grow. What is no number is taken for another version, not an older one.
fn is_older(a: &str, b: &str) -> bool {
    matches!((a.parse::<u128>(), b.parse::<u128>()), (Ok(a), Ok(b)) if a < b)
}

/// The same content, as far as the API server says so.
fn same_version<K: Resource>(a: &K, b: &K) -> bool {
    let (a, b) = (a.meta(), b.meta());
    a.resource_version.is_some() && a.resource_version == b.resource_version && a.uid == b.uid
}
