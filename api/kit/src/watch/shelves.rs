//! Objects by namespace and name. A list of a namespace is made once and shared until something in it changes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, OnceLock};

use super::List;
use super::store::Held;
use crate::object::ObjectKey;

/// All of them.
#[derive(Debug)]
pub(super) struct Shelves<K>(BTreeMap<String, Shelf<K>>);

/// Those of one namespace. There is at least one.
#[derive(Debug)]
struct Shelf<K> {
    objects: BTreeMap<String, Held<K>>,
    list: OnceLock<List<K>>,
}

impl<K> Default for Shelves<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            list: OnceLock::new(),
        }
    }
}

impl<K> Shelves<K> {
    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Held<K>> {
        self.0.get(&key.namespace)?.objects.get(&key.name)
    }

    /// Keeps an object in the place of what was there.
    pub(super) fn insert(&mut self, key: ObjectKey, held: Held<K>) {
        let ObjectKey { namespace, name } = key;
        let shelf = self.0.entry(namespace).or_default();
        shelf.list.take();
        shelf.objects.insert(name, held);
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, key: &ObjectKey) -> bool {
        let Entry::Occupied(mut entry) = self.0.entry(key.namespace.clone()) else {
            return false;
        };
        let shelf = entry.get_mut();
        let was_there = shelf.objects.remove(&key.name).is_some();
        if was_there {
            shelf.list.take();
        }
        if shelf.objects.is_empty() {
            entry.remove();
        }
        was_there
    }

    pub(super) fn len(&self) -> usize {
        self.0.values().map(|shelf| shelf.objects.len()).sum()
    }

    /// All of them, by namespace and name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ObjectKey, &Held<K>)> {
        self.0.iter().flat_map(|(namespace, shelf)| {
            let objects = shelf.objects.iter();
            objects.map(move |(name, held)| (ObjectKey::new(namespace, name), held))
        })
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Held<K>> {
        self.0.values().flat_map(|shelf| shelf.objects.values())
    }

    /// Those of one namespace, by name.
    pub(super) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Held<K>> {
        let shelf = self.0.get(namespace).into_iter();
        shelf.flat_map(|shelf| shelf.objects.values())
    }

    /// The same, shared.
    pub(super) fn list(&self, namespace: &str) -> List<K> {
        let Some(Shelf { objects, list }) = self.0.get(namespace) else {
            return List::default();
        };
        let make = || Arc::new(objects.values().map(|held| Arc::clone(&held.object)).collect());
        Arc::clone(list.get_or_init(make))
    }
}

impl<K> FromIterator<(ObjectKey, Held<K>)> for Shelves<K> {
    fn from_iter<I: IntoIterator<Item = (ObjectKey, Held<K>)>>(objects: I) -> Self {
        let mut shelves = Self::default();
        for (key, held) in objects {
            shelves.insert(key, held);
        }
        shelves
    }
}
