// SPDX-License-Identifier: MIT OR Apache-2.0
//! One reading of a stream, byte by byte.

use aho_corasick::automaton::StateID;
use zeroize::Zeroizing;

use super::{
    Finding,
    patterns::{Meaning, Patterns},
    shapes::LONGEST_PREFIX,
};

/// Bytes that are remembered: a prefix and two in front of it.
const BEFORE: usize = LONGEST_PREFIX + 2;

/// Less than this of a secret tells nothing, and is not worth delaying anything for.
const TELLING: usize = 4;

/// A token that began and of which is not yet known whether it is long enough.
#[derive(Clone, PartialEq, Eq)]
struct Run {
    shape: usize,
    token: Zeroizing<Vec<u8>>,
    prefix: usize,
}

/// One reading.
#[derive(Clone)]
pub(super) struct View {
    state: StateID,
    runs: Vec<Run>,
    recent: Zeroizing<[u8; BEFORE]>,
    read: usize,
}

impl View {
    pub(super) fn new(patterns: &Patterns) -> Self {
        Self {
            state: patterns.start(),
            runs: Vec::new(),
            recent: Zeroizing::new([b' '; BEFORE]),
            read: 0,
        }
    }

    /// Reads a byte.
    pub(super) fn step(&mut self, patterns: &Patterns, byte: u8) -> Option<Finding> {
        if let Some(found) = self.extend(patterns, byte) {
            return Some(found);
        }
        if let Some(slot) = self.recent.get_mut(self.read % BEFORE) {
            *slot = byte;
        }
        self.read += 1;
        self.state = patterns.next(self.state, byte);
        for (meaning, length) in patterns.ending(self.state) {
            match meaning {
                Meaning::Credential(finding) => return Some(finding.clone()),
                Meaning::Prefix(shape) => {
                    if self.stands_alone(length) {
                        self.begin(*shape, length);
                    }
                }
            }
        }
        None
    }

    /// The stream is over.
    pub(super) fn finish(&mut self, patterns: &Patterns) -> Option<Finding> {
        let ended = self.runs.drain(..);
        ended.into_iter().find_map(|it| it.judge(patterns, true)?)
    }

    /// How many of the last bytes could be the beginning of something.
    pub(super) fn open(&self, patterns: &Patterns) -> usize {
        let tokens = self.runs.iter().map(|it| it.token.len());
        let open = tokens
            .max()
            .unwrap_or_default()
            .max(patterns.depth(self.state));
        if open < TELLING { 0 } else { open }
    }

    /// Whether nothing that is looked for has begun.
    pub(super) fn is_idle(&self, patterns: &Patterns) -> bool {
        self.runs.is_empty() && patterns.depth(self.state) == 0
    }

    /// Whether both will find the same from here on, if what they last read was the same.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        self.state == other.state && self.runs == other.runs
    }

    /// A byte that tokens go on with, or end at.
    fn extend(&mut self, patterns: &Patterns, byte: u8) -> Option<Finding> {
        let mut found = None;
        self.runs.retain_mut(|run| {
            let Some((_, shape)) = patterns.shape(run.shape) else {
                return false;
            };
            let goes_on = shape.alphabet.get(usize::from(byte)) == Some(&true);
            if goes_on {
                run.token.push(byte);
            }
            match run.judge(patterns, !goes_on) {
                Some(finding) => {
                    found = found.take().or(finding);
                    false
                }
                None => true,
            }
        });
        found
    }

    /// Whether the last bytes, so many, are no part of a word that began before.
    fn stands_alone(&self, length: usize) -> bool {
        let back = |count: usize| {
            let index = self.read.checked_sub(count)?;
            self.recent.get(index % BEFORE).copied()
        };
        let is_word = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
        match (back(length), back(length + 1), back(length + 2)) {
            (Some(first), _, _) if !is_word(first) => true,
            (_, None, _) => true,
            (_, Some(before), _) if !is_word(before) => true,
            // The end of an escape in a text that was escaped once more.
            (_, Some(b'n' | b'r' | b't'), Some(b'\\')) => true,
            _ => false,
        }
    }

    fn begin(&mut self, shape: usize, length: usize) {
        // One that began before goes on as far as this one, and is the longer.
        if self
            .runs
            .iter()
            .any(|it| it.shape == shape && it.prefix == length)
        {
            return;
        }
        let bytes = (0..length).rev().filter_map(|back| {
            let index = self.read.checked_sub(back + 1)?;
            self.recent.get(index % BEFORE).copied()
        });
        self.runs.push(Run {
            shape,
            token: Zeroizing::new(bytes.collect()),
            prefix: length,
        });
    }
}

impl Run {
    /// `Some` when it is decided: with what was found, if it is something.
    fn judge(&self, patterns: &Patterns, ended: bool) -> Option<Option<Finding>> {
        let (finding, shape) = patterns.shape(self.shape)?;
        if self.token.len() < self.prefix + shape.least {
            return ended.then_some(None);
        }
        match patterns.is_allowed(&self.token) {
            Some(true) => Some(None),
            Some(false) => Some(Some(finding.clone())),
            None if ended || self.token.len() >= patterns.enough(shape, self.prefix) => {
                Some(Some(finding.clone()))
            }
            None => None,
        }
    }
}
