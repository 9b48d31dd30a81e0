//! Percentiles of samples. Pure.

use serde::{Deserialize, Serialize};

/// Percentiles of a series, in the samples' own unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many samples there are.
    pub count: usize,
    /// Half of the samples are at most this.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 99 of a hundred.
    pub p99: f64,
    /// The largest sample.
    pub max: f64,
}

impl Percentiles {
    /// Of samples in any order. Of none, all are zero.
    #[must_use]
    pub fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            count: sorted.len(),
            p50: rank(&sorted, 50),
            p90: rank(&sorted, 90),
            p99: rank(&sorted, 99),
            max: sorted.last().copied().unwrap_or_default(),
        }
    }
}

/// The smallest sample that `percent` of all samples do not exceed.
fn rank(sorted: &[f64], percent: usize) -> f64 {
    let position = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(position).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_sample_that_was_seen() {
        let samples: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let percentiles = Percentiles::of(&samples);
        assert_eq!(percentiles.count, 200);
        assert_eq!(
            [percentiles.p50, percentiles.p90, percentiles.p99, percentiles.max],
            [100.0, 180.0, 198.0, 200.0]
        );
    }

    #[test]
    fn of_one_sample_all_are_that_sample_and_of_none_zero() {
        assert_eq!(Percentiles::of(&[7.0]).p99, 7.0);
        assert_eq!(Percentiles::of(&[7.0]).p50, 7.0);
        assert_eq!(Percentiles::of(&[]), Percentiles::default());
    }
}
