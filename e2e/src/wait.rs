//! Waiting for a condition, with a limit and one rhythm for all stories.

use std::fmt::Display;
use std::time::Duration;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(250);

/// Looks until `look` gives a value. `look` says in its error what it saw instead.
///
/// # Errors
/// When the time is over: what was awaited, and what was seen last.
pub fn until<T, E: Display>(
    what: impl AsRef<str>,
    limit: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> testbed::Result<T> {
    testbed::eventually(what.as_ref(), limit, POLL, || {
        look().map_err(|seen| seen.to_string())
    })
}

/// A limit in seconds.
#[must_use]
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
