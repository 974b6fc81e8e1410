// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward logs`: the lines themselves.

use std::io::{BufRead, Write};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;

use super::pretty::Pretty;
use crate::cli::{LineFormat, ShowArgs};
use crate::reading::{Event, Filter, Line, Lines, Names, PlaceError, RunLog, Shown, find};
use crate::runs;

/// How often a growing log is looked at. Soon enough for somebody who watches, and no load.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where the lines go.
#[derive(Clone, Copy, Debug)]
pub(super) struct To {
    /// A terminal does what control characters tell it.
    pub(super) to_terminal: bool,
    /// A terminal whose owner wants colours.
    pub(super) colours: bool,
}

/// Prints the lines.
pub(super) fn run(args: &ShowArgs, to: To, out: &mut impl Write) -> Result<()> {
    let log = find(&args.run.place.log_dir, &args.run.run)?;
    let mut printer = Printer {
        format: args.format,
        filter: &args.filter,
        pretty: Pretty {
            colours: to.colours,
        },
        to_terminal: to.to_terminal,
        names: names(&log)?,
        is_over: false,
    };
    let audit = log.audit();
    let Some(mut lines) = Lines::open(&audit).map_err(|it| PlaceError::at(&audit, it))? else {
        return Ok(());
    };
    loop {
        // Asked before the lines are read: what a run that is over has written by now is all there will be.
        let is_alive = runs::is_alive(&log.id);
        printer.print_all(&mut lines, out)?;
        if !args.follow || printer.is_over || !is_alive {
            return Ok(());
        }
        out.flush()?;
        thread::sleep(LOOK_EVERY);
    }
}

/// The names in the log so far: the kernel's line may stand before the one that explains its address.
fn names(log: &RunLog) -> Result<Names, PlaceError> {
    let mut names = Names::default();
    let audit = log.audit();
    let read = Lines::open(&audit).and_then(|lines| match lines {
        Some(mut lines) => lines.for_each(Line::parse, |line| names.learn(&line)),
        None => Ok(()),
    });
    read.map_err(|error| PlaceError::at(&audit, error))?;
    Ok(names)
}

struct Printer<'a> {
    format: LineFormat,
    filter: &'a Filter,
    pretty: Pretty,
    to_terminal: bool,
    names: Names,
    /// The run's last line was seen.
    is_over: bool,
}

impl Printer<'_> {
    fn print_all<R: BufRead>(&mut self, lines: &mut Lines<R>, out: &mut impl Write) -> Result<()> {
        while let Some(bytes) = lines.next_line()? {
            let Some(line) = Line::parse(bytes) else {
                // Not ours to understand, but it stands there.
                if self.format == LineFormat::Raw {
                    self.print_raw(bytes, out)?;
                }
                continue;
            };
            self.names.learn(&line);
            self.is_over |= line.event == Event::End;
            let name = line.host.as_deref().and_then(|host| self.names.of(host));
            if !self.filter.fits(&line, name, Timestamp::now()) {
                continue;
            }
            match self.format {
                LineFormat::Pretty => writeln!(out, "{}", self.pretty.line(&line, name))?,
                LineFormat::Json => writeln!(out, "{}", json(bytes, name))?,
                LineFormat::Raw => self.print_raw(bytes, out)?,
            }
        }
        Ok(())
    }

    fn print_raw(&self, bytes: &[u8], out: &mut impl Write) -> Result<()> {
        if self.to_terminal {
            out.write_all(Shown::in_json(&String::from_utf8_lossy(bytes)).as_bytes())?;
        } else {
            out.write_all(bytes)?;
        }
        Ok(out.write_all(b"\n")?)
    }
}

/// The line as it stands, with the name behind an address added. It is put together as text so that fields that this
/// version does not know stay where they are.
fn json(bytes: &[u8], name: Option<&str>) -> String {
    let line = String::from_utf8_lossy(bytes);
    let name = name.and_then(|name| serde_json::to_string(name).ok());
    let line = match (line.trim_end().strip_suffix('}'), name) {
        (Some(open), Some(name)) => format!("{open},\"name\":{name}}}"),
        (Some(_) | None, _) => line.trim_end().to_owned(),
    };
    Shown::in_json(&line)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::logs::Logs;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: ShowArgs,
    }

    fn printed(arguments: &[&str]) -> String {
        let parent = tempfile::tempdir().unwrap();
        let log = parent.path().join("a1b2c3d4e5f6");
        fs::create_dir(&log).unwrap();
        fs::write(
            log.join(Logs::AUDIT),
            concat!(
                include_str!("../../reading/samples/enforce.jsonl"),
                "{\"event\":\"deci"
            ),
        )
        .unwrap();
        let log_dir = format!("--log-dir={}", parent.path().display());
        let words = ["logs", &log_dir]
            .into_iter()
            .chain(arguments.iter().copied());
        let args = Cli::try_parse_from(words).unwrap().args;
        let mut out = Vec::new();
        let to = To {
            to_terminal: false,
            colours: false,
        };
        run(&args, to, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_each_for_people() {
        insta::assert_snapshot!(printed(&[]));
    }

    #[test]
    fn filters_leave_what_was_asked_for() {
        let text = printed(&["a1b2", "--verdict=deny", "--host=github.com"]);
        // By the address that the name was given, too.
        assert_eq!(text.lines().count(), 4, "{text}");
        assert_eq!(printed(&["--door=dns"]).lines().count(), 9);
        assert_eq!(printed(&["--comm=ssh", "--format=raw"]).lines().count(), 1);
        assert_eq!(printed(&["--since=1s"]), "");
    }

    #[test]
    fn json_has_the_names_and_no_controls() {
        let text = printed(&["--format=json", "--door=kernel"]);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["name"], "github.com");
        assert_eq!(lines[0]["host"], "198.18.0.7");
        assert_eq!(lines[4]["comm"], "tcp\u{1b}[31mdump");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn raw_is_what_stands_there() {
        assert_eq!(
            printed(&["--format=raw"]),
            include_str!("../../reading/samples/enforce.jsonl")
        );
    }

    #[test]
    fn following_a_run_that_is_over_ends() {
        assert_eq!(printed(&["-f", "--format=raw"]), printed(&["--format=raw"]));
    }
}
