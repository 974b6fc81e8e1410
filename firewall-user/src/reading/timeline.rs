// SPDX-License-Identifier: GPL-3.0-or-later
//! When things happened: counts in a few spans of equal length, however long the run was.

use jiff::Timestamp;

use super::line::{Line, Verdict};

/// Most spans. When they are used up, each two become one.
const MAX_SLOTS: usize = 120;

/// The length to begin with. Denials of one command come within milliseconds of each other.
const FIRST_LENGTH_MS: i64 = 100;

/// Counts over time.
#[derive(Clone, Debug)]
pub struct Timeline {
    origin: Option<Timestamp>,
    length_ms: i64,
    slots: Vec<Slot>,
}

/// What happened in one span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// What went through.
    pub allowed: u64,
    /// What went through in audit mode only.
    pub audited: u64,
    /// What did not.
    pub denied: u64,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            origin: None,
            length_ms: FIRST_LENGTH_MS,
            slots: Vec::new(),
        }
    }
}

impl Timeline {
    /// Adds a decision.
    pub fn add(&mut self, line: &Line) {
        let Some(time) = line.time else { return };
        let origin = *self.origin.get_or_insert(time);
        // Two processes write the log: a line may be older than the first one.
        let since = time
            .as_millisecond()
            .saturating_sub(origin.as_millisecond())
            .max(0);
        let most = i64::try_from(MAX_SLOTS).unwrap_or(i64::MAX);
        while since / self.length_ms >= most {
            self.halve();
        }
        let Ok(at) = usize::try_from(since / self.length_ms) else {
            return;
        };
        if self.slots.len() <= at {
            self.slots.resize(at + 1, Slot::default());
        }
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        match line.verdict {
            Verdict::Deny => slot.denied += 1,
            Verdict::Allow if line.audited.is_some() => slot.audited += 1,
            Verdict::Allow => slot.allowed += 1,
            Verdict::Unknown => {}
        }
    }

    fn halve(&mut self) {
        self.length_ms = self.length_ms.saturating_mul(2);
        self.slots = self.slots.chunks(2).map(Slot::sum).collect();
    }

    /// The spans, from the first line to the last.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// How long each of them is.
    pub fn slot_seconds(&self) -> f64 {
        // A run of a hundred years is 3e12 ms: exact in an f64.
        std::time::Duration::from_millis(self.length_ms.unsigned_abs()).as_secs_f64()
    }
}

impl Slot {
    fn sum(slots: &[Self]) -> Self {
        slots.iter().fold(Self::default(), |sum, slot| Self {
            allowed: sum.allowed + slot.allowed,
            audited: sum.audited + slot.audited,
            denied: sum.denied + slot.denied,
        })
    }

    /// All together.
    pub fn total(self) -> u64 {
        self.allowed + self.audited + self.denied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_no_more_spans_than_a_short_one() {
        let mut timeline = Timeline::default();
        let line = |second: i64, verdict| Line {
            time: Timestamp::from_second(1_800_000_000 + second).ok(),
            verdict,
            ..Line::default()
        };
        for second in 0..100_000 {
            timeline.add(&line(second, Verdict::Allow));
        }
        timeline.add(&line(-50, Verdict::Deny));
        assert!(timeline.slots().len() <= MAX_SLOTS);
        let all = Slot::sum(timeline.slots());
        assert_eq!((all.allowed, all.denied), (100_000, 1));
        assert_eq!(timeline.slots()[0].denied, 1);
        assert!((timeline.slot_seconds() - 1638.4).abs() < 1e-6);
    }
}
