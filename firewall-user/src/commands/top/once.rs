// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward top --once`: one look, for scripts and for whoever has no terminal.

use std::fmt::Write as _;

use keyward_proxy::status::Snapshot;
use serde::Serialize;

use super::state::{Shown as Run, State};
use super::view::{denial, place};
use crate::commands::table::{Align, Table};
use crate::reading::units::{bytes, milliseconds};
use crate::reading::{AllSpent, Shown, money};

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
    tokens: Vec<Tokens<'a>>,
    recent_denials: Vec<Denied<'a>>,
}

/// What the answers of one model cost since the run began.
#[derive(Serialize)]
struct Tokens<'a> {
    provider: &'a str,
    model: &'a str,
    answers: u64,
    input_tokens: u64,
    output_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    reasoning_tokens: u64,
    /// By the prices that come with keyward; null if the model has none.
    dollars: Option<f64>,
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
        tokens: tokens(&shown.spent),
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

fn tokens(spent: &AllSpent) -> Vec<Tokens<'_>> {
    let rows = spent.rows().into_iter();
    let rows = rows.map(|(provider, model, it)| Tokens {
        provider,
        model,
        answers: it.answers,
        input_tokens: it.tokens.input,
        output_tokens: it.tokens.output,
        cache_read_tokens: it.tokens.cache_read,
        cache_write_tokens: it.tokens.cache_write,
        reasoning_tokens: it.tokens.reasoning,
        dollars: it.dollars(model),
    });
    rows.collect()
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
        for (provider, model, it) in shown.spent.rows() {
            writeln!(
                text,
                "  {} {}  {} answers  in {}  out {}  {}",
                Shown(provider),
                Shown(model),
                it.answers,
                it.read(),
                it.written(),
                money(it.dollars(model)),
            )
            .unwrap_or_default();
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

    use super::super::state::tests::{look, write_accounts};
    use super::*;

    fn state() -> State {
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            log.path(),
            include_str!("../../reading/samples/enforce.jsonl"),
        )
        .unwrap();
        write_accounts(log.path());
        let mut state = State::default();
        state.update(look(log.path(), 0), Instant::now());
        std::fs::remove_file(log.path().with_extension("tokens")).unwrap();
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
        let tokens = &document["runs"][0]["tokens"][0];
        assert_eq!(
            (&tokens["model"], &tokens["answers"]),
            (&"gpt-5".into(), &2.into())
        );
        assert_eq!(tokens["input_tokens"], 100_000);
        assert!(tokens["dollars"].as_f64().is_some_and(|it| it > 0.1));
        assert_eq!(
            document["runs"][0]["tokens"][1]["dollars"],
            serde_json::Value::Null
        );
        assert_eq!(document["runs"][1]["status"], serde_json::Value::Null);
        assert_eq!(text.matches(char::is_control).count(), 1);
        assert_eq!(json(&State::default()).unwrap(), "{\"runs\":[]}\n");
    }
}
