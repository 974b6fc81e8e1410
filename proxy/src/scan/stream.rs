// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks at a stream: as it is, and with its escapes undone where that is something else.

use std::{collections::VecDeque, sync::Arc};

use super::{Finding, escapes::Escapes, known::Known, patterns::Patterns, view::View};

/// Bytes without an escape after which both readings have forgotten what was in front of a prefix.
const FORGOTTEN: usize = 64;

/// A stream that is looked at. Where it is cut into pieces does not matter.
pub(super) struct Scan {
    known: Arc<Known>,
    now: Look,
    /// With the patterns of before, as long as something that they look for has begun.
    before: Vec<Look>,
}

/// One set of patterns.
struct Look {
    patterns: Arc<Patterns>,
    plain: View,
    /// Only since an escape.
    undone: Option<Undone>,
}

struct Undone {
    view: View,
    escapes: Escapes,
    /// How many bytes stood for each of the last ones; in front of those, one for one.
    widths: VecDeque<u8>,
    since: usize,
}

impl Scan {
    pub(super) fn new(known: &Arc<Known>) -> Self {
        Self {
            now: Look::new(Arc::clone(&known.patterns())),
            known: Arc::clone(known),
            before: Vec::new(),
        }
    }

    /// Looks for what is known by now, from here on.
    pub(super) fn follow(&mut self) {
        let patterns = self.known.patterns();
        if !Arc::ptr_eq(&patterns, &self.now.patterns) {
            let now = Look::new(Arc::clone(&patterns));
            self.before.push(std::mem::replace(&mut self.now, now));
        }
        self.before.retain(|it| !it.is_idle());
    }

    /// Looks at the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<Finding> {
        let found = self.now.feed(bytes);
        found.or_else(|| self.before.iter_mut().find_map(|it| it.feed(bytes)))
    }

    /// There is nothing more.
    pub(super) fn finish(&mut self) -> Option<Finding> {
        let found = self.now.finish();
        found.or_else(|| self.before.iter_mut().find_map(Look::finish))
    }

    /// How many of the last bytes could be the beginning of something.
    pub(super) fn open(&self) -> usize {
        let before = self.before.iter().map(Look::open).max();
        self.now.open().max(before.unwrap_or_default())
    }
}

impl Look {
    fn new(patterns: Arc<Patterns>) -> Self {
        Self {
            plain: View::new(&patterns),
            undone: None,
            patterns,
        }
    }

    /// Whether nothing has begun.
    fn is_idle(&self) -> bool {
        self.undone.is_none() && self.plain.is_idle(&self.patterns)
    }

    fn feed(&mut self, bytes: &[u8]) -> Option<Finding> {
        for byte in bytes {
            if Escapes::begins(*byte) && self.undone.is_none() {
                self.undone = Some(Undone {
                    view: self.plain.clone(),
                    escapes: Escapes::default(),
                    widths: VecDeque::new(),
                    since: 0,
                });
            }
            if let Some(found) = self.plain.step(&self.patterns, *byte) {
                return Some(found);
            }
            if let Some(undone) = &mut self.undone {
                if let Some(found) = undone.step(&self.patterns, *byte) {
                    return Some(found);
                }
                if undone.since >= FORGOTTEN && undone.view.agrees(&self.plain) {
                    self.undone = None;
                }
            }
        }
        None
    }

    fn finish(&mut self) -> Option<Finding> {
        let undone = self.undone.take().and_then(|mut undone| {
            let mut found = None;
            let Undone { view, escapes, .. } = &mut undone;
            escapes.finish(|byte, _| found = found.take().or(view.step(&self.patterns, byte)));
            found.or_else(|| view.finish(&self.patterns))
        });
        undone.or_else(|| self.plain.finish(&self.patterns))
    }

    fn open(&self) -> usize {
        let plain = self.plain.open(&self.patterns);
        let undone = self.undone.as_ref().map_or(0, |it| it.open(&self.patterns));
        plain.max(undone)
    }
}

impl Undone {
    fn step(&mut self, patterns: &Patterns, byte: u8) -> Option<Finding> {
        let mut found = None;
        let Self {
            view,
            widths,
            since,
            ..
        } = self;
        let escapes = &mut self.escapes;
        *since = if Escapes::begins(byte) { 0 } else { *since + 1 };
        escapes.step(byte, |byte, width| {
            widths.push_back(u8::try_from(width).unwrap_or(u8::MAX));
            found = found.take().or(view.step(patterns, byte));
        });
        // What is open is mostly nothing.
        let open = view.open(patterns);
        while widths.len() > open.max(FORGOTTEN) {
            widths.pop_front();
        }
        found
    }

    fn open(&self, patterns: &Patterns) -> usize {
        let open = self.view.open(patterns);
        let widths = self.widths.iter().rev().take(open);
        let before = open - widths.len();
        before + widths.map(|it| usize::from(*it)).sum::<usize>() + self.escapes.kept()
    }
}
