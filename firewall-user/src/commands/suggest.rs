// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward policy suggest`: the smallest policy that would have let a run through, for somebody to read and correct.

use std::io::{self, Write as _};

use anyhow::Result;

use crate::cli::{PolicyFormat, SuggestArgs};
use crate::commands::logs::read_no_further;
use crate::reading::{Line, Lines, PlaceError, find};

mod needs;
mod text;

use needs::Needs;

/// Prints the policy.
pub fn run(args: &SuggestArgs) -> Result<()> {
    let log = find(&args.place.log_dir, &args.from)?;
    let mut needs = Needs::default();
    let audit = log.audit();
    let read = Lines::open(&audit).and_then(|lines| match lines {
        Some(mut lines) => lines.for_each(Line::parse, |line| needs.add(&line)),
        None => Ok(()),
    });
    read.map_err(|error| PlaceError::at(&audit, error))?;
    let suggested = needs.suggest();
    let text = match args.format {
        PolicyFormat::Toml => text::toml(&log.id, &suggested),
        PolicyFormat::List => text::list(&suggested),
    };
    let mut out = io::stdout().lock();
    read_no_further(out.write_all(text.as_bytes()).map_err(Into::into))
}
