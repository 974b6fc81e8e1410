// SPDX-License-Identifier: GPL-3.0-or-later
//! What is shown: the last look, what changed since the one before, and the denials that came in between.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Instant;

use keyward_proxy::status::Totals;

use super::look::{LiveRun, Look};
use crate::reading::{Account, AllSpent, Line, Lines, Names, Verdict, is_probe};

/// How much of a log is read when a run is seen first: its last denials are in there.
const TAIL: u64 = 256 * 1024;

/// How many denials of a run are kept.
const KEPT: usize = 100;

/// Everything that is shown.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) runs: Vec<Shown>,
    pub(super) is_paused: bool,
    selected: usize,
    behind: BTreeMap<String, Behind>,
}

/// One run, as it is shown.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) run: LiveRun,
    /// For each second since the last look.
    pub(super) rates: Rates,
    /// The last ones, newest first.
    pub(super) denials: Vec<Denial>,
    /// How many the kernel has denied since we look.
    pub(super) kernel_denied: u64,
    /// What answers cost since the run began.
    pub(super) spent: AllSpent,
}

/// How fast things go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    pub(super) allowed: f64,
    pub(super) denied: f64,
    pub(super) bytes_up: f64,
    pub(super) bytes_down: f64,
}

/// Something that was denied, or would have been.
#[derive(Clone, Debug)]
pub(super) struct Denial {
    pub(super) line: Line,
    /// The name behind its address.
    pub(super) name: Option<String>,
}

/// What is remembered of a run from look to look.
#[derive(Debug, Default)]
struct Behind {
    last: Option<(Instant, Sums)>,
    log: Option<Lines<BufReader<File>>>,
    names: Names,
    denials: VecDeque<Line>,
    kernel_denied: u64,
    accounts: Option<Lines<BufReader<File>>>,
    spent: AllSpent,
}

/// What rates are made from: what is over, and what has gone through so far.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    allowed: u64,
    denied: u64,
    bytes_up: u64,
    bytes_down: u64,
}

impl State {
    /// Takes in a look.
    pub(super) fn update(&mut self, look: Look, now: Instant) {
        let selected = self.selected().map(|shown| shown.run.id.clone());
        let mut behind = std::mem::take(&mut self.behind);
        self.runs = look
            .runs
            .into_iter()
            .map(|run| {
                let mut of_run = behind.remove(&run.id).unwrap_or_default();
                let shown = of_run.update(run, now);
                self.behind.insert(shown.run.id.clone(), of_run);
                shown
            })
            .collect();
        // The same run stays selected, wherever it stands now.
        let at = self
            .runs
            .iter()
            .position(|shown| Some(&shown.run.id) == selected.as_ref());
        self.selected = at.unwrap_or_default();
    }

    /// The run whose connections are shown.
    pub(super) fn selected(&self) -> Option<&Shown> {
        self.runs.get(self.selected)
    }

    /// Where it stands.
    pub(super) fn selected_at(&self) -> usize {
        self.selected
    }

    pub(super) fn select_next(&mut self) {
        if self.selected + 1 < self.runs.len() {
            self.selected += 1;
        }
    }

    pub(super) fn select_previous(&mut self) {
        self.selected = self.selected.saturating_sub(1);
    }
}

impl Behind {
    fn update(&mut self, run: LiveRun, now: Instant) -> Shown {
        self.read_log(&run.audit);
        self.read_accounts(&run.tokens);
        let sums = Sums::of(&run, self.kernel_denied);
        let rates = match self.last.replace((now, sums)) {
            Some((before, then)) => {
                Rates::between(then, sums, now.duration_since(before).as_secs_f64())
            }
            None => Rates::default(),
        };
        Shown {
            run,
            rates,
            denials: self
                .denials
                .iter()
                .rev()
                .map(|line| self.denial(line))
                .collect(),
            kernel_denied: self.kernel_denied,
            spent: self.spent.clone(),
        }
    }

    /// Reads what was added to the log of what answers cost, at first all of it: these are sums.
    fn read_accounts(&mut self, tokens: &Path) {
        if self.accounts.is_none() {
            self.accounts = Lines::open(tokens).ok().flatten();
        }
        let Some(log) = &mut self.accounts else {
            return;
        };
        while let Ok(Some(bytes)) = log.next_line() {
            if let Some(account) = Account::parse(bytes) {
                self.spent.add(account);
            }
        }
    }

    /// Only now: the name behind an address may have come to the log after what was done with it.
    fn denial(&self, line: &Line) -> Denial {
        let name = line.host.as_deref().and_then(|host| self.names.of(host));
        Denial {
            line: line.clone(),
            name: name.map(str::to_owned),
        }
    }

    /// Reads what was added to the log. A log that cannot be read shows no denials; the rest is shown all the same.
    fn read_log(&mut self, audit: &Path) {
        if self.log.is_none() {
            self.log = Lines::open_end(audit, TAIL).ok().flatten();
        }
        let Some(log) = &mut self.log else { return };
        while let Ok(Some(bytes)) = log.next_line() {
            let Some(line) = Line::parse(bytes).filter(Line::is_decision) else {
                continue;
            };
            self.names.learn(&line);
            let is_denial = line.verdict == Verdict::Deny || line.audited.is_some();
            if !is_denial || is_probe(&line) {
                continue;
            }
            self.kernel_denied += u64::from(line.door == "kernel");
            if self.denials.len() == KEPT {
                self.denials.pop_front();
            }
            self.denials.push_back(line);
        }
    }
}

impl Sums {
    fn of(run: &LiveRun, kernel_denied: u64) -> Self {
        let Some(snapshot) = &run.snapshot else {
            return Self {
                denied: kernel_denied,
                ..Self::default()
            };
        };
        // Bytes of a connection are added to the totals when it is over.
        let Totals {
            allowed,
            denied,
            bytes_up,
            bytes_down,
        } = snapshot.totals;
        let open = &snapshot.connections;
        let add = |sum: u64, more: u64| sum.saturating_add(more);
        Self {
            allowed,
            denied: add(denied, kernel_denied),
            bytes_up: open.iter().map(|it| it.bytes_up).fold(bytes_up, add),
            bytes_down: open.iter().map(|it| it.bytes_down).fold(bytes_down, add),
        }
    }
}

impl Rates {
    fn between(then: Sums, now: Sums, seconds: f64) -> Self {
        // A run that has stopped to answer counts from nothing again: no rate, rather than a negative one.
        let rate = |then: u64, now: u64| match now.saturating_sub(then) {
            more if seconds > 0.0 => more as f64 / seconds,
            _ => 0.0,
        };
        Self {
            allowed: rate(then.allowed, now.allowed),
            denied: rate(then.denied, now.denied),
            bytes_up: rate(then.bytes_up, now.bytes_up),
            bytes_down: rate(then.bytes_down, now.bytes_down),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use keyward_proxy::status::{OpenConnection, Snapshot};

    use super::*;

    /// Three accounts of two models beside a log.
    pub(crate) fn write_accounts(audit: &Path) {
        let line = |model: &str, input: u64| {
            format!(
                "{{\"event\":\"token_usage\",\"provider\":\"openai\",\"model\":\"{model}\",\"input_tokens\":{input},\
                 \"output_tokens\":5000,\"cache_read_tokens\":1000}}\n"
            )
        };
        let lines = [
            line("gpt-5", 90_000),
            line("own\\u001b[31m", 10),
            line("gpt-5", 10_000),
        ];
        std::fs::write(audit.with_extension("tokens"), lines.concat()).unwrap();
    }

    /// A look at two runs, with the sample log behind the first.
    pub(crate) fn look(audit: &Path, more: u64) -> Look {
        let connection = |host: &str, port, comm: &str, up, down, age_ms| OpenConnection {
            door: "transparent".to_owned(),
            host: host.to_owned(),
            port,
            scheme: "tls".to_owned(),
            comm: comm.to_owned(),
            pid: 4801,
            bytes_up: up,
            bytes_down: down,
            age_ms,
        };
        let snapshot = Snapshot {
            run: "a1b2c3d4e5f6".to_owned(),
            started: "2026-11-23T18:00:00Z".to_owned(),
            mode: "enforce".to_owned(),
            connections: vec![
                connection("api.github.com", 443, "node\u{1b}[2J", 900, 15_000, 1_500),
                connection(
                    "github.com",
                    443,
                    "git-remote-http",
                    1_200,
                    4_800_000 + more,
                    12_400,
                ),
            ],
            totals: Totals {
                allowed: 40 + more / 1000,
                denied: 7,
                bytes_up: 9_000,
                bytes_down: 700_000,
            },
        };
        let run = |id: &str, program: &str, audit: &Path, snapshot| LiveRun {
            id: id.to_owned(),
            program: program.to_owned(),
            pid: 4711,
            started: "2026-11-23T18:00:00Z".to_owned(),
            audit: audit.to_owned(),
            tokens: audit.with_extension("tokens"),
            snapshot,
        };
        Look {
            runs: vec![
                run("a1b2c3d4e5f6", "make", audit, Some(snapshot)),
                run("ffffffffffff", "claude", Path::new("/nowhere"), None),
            ],
        }
    }

    #[test]
    fn rates_are_what_changed_in_between() {
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            log.path(),
            include_str!("../../reading/samples/enforce.jsonl"),
        )
        .unwrap();
        let (mut state, now) = (State::default(), Instant::now());
        state.update(look(log.path(), 0), now);
        assert_eq!(state.runs[0].denials.len(), 16);
        assert_eq!(state.runs[0].kernel_denied, 5);
        // The newest first, with the name that its address was given for.
        assert_eq!(
            state.runs[0].denials[0].line.host.as_deref(),
            Some("203.0.113.80")
        );
        assert_eq!(state.runs[0].denials[3].name.as_deref(), Some("github.com"));
        state.update(look(log.path(), 10_000), now + Duration::from_secs(2));
        let rates = state.runs[0].rates;
        assert!(
            (rates.bytes_down - 5000.0).abs() < 1.0 && (rates.allowed - 5.0).abs() < 0.1,
            "{rates:?}"
        );
        assert!(rates.denied.abs() < 1e-9);
    }

    #[test]
    fn the_selected_run_stays_selected() {
        let (mut state, now) = (State::default(), Instant::now());
        let nowhere = Path::new("/nowhere");
        state.update(look(nowhere, 0), now);
        state.select_next();
        state.select_next();
        assert_eq!(state.selected().unwrap().run.id, "ffffffffffff");
        let mut fewer = look(nowhere, 0);
        fewer.runs.remove(0);
        state.update(fewer, now);
        assert_eq!(
            (
                state.selected_at(),
                state.selected().unwrap().run.id.as_str()
            ),
            (0, "ffffffffffff")
        );
        state.update(Look::default(), now);
        assert!(state.selected().is_none());
    }
}
