//! Tells a person what is being done, how long it took and what is being waited for. Decides nothing.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How often a long stage says that it goes on.
const REMINDER: Duration = Duration::from_secs(30);

/// Prints lines with the time since the run began.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    started: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Progress {
    /// A line of its own.
    pub fn say(&self, text: impl AsRef<str>) {
        eprintln!(
            "[{:6.1}s] {}",
            self.started.elapsed().as_secs_f64(),
            text.as_ref()
        );
    }

    /// Announces a stage, does it and says how long it took.
    pub fn stage<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.say(format!("{name} ..."));
        let began = Instant::now();
        let done = std::thread::scope(|scope| {
            let (finished, waits) = mpsc::channel::<()>();
            scope.spawn(move || self.remind(name, began, &waits));
            let done = work();
            drop(finished);
            done
        });
        let word = if done.is_ok() { "done" } else { "FAILED" };
        self.say(format!(
            "{name}: {word} in {:.1} s",
            began.elapsed().as_secs_f64()
        ));
        done
    }

    /// Says now and then that a long stage goes on, until the other end of the channel is dropped.
    fn remind(&self, name: &str, began: Instant, finished: &mpsc::Receiver<()>) {
        while finished.recv_timeout(REMINDER) == Err(RecvTimeoutError::Timeout) {
            self.say(format!(
                "{name}: still at it after {} s",
                began.elapsed().as_secs()
            ));
        }
    }
}

/// Looks until a closure returns a value; each look says what it saw instead.
///
/// # Errors
/// When the time is over: what was awaited and what was seen last.
pub fn eventually<T>(
    what: &str,
    timeout: Duration,
    poll: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        let last = match look() {
            Ok(value) => return Ok(value),
            Err(seen) => seen,
        };
        if started.elapsed() >= timeout {
            return Err(Error::TimedOut {
                what: what.to_owned(),
                seconds: timeout.as_secs(),
                last,
            });
        }
        std::thread::sleep(poll);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_returned_as_soon_as_it_is_there() -> Result<()> {
        let mut looks = 0;
        let value = eventually(
            "three looks",
            Duration::from_secs(5),
            Duration::from_millis(1),
            || {
                looks += 1;
                if looks == 3 {
                    Ok(looks)
                } else {
                    Err(format!("look {looks}"))
                }
            },
        )?;
        assert_eq!(value, 3);
        Ok(())
    }

    #[test]
    fn the_error_says_what_was_seen_last() {
        let error = eventually::<()>("never", Duration::ZERO, Duration::ZERO, || {
            Err("nothing".to_owned())
        });
        assert!(error.is_err_and(|e| e.to_string().contains("waiting for never; last seen: nothing")));
    }
}
