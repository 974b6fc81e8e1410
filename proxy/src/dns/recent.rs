// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which allowed queries were written down lately, so that a program that asks all the time does not fill the log.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use keyward_policy::Name;

/// How long the same question of the same process is not written down again.
const SILENCE: Duration = Duration::from_secs(60);

/// Most questions that are remembered. Past it they are written down each time, until there is room again.
const MOST: usize = 4096;

/// Most denials that are written down in that time; further ones are counted. A workload that asks as fast as it can
/// must not fill the disk.
const DENIALS: usize = 6000;

/// What was asked, and by whom: 0 is a process that is not known.
type Key = (u16, u32);

/// Queries that were written down, and when.
#[derive(Debug)]
pub(super) struct Recent {
    /// Two steps, so that looking something up makes nothing.
    written: HashMap<Name, HashMap<Key, Instant>>,
    count: usize,
    /// Denials since then.
    denials: usize,
    since: Instant,
}

impl Recent {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            written: HashMap::new(),
            count: 0,
            denials: 0,
            since: now,
        }
    }

    /// Whether another denial may be written down.
    pub(super) fn has_room(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= SILENCE {
            (self.denials, self.since) = (0, now);
        }
        self.denials = self.denials.saturating_add(1);
        self.denials <= DENIALS
    }

    /// Whether this was written down lately.
    pub(super) fn is_known(&self, name: &Name, kind: u16, process: u32, now: Instant) -> bool {
        let at = self
            .written
            .get(name)
            .and_then(|it| it.get(&(kind, process)));
        at.is_some_and(|at| now.saturating_duration_since(*at) < SILENCE)
    }

    /// Whether this is to be written down: it was not lately.
    pub(super) fn is_new(&mut self, name: &Name, kind: u16, process: u32, now: Instant) -> bool {
        let old = |at: Instant| now.saturating_duration_since(at) >= SILENCE;
        let key = (kind, process);
        if let Some(at) = self.written.get_mut(name).and_then(|it| it.get_mut(&key)) {
            let new = old(*at);
            if new {
                *at = now;
            }
            return new;
        }
        if self.count >= MOST {
            self.written.retain(|_, keys| {
                keys.retain(|_, at| !old(*at));
                !keys.is_empty()
            });
            self.count = self.written.values().map(HashMap::len).sum();
        }
        if self.count < MOST {
            self.written
                .entry(name.clone())
                .or_default()
                .insert(key, now);
            self.count += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_question_is_written_down_once_a_minute() {
        let now = Instant::now();
        let mut recent = Recent::new(now);
        let name: Name = "a.test".parse().unwrap();
        assert!(recent.is_new(&name, 1, 7, now));
        assert!(!recent.is_new(&name, 1, 7, now + SILENCE / 2));
        assert!(recent.is_known(&name, 1, 7, now + SILENCE / 2));
        assert!(!recent.is_known(&name, 1, 7, now + SILENCE));
        assert!(!recent.is_known(&name, 1, 8, now));
        assert!(recent.is_new(&name, 28, 7, now));
        assert!(recent.is_new(&name, 1, 8, now));
        assert!(recent.is_new(&name, 1, 7, now + SILENCE));
        assert!(!recent.is_new(&name, 1, 7, now + SILENCE));
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let now = Instant::now();
        let mut recent = Recent::new(now);
        for number in 0..2 * MOST {
            let name = format!("n{number}.test").parse().unwrap();
            assert!(recent.is_new(&name, 1, 7, now));
        }
        assert_eq!(recent.count, MOST);
        let last: Name = format!("n{MOST}.test").parse().unwrap();
        assert!(recent.is_new(&last, 1, 7, now));
        assert!(recent.is_new(&last, 1, 7, now + SILENCE));
        assert_eq!(recent.count, 1);
    }

    #[test]
    fn a_flood_of_denials_is_not_written_down() {
        let now = Instant::now();
        let mut recent = Recent::new(now);
        let written = (0..2 * DENIALS).filter(|_| recent.has_room(now)).count();
        assert_eq!(written, DENIALS);
        assert!(!recent.has_room(now + SILENCE / 2));
        assert!(recent.has_room(now + SILENCE));
    }
}
