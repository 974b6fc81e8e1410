// SPDX-License-Identifier: GPL-3.0-or-later
//! How long things took: percentiles of any number of measurements in little memory.

use std::collections::BTreeMap;

/// Classes for each doubling: an answer is wrong by two percent at most.
const CLASSES_PER_DOUBLING: f64 = 32.0;

/// Time spans, in classes that grow with the span.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    classes: BTreeMap<u16, u64>,
    count: u64,
    least: f64,
    most: f64,
}

impl Spans {
    /// Adds one, in milliseconds.
    pub fn add(&mut self, milliseconds: f64) {
        if !milliseconds.is_finite() || milliseconds < 0.0 {
            return;
        }
        (self.least, self.most) = if self.count == 0 {
            (milliseconds, milliseconds)
        } else {
            (self.least.min(milliseconds), self.most.max(milliseconds))
        };
        self.count += 1;
        *self.classes.entry(class_of(milliseconds)).or_default() += 1;
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        (self.least, self.most) = if self.count == 0 {
            (other.least, other.most)
        } else {
            (self.least.min(other.least), self.most.max(other.most))
        };
        self.count += other.count;
        for (class, count) in &other.classes {
            *self.classes.entry(*class).or_default() += count;
        }
    }

    /// The span that `percent` of them do not exceed.
    pub fn percentile(&self, percent: u64) -> Option<f64> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (class, count) in &self.classes {
            seen += count;
            if seen >= rank {
                // The middle of the class, but never beyond what was measured.
                let middle = (f64::from(*class) + 0.5) / CLASSES_PER_DOUBLING;
                let span = (middle.exp2() / 1000.0 - 0.001).clamp(self.least, self.most);
                // To the microsecond, as the log has it.
                let rounded = (span * 1000.0).round() / 1000.0;
                return Some(if rounded.is_finite() { rounded } else { span });
            }
        }
        None
    }
}

fn class_of(milliseconds: f64) -> u16 {
    let class = (milliseconds * 1000.0 + 1.0).log2() * CLASSES_PER_DOUBLING;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number, kept below the type's end; the fraction is to go"
    )]
    let class = class.clamp(0.0, f64::from(u16::MAX)) as u16;
    class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_near() {
        let mut spans = Spans::default();
        assert_eq!(spans.percentile(50), None);
        spans.add(12.3);
        assert_eq!(spans.percentile(50), Some(12.3));
        let mut spans = Spans::default();
        (1..=1000).for_each(|number| spans.add(f64::from(number)));
        for (percent, expected) in [(0, 1.0), (50, 500.0), (99, 990.0), (100, 1000.0)] {
            let found = spans.percentile(percent).unwrap();
            assert!((found / expected - 1.0).abs() < 0.02, "{percent}: {found}");
        }
        spans.add(f64::NAN);
        spans.add(-1.0);
        spans.add(f64::MAX);
        assert_eq!(spans.percentile(100), Some(f64::MAX));
    }
}
