// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward logs`: what a run did, line by line or summed up.

use std::io::{self, BufWriter, IsTerminal as _, Write};

use anyhow::Result;

use crate::cli::{LogsArgs, LogsCommand};

pub(crate) mod digest;
mod list;
mod pretty;
mod show;
mod stats;
mod summary;

pub use digest::Digest;

/// Prints what was asked for.
pub fn run(args: &LogsArgs) -> Result<()> {
    let stdout = io::stdout();
    let to_terminal = stdout.is_terminal();
    let colours = to_terminal && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    let mut out = BufWriter::new(stdout.lock());
    let result = match &args.command {
        None => show::run(
            &args.show,
            show::To {
                to_terminal,
                colours,
            },
            &mut out,
        ),
        Some(LogsCommand::List(args)) => list::run(args, &mut out),
        Some(LogsCommand::Stats(args)) => stats::run(args, &mut out),
        Some(LogsCommand::Summary(args)) => summary::run(args, &mut out),
    };
    read_no_further(result.and_then(|()| Ok(out.flush()?)))
}

/// Whoever reads may stop reading, as `head` does: that is no failure.
pub(crate) fn read_no_further(result: Result<()>) -> Result<()> {
    match result {
        Err(error)
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// What the sample logs come to.
#[cfg(test)]
pub(crate) fn sample() -> (crate::reading::Tally, crate::reading::Requests) {
    let directory = tempfile::tempdir().unwrap();
    let log = crate::reading::RunLog {
        id: "a1b2c3d4e5f6".to_owned(),
        directory: directory.path().to_owned(),
        made: std::time::SystemTime::UNIX_EPOCH,
    };
    std::fs::write(
        log.audit(),
        include_str!("../reading/samples/enforce.jsonl"),
    )
    .unwrap();
    std::fs::write(
        log.requests(),
        include_str!("../reading/samples/requests.jsonl"),
    )
    .unwrap();
    digest::read(&log).unwrap()
}
