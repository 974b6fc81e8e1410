// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks at a stream: as it is, and with its escapes undone where that is something else.

use std::{collections::VecDeque, sync::Arc};

use super::{Finding, escapes::Escapes, patterns::Patterns, view::View};

/// Bytes without an escape after which both readings have forgotten what was in front of a prefix.
const FORGOTTEN: usize = 64;

/// A stream that is looked at. Where it is cut into pieces does not matter.
pub(super) struct Scan {
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
    pub(super) fn new(patterns: Arc<Patterns>) -> Self {
        Self {
            plain: View::new(&patterns),
            undone: None,
            patterns,
        }
    }

    /// Looks at the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<Finding> {
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

    /// There is nothing more.
    pub(super) fn finish(&mut self) -> Option<Finding> {
        let undone = self.undone.take().and_then(|mut undone| {
            let mut found = None;
            let Undone { view, escapes, .. } = &mut undone;
            escapes.finish(|byte, _| found = found.take().or(view.step(&self.patterns, byte)));
            found.or_else(|| view.finish(&self.patterns))
        });
        undone.or_else(|| self.plain.finish(&self.patterns))
    }

    /// How many of the last bytes could be the beginning of something.
    pub(super) fn open(&self) -> usize {
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
