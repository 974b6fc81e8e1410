// SPDX-License-Identifier: GPL-3.0-or-later
//! The picture: the runs, the open connections of one of them, and what it was denied last.

use jiff::Timestamp;
use keyward_proxy::status::OpenConnection;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as TextLine, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table, TableState};

use super::state::{Denial, Rates, Shown as Run, State};
use crate::reading::units::{bytes, milliseconds};
use crate::reading::{Shown, money, sentence};

/// Most rows for runs; a host that has more scrolls them.
const MAX_RUNS: u16 = 8;

/// Most rows for models.
const MAX_MODELS: u16 = 6;

/// Most connections that rows are made for: more than any screen has lines.
const MAX_ROWS: usize = 500;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let runs = u16::try_from(state.runs.len())
        .unwrap_or(MAX_RUNS)
        .clamp(1, MAX_RUNS);
    let spent = state.selected().map_or(0, |run| run.spent.rows().len());
    let spent = u16::try_from(spent).unwrap_or(MAX_MODELS).min(MAX_MODELS);
    let [head, top, middle, tokens, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(runs + 2),
        Constraint::Fill(3),
        // With a title and a heading, if there are any.
        Constraint::Length(if spent == 0 { 0 } else { spent + 2 }),
        Constraint::Fill(2),
    ])
    .areas(frame.area());
    heading(frame, head, state);
    if state.runs.is_empty() {
        let text = Paragraph::new("No run is going on. Start one with sudo keyward run.")
            .block(titled("Runs"));
        frame.render_widget(text, top);
        return;
    }
    all_runs(frame, top, state);
    if let Some(run) = state.selected() {
        connections(frame, middle, run);
        if !run.spent.is_empty() {
            spent_tokens(frame, tokens, run);
        }
        denials(frame, bottom, run);
    }
}

fn heading(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let open: usize = state.runs.iter().map(open).sum();
    let sum = |of: fn(&Rates) -> f64| state.runs.iter().map(|run| of(&run.rates)).sum::<f64>();
    let mut spans = vec![
        Span::styled("keyward top", bold()),
        Span::raw(format!(
            "  {} runs  {open} open  {} allowed/s  ",
            state.runs.len(),
            rate(sum(|it| it.allowed))
        )),
        Span::styled(
            format!("{} denied/s", rate(sum(|it| it.denied))),
            red_if(sum(|it| it.denied) > 0.0),
        ),
        Span::raw(format!(
            "  up {}/s  down {}/s  ",
            size(sum(|it| it.bytes_up)),
            size(sum(|it| it.bytes_down))
        )),
    ];
    spans.push(if state.is_paused {
        Span::styled("PAUSED  ", Style::new().fg(Color::Yellow))
    } else {
        Span::raw("")
    });
    spans.push(Span::styled("q quit  j/k select  p pause", quiet()));
    frame.render_widget(TextLine::from(spans), area);
}

fn all_runs(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let now = Timestamp::now();
    let rows = state.runs.iter().map(|run| {
        let snapshot = run.run.snapshot.as_ref();
        let mode = snapshot.map_or("-", |it| it.mode.as_str());
        let mode_style = if mode == "audit" {
            Style::new().fg(Color::Yellow)
        } else {
            Style::new()
        };
        let totals = snapshot.map(|it| it.totals).unwrap_or_default();
        let denied = totals.denied.saturating_add(run.kernel_denied);
        Row::new([
            Cell::from(Shown(&run.run.id).to_string()),
            Cell::from(Shown(&run.run.program).to_string()),
            Cell::from(Shown(mode).to_string()).style(mode_style),
            Cell::from(age(&run.run.started, now)),
            Cell::from(open(run).to_string()),
            Cell::from(totals.allowed.to_string()),
            Cell::from(denied.to_string()).style(red_if(denied > 0)),
            Cell::from(format!("{}/s", rate(run.rates.allowed))),
            Cell::from(format!("{}/s", size(run.rates.bytes_up))),
            Cell::from(format!("{}/s", size(run.rates.bytes_down))),
        ])
    });
    let widths = [
        Constraint::Length(12),
        Constraint::Fill(1),
        Constraint::Length(7),
        Constraint::Length(10),
        Constraint::Length(5),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(9),
    ];
    let heads = [
        "RUN", "PROGRAM", "MODE", "AGE", "OPEN", "ALLOWED", "DENIED", "RATE", "UP", "DOWN",
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(heads).style(quiet()))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(Block::new().borders(Borders::BOTTOM).border_style(quiet()));
    let mut at = TableState::default().with_selected(state.selected_at());
    frame.render_stateful_widget(table, area, &mut at);
}

fn connections(frame: &mut Frame<'_>, area: Rect, run: &Run) {
    let Some(snapshot) = &run.run.snapshot else {
        let text = Paragraph::new("This run does not tell what it is doing.").style(quiet());
        frame.render_widget(text.block(titled("Open connections")), area);
        return;
    };
    let mut open: Vec<&OpenConnection> = snapshot.connections.iter().collect();
    let moved = |it: &OpenConnection| it.bytes_up.saturating_add(it.bytes_down);
    open.sort_by(|a, b| moved(b).cmp(&moved(a)).then_with(|| a.host.cmp(&b.host)));
    let rows = open.iter().take(MAX_ROWS).map(|it| {
        Row::new([
            place(&it.host, it.port),
            Shown(&it.scheme).to_string(),
            Shown(&it.door).to_string(),
            format!("{}[{}]", Shown(&it.comm), it.pid),
            milliseconds(it.age_ms as f64),
            bytes(it.bytes_up),
            bytes(it.bytes_down),
        ])
    });
    let widths = [
        Constraint::Fill(3),
        Constraint::Length(6),
        Constraint::Length(11),
        Constraint::Fill(2),
        Constraint::Length(11),
        Constraint::Length(8),
        Constraint::Length(8),
    ];
    let heads = ["HOST", "SPEAKS", "DOOR", "BY", "AGE", "UP", "DOWN"];
    let title = format!(
        "Open connections of {} ({})",
        Shown(&run.run.id),
        open.len()
    );
    let table = Table::new(rows, widths)
        .header(Row::new(heads).style(quiet()))
        .block(titled(&title));
    frame.render_widget(table, area);
}

fn spent_tokens(frame: &mut Frame<'_>, area: Rect, run: &Run) {
    let rows = run.spent.rows();
    let dollars: f64 = rows.iter().filter_map(|it| it.2.dollars(it.1)).sum();
    let title = format!("Tokens ({})", money(Some(dollars)));
    let rows = rows.iter().map(|(provider, model, it)| {
        Row::new([
            Shown(provider).to_string(),
            Shown(model).to_string(),
            it.answers.to_string(),
            it.read().to_string(),
            it.tokens.cache_read.to_string(),
            it.written().to_string(),
            money(it.dollars(model)),
        ])
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Fill(2),
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(12),
        Constraint::Length(12),
        Constraint::Length(9),
    ];
    let heads = [
        "PROVIDER", "MODEL", "ANSWERS", "IN", "CACHED", "OUT", "COST",
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(heads).style(quiet()))
        .block(titled(&title));
    frame.render_widget(table, area);
}

fn denials(frame: &mut Frame<'_>, area: Rect, run: &Run) {
    let rows = run.denials.iter().map(|it| {
        let [time, verdict, place, why, who] = denial(it);
        let colour = if it.line.audited.is_some() {
            Color::Yellow
        } else {
            Color::Red
        };
        Row::new([
            Cell::from(time).style(quiet()),
            Cell::from(verdict).style(Style::new().fg(colour)),
            Cell::from(place),
            Cell::from(who),
            Cell::from(why).style(quiet()),
        ])
    });
    let widths = [
        Constraint::Length(8),
        Constraint::Length(5),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Fill(4),
    ];
    frame.render_widget(Table::new(rows, widths).block(titled("Denied last")), area);
}

/// Time, verdict, place, reason and command of a denial, safe to print.
pub(super) fn denial(denial: &Denial) -> [String; 5] {
    let line = &denial.line;
    let time = line
        .time
        .map_or_else(String::new, |it| it.strftime("%H:%M:%S").to_string());
    let verdict = if line.audited.is_some() {
        "audit"
    } else {
        "deny"
    };
    let host = denial
        .name
        .as_deref()
        .or(line.host.as_deref())
        .or(line.address.as_deref());
    let place = match (host, line.port) {
        (Some(host), Some(port)) => place(host, port),
        (Some(host), None) => Shown(host).to_string(),
        (None, _) => Shown(line.what.as_deref().unwrap_or("-")).to_string(),
    };
    let reason = line.any_reason().unwrap_or_default();
    let why = sentence(reason).map_or_else(|| Shown(reason).to_string(), str::to_owned);
    let who = Shown(line.comm.as_deref().unwrap_or("?")).to_string();
    [time, verdict.to_owned(), place, why, who]
}

pub(super) fn place(host: &str, port: u16) -> String {
    let host_shown = Shown(host);
    if host.contains(':') {
        format!("[{host_shown}]:{port}")
    } else {
        format!("{host_shown}:{port}")
    }
}

fn open(run: &Run) -> usize {
    run.run
        .snapshot
        .as_ref()
        .map_or(0, |it| it.connections.len())
}

fn age(started: &str, now: Timestamp) -> String {
    let Ok(started) = started.parse::<Timestamp>() else {
        return "-".to_owned();
    };
    let seconds = now.duration_since(started).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

fn rate(each_second: f64) -> String {
    if each_second >= 10.0 {
        format!("{each_second:.0}")
    } else {
        format!("{each_second:.1}")
    }
}

fn size(each_second: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is positive, and more than a u64 of bytes a second there is not"
    )]
    let whole = each_second.max(0.0) as u64;
    bytes(whole)
}

fn titled(title: &str) -> Block<'_> {
    Block::new()
        .borders(Borders::TOP)
        .border_style(quiet())
        .title(Span::styled(format!(" {title} "), bold()))
}

fn quiet() -> Style {
    Style::new().fg(Color::DarkGray)
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn red_if(is_bad: bool) -> Style {
    if is_bad {
        Style::new().fg(Color::Red)
    } else {
        Style::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::look::Look;
    use super::super::state::tests::{look, write_accounts};
    use super::*;

    fn drawn(state: &State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        terminal.backend().to_string()
    }

    fn state() -> State {
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            log.path(),
            include_str!("../../reading/samples/enforce.jsonl"),
        )
        .unwrap();
        write_accounts(log.path());
        let (mut state, now) = (State::default(), Instant::now());
        for (more, seconds) in [(0, 0), (10_000, 2)] {
            let mut look = look(log.path(), more);
            // An age that does not hang on when the test runs.
            look.runs
                .iter_mut()
                .for_each(|run| run.started = String::new());
            state.update(look, now + Duration::from_secs(seconds));
        }
        std::fs::remove_file(log.path().with_extension("tokens")).unwrap();
        state
    }

    #[test]
    fn what_goes_on_is_on_the_screen() {
        insta::assert_snapshot!(drawn(&state(), 120, 30));
    }

    #[test]
    fn a_run_that_does_not_tell_and_no_run_at_all() {
        let mut state = state();
        state.select_next();
        assert!(drawn(&state, 100, 20).contains("This run does not tell what it is doing."));
        state.update(Look::default(), Instant::now());
        assert!(drawn(&state, 100, 20).contains("No run is going on."));
    }

    #[test]
    fn any_size_will_do() {
        let state = state();
        for (width, height) in [(1, 1), (10, 3), (40, 8), (300, 100)] {
            let text = drawn(&state, width, height);
            assert!(!text.contains('\u{1b}'), "{width}x{height}");
        }
    }
}
