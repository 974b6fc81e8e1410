// SPDX-License-Identifier: GPL-3.0-or-later
//! What a person reads at the end of a run, on standard error. Nothing, if nothing was blocked and nothing failed.
//!
//! It is read back from the log that the supervisor and the proxy have written, so that it says what the log says.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::cgroup::Reached;
use crate::logs::Logs;
use crate::reading::units::{bytes, counted};
use crate::reading::{Advice, Denials, HostTally, Shown, Tally, advice, help, sentence};
use crate::run::Finished;

/// Most hosts, and most other things, that are listed; the rest is in the log.
const MAX_ROWS: usize = 20;

/// Most names of commands that are listed for one host.
const MAX_COMMS: usize = 4;

/// Widest column for what was blocked: beyond it, the columns are no longer in line.
const MAX_WIDTH: usize = 44;

/// Writes the report.
pub fn write(finished: &Finished, out: &mut impl Write) -> io::Result<()> {
    let audit = finished.log_directory.join(Logs::AUDIT);
    match Tally::read(&audit) {
        Ok(tally) => {
            if write_tally(&tally, out)? {
                writeln!(out, "  all of them: {}", audit.display())?;
            }
            if tally.totals.audited > 0 {
                writeln!(
                    out,
                    "  a policy that allows them: sudo keyward policy suggest"
                )?;
            }
        }
        Err(error) => writeln!(
            out,
            "keyward: what was blocked is not known: cannot read {}: {error}",
            audit.display()
        )?,
    }
    if finished.lost > 0 {
        writeln!(
            out,
            "keyward: {} further denials came too fast to be written down one by one",
            finished.lost
        )?;
    }
    if finished.packets_stopped > 0 {
        writeln!(
            out,
            "keyward: nftables stopped {} that got past the first layer",
            counted(finished.packets_stopped, "packet")
        )?;
    }
    write_reached(finished, out)?;
    for path in &finished.planted {
        writeln!(
            out,
            "keyward: the command made {}, from which programs outside take orders: look at it first",
            path.display()
        )?;
    }
    if finished.audit.failed_writes() > 0 {
        writeln!(
            out,
            "keyward: {} could not be written to the audit log",
            counted(finished.audit.failed_writes(), "denial")
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

/// What the limits did: the command itself cannot know why it was killed, or why it could not fork.
fn write_reached(finished: &Finished, out: &mut impl Write) -> io::Result<()> {
    let Reached { killed, refused } = finished.reached;
    if let (1.., Some(limit)) = (killed, finished.limits.memory) {
        writeln!(
            out,
            "keyward: the command came to its memory limit ({}): the kernel killed {}\n  to give it more: --memory",
            bytes(limit),
            counted(killed, "process"),
        )?;
    }
    if let (1.., Some(limit)) = (refused, finished.limits.pids) {
        writeln!(
            out,
            "keyward: the command came to its limit of {limit} processes and threads, and could not make more ({refused}×)\n  \
             to let it: --pids"
        )?;
    }
    Ok(())
}

/// What the log has to tell. Returns whether there was anything.
fn write_tally(tally: &Tally, out: &mut impl Write) -> io::Result<bool> {
    let sections = [
        Section::hosts(tally, "blocked", |host| &host.denied, Denials::attempts),
        Section::things(tally),
        Section::hosts(
            tally,
            "audit mode: would have blocked",
            |host| &host.audited,
            Denials::answered_attempts,
        ),
        Section::hosts(
            tally,
            "could not reach",
            |host| &host.failed,
            Denials::attempts,
        ),
    ];
    let mut wrote = false;
    for section in sections.iter().filter(|section| !section.rows.is_empty()) {
        section.write(out)?;
        wrote = true;
    }
    if tally.beyond > 0 {
        writeln!(
            out,
            "  and {} at more hosts than are told apart here",
            counted(tally.beyond, "attempt")
        )?;
        wrote = true;
    }
    if tally.lost > 0 {
        writeln!(
            out,
            "keyward: {} came too fast to be written down",
            counted(tally.lost, "decision")
        )?;
        wrote = true;
    }
    if tally.unreadable > 0 {
        writeln!(
            out,
            "keyward: {} of the log could not be read",
            counted(tally.unreadable, "line")
        )?;
        wrote = true;
    }
    Ok(wrote)
}

/// A heading, and a row for each thing below it.
struct Section {
    heading: String,
    rows: Vec<Row>,
}

struct Row {
    what: String,
    count: u64,
    comms: String,
    why: String,
    advice: Option<Advice>,
}

impl Section {
    fn hosts(
        tally: &Tally,
        verb: &str,
        which: impl Fn(&HostTally) -> &Denials,
        attempts: impl Fn(&Denials) -> u64,
    ) -> Self {
        let hosts = tally.worst(|host| attempts(which(host)));
        let total: u64 = hosts.iter().map(|(_, _, count)| count).sum();
        let many = counted(u64::try_from(hosts.len()).unwrap_or(u64::MAX), "host");
        let rows = hosts.into_iter().map(|(name, host, count)| {
            let denials = which(host);
            let reason = denials
                .main_reason()
                .map_or("unknown", |(reason, _)| reason);
            Row {
                what: destination(name, denials),
                count,
                comms: who(&denials.comms),
                why: sentence(reason).map_or_else(|| Shown(reason).to_string(), str::to_owned),
                advice: advice(denials),
            }
        });
        Self {
            heading: format!("{verb} {many} ({})", counted(total, "attempt")),
            rows: rows.collect(),
        }
    }

    fn things(tally: &Tally) -> Self {
        let rows: Vec<_> = tally
            .worst_things()
            .into_iter()
            // Nearly every program makes them, and nobody misses anything.
            .filter(|(thing, _)| !thing.is_probe)
            .map(|(thing, tally)| Row {
                what: Shown(&thing.what()).to_string(),
                count: tally.count,
                comms: who(&tally.comms),
                why: sentence(&thing.reason)
                    .map_or_else(|| Shown(&thing.reason).to_string(), str::to_owned),
                advice: help(thing, tally),
            })
            .collect();
        let total = rows.iter().map(|row| row.count).sum();
        // "Other" than those that are listed above.
        let is_first = tally.hosts.values().all(|host| host.denied.attempts() == 0);
        let attempt = if is_first { "attempt" } else { "other attempt" };
        Self {
            heading: format!("blocked {}", counted(total, attempt)),
            rows,
        }
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let rows = self.rows.get(..MAX_ROWS).unwrap_or(&self.rows);
        let widest = |of: fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or_default();
        let what = widest(|row| row.what.chars().count()).min(MAX_WIDTH);
        let count = widest(|row| row.count.to_string().len());
        let comms = widest(|row| row.comms.chars().count()).min(MAX_WIDTH);
        writeln!(out, "keyward: {}", self.heading)?;
        for row in rows {
            writeln!(
                out,
                "  {:what$}  ×{:<count$}  by {:comms$}  {}",
                row.what, row.count, row.comms, row.why
            )?;
            match &row.advice {
                Some(Advice::Allow { flag, line }) => {
                    write!(out, "      to allow it: {}", Shown(flag))?;
                    match line {
                        Some(line) => writeln!(out, "   or in keyward.toml: {}", Shown(line))?,
                        None => writeln!(out)?,
                    }
                }
                Some(Advice::Note(note)) => writeln!(out, "      {}", Shown(note))?,
                None => {}
            }
        }
        if self.rows.len() > MAX_ROWS {
            writeln!(out, "  and {} more", self.rows.len() - MAX_ROWS)?;
        }
        Ok(())
    }
}

/// The host with its port, as far as somebody got far enough to name one.
fn destination(name: &str, denials: &Denials) -> String {
    let name = Shown(name);
    let ports: Vec<_> = denials.ports.iter().map(u16::to_string).collect();
    match &ports[..] {
        [] => name.to_string(),
        ports if name.0.contains(':') => format!("[{name}]:{}", ports.join(",")),
        ports => format!("{name}:{}", ports.join(",")),
    }
}

/// Who asked, those who asked most first.
fn who(comms: &BTreeMap<String, u64>) -> String {
    let mut names: Vec<_> = comms.iter().filter(|(comm, _)| !comm.is_empty()).collect();
    names.sort_by_key(|(comm, count)| (std::cmp::Reverse(**count), *comm));
    let more = names.len() > MAX_COMMS;
    names.truncate(MAX_COMMS);
    let mut names: Vec<_> = names
        .into_iter()
        .map(|(comm, _)| Shown(comm).to_string())
        .collect();
    if names.is_empty() {
        names.push("?".to_owned());
    }
    if more {
        names.push("…".to_owned());
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::Line;

    fn report(lines: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(Logs::AUDIT);
        std::fs::write(&path, lines).unwrap();
        let mut out = Vec::new();
        let tally = Tally::read(&path).unwrap();
        let wrote = write_tally(&tally, &mut out).unwrap();
        assert_eq!(wrote, !out.is_empty());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_blocked_host_once_with_what_would_allow_it() {
        insta::assert_snapshot!(report(include_str!("reading/samples/enforce.jsonl")));
    }

    #[test]
    fn in_audit_mode_it_is_what_would_have_been_blocked() {
        insta::assert_snapshot!(report(include_str!("reading/samples/audit.jsonl")));
    }

    #[test]
    fn nothing_is_said_when_nothing_was_blocked() {
        assert_eq!(report(""), "");
        let allowed = r#"{"event":"decision","door":"dns","verdict":"allow","host":"github.com"}"#;
        assert_eq!(
            report(&format!("{allowed}\n{{\"event\":\"end\",\"status\":0}}\n")),
            ""
        );
        assert!(Line::parse(allowed.as_bytes()).is_some());
    }

    #[test]
    fn what_the_workload_calls_itself_cannot_repaint_the_terminal() {
        let evil = r#"{"event":"decision","door":"explicit","verdict":"deny","host":"\u001b[2J\u009bx","port":1,
            "comm":"\u001b]0;ok\u0007","reason":"\u001b[1m","remedy":"\u001b[2J"}"#;
        let text = report(&(evil.replace('\n', "") + "\n"));
        assert!(
            !text.contains(|it: char| it.is_control() && it != '\n'),
            "{text:?}"
        );
    }

    #[test]
    fn a_torn_log_of_another_version_is_no_reason_to_fail() {
        let text = report(
            "{\"event\":\"new\"}\nnonsense\n{\"event\":\"decision\",\"verdict\":\"deny\",\"do",
        );
        assert_eq!(text, "keyward: 1 line of the log could not be read\n");
    }
}
