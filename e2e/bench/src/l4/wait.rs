//! Waiting for conditions, never longer than is told, and never without saying for what.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// How long anything but a measured thing may take. Thousands of objects take many minutes on a small machine that
/// others use, too.
const SETTLE: Duration = Duration::from_secs(1800);

/// How often is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// For what is measured, or costs nothing to look at.
    Quick,
    /// For what costs a request.
    Slow,
}

impl Beat {
    fn pause(self) -> Duration {
        match self {
            Self::Quick => Duration::from_millis(20),
            Self::Slow => Duration::from_millis(250),
        }
    }
}

/// Looks until there is something to see.
///
/// # Errors
/// After half an hour, or at the first error of `look`.
pub async fn until<T>(what: &str, beat: Beat, look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    within(SETTLE, what, beat, look).await
}

async fn within<T>(
    limit: Duration,
    what: &str,
    beat: Beat,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        if begin.elapsed() >= limit {
            bail!("not within {} s: {what}", limit.as_secs());
        }
        sleep(beat.pause()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_never_comes_is_named() {
        let error = within::<()>(Duration::ZERO, "a wonder", Beat::Quick, async || Ok(None)).await;
        assert_eq!(error.unwrap_err().to_string(), "not within 0 s: a wonder");
    }

    #[tokio::test]
    async fn what_comes_is_returned_at_once() {
        let mut looks = 0;
        let seen = until("three looks", Beat::Quick, async || {
            looks += 1;
            Ok((looks == 3).then_some("seen"))
        });
        assert_eq!(seen.await.unwrap(), "seen");
    }
}
