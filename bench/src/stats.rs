// SPDX-License-Identifier: MIT OR Apache-2.0
//! Order statistics of a few samples. No means: one interrupted round would pull them.

use std::time::Duration;

use serde::Serialize;

/// A quantity measured several times.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    /// The middle one.
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Nearest rank, so never a value that was not measured.
    pub(crate) p99: f64,
    /// All of them, in the order measured.
    pub(crate) samples: Vec<f64>,
}

impl Summary {
    /// Sums up samples; with none of them, everything is NaN, which JSON writes as `null`.
    pub(crate) fn new(samples: Vec<f64>) -> Self {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        Self {
            median: quantile(&sorted, 50),
            min: quantile(&sorted, 0),
            max: quantile(&sorted, 100),
            p99: quantile(&sorted, 99),
            samples,
        }
    }
}

/// The value at `percent` of a sorted list, by nearest rank.
pub(crate) fn quantile<T: Copy + Into<f64>>(sorted: &[T], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(f64::NAN, |&value| value.into())
}

/// A time that is short enough: what is longer than four seconds counts as that long.
pub(crate) fn nanoseconds(duration: Duration) -> u32 {
    duration.as_nanos().try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let sorted = [1_u32, 2, 3, 4];
        let at = |percent| quantile(&sorted, percent);
        assert_eq!(
            [at(0), at(25), at(50), at(51), at(99), at(100)],
            [1., 1., 2., 3., 4., 4.]
        );
        assert!(quantile::<u32>(&[], 50).is_nan());
    }

    #[test]
    fn a_summary_keeps_the_order_of_its_samples() {
        let summary = Summary::new(vec![3., 1., 2.]);
        assert_eq!((summary.median, summary.min, summary.max), (2., 1., 3.));
        assert_eq!(summary.samples, [3., 1., 2.]);
    }
}
