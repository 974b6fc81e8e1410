// SPDX-License-Identifier: GPL-3.0-or-later
//! What a person reads at the end of a run, on standard error. Nothing, if nothing was blocked and nothing failed.

use std::io::{self, Write};

use crate::run::Finished;

/// Most kinds of denials that are listed; the rest is in the log.
const MAX_LINES: usize = 20;

/// Writes the report.
pub fn write(finished: &Finished, out: &mut impl Write) -> io::Result<()> {
    let tally = finished.audit.tally();
    let total: u64 = tally.values().sum::<u64>() + finished.audit.beyond();
    if total > 0 {
        writeln!(
            out,
            "keyward: blocked {total} {}:",
            plural(total, "attempt", "attempts")
        )?;
        for (denied, count) in tally.iter().take(MAX_LINES) {
            let who = if denied.comm.is_empty() {
                "?"
            } else {
                &denied.comm
            };
            writeln!(
                out,
                "  {count:>5} × {} by {who}: {} ({})",
                denied.what, denied.sentence, denied.reason
            )?;
        }
        if tally.len() > MAX_LINES {
            writeln!(out, "  and {} more kinds", tally.len() - MAX_LINES)?;
        }
        writeln!(
            out,
            "  all of them: {}",
            finished.log_directory.join("audit.jsonl").display()
        )?;
    }
    if finished.lost > 0 {
        writeln!(
            out,
            "keyward: {} further denials came too fast to be written down one by one",
            finished.lost
        )?;
    }
    if finished.packets_stopped > 0 {
        let packets = plural(finished.packets_stopped, "packet", "packets");
        writeln!(
            out,
            "keyward: nftables stopped {} {packets} that got past the first layer",
            finished.packets_stopped
        )?;
    }
    if finished.audit.failed_writes() > 0 {
        writeln!(
            out,
            "keyward: {} denials could not be written to the audit log",
            finished.audit.failed_writes()
        )?;
    }
    for leftover in &finished.leftovers {
        writeln!(
            out,
            "keyward: not cleared away: {leftover:#}\n  hint: sudo keyward doctor --fix"
        )?;
    }
    Ok(())
}

fn plural(count: u64, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}
