//! What a controller remembers of each tenant namespace from run to run. What it means is none of this module's
//! business.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something for each namespace. It is taken out while it is used, so that no tenant waits for another one.
#[derive(Debug)]
pub struct ByNamespace<T>(Mutex<BTreeMap<String, T>>);

impl<T> Default for ByNamespace<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default> ByNamespace<T> {
    /// What was put there, or nothing. What is not put back is forgotten.
    pub fn take(&self, namespace: &str) -> T {
        self.lock().remove(namespace).unwrap_or_default()
    }

    /// What was put there, or nothing, to be looked at.
    pub fn get(&self, namespace: &str) -> T
    where
        T: Clone,
    {
        self.lock().get(namespace).cloned().unwrap_or_default()
    }

    /// Keeps it for the next run.
    pub fn put(&self, namespace: &str, remembered: T) {
        self.lock().insert(namespace.to_owned(), remembered);
    }

    /// Whether nothing is remembered of anybody.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
