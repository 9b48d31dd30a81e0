//! Exponential backoff with full jitter.
//!
//! The sequence of ceilings is a pure function of the attempt; only [`Backoff::delay`] draws a random number.

use std::time::Duration;

use rand::Rng;

/// How long to wait before attempt `n`: somewhere between nothing and `base * 2^n`, never above `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Ceiling of the first delay.
    pub base: Duration,
    /// Ceiling of every delay.
    pub max: Duration,
}

impl Default for Backoff {
    /// 100 ms doubling up to 30 s.
    fn default() -> Self {
        Self {
            base: Duration::from_millis(100),
            max: Duration::from_secs(30),
        }
    }
}

impl Backoff {
    /// The longest delay that attempt `n` (counted from zero) may get.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let factor = 2_u32.checked_pow(attempt).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.max)
    }

    /// A delay for attempt `n`, drawn evenly from zero to its ceiling, so that many failures at the same
    /// moment do not come back at the same moment.
    pub fn delay(&self, attempt: u32) -> Duration {
        jitter(self.ceiling(attempt), 1.0)
    }
}

/// Shortens `period` by a random part of at most `share` (between 0 and 1).
pub fn jitter(period: Duration, share: f64) -> Duration {
    let share = share.clamp(0.0, 1.0);
    period.mul_f64(1.0 - share * rand::rng().random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_double_until_the_maximum() {
        let backoff = Backoff {
            base: Duration::from_millis(100),
            max: Duration::from_secs(1),
        };
        let seen: Vec<_> = (0..6).map(|n| backoff.ceiling(n).as_millis()).collect();
        assert_eq!(seen, [100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn a_thousand_failures_in_a_row_do_not_overflow() {
        assert_eq!(Backoff::default().ceiling(1000), Duration::from_secs(30));
    }

    #[test]
    fn a_delay_stays_below_its_ceiling() {
        let backoff = Backoff::default();
        for attempt in 0..200 {
            assert!(backoff.delay(attempt) <= backoff.ceiling(attempt));
        }
    }

    #[test]
    fn jitter_takes_away_at_most_its_share() {
        for _ in 0..100 {
            let period = jitter(Duration::from_secs(10), 0.2);
            assert!(period >= Duration::from_secs(8) && period <= Duration::from_secs(10));
        }
    }
}
