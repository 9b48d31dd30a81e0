//! The current snapshot of each fleet, and how streams learn of a new one.
//!
//! A `watch` channel for each fleet: a slow stream sees the newest snapshot and skips those between, so nothing queues
//! and nothing lags. "No snapshot" is a state of its own; it means "not known yet" and makes streams wait.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use crate::snapshot::{Inconsistency, Snapshot};

/// Which fleet of Envoys: a tenant's namespace, `<namespace>/<load balancer>`, or one name for all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FleetKey(String);

/// A fleet key that could not have been given to anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a fleet key")]
pub struct InvalidFleetKey(String);

impl FleetKey {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FleetKey {
    type Err = InvalidFleetKey;

    /// One or two Kubernetes names joined by `/`. Strict, as the text comes from a certificate.
    fn from_str(text: &str) -> Result<Self, InvalidFleetKey> {
        let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'.';
        let name = |part: &str| !part.is_empty() && part.len() <= 253 && part.bytes().all(legal);
        let parts: Vec<&str> = text.split('/').collect();
        if parts.len() <= 2 && parts.into_iter().all(name) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidFleetKey(text.to_owned()))
        }
    }
}

impl fmt::Display for FleetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A snapshot and when it became the current one.
#[derive(Debug, Clone)]
pub struct Published {
    /// What to serve.
    pub snapshot: Arc<Snapshot>,
    /// Since when.
    pub since: Instant,
}

type Slot = watch::Sender<Option<Published>>;

/// The current snapshot of each fleet. Cheap to clone; all clones are one cache.
#[derive(Debug, Clone, Default)]
pub struct Cache {
    fleets: Arc<Mutex<BTreeMap<FleetKey, Slot>>>,
}

impl Cache {
    /// A cache in which nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `snapshot` the current one of `fleet`. Returns whether that changed anything; if not, nobody is woken.
    /// An inconsistent snapshot is refused and the current one stays.
    ///
    /// The caller must have everything at hand that belongs into the snapshot: what is missing in it is taken away
    /// from running Envoys.
    pub fn set(&self, fleet: &FleetKey, snapshot: Snapshot) -> Result<bool, Inconsistency> {
        let mut fleets = self.lock();
        let slot = fleets
            .entry(fleet.clone())
            .or_insert_with(|| watch::Sender::new(None));
        match &*slot.borrow() {
            Some(current) => snapshot.consistent_since(&current.snapshot)?,
            None => snapshot.consistent()?,
        }
        Ok(slot.send_if_modified(|current| {
            let changed = current
                .as_ref()
                .is_none_or(|current| *current.snapshot != snapshot);
            if changed {
                *current = Some(Published {
                    snapshot: Arc::new(snapshot),
                    since: Instant::now(),
                });
            }
            changed
        }))
    }

    /// Forgets a fleet. Its Envoys are told nothing and keep what they have. To take configuration away, set an empty
    /// snapshot.
    pub fn remove(&self, fleet: &FleetKey) {
        let mut fleets = self.lock();
        if let Some(slot) = fleets.remove(fleet) {
            slot.send_replace(None);
            // Streams that are still open hold receivers of this slot; keep it, or they would miss a later `set`.
            if slot.receiver_count() > 0 {
                fleets.insert(fleet.clone(), slot);
            }
        }
    }

    /// What `fleet` is served now.
    pub fn get(&self, fleet: &FleetKey) -> Option<Arc<Snapshot>> {
        self.lock()
            .get(fleet)
            .and_then(|slot| Some(slot.borrow().as_ref()?.snapshot.clone()))
    }

    /// Follows the snapshots of `fleet`.
    pub fn subscribe(&self, fleet: &FleetKey) -> watch::Receiver<Option<Published>> {
        let mut fleets = self.lock();
        // Slots that only closed streams of unknown fleets have left behind.
        fleets.retain(|_, slot| slot.receiver_count() > 0 || slot.borrow().is_some());
        fleets
            .entry(fleet.clone())
            .or_insert_with(|| watch::Sender::new(None))
            .subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<FleetKey, Slot>> {
        // Nothing in here panics while it holds the lock; and if it did, the map would still be whole.
        self.fleets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Frontend, LoadBalancerId};
    use crate::translate::{Settings, translate};

    fn fleet(key: &str) -> FleetKey {
        key.parse().unwrap()
    }

    fn snapshot(name: &str) -> Snapshot {
        let id = LoadBalancerId::new("tenant-a", name).unwrap();
        translate(
            &[Frontend {
                id,
                generation: 1,
                listeners: vec![],
            }],
            &Settings::default(),
        )
        .snapshot
    }

    #[test]
    fn setting_the_same_snapshot_again_wakes_nobody() {
        let cache = Cache::new();
        let mut updates = cache.subscribe(&fleet("tenant-a"));
        assert!(cache.set(&fleet("tenant-a"), snapshot("web")).unwrap());
        assert!(updates.has_changed().unwrap());
        updates.mark_unchanged();
        assert!(!cache.set(&fleet("tenant-a"), snapshot("web")).unwrap());
        assert!(!updates.has_changed().unwrap());
    }

    #[test]
    fn a_stream_that_outlives_its_fleet_sees_it_come_back() {
        let cache = Cache::new();
        let updates = cache.subscribe(&fleet("tenant-a"));
        cache.set(&fleet("tenant-a"), snapshot("web")).unwrap();
        cache.remove(&fleet("tenant-a"));
        assert!(updates.borrow().is_none());
        assert!(cache.set(&fleet("tenant-a"), snapshot("web")).unwrap());
        assert!(updates.borrow().is_some());
    }

    #[test]
    fn fleet_keys_are_one_or_two_names() {
        for key in ["tenant-a", "tenant-a/web.1"] {
            assert!(key.parse::<FleetKey>().is_ok(), "{key}");
        }
        for key in ["", "/", "a/", "/a", "a/b/c", "A", "a%2fb", "a b", "*"] {
            assert!(key.parse::<FleetKey>().is_err(), "{key}");
        }
    }
}
