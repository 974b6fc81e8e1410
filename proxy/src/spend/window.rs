// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much there was in the last so many seconds: a bucket a second. Pure.

use std::collections::VecDeque;

/// A sliding window. What came in one second leaves it together, a second late rather than early: in no stretch of
/// time as long as the window is there ever more than the limit.
#[derive(Debug)]
pub(super) struct Window {
    /// Length in seconds.
    length: u64,
    /// Seconds in which there was something, oldest first.
    buckets: VecDeque<(u64, u64)>,
    total: u64,
}

impl Window {
    pub(super) fn new(length: u64) -> Self {
        Self {
            length,
            buckets: VecDeque::new(),
            total: 0,
        }
    }

    /// What is in the window at second `now`.
    pub(super) fn total(&mut self, now: u64) -> u64 {
        while let Some((second, count)) = self.buckets.front() {
            if second + self.length >= now {
                break;
            }
            self.total -= count;
            self.buckets.pop_front();
        }
        self.total
    }

    /// Adds to second `now`, which does not go back.
    pub(super) fn add(&mut self, now: u64, count: u64) {
        self.total(now);
        let count = count.min(u64::MAX - self.total);
        self.total += count;
        match self.buckets.back_mut() {
            Some((second, there)) if *second >= now => *there += count,
            _ => self.buckets.push_back((now, count)),
        }
    }

    /// Seconds until there is less than `limit` in it, if nothing is added. At least one.
    pub(super) fn wait(&self, now: u64, limit: u64) -> u64 {
        let mut left = self.total;
        for (second, count) in &self.buckets {
            left -= count;
            if left < limit {
                return (second + self.length + 1).saturating_sub(now).max(1);
            }
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_has_left() {
        let mut window = Window::new(60);
        window.add(10, 3);
        window.add(10, 1);
        window.add(40, 2);
        assert_eq!(window.total(40), 6);
        // A whole window after the second's end, not after its beginning.
        assert_eq!(window.total(70), 6);
        assert_eq!(window.total(71), 2);
        assert_eq!(window.total(1000), 0);
    }

    #[test]
    fn the_wait_is_until_there_is_room() {
        let mut window = Window::new(60);
        window.add(0, 5);
        window.add(30, 5);
        assert_eq!((window.wait(40, 10), window.wait(40, 5)), (21, 51));
        assert_eq!(window.total(40 + 20), 10);
        assert_eq!(window.total(40 + 21), 5);
    }
}
