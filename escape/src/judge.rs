// SPDX-License-Identifier: GPL-3.0-or-later
//! What came of an attempt: by what arrived, leaked, changed or ended. What the program says of itself counts only
//! where it has to show something that it cannot have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use crate::catalogue::{Attempt, Proof};
use crate::lab::{Lab, UPSTREAM, marks};
use crate::round::{Made, Round, Way};
use crate::suite::shortly;

/// How late a line of the audit log may be dated, in seconds, and how early.
const SLACK: f64 = 0.75;

/// The longest file that is searched for marks.
const LARGE: u64 = 16 << 20;

/// What has been seen at a moment.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Marks that arrived somewhere, and where.
    pub arrived: BTreeMap<String, String>,
    /// Marks in files of the host's.
    pub changed: BTreeMap<String, String>,
    /// Marks in the arguments of processes.
    pub survived: BTreeSet<String>,
    /// How often each of the host's victims was ended or stopped.
    pub ended: BTreeMap<String, usize>,
    /// Where the real key, or a secret of the host's, arrived and does not belong.
    pub leaked: BTreeSet<String>,
}

impl Evidence {
    /// Looks everywhere.
    #[must_use]
    pub fn gather(lab: &Lab) -> Self {
        let mut evidence = Self {
            arrived: lab.wire().found(),
            ..Self::default()
        };
        for name in ["outside", "decoys"] {
            let text = fs::read_to_string(lab.log(name)).unwrap_or_default();
            for line in text.lines() {
                evidence.read(lab, line);
            }
        }
        for directory in ["home", "root", "system", "tools", "files", "work"] {
            search(
                lab.nonce(),
                &lab.shared().join(directory),
                &mut evidence.changed,
            );
        }
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            evidence.survived.extend(marks(&arguments, lab.nonce()));
        }
        evidence
    }

    fn read(&mut self, lab: &Lab, line: &str) {
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let (what, at) = (text("what"), text("at"));
        if matches!(&*what, "ended" | "stopped") {
            *self.ended.entry(at.clone()).or_default() += 1;
        }
        for mark in marks(line.as_bytes(), lab.nonce()) {
            let place = format!("{what} at {at}");
            self.arrived.entry(mark).or_insert(place);
        }
        let key_is_lost = line.contains(&lab.key()) && at != UPSTREAM;
        if key_is_lost || line.contains(&lab.secret()) {
            self.leaked.insert(format!("{what} at {at}"));
        }
    }
}

fn search(nonce: &str, directory: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.metadata() {
            // Where attempts talk to the host: not a file of its.
            Ok(it) if it.is_dir() && path.ends_with("signs") => {}
            Ok(it) if it.is_dir() => search(nonce, &path, found),
            Ok(it) if it.is_file() && it.len() < LARGE => {
                let mut bytes = fs::read(&path).unwrap_or_default();
                // A name is enough, as of a link to somewhere.
                bytes.extend(path.to_string_lossy().as_bytes());
                for mark in marks(&bytes, nonce) {
                    found
                        .entry(mark)
                        .or_insert_with(|| path.display().to_string());
                }
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// How an attempt succeeded, if it did.
#[must_use]
pub fn success(
    lab: &Lab,
    attempt: &Attempt,
    way: Way,
    made: Option<&Made>,
    before: &Evidence,
    after: &Evidence,
) -> Option<String> {
    let mark = way.mark(lab.nonce(), &attempt.id);
    let said = made.map_or("", |it| &it.said);
    let arrived = after.arrived.get(&mark).cloned();
    match attempt.proof? {
        Proof::Arrives => arrived,
        Proof::Learns => {
            let is_learned = said.contains(&lab.key()) || said.contains(&lab.secret());
            is_learned
                .then(|| "it knows the secret".to_owned())
                .or(arrived)
        }
        Proof::Changes => after.changed.get(&mark).cloned().or(arrived),
        Proof::Survives => after
            .survived
            .contains(&mark)
            .then(|| "it is still there".to_owned())
            .or(arrived),
        Proof::Obtains => said
            .to_lowercase()
            .contains(&mark)
            .then(|| "it has what it wanted".to_owned())
            .or(arrived),
        Proof::Kills => {
            let victim = format!("victim-{}", attempt.id);
            let count = |it: &Evidence| it.ended.get(&victim).copied().unwrap_or_default();
            (count(after) > count(before))
                .then(|| "the process ended".to_owned())
                .or(arrived)
        }
        Proof::Breaks => arrived,
    }
}

/// What does not hold of what is claimed about an attempt behind the firewall, success apart.
#[must_use]
pub fn faults(attempt: &Attempt, way: Way, round: &Round) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(words) = &attempt.no_start {
        if round.status != Some(125) || !round.made.is_empty() {
            faults.push(format!("it started ({:?})", round.status));
        }
        if !round.told.contains(words) {
            faults.push(format!("not told {words:?}: {}", round.told.trim()));
        }
        return faults;
    }
    let Some(made) = round.made.get(&attempt.id) else {
        if !attempt.may_end_the_run {
            faults.push(format!("it did not come back: {}", shortly(&round.told)));
        }
        return faults;
    };
    if made.healthy == Some(false) && !attempt.may_end_the_run {
        faults.push("nothing that is allowed works after it".to_owned());
    }
    // What is claimed is claimed of the first mode.
    if Some(way) != attempt.modes.first().map(|it| Way::Keyward(*it)) {
        return faults;
    }
    if let Some(words) = &attempt.told
        && !made.said.contains(words)
    {
        faults.push(format!("not told {words:?}: {}", shortly(&made.said)));
    }
    if let Some(reason) = &attempt.logged
        && !round
            .audit
            .iter()
            .any(|line| line["reason"] == reason.as_str() && is_of(line, made))
    {
        faults.push(format!("no {reason} in the log"));
    }
    faults
}

/// The reasons for which the log says that something of this attempt's was denied.
#[must_use]
pub fn reasons(made: &Made, round: &Round) -> BTreeSet<String> {
    let mut reasons = BTreeSet::new();
    for line in &round.audit {
        if let Some(reason) = line["reason"].as_str()
            && !reasons.contains(reason)
            && is_of(line, made)
        {
            reasons.insert(reason.to_owned());
        }
    }
    reasons
}

/// A flood leaves very many lines: what costs little is looked at first.
fn is_of(line: &Value, made: &Made) -> bool {
    // Others are made at the same time; each process is named after its attempt.
    if line["comm"].as_str().is_some_and(|it| it != made.id) {
        return false;
    }
    let time = line["time"]
        .as_str()
        .and_then(|it| it.parse::<Timestamp>().ok());
    let at = time.map_or(0.0, |it| it.as_duration().as_secs_f64());
    at > made.begun - SLACK && at < made.ended + SLACK
}
