// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward top`: the runs of this host as they go on.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::unistd::geteuid;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::cli::TopArgs;
use crate::commands::logs::read_no_further;

mod look;
mod once;
mod state;
mod view;

use look::Look;
pub(super) use look::ask;
use state::State;

/// Least time between two looks: more would be a load for nothing that an eye could follow.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

/// Shows what goes on until somebody has seen enough, or once.
pub fn run(args: &TopArgs) -> Result<()> {
    if !geteuid().is_root() {
        bail!("what runs are doing is told to root alone\n  hint: sudo keyward top");
    }
    let mut state = State::default();
    if args.once {
        state.update(Look::take(), Instant::now());
        let text = if args.json {
            once::json(&state)?
        } else {
            once::text(&state)
        };
        return read_no_further(io::stdout().write_all(text.as_bytes()).map_err(Into::into));
    }
    if !io::stdout().is_terminal() {
        bail!(
            "keyward top draws on a terminal, and standard output is none\n  \
             hint: keyward top --once, and --once --json for scripts"
        );
    }
    let mut terminal = ratatui::try_init().context("cannot draw on this terminal")?;
    let result = live(&mut terminal, &mut state, args.interval.max(LEAST_INTERVAL));
    ratatui::restore();
    result
}

fn live(terminal: &mut DefaultTerminal, state: &mut State, interval: Duration) -> Result<()> {
    loop {
        if !state.is_paused {
            state.update(Look::take(), Instant::now());
        }
        let next = Instant::now() + interval;
        loop {
            terminal.draw(|frame| view::draw(frame, state))?;
            if !event::poll(next.saturating_duration_since(Instant::now()))? {
                break;
            }
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    if press(state, key) == Go::Away {
                        return Ok(());
                    }
                }
                // Of another size: drawn anew.
                Event::Key(_)
                | Event::Resize(..)
                | Event::Mouse(_)
                | Event::Paste(_)
                | Event::FocusGained
                | Event::FocusLost => {}
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Go {
    On,
    Away,
}

fn press(state: &mut State, key: KeyEvent) -> Go {
    // The terminal is in raw mode: no signal comes of it.
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if control && key.code == KeyCode::Char('c') {
        return Go::Away;
    }
    if [KeyCode::Char('q'), KeyCode::Esc].contains(&key.code) {
        return Go::Away;
    }
    if [KeyCode::Down, KeyCode::Char('j'), KeyCode::Tab].contains(&key.code) {
        state.select_next();
    } else if [KeyCode::Up, KeyCode::Char('k'), KeyCode::BackTab].contains(&key.code) {
        state.select_previous();
    } else if key.code == KeyCode::Char('p') || key.code == KeyCode::Char(' ') {
        state.is_paused = !state.is_paused;
    }
    Go::On
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_ways_out() {
        let mut state = State::default();
        let mut go = |code, modifiers| press(&mut state, KeyEvent::new(code, modifiers));
        assert!(go(KeyCode::Char('c'), KeyModifiers::NONE) == Go::On);
        assert!(go(KeyCode::Char('c'), KeyModifiers::CONTROL) == Go::Away);
        assert!(go(KeyCode::Char('q'), KeyModifiers::NONE) == Go::Away);
        assert!(go(KeyCode::Esc, KeyModifiers::NONE) == Go::Away);
        assert!(go(KeyCode::Char('p'), KeyModifiers::NONE) == Go::On);
        assert!(state.is_paused);
    }
}
