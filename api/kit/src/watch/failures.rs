//! When a failure of a watch is worth a line in the log: the first of its cause, and then one a minute with the
//! number of those since. They are all counted elsewhere.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::runtime::watcher;
use tokio::time::Instant;

use crate::error::ReconcileError;

/// Time between two lines about one cause.
const PERIOD: Duration = Duration::from_secs(60);
/// A cause that was not seen for so long is forgotten.
const MEMORY: Duration = Duration::from_secs(300);
/// Causes that are the server's or the credential's, and the same for every kind.
const OF_SERVER: [&str; 4] = [
    "Unauthorized",
    "TooManyRequests",
    "ApiServerError",
    "ApiServerUnreachable",
];

/// Remembers what was logged. Each watch has its own unless one is shared, by [`Watch::failures`](super::Watch::failures),
/// between all watches of one API server: then what fails all of them makes one line. Clones share the memory.
#[derive(Debug, Clone, Default)]
pub struct Failures {
    known: Arc<Mutex<BTreeMap<String, Cause>>>,
}

#[derive(Debug)]
struct Cause {
    logged: Instant,
    seen: Instant,
    since: u64,
}

impl Failures {
    /// How many failures of the same cause were kept quiet, if this one is to be logged.
    pub(super) fn note(&self, kind: &str, error: &watcher::Error, now: Instant) -> Option<u64> {
        self.note_cause(cause(kind, error), now)
    }

    fn note_cause(&self, cause: String, now: Instant) -> Option<u64> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, cause| now.saturating_duration_since(cause.seen) < MEMORY);
        let Some(old) = known.get_mut(&cause) else {
            let new = Cause {
                logged: now,
                seen: now,
                since: 0,
            };
            known.insert(cause, new);
            return Some(0);
        };
        old.seen = now;
        if now.saturating_duration_since(old.logged) < PERIOD {
            old.since += 1;
            return None;
        }
        old.logged = now;
        Some(std::mem::take(&mut old.since))
    }
}

fn cause(kind: &str, error: &watcher::Error) -> String {
    let reason = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error.reason(),
        watcher::Error::WatchError(_) => "WatchError",
        watcher::Error::NoResourceVersion => "NoResourceVersion",
    };
    match OF_SERVER.contains(&reason) {
        true => reason.to_owned(),
        false => format!("{kind}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::api_error;

    #[test]
    fn the_first_failure_of_a_cause_is_logged_and_then_one_a_minute_with_a_count() {
        let failures = Failures::default();
        let start = Instant::now();
        let unauthorized = watcher::Error::InitialListFailed(api_error(401));
        let note =
            |kind: &str, seconds| failures.note(kind, &unauthorized, start + Duration::from_secs(seconds));
        assert_eq!(note("Route", 0), Some(0));
        for second in 1..60 {
            assert_eq!(
                note("Addresses", second),
                None,
                "a dead credential fails every kind"
            );
        }
        assert_eq!(note("Route", 60), Some(59));
        assert_eq!(note("Route", 61), None);
    }

    #[test]
    fn another_cause_is_logged_at_once() {
        let failures = Failures::default();
        let now = Instant::now();
        let failed = |code| watcher::Error::WatchStartFailed(api_error(code));
        assert_eq!(failures.note("Route", &failed(401), now), Some(0));
        assert_eq!(failures.note("Route", &failed(503), now), Some(0));
        assert_eq!(failures.note("Route", &failed(403), now), Some(0));
        assert_eq!(
            failures.note("Addresses", &failed(403), now),
            Some(0),
            "a right that is missing is of a kind"
        );
        assert_eq!(failures.note("Route", &failed(401), now), None);
    }

    #[test]
    fn a_cause_of_long_ago_is_new_again() {
        let failures = Failures::default();
        let start = Instant::now();
        let note = |seconds| failures.note_cause("x".to_owned(), start + Duration::from_secs(seconds));
        assert_eq!((note(0), note(1), note(301)), (Some(0), None, Some(0)));
    }
}
