// SPDX-License-Identifier: GPL-3.0-or-later
//! The timeline as a picture.

use std::fmt::Write as _;

use crate::reading::units::milliseconds;
use crate::reading::{Slot, Timeline};

/// The picture's size; it grows and shrinks with the page.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 170.0;
/// Where bars stand, and how high they get: below is the scale, above are the marks of denials.
const GROUND: f64 = 145.0;
const HIGHEST: f64 = 115.0;

/// As many as fill the picture's height at least.
const FEW: u64 = 6;

/// Draws a bar for each span: what went through, on it what went through in audit mode only, on top what did not,
/// which is marked besides, because one denial among a thousand connections would not be seen.
pub(super) fn draw(timeline: &Timeline) -> String {
    let slots = timeline.slots();
    let most = slots
        .iter()
        .map(|slot| slot.total())
        .max()
        .unwrap_or_default();
    if most == 0 {
        return "<p class=\"quiet\">Nothing was asked for.</p>\n".to_owned();
    }
    // Few spans make no wall of a bar.
    let step = (WIDTH / count(slots.len())).min(40.0);
    // A single connection is no wall either.
    let scale = HIGHEST / number(most.max(FEW));
    let mut text = format!(
        "<svg class=\"timeline\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Decisions over time\">\n"
    );
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        // Writing into memory does not fail.
        text.write_fmt(arguments).unwrap_or_default();
        text.push('\n');
    };
    line(format_args!(
        "<line class=\"ground\" x1=\"0\" y1=\"{GROUND}\" x2=\"{WIDTH}\" y2=\"{GROUND}\"/>"
    ));
    for (at, slot) in slots
        .iter()
        .enumerate()
        .filter(|(_, slot)| slot.total() > 0)
    {
        let left = count(at) * step;
        line(format_args!(
            "<g><title>{}</title>",
            told(timeline, at, slot)
        ));
        let mut top = GROUND;
        for (class, of) in [
            ("allow", slot.allowed),
            ("audit", slot.audited),
            ("deny", slot.denied),
        ] {
            if of == 0 {
                continue;
            }
            // Never so small that it cannot be seen.
            let height = (number(of) * scale).max(2.0);
            top -= height;
            let width = (step - 1.0).max(0.8);
            line(format_args!(
                "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
            ));
        }
        if slot.denied > 0 {
            let (x, y) = (left + step / 2.0, top - 6.0);
            line(format_args!(
                "<circle class=\"deny\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"
            ));
        }
        line(format_args!("</g>"));
    }
    let used = (step * count(slots.len())).min(WIDTH);
    let whole = timeline.slot_seconds() * 1000.0 * count(slots.len());
    for (share, anchor) in [(0.0, "start"), (0.5, "middle"), (1.0, "end")] {
        let (x, y) = (used * share, GROUND + 18.0);
        let label = if share > 0.0 {
            milliseconds(whole * share)
        } else {
            "0".to_owned()
        };
        line(format_args!(
            "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"{anchor}\">{label}</text>"
        ));
    }
    line(format_args!(
        "<text x=\"{WIDTH}\" y=\"12\" text-anchor=\"end\">at most {most} in {}</text>",
        milliseconds(timeline.slot_seconds() * 1000.0)
    ));
    line(format_args!("</svg>"));
    text.push_str(
        "<p class=\"legend\"><span class=\"key allow\"></span>went through \
         <span class=\"key audit\"></span>went through in audit mode only \
         <span class=\"key deny\"></span>denied</p>\n",
    );
    text
}

fn told(timeline: &Timeline, at: usize, slot: &Slot) -> String {
    let start = milliseconds(timeline.slot_seconds() * 1000.0 * count(at));
    let mut text = format!("after {start}: {} went through", slot.allowed);
    for (of, what) in [
        (slot.audited, "in audit mode only"),
        (slot.denied, "denied"),
    ] {
        if of > 0 {
            write!(text, ", {of} {what}").unwrap_or_default();
        }
    }
    text
}

/// There are a few hundred at most.
fn count(number: usize) -> f64 {
    number as f64
}

/// Only the picture's height hangs on it.
fn number(number: u64) -> f64 {
    number as f64
}
