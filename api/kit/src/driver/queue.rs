//! The order of work: which key may run when. Plain data; the time comes in as an argument.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use super::Key;

#[derive(Clone, Copy)]
struct Waiting {
    /// When the first hint came; none while the key only waits for its time (a retry or a requeue).
    hinted: Option<Instant>,
    due: Instant,
}

pub(super) struct Queue<K> {
    debounce: Duration,
    debounce_max: Duration,
    rest_max: Duration,
    waiting: HashMap<K, Waiting>,
    order: BTreeSet<(Instant, K)>,
    /// Since when.
    running: HashMap<K, Instant>,
    /// Until when a key rests after a run.
    resting: HashMap<K, Instant>,
    failures: HashMap<K, u32>,
}

impl<K: Key> Queue<K> {
    pub(super) fn new(debounce: Duration, debounce_max: Duration, rest_max: Duration) -> Self {
        Self {
            debounce,
            debounce_max: debounce_max.max(debounce),
            rest_max,
            waiting: HashMap::new(),
            order: BTreeSet::new(),
            running: HashMap::new(),
            resting: HashMap::new(),
            failures: HashMap::new(),
        }
    }

    /// A hint: runs after the debounce time, which further hints extend up to the maximum, and not before the key
    /// has rested from its last run.
    pub(super) fn trigger(&mut self, key: K, now: Instant) {
        let old = self.waiting.get(&key).copied();
        let first = old.and_then(|waiting| waiting.hinted).unwrap_or(now);
        let mut due = (now + self.debounce).min(first + self.debounce_max);
        if let Some(rested) = self.resting.get(&key) {
            due = due.max(*rested);
        }
        if let Some(Waiting {
            hinted: None,
            due: planned,
        }) = old
        {
            due = due.min(planned);
        }
        self.set(
            key,
            Waiting {
                hinted: Some(first),
                due,
            },
        );
    }

    /// The key whose time has come first, unless it is running; it counts as running from now on.
    pub(super) fn pop(&mut self, now: Instant) -> Option<K> {
        let (due, key) = self
            .order
            .iter()
            .find(|(_, key)| !self.running.contains_key(key))?
            .clone();
        if due > now {
            return None;
        }
        self.order.remove(&(due, key.clone()));
        self.waiting.remove(&key);
        self.resting.remove(&key);
        self.running.insert(key.clone(), now);
        Some(key)
    }

    /// When [`Queue::pop`] will next have something.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.order
            .iter()
            .find(|(_, key)| !self.running.contains_key(key))
            .map(|(due, _)| *due)
    }

    /// The run ended well, or in a way that only a change can cure.
    pub(super) fn finish(&mut self, key: &K, now: Instant, again: Option<Instant>) {
        self.rest(key, now);
        self.failures.remove(key);
        self.plan(key, again);
    }

    /// The run failed. `at` gives the time of the next try from the number of failures before this one.
    pub(super) fn retry(&mut self, key: &K, now: Instant, at: impl FnOnce(u32) -> Instant) {
        self.rest(key, now);
        let failures = self.failures.entry(key.clone()).or_default();
        let at = at(*failures);
        *failures = failures.saturating_add(1);
        self.plan(key, Some(at));
    }

    /// How many keys wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The run has ended: the key rests half as long as it ran.
    fn rest(&mut self, key: &K, now: Instant) {
        let Some(started) = self.running.remove(key) else {
            return;
        };
        let rest = (now.saturating_duration_since(started) / 2).min(self.rest_max);
        if rest.is_zero() {
            return;
        }
        let rested = now + rest;
        self.resting.insert(key.clone(), rested);
        if let Some(Waiting { hinted, due }) = self.waiting.get(key).copied() {
            let due = due.max(rested);
            self.set(key.clone(), Waiting { hinted, due });
        }
    }

    /// A hint that came during the run wins over what the run asked for.
    fn plan(&mut self, key: &K, due: Option<Instant>) {
        if let Some(due) = due
            && !self.waiting.contains_key(key)
        {
            self.set(key.clone(), Waiting { hinted: None, due });
        }
    }

    fn set(&mut self, key: K, waiting: Waiting) {
        if let Some(old) = self.waiting.insert(key.clone(), waiting) {
            self.order.remove(&(old.due, key.clone()));
        }
        self.order.insert((waiting.due, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn queue() -> (Queue<&'static str>, Instant) {
        (Queue::new(20 * MS, 200 * MS, 100 * MS), Instant::now())
    }

    #[test]
    fn hints_within_the_debounce_time_make_one_run() {
        let (mut queue, t) = queue();
        queue.trigger("a", t);
        queue.trigger("a", t + 10 * MS);
        assert_eq!(queue.pop(t + 25 * MS), None);
        assert_eq!(queue.pop(t + 30 * MS), Some("a"));
        queue.finish(&"a", t + 30 * MS, None);
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn a_stream_of_hints_cannot_put_a_run_off_for_ever() {
        let (mut queue, t) = queue();
        for n in 0..100 {
            queue.trigger("a", t + n * 10 * MS);
        }
        assert_eq!(queue.next_due(), Some(t + 200 * MS));
    }

    #[test]
    fn a_hint_during_a_run_makes_another_run_after_it() {
        let (mut queue, t) = queue();
        queue.trigger("a", t);
        assert_eq!(queue.pop(t + 20 * MS), Some("a"));
        queue.trigger("a", t + 30 * MS);
        assert_eq!(queue.pop(t + 100 * MS), None);
        queue.finish(&"a", t + 100 * MS, None);
        assert_eq!(queue.pop(t + 140 * MS), Some("a"));
    }

    #[test]
    fn a_key_rests_half_as_long_as_it_ran_and_no_longer_than_the_maximum() {
        let (mut queue, t) = queue();
        queue.trigger("a", t);
        assert_eq!(queue.pop(t + 20 * MS), Some("a"));
        queue.finish(&"a", t + 100 * MS, None);
        queue.trigger("a", t + 101 * MS);
        assert_eq!(queue.next_due(), Some(t + 140 * MS));
        assert_eq!(queue.pop(t + 140 * MS), Some("a"));
        queue.trigger("a", t + 150 * MS);
        queue.finish(&"a", t + 9_140 * MS, None);
        assert_eq!(queue.next_due(), Some(t + 9_240 * MS));
    }

    #[test]
    fn a_key_that_has_rested_runs_as_soon_as_ever() {
        let (mut queue, t) = queue();
        queue.trigger("a", t);
        queue.pop(t + 20 * MS);
        queue.finish(&"a", t + 40 * MS, None);
        queue.trigger("a", t + 1000 * MS);
        assert_eq!(queue.pop(t + 1020 * MS), Some("a"));
    }

    #[test]
    fn a_running_key_does_not_hold_up_another_one() {
        let (mut queue, t) = queue();
        queue.trigger("a", t);
        assert_eq!(queue.pop(t + 20 * MS), Some("a"));
        queue.trigger("a", t + 21 * MS);
        queue.trigger("b", t + 22 * MS);
        assert_eq!(queue.pop(t + 50 * MS), Some("b"));
    }

    #[test]
    fn failures_in_a_row_are_counted_and_success_forgets_them() {
        let (mut queue, t) = queue();
        let mut seen = Vec::new();
        for n in 0..3 {
            queue.trigger("a", t);
            queue.pop(t + 1000 * MS);
            queue.retry(&"a", t + 1000 * MS, |attempt| {
                seen.push(attempt);
                t + n * MS
            });
        }
        queue.pop(t + 1000 * MS);
        queue.finish(&"a", t + 1000 * MS, None);
        queue.retry(&"a", t + 1000 * MS, |attempt| {
            seen.push(attempt);
            t
        });
        assert_eq!(seen, [0, 1, 2, 0]);
    }

    #[test]
    fn a_hint_brings_a_retry_forward_and_never_puts_it_off() {
        let (mut queue, t) = queue();
        queue.retry(&"far", t, |_| t + 30_000 * MS);
        queue.retry(&"near", t, |_| t + 5 * MS);
        queue.trigger("far", t);
        queue.trigger("near", t);
        assert_eq!(queue.pop(t + 5 * MS), Some("near"));
        assert_eq!(queue.pop(t + 20 * MS), Some("far"));
    }
}
