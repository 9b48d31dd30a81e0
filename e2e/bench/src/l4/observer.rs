//! Follows the LoadBalancers of a hub as anybody can: when a change was seen, when it was programmed, what has an
//! address. What the API server itself takes from a write until others see it is known from here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Result;
use futures::StreamExt;
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use super::objects::load_balancers;
use super::task::Task;

/// A generation of a LoadBalancer: namespace, name, number.
pub type Generation = (String, String, i64);

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// When a generation was first seen.
    pub changed: HashMap<Generation, Instant>,
    /// When a generation was first seen programmed.
    pub programmed: HashMap<Generation, Instant>,
    /// By namespace and name: whether it has an address.
    addressed: HashMap<(String, String), bool>,
}

impl Seen {
    /// How many LoadBalancers have an address.
    #[must_use]
    pub fn with_address(&self) -> usize {
        self.addressed.values().filter(|has| **has).count()
    }

    fn see(&mut self, object: &DynamicObject, at: Instant) {
        let namespace = object.namespace().unwrap_or_default();
        let name = object.name_any();
        let status = &object.data["status"];
        let has_address = status["loadBalancer"]["ingress"]
            .as_array()
            .is_some_and(|ingress| !ingress.is_empty());
        self.addressed
            .insert((namespace.clone(), name.clone()), has_address);
        let generation = object.metadata.generation.unwrap_or_default();
        let key = (namespace, name, generation);
        if is_programmed(status, generation) {
            self.programmed.entry(key.clone()).or_insert(at);
        }
        self.changed.entry(key).or_insert(at);
    }

    fn forget(&mut self, object: &DynamicObject) {
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        self.addressed.remove(&key);
    }
}

fn is_programmed(status: &Value, generation: i64) -> bool {
    status["conditions"].as_array().is_some_and(|conditions| {
        conditions.iter().any(|c| {
            c["type"] == "Programmed" && c["status"] == "True" && c["observedGeneration"] == generation
        })
    })
}

/// The watch. Dropped, it ends.
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    _watch: Task,
}

impl Observer {
    /// Begins to follow.
    #[must_use]
    pub fn begin(client: &Client) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &load_balancers());
        let all = Arc::clone(&seen);
        let watch = Task::begin(async move {
            let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
            while let Some(event) = events.next().await {
                let at = Instant::now();
                let mut seen = all.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                        seen.see(&object, at);
                    }
                    Ok(watcher::Event::Delete(object)) => seen.forget(&object),
                    // It is tried again.
                    Ok(watcher::Event::Init | watcher::Event::InitDone) | Err(_) => {}
                }
            }
        });
        Self { seen, _watch: watch }
    }

    /// What was seen so far. Not to be held while waiting for anything.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what was seen until it says something.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn until<T>(&self, what: &str, mut look: impl FnMut(&Seen) -> Option<T>) -> Result<T> {
        super::wait::until(what, super::wait::Beat::Quick, async || Ok(look(&self.seen()))).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn load_balancer(generation: i64, status: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "tenant-a", "generation": generation}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn only_this_generation_counts_as_programmed() {
        let status =
            json!({"conditions": [{"type": "Programmed", "status": "True", "observedGeneration": 1}]});
        let mut seen = Seen::default();
        let at = Instant::now();
        seen.see(&load_balancer(2, status.clone()), at);
        assert_eq!((seen.changed.len(), seen.programmed.len()), (1, 0));
        seen.see(&load_balancer(1, status), at);
        assert_eq!((seen.changed.len(), seen.programmed.len()), (2, 1));
    }

    #[test]
    fn addresses_are_counted_while_their_load_balancers_are_there() {
        let mut seen = Seen::default();
        let with = load_balancer(1, json!({"loadBalancer": {"ingress": [{"ip": "198.18.0.1"}]}}));
        seen.see(&with, Instant::now());
        assert_eq!(seen.with_address(), 1);
        seen.see(&load_balancer(1, json!({})), Instant::now());
        assert_eq!(seen.with_address(), 0);
        seen.see(&with, Instant::now());
        seen.forget(&with);
        assert_eq!(seen.with_address(), 0);
    }
}
