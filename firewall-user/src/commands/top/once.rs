// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward top --once`: one look, for scripts and for whoever has no terminal.

use std::fmt::Write as _;

use keyward_proxy::status::Snapshot;
use serde::Serialize;

use super::state::{Shown as Run, State};
use super::view::{denial, place};
use crate::commands::table::{Align, Table};
use crate::reading::Shown;
use crate::reading::units::{bytes, milliseconds};

#[derive(Serialize)]
struct Document<'a> {
    runs: Vec<One<'a>>,
}

#[derive(Serialize)]
struct One<'a> {
    run: &'a str,
    program: &'a str,
    pid: i32,
    started: &'a str,
    /// What it tells of itself; null if it does not tell.
    status: Option<&'a Snapshot>,
    recent_denials: Vec<Denied<'a>>,
}

#[derive(Serialize)]
struct Denied<'a> {
    time: Option<String>,
    door: &'a str,
    host: Option<&'a str>,
    name: Option<&'a str>,
    port: Option<u16>,
    what: Option<&'a str>,
    reason: Option<&'a str>,
    audited: bool,
    comm: Option<&'a str>,
}

/// As one JSON document.
pub(super) fn json(state: &State) -> serde_json::Result<String> {
    let runs = state.runs.iter().map(one).collect();
    let text = serde_json::to_string(&Document { runs })?;
    Ok(Shown::in_json(&text) + "\n")
}

fn one(shown: &Run) -> One<'_> {
    let denials = shown.denials.iter();
    One {
        run: &shown.run.id,
        program: &shown.run.program,
        pid: shown.run.pid,
        started: &shown.run.started,
        status: shown.run.snapshot.as_ref(),
        recent_denials: denials
            .map(|denial| Denied {
                time: denial.line.time.map(|time| time.to_string()),
                door: &denial.line.door,
                host: denial.line.host.as_deref(),
                name: denial.name.as_deref(),
                port: denial.line.port,
                what: denial.line.what.as_deref(),
                reason: denial.line.any_reason(),
                audited: denial.line.audited.is_some(),
                comm: denial.line.comm.as_deref(),
            })
            .collect(),
    }
}

/// In columns.
pub(super) fn text(state: &State) -> String {
    if state.runs.is_empty() {
        return "no runs\n".to_owned();
    }
    let mut text = String::new();
    for shown in &state.runs {
        let (id, program) = (Shown(&shown.run.id), Shown(&shown.run.program));
        // Writing into memory does not fail.
        writeln!(
            text,
            "run {id}  {program}  since {}",
            Shown(&shown.run.started)
        )
        .unwrap_or_default();
        match &shown.run.snapshot {
            Some(snapshot) => text.push_str(&connections(snapshot)),
            None => text.push_str("  it does not tell what it is doing\n"),
        }
        for it in shown.denials.iter().take(10) {
            let [time, verdict, place, why, who] = denial(it);
            writeln!(text, "  {time}  {verdict}  {place}  {why}  {who}").unwrap_or_default();
        }
    }
    text
}

fn connections(snapshot: &Snapshot) -> String {
    let totals = &snapshot.totals;
    let mut text = format!(
        "  mode {}  open {}  allowed {}  denied {}  up {}  down {}\n",
        Shown(&snapshot.mode),
        snapshot.connections.len(),
        totals.allowed,
        totals.denied,
        bytes(totals.bytes_up),
        bytes(totals.bytes_down),
    );
    if snapshot.connections.is_empty() {
        return text;
    }
    let mut table = Table::new(&[
        ("  HOST", Align::Left),
        ("DOOR", Align::Left),
        ("BY", Align::Left),
        ("AGE", Align::Right),
        ("UP", Align::Right),
        ("DOWN", Align::Right),
    ]);
    for it in &snapshot.connections {
        table.add(vec![
            format!("  {}", place(&it.host, it.port)),
            Shown(&it.door).to_string(),
            format!("{}[{}]", Shown(&it.comm), it.pid),
            milliseconds(it.age_ms as f64),
            bytes(it.bytes_up),
            bytes(it.bytes_down),
        ]);
    }
    text.push_str(&table.text());
    text
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::state::tests::look;
    use super::*;

    fn state() -> State {
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            log.path(),
            include_str!("../../reading/samples/enforce.jsonl"),
        )
        .unwrap();
        let mut state = State::default();
        state.update(look(log.path(), 0), Instant::now());
        state
    }

    #[test]
    fn one_look_as_text() {
        insta::assert_snapshot!(text(&state()));
        assert_eq!(text(&State::default()), "no runs\n");
    }

    #[test]
    fn one_look_as_json() {
        let text = json(&state()).unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["runs"][0]["status"]["totals"]["allowed"], 40);
        assert_eq!(
            document["runs"][0]["recent_denials"][3]["name"],
            "github.com"
        );
        assert_eq!(document["runs"][1]["status"], serde_json::Value::Null);
        assert_eq!(text.matches(char::is_control).count(), 1);
        assert_eq!(json(&State::default()).unwrap(), "{\"runs\":[]}\n");
    }
}
