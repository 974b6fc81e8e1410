// SPDX-License-Identifier: GPL-3.0-or-later
//! All of it: controls, keyward in each mode, each layer alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::catalogue::{Attempt, Group, Layer, Mode, Who};
use crate::judge::{Evidence, Log, faults, success};
use crate::lab::Lab;
use crate::round::{self, Layers, Round, Way};

/// How long what does not leave by the wire may take to arrive at a daemon, on a busy machine.
const ARRIVAL: Duration = Duration::from_millis(150);

/// Which attempts are made, and how.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Groups, by name; all, if there are none.
    pub groups: Vec<String>,
    /// Ids; all, if there are none.
    pub ids: Vec<String>,
    /// Ways, by name; all, if there are none.
    pub ways: Vec<String>,
}

/// What came of one attempt, made one way.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How it succeeded, if it did.
    pub success: Option<String>,
    /// What else is not as it is claimed to be.
    pub faults: Vec<String>,
    /// What it printed.
    pub said: String,
    /// What the logs said of it.
    pub log: Log,
}

/// What came of one attempt, each way.
#[derive(Clone, Debug)]
pub struct Row {
    /// The attempt.
    pub attempt: Attempt,
    /// Its group's name and title.
    pub group: (String, String),
    /// Without the firewall.
    pub control: Option<Outcome>,
    /// With it.
    pub ways: BTreeMap<Way, Outcome>,
}

/// What came of all of them.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// One a chosen attempt.
    pub rows: Vec<Row>,
    /// Where the real key or a decoy's secret arrived, behind the firewall.
    pub leaked: Vec<String>,
    /// Processes that were still there when keyward had ended.
    pub left: Vec<String>,
}

impl Row {
    /// Everything that is not as it should be.
    #[must_use]
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(control) = &self.control
            && control.success.is_none()
            && self.attempt.depends.is_none()
        {
            wrong.push(format!(
                "the control does not succeed: {}",
                shortly(&control.said)
            ));
        }
        for (way, outcome) in &self.ways {
            match (&outcome.success, self.attempt.residual.is_some()) {
                (Some(how), false) => wrong.push(format!("{}: GOT OUT: {how}", way.name())),
                (None, true) => wrong.push(format!(
                    "{}: is said not to be stopped, and is: {}",
                    way.name(),
                    shortly(&outcome.said)
                )),
                (Some(_), true) | (None, false) => {}
            }
            wrong.extend(
                outcome
                    .faults
                    .iter()
                    .map(|it| format!("{}: {it}", way.name())),
            );
        }
        wrong
    }
}

/// The end of what a program said: errors are there.
pub(crate) fn shortly(said: &str) -> String {
    let said: Vec<_> = said.trim().chars().collect();
    let end: String = said[said.len().saturating_sub(160)..].iter().collect();
    format!("{end:?}")
}

/// Makes the chosen attempts.
///
/// # Errors
///
/// The lab or the driver is broken. That an attempt gets out is no error, but a result.
pub fn run(
    keyward: &Path,
    layers: &dyn Layers,
    groups: &[Group],
    selection: &Selection,
    mut progress: impl FnMut(&str),
) -> Result<Results> {
    let mut rows = chosen(groups, selection);
    let victims: Vec<_> = rows
        .iter()
        .map(|it| format!("victim-{}", it.attempt.id))
        .collect();
    let some = rows
        .iter()
        .zip(victims)
        .filter(|(row, _)| row.attempt.proof == Some(crate::catalogue::Proof::Kills));
    let lab = Lab::new(&some.map(|it| it.1).collect::<Vec<_>>())?;
    let wanted = |way: Way| {
        let by_name = |it: &String| it.eq_ignore_ascii_case(way.name());
        selection.ways.is_empty() || selection.ways.iter().any(by_name)
    };
    let mut suite = Suite {
        lab,
        keyward,
        layers,
        left: Vec::new(),
    };
    // What is done to the host without the firewall comes last: it may well leave something behind.
    for mode in Mode::ALL {
        let way = Way::Keyward(mode);
        if wanted(way) {
            progress(&format!("behind keyward: {}", way.name()));
            suite.make(way, &mut rows, |it| it.modes.contains(&mode))?;
        }
    }
    let leaked = Evidence::gather(&suite.lab).leaked.into_iter().collect();
    for layer in Layer::ALL {
        let way = Way::Alone(layer);
        if wanted(way) {
            progress(&format!("behind one layer: {}", way.name()));
            suite.make(way, &mut rows, |it| it.alone.contains(&layer))?;
        }
    }
    for is_root in [false, true] {
        let way = Way::Control(is_root);
        if wanted(way) {
            progress(if is_root {
                "controls of root"
            } else {
                "controls"
            });
            suite.make(way, &mut rows, |it| {
                it.no_control.is_none() && (it.control == Who::Root) == is_root
            })?;
        }
    }
    suite.look_again(&mut rows);
    Ok(Results {
        rows,
        leaked,
        left: suite.left,
    })
}

struct Suite<'a> {
    lab: Lab,
    keyward: &'a Path,
    layers: &'a dyn Layers,
    left: Vec<String>,
}

impl Suite<'_> {
    fn make(&mut self, way: Way, rows: &mut [Row], fits: impl Fn(&Attempt) -> bool) -> Result<()> {
        let tried: Vec<_> = (0..rows.len())
            .filter(|at| rows[*at].attempt.is_tried() && fits(&rows[*at].attempt))
            .collect();
        // Flags are keyward's, and so is what a run of its own is for.
        let shares = |it: &Attempt| match way {
            Way::Keyward(_) => it.shares_a_run(),
            Way::Control(_) | Way::Alone(_) => !it.has_scripts(),
        };
        let (together, alone): (Vec<_>, Vec<_>) =
            tried.into_iter().partition(|at| shares(&rows[*at].attempt));
        let mut rounds: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for at in together {
            let it = &rows[at].attempt;
            let how = matches!(way, Way::Keyward(_)).then(|| (it.flags.clone(), it.policy.clone()));
            rounds.entry(how).or_default().push(at);
        }
        let alone = alone.into_iter().map(|at| vec![at]);
        for round in rounds.into_values().chain(alone) {
            self.round(way, rows, &round)?;
        }
        Ok(())
    }

    fn round(&mut self, way: Way, rows: &mut [Row], chosen: &[usize]) -> Result<()> {
        let before = Evidence::gather(&self.lab);
        let attempts: Vec<_> = chosen.iter().map(|at| &rows[*at].attempt).collect();
        let round = round::make(&self.lab, self.keyward, self.layers, way, &attempts)?;
        self.lab.settle()?;
        std::thread::sleep(ARRIVAL);
        let after = Evidence::gather(&self.lab);
        if matches!(way, Way::Keyward(_)) {
            let after = match &attempts[..] {
                [it] => &it.id,
                _ => "several",
            };
            let describe = |it| format!("{}: after {after}: {it}", way.name());
            let left = self.lab.whoever_stays();
            self.left.extend(left.into_iter().map(describe));
        }
        self.lab.clear()?;
        for at in chosen {
            let row = &mut rows[*at];
            let outcome = self.judge(&row.attempt, way, &round, &before, &after);
            if matches!(way, Way::Control(_)) {
                row.control = Some(outcome);
            } else {
                row.ways.insert(way, outcome);
            }
        }
        Ok(())
    }

    fn judge(
        &self,
        attempt: &Attempt,
        way: Way,
        round: &Round,
        before: &Evidence,
        after: &Evidence,
    ) -> Outcome {
        let made = round.made.get(&attempt.id);
        Outcome {
            success: success(&self.lab, attempt, way, made, before, after),
            faults: match way {
                Way::Keyward(mode) => faults(attempt, mode, round),
                Way::Control(_) | Way::Alone(_) => Vec::new(),
            },
            said: made.map(|it| it.said.clone()).unwrap_or_default(),
            log: made.map(|it| Log::of(it, round)).unwrap_or_default(),
        }
    }

    /// What arrives late has arrived.
    fn look_again(&self, rows: &mut [Row]) {
        let evidence = Evidence::gather(&self.lab);
        for row in rows {
            let is_root = row.attempt.control == Who::Root;
            let control = row.control.iter_mut();
            let control = control.map(|it| (Way::Control(is_root), it));
            let ways = row.ways.iter_mut().map(|(way, it)| (*way, it));
            for (way, outcome) in control.chain(ways) {
                let mark = way.mark(self.lab.nonce(), &row.attempt.id);
                let late = evidence
                    .arrived
                    .get(&mark)
                    .or_else(|| evidence.changed.get(&mark));
                if outcome.success.is_none()
                    && let Some(how) = late
                {
                    outcome.success = Some(format!("late: {how}"));
                }
            }
        }
    }
}

fn chosen(groups: &[Group], selection: &Selection) -> Vec<Row> {
    let mut rows = Vec::new();
    for group in groups {
        for attempt in &group.attempts {
            let by_group = selection.groups.is_empty() || selection.groups.contains(&group.name);
            let by_id = selection.ids.is_empty() || selection.ids.contains(&attempt.id);
            if by_group && by_id {
                rows.push(Row {
                    attempt: attempt.clone(),
                    group: (group.name.clone(), group.title.clone()),
                    control: None,
                    ways: BTreeMap::new(),
                });
            }
        }
    }
    rows
}
