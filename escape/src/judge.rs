// SPDX-License-Identifier: GPL-3.0-or-later
//! What came of an attempt: by what arrived, leaked, changed or ended. What the program says of itself counts only
//! where it has to show something that it cannot have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use crate::catalogue::{Attempt, Mode, Proof};
use crate::lab::{Lab, UPSTREAM, marks};
use crate::round::{Made, Round, Way};
use crate::suite::shortly;

/// How late a line of a log may be dated that names nobody, in seconds, and how early.
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
pub fn faults(attempt: &Attempt, mode: Mode, round: &Round) -> Vec<String> {
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
    if let Some(said) = round.afterwards.get(&attempt.id) {
        faults.push(format!("afterwards: {}", shortly(said)));
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
    let claims = attempt.claims(mode);
    faults.extend(untrue(&claims.told, &made.said));
    let log = Log::of(made, round);
    for reason in &claims.logged {
        if !log.perhaps.contains(reason) {
            faults.push(format!("no {reason} in the log"));
        }
    }
    for reason in &log.surely {
        if !claims.logged.contains(reason) && !attempt.perhaps_logged.contains(reason) {
            faults.push(format!("{reason} is in the log, and not claimed"));
        }
    }
    faults
}

/// What does not hold of what a program is claimed to be told.
fn untrue(told: &[String], said: &str) -> Option<String> {
    if let Some(words) = told.iter().find(|it| !said.contains(&***it)) {
        return Some(format!("not told {words:?}: {}", shortly(said)));
    }
    let is_silent = said.trim().is_empty();
    (told.is_empty() && !is_silent).then(|| format!("told what is not claimed: {}", shortly(said)))
}

/// The reasons for which the logs say that something of an attempt's was denied.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Those of its own process.
    pub surely: BTreeSet<String>,
    /// And those of nobody's, or of a program that an attempt started, at the time.
    pub perhaps: BTreeSet<String>,
}

impl Log {
    /// What the logs of a round say of one of its attempts. A flood leaves very many lines: what costs little is looked
    /// at first.
    #[must_use]
    pub fn of(made: &Made, round: &Round) -> Self {
        let is_alone = round.made.len() == 1;
        let mut log = Self::default();
        for line in &round.log {
            let Some(reason) = reason(line) else {
                continue;
            };
            // Others are made at the same time; each process is named after its attempt.
            let owner = line["comm"]
                .as_str()
                .filter(|it| round.made.contains_key(*it));
            if is_alone || owner == Some(&*made.id) {
                if !log.surely.contains(reason) {
                    log.surely.insert(reason.to_owned());
                    log.perhaps.insert(reason.to_owned());
                }
            } else if owner.is_none() && !log.perhaps.contains(reason) && is_meanwhile(line, made) {
                log.perhaps.insert(reason.to_owned());
            }
        }
        log
    }
}

/// Why something was denied, or what else the logs say that somebody should know.
fn reason(line: &Value) -> Option<&str> {
    let is_denied = match line["event"].as_str()? {
        "decision" => line["verdict"] == "deny",
        "request" => line["decision"] == "denied" || line["decision"] == "failed",
        "lines_lost" => return Some("lines_lost"),
        "reload" if line["ok"] == false => return Some("reload"),
        _ => false,
    };
    is_denied.then(|| line["reason"].as_str())?
}

fn is_meanwhile(line: &Value, made: &Made) -> bool {
    let time = line["time"]
        .as_str()
        .and_then(|it| it.parse::<Timestamp>().ok());
    let at = time.map_or(0.0, |it| it.as_duration().as_secs_f64());
    at > made.begun - SLACK && at < made.ended + SLACK
}
