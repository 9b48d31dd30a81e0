//! Waiting for a condition, with a limit, and an error that says what was awaited and what was last seen.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(250);

/// A condition that did not come true.
#[derive(Debug, thiserror::Error)]
#[error("waited {seconds} s for {what}; last seen: {last}")]
pub struct TimedOut {
    /// What was awaited.
    pub what: String,
    /// How long.
    pub seconds: u64,
    /// What the last look found.
    pub last: String,
}

/// Looks until `look` gives a value. `look` says in its error what it saw instead.
///
/// # Errors
/// When the time is over.
pub fn until<T, E: Display>(
    what: impl Into<String>,
    limit: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> Result<T, TimedOut> {
    let begin = Instant::now();
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(last) if begin.elapsed() >= limit => {
                return Err(TimedOut {
                    what: what.into(),
                    seconds: limit.as_secs(),
                    last: last.to_string(),
                });
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// A limit in seconds.
#[must_use]
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
