//! Keeps for a while what is not wanted any more.
//!
//! Who uses an object learns later than we do that it is not to be used any more: a proxy has its configuration
//! until the next one has reached it. Says only when; what is unwanted is decided in [`crate::diff::plan`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    object::{Object, ObjectId},
    patience::remaining,
};

/// Remembers since when objects are unwanted. A process that starts anew waits anew.
#[derive(Debug)]
pub struct Linger {
    period: Duration,
    unwanted: Mutex<BTreeMap<ObjectId, Instant>>,
}

impl Linger {
    /// Objects stay for `period` after the first plan that deletes them.
    pub fn new(period: Duration) -> Self {
        Self {
            period,
            unwanted: Mutex::default(),
        }
    }

    /// Takes out of `deletions` what `lingers` and has not been unwanted for the whole period, without a break.
    /// Says how long until the next of them is due.
    ///
    /// `in_scope` is true for all objects that the plan is about: what of those it does not delete is wanted.
    pub fn hold_back(
        &self,
        deletions: &mut Vec<Object>,
        in_scope: impl Fn(&ObjectId) -> bool,
        lingers: impl Fn(&Object) -> bool,
        now: Instant,
    ) -> Option<Duration> {
        let mut unwanted = self.unwanted.lock().unwrap_or_else(PoisonError::into_inner);
        let listed: BTreeSet<&ObjectId> = deletions.iter().map(Object::id).collect();
        unwanted.retain(|id, _| !in_scope(id) || listed.contains(id));
        let mut next: Option<Duration> = None;
        deletions.retain(|object| {
            if !lingers(object) {
                return true;
            }
            let since = *unwanted.entry(object.id().clone()).or_insert(now);
            let left = remaining(since, self.period, now);
            next = next.into_iter().chain(left).min();
            left.is_none()
        });
        next
    }

    /// Forgets everything: it is not known what is wanted.
    pub fn forget(&self) {
        self.unwanted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

#[cfg(test)]
mod tests {
    use kube::core::ApiResource;
    use serde_json::json;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    fn service(name: &str) -> Object {
        let value =
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "a", "name": name}});
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&());
        Object::from_value(value, &resource).unwrap()
    }

    fn left(linger: &Linger, names: &[&str], now: Instant) -> (Vec<String>, Option<Duration>) {
        let mut deletions: Vec<_> = names.iter().map(|name| service(name)).collect();
        let next = linger.hold_back(
            &mut deletions,
            |id| id.key.namespace == "a",
            |object| object.id().key.name != "at-once",
            now,
        );
        (
            deletions
                .iter()
                .map(|object| object.id().key.name.clone())
                .collect(),
            next,
        )
    }

    #[test]
    fn what_lingers_goes_when_it_was_unwanted_for_the_whole_period() {
        let (linger, start) = (Linger::new(PERIOD), Instant::now());
        let none = Vec::<String>::new();
        assert_eq!(left(&linger, &["old"], start), (none.clone(), Some(PERIOD)));
        assert_eq!(
            left(&linger, &["old"], start + PERIOD / 2),
            (none, Some(PERIOD / 2))
        );
        assert_eq!(
            left(&linger, &["old"], start + PERIOD),
            (vec!["old".to_owned()], None)
        );
    }

    #[test]
    fn what_is_wanted_again_begins_anew() {
        let (linger, start) = (Linger::new(PERIOD), Instant::now());
        left(&linger, &["old"], start);
        left(&linger, &[], start + PERIOD / 2);
        assert_eq!(left(&linger, &["old"], start + PERIOD).1, Some(PERIOD));
    }

    #[test]
    fn what_does_not_linger_goes_at_once_and_the_next_is_the_soonest() {
        let (linger, start) = (Linger::new(PERIOD), Instant::now());
        left(&linger, &["old"], start);
        let (gone, next) = left(&linger, &["old", "at-once", "new"], start + PERIOD / 2);
        assert_eq!((gone, next), (vec!["at-once".to_owned()], Some(PERIOD / 2)));
    }
}
