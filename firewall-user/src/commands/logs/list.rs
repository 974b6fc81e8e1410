// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward logs list`: the runs.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use crate::cli::{ListArgs, TableFormat};
use crate::commands::table::{Align, Table};
use crate::reading::units::milliseconds;
use crate::reading::{PlaceError, RunLog, Shown, Tally, list};
use crate::runs;

#[derive(Serialize)]
struct Row {
    run: String,
    started: Option<String>,
    command: Option<String>,
    mode: Option<String>,
    /// `None`: it goes on, or it was killed.
    status: Option<i64>,
    running: bool,
    duration_ms: Option<f64>,
    allowed: u64,
    denied: u64,
    audited: u64,
}

/// Prints a row for each run.
pub(super) fn run(args: &ListArgs, out: &mut impl Write) -> Result<()> {
    let logs = list(&args.place.log_dir)?;
    if logs.is_empty() {
        return Err(PlaceError::Nothing(args.place.log_dir.clone()).into());
    }
    let rows = logs.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    match args.format {
        TableFormat::Json => writeln!(out, "{}", Shown::in_json(&serde_json::to_string(&rows)?))?,
        TableFormat::Pretty => out.write_all(table(&rows).text().as_bytes())?,
    }
    Ok(())
}

fn row(log: &RunLog) -> Result<Row, PlaceError> {
    let audit = log.audit();
    let tally = Tally::read(&audit).map_err(|error| PlaceError::at(&audit, error))?;
    let start = tally.start.as_deref();
    let end = tally.end.as_deref();
    Ok(Row {
        run: log.id.clone(),
        started: tally
            .first
            .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        command: start.and_then(|line| line.program.clone()),
        mode: start.and_then(|line| line.mode.clone()),
        status: end.and_then(|line| line.status),
        running: end.is_none() && runs::is_alive(&log.id),
        duration_ms: end.and_then(|line| line.duration_ms),
        allowed: tally.totals.allowed,
        denied: tally.totals.denied,
        audited: tally.totals.audited,
    })
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        ("RUN", Align::Left),
        ("STARTED (UTC)", Align::Left),
        ("TOOK", Align::Right),
        ("STATUS", Align::Right),
        ("ALLOWED", Align::Right),
        ("DENIED", Align::Right),
        ("COMMAND", Align::Left),
    ]);
    for row in rows {
        let text = |text: &Option<String>| Shown(text.as_deref().unwrap_or("-")).to_string();
        let status = match (row.status, row.running) {
            (Some(status), _) => status.to_string(),
            (None, true) => "running".to_owned(),
            (None, false) => "-".to_owned(),
        };
        table.add(vec![
            Shown(&row.run).to_string(),
            text(&row.started).replace('T', " ").replace('Z', ""),
            row.duration_ms.map_or_else(|| "-".to_owned(), milliseconds),
            status,
            row.allowed.to_string(),
            row.denied.to_string(),
            text(&row.command),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_run() {
        let parent = tempfile::tempdir().unwrap();
        for (id, lines) in [
            (
                "a1b2c3d4e5f6",
                include_str!("../../reading/samples/enforce.jsonl"),
            ),
            ("000000000000", "torn {"),
        ] {
            let directory = parent.path().join(id);
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join("audit.jsonl"), lines).unwrap();
        }
        let mut rows: Vec<_> = list(parent.path())
            .unwrap()
            .iter()
            .map(|log| row(log).unwrap())
            .collect();
        rows.sort_by(|a, b| a.run.cmp(&b.run));
        insta::assert_snapshot!(table(&rows).text());
    }
}
