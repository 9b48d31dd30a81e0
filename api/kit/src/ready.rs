//! What the process still waits for before it is ready.
//!
//! Readiness means that every store is synced and every listener bound, not that the process is up.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The registry. Cheap to clone; all clones are one registry.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    waiting: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// One thing to wait for. Not ready until [`Handle::ready`] is called; dropping the handle means that the
/// thing is not expected any more.
#[derive(Debug)]
pub struct Handle {
    registry: Readiness,
    name: String,
    is_ready: bool,
}

impl Readiness {
    /// An empty registry, which is ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds something to wait for. Names may repeat; each handle counts.
    pub fn register(&self, name: impl Into<String>) -> Handle {
        let name = name.into();
        self.add(&name);
        Handle {
            registry: self.clone(),
            name,
            is_ready: false,
        }
    }

    /// The names that are still waited for, sorted.
    pub fn waiting(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Whether nothing is waited for.
    pub fn is_ready(&self) -> bool {
        self.lock().is_empty()
    }

    fn add(&self, name: &str) {
        *self.lock().entry(name.to_owned()).or_default() += 1;
    }

    fn remove(&self, name: &str) {
        let mut waiting = self.lock();
        if let Some(count) = waiting.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(name);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// The thing is there.
    pub fn ready(&mut self) {
        if !self.is_ready {
            self.is_ready = true;
            self.registry.remove(&self.name);
        }
    }

    /// The thing went away again.
    pub fn not_ready(&mut self) {
        if self.is_ready {
            self.is_ready = false;
            self.registry.add(&self.name);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.ready();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_by_name_what_is_not_ready_yet() {
        let readiness = Readiness::new();
        let mut routes = readiness.register("store/Route");
        let _lease = readiness.register("lease");
        assert_eq!(readiness.waiting(), ["lease", "store/Route"]);
        routes.ready();
        routes.ready();
        assert_eq!(readiness.waiting(), ["lease"]);
    }

    #[test]
    fn two_handles_of_one_name_both_count() {
        let readiness = Readiness::new();
        let (mut a, mut b) = (readiness.register("store"), readiness.register("store"));
        a.ready();
        assert!(!readiness.is_ready());
        b.ready();
        assert!(readiness.is_ready());
    }

    #[test]
    fn what_goes_away_makes_the_process_unready_again_and_dropping_the_handle_gives_up_on_it() {
        let readiness = Readiness::new();
        let mut hub = readiness.register("hub");
        hub.ready();
        hub.not_ready();
        assert_eq!(readiness.waiting(), ["hub"]);
        drop(hub);
        assert!(readiness.is_ready());
    }
}
