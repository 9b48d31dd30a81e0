//! Waits a moment before saying what is likely to be otherwise a moment later.
//!
//! A status that only says "not yet" is two writes where one would do, and everybody who watches it looks twice.
//! Says only how long; what is provisional is decided elsewhere.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// What nobody has asked about for so long is gone. Longer than any pause between two runs.
const FORGET: Duration = Duration::from_secs(600);

/// Remembers since when something is provisional. A process that starts anew waits anew.
#[derive(Debug)]
pub struct Patience {
    period: Duration,
    since: Mutex<HashMap<String, Instant>>,
}

impl Patience {
    /// Nothing waits longer than `period`.
    #[must_use]
    pub fn new(period: Duration) -> Self {
        Self {
            period,
            since: Mutex::default(),
        }
    }

    /// How long what is provisional may still wait, from when this was asked first. None when the time is over,
    /// and then it begins anew. What is not provisional waits for nothing, and the next time for the whole period.
    #[must_use]
    pub fn left(&self, name: &str, is_provisional: bool, now: Instant) -> Option<Duration> {
        let mut all = self.lock();
        if !is_provisional {
            all.remove(name);
            return None;
        }
        if !all.contains_key(name) {
            all.retain(|_, since| *since + FORGET > now);
        }
        let since = *all.entry(name.to_owned()).or_insert(now);
        let left = remaining(since, self.period, now);
        if left.is_none() {
            all.remove(name);
        }
        left
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left of a period that began at `since`; none when it is over.
pub fn remaining(since: Instant, period: Duration, now: Instant) -> Option<Duration> {
    let left = (since + period).saturating_duration_since(now);
    (!left.is_zero()).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_provisional_waits_for_the_period_and_then_again() {
        let patience = Patience::new(Duration::from_secs(1));
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(patience.left("a", true, at(0)), Some(Duration::from_secs(1)));
        assert_eq!(
            patience.left("a", true, at(400)),
            Some(Duration::from_millis(600))
        );
        assert_eq!(patience.left("b", true, at(900)), Some(Duration::from_secs(1)));
        assert_eq!(patience.left("a", true, at(1000)), None);
        assert_eq!(patience.left("a", true, at(1001)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn what_has_settled_waits_anew() {
        let patience = Patience::new(Duration::from_secs(1));
        let start = Instant::now();
        assert!(patience.left("a", true, start).is_some());
        assert_eq!(patience.left("a", false, start), None);
        assert_eq!(
            patience.left("a", true, start + Duration::from_secs(5)),
            Some(Duration::from_secs(1))
        );
        assert!(
            patience
                .left("b", true, start + Duration::from_secs(700))
                .is_some()
        );
        assert_eq!(patience.lock().len(), 1, "what is gone is forgotten");
    }
}
