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
/// So many may be waited for at one time before it takes longer.
const FEW: usize = 50;
/// What each one more takes: two or three writes of a busy API server.
const EACH_MORE: Duration = Duration::from_millis(20);
/// No more than this is waited in addition, however many there are.
const MOST: Duration = Duration::from_secs(30);

/// Remembers since when something is provisional. A process that starts anew waits anew.
#[derive(Debug)]
pub struct Patience {
    period: Duration,
    since: Mutex<HashMap<String, Instant>>,
}

impl Patience {
    /// Nothing waits longer than `period`, unless many wait at one time.
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
        self.left_of(self.period, name, is_provisional, now)
    }

    /// As [`Patience::left`], for one of `crowd` that wait for answers of the same kind: where there are many, an
    /// answer takes longer, and a status that only says "not yet" would keep the others from theirs.
    #[must_use]
    pub fn left_in_crowd(
        &self,
        crowd: usize,
        name: &str,
        is_provisional: bool,
        now: Instant,
    ) -> Option<Duration> {
        let more = u32::try_from(crowd.saturating_sub(FEW)).unwrap_or(u32::MAX);
        let more = EACH_MORE.saturating_mul(more).min(MOST);
        self.left_of(self.period + more, name, is_provisional, now)
    }

    fn left_of(&self, period: Duration, name: &str, is_provisional: bool, now: Instant) -> Option<Duration> {
        let mut all = self.lock();
        if !is_provisional {
            all.remove(name);
            return None;
        }
        if !all.contains_key(name) {
            all.retain(|_, since| *since + FORGET > now);
        }
        let since = *all.entry(name.to_owned()).or_insert(now);
        let left = remaining(since, period, now);
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
    fn in_a_crowd_everybody_waits_longer_and_not_for_ever() {
        let patience = Patience::new(Duration::from_secs(1));
        let start = Instant::now();
        let in_crowd = |crowd, name| patience.left_in_crowd(crowd, name, true, start);
        assert_eq!(in_crowd(50, "a"), Some(Duration::from_secs(1)));
        assert_eq!(in_crowd(150, "b"), Some(Duration::from_secs(3)));
        assert_eq!(in_crowd(1050, "c"), Some(Duration::from_secs(21)));
        assert_eq!(in_crowd(usize::MAX, "d"), Some(Duration::from_secs(31)));
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
