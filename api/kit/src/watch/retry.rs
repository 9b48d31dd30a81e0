//! Pauses of a watch that fails, until its API server is back.

use std::time::Duration;

use kube::runtime::utils::{Backoff as Pauses, ResetTimerBackoff};

use crate::backoff::Backoff;

/// How long a watch may wait for its next try. What changed while the API server was away waits as long, so it is
/// shorter than the client library's half a minute; each process has some twenty watches.
const PAUSES: Backoff = Backoff {
    base: Duration::from_millis(800),
    max: Duration::from_secs(5),
};
/// A failure so long after the last one is a new one.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// The pauses of one watch.
pub(super) fn pauses() -> impl Pauses {
    ResetTimerBackoff::new(Attempts { made: 0 }, FORGOTTEN)
}

struct Attempts {
    made: u32,
}

impl Iterator for Attempts {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = PAUSES.delay(self.made);
        self.made = self.made.saturating_add(1);
        Some(pause)
    }
}

impl Pauses for Attempts {
    fn reset(&mut self) {
        self.made = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_tried_again_within_five_seconds_however_often_it_failed() {
        let pauses: Vec<Duration> = pauses().take(1000).collect();
        assert_eq!(pauses.len(), 1000);
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(5)));
        assert!(pauses.iter().any(|pause| *pause > Duration::from_secs(4)));
    }

    #[test]
    fn after_a_success_pauses_begin_short_again() {
        let mut pauses = pauses();
        assert!(pauses.by_ref().take(20).count() == 20);
        pauses.reset();
        assert!(pauses.next() <= Some(PAUSES.base));
    }
}
