// SPDX-License-Identifier: GPL-3.0-or-later
//! The attempts, and what is claimed of each.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Deserializer};

/// The catalogue that comes with keyward: a file's name, and its text.
const FILES: &[(&str, &str)] = &[
    ("addresses.toml", include_str!("../attempts/addresses.toml")),
    ("sockets.toml", include_str!("../attempts/sockets.toml")),
    ("dns.toml", include_str!("../attempts/dns.toml")),
    ("doors.toml", include_str!("../attempts/doors.toml")),
    ("gateway.toml", include_str!("../attempts/gateway.toml")),
    ("helpers.toml", include_str!("../attempts/helpers.toml")),
    ("processes.toml", include_str!("../attempts/processes.toml")),
    ("files.toml", include_str!("../attempts/files.toml")),
    ("kernel.toml", include_str!("../attempts/kernel.toml")),
    (
        "credentials.toml",
        include_str!("../attempts/credentials.toml"),
    ),
    ("timing.toml", include_str!("../attempts/timing.toml")),
    ("load.toml", include_str!("../attempts/load.toml")),
    ("allowed.toml", include_str!("../attempts/allowed.toml")),
];

/// One file: attempts that belong together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Group {
    /// The word by which it is asked for.
    pub name: String,
    /// What its attempts have in common.
    pub title: String,
    /// What most of its attempts have in common; each may say otherwise.
    #[serde(default)]
    pub modes: Vec<Mode>,
    /// The attempts, in order.
    #[serde(rename = "attempt")]
    pub attempts: Vec<Attempt>,
}

/// One way in which a workload tries to get out, and what is claimed of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Attempt {
    /// A letter and two digits, or more: never used for anything else again.
    pub id: String,
    /// What it tries.
    pub tries: String,
    /// The program, in Python, with the words of `driver/kit.py`.
    pub python: Option<String>,
    /// Or for `sh`.
    pub shell: Option<String>,
    /// What would show that it succeeded.
    pub proof: Option<Proof>,
    /// Who makes it without the firewall: root, where nobody else could.
    #[serde(default)]
    pub control: Who,
    /// Why it cannot be shown to succeed without the firewall.
    pub no_control: Option<String>,
    /// What the control needs that not every kernel or host has. Without that it proves nothing there.
    pub depends: Option<String>,
    /// What stops it.
    pub stopped_by: String,
    /// Layers each of which stops it with the others off.
    #[serde(default)]
    pub alone: Vec<Layer>,
    /// What the program is told: words that it prints. It prints nothing if there are none.
    #[serde(default, deserialize_with = "one_or_more")]
    told: Vec<String>,
    /// What the logs say of it: each reason for which something of it was denied.
    #[serde(default, deserialize_with = "one_or_more")]
    logged: Vec<String>,
    /// Reasons that the logs may have, too: where it depends on the kernel, or on how fast the host is.
    #[serde(default)]
    pub perhaps_logged: Vec<String>,
    /// Both for root inside, where they are others.
    root: Option<Claims>,
    /// Both without a policy, where they are others.
    closed: Option<Claims>,
    /// How keyward runs it.
    #[serde(default)]
    pub modes: Vec<Mode>,
    /// More flags of `keyward run`, where $KEY is the real key.
    #[serde(default)]
    pub flags: Vec<String>,
    /// A policy file instead of the lab's.
    pub policy: Option<String>,
    /// It is made in a run of its own, since it may well be the end of that.
    #[serde(default)]
    pub own_run: bool,
    /// keyward refuses to start the command at all, and says this.
    pub no_start: Option<String>,
    /// A program, in Python, that comes before keyward or the control, and becomes what its arguments say. It is then made
    /// in a run of its own.
    pub starter: Option<String>,
    /// A script for the host's root, before the run begins. It is then made in a run of its own.
    pub before: Option<String>,
    /// One for when the program says `meanwhile()`. Scripts find in their environment: the pids KEYWARD and PROXY; keyward's
    /// BINARY, and LOGS, where the run logs to (all but without keyward); USER, for whom it runs; OUTSIDE, the network
    /// namespace outside. What they leave running must not keep their standard output.
    pub meanwhile: Option<String>,
    /// One for when the run is over, which clears up. It fails if something is not as it should be.
    pub after: Option<String>,
    /// The run may be over afterwards: nothing has to work any more.
    #[serde(default)]
    pub may_end_the_run: bool,
    /// How long the program may take, in seconds.
    #[serde(default = "patience")]
    pub seconds: u64,
    /// It is not stopped: what an attacker gains by it.
    pub residual: Option<String>,
}

/// What is claimed that a program and the logs are told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// As [`Attempt`]'s.
    #[serde(default, deserialize_with = "one_or_more")]
    pub told: Vec<String>,
    /// As [`Attempt`]'s.
    #[serde(default, deserialize_with = "one_or_more")]
    pub logged: Vec<String>,
}

const fn patience() -> u64 {
    6
}

fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        More(Vec<String>),
    }
    Ok(match Either::deserialize(from)? {
        Either::One(it) => vec![it],
        Either::More(them) => them,
    })
}

/// What shows that an attempt succeeded. None of them is the word of the program alone, but for the last.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// Its mark arrived: on the wire, at a server outside, or at a daemon of the host.
    Arrives,
    /// A secret of the host's is in what it prints.
    Learns,
    /// Its mark is in a file of the host's.
    Changes,
    /// A process of the host's has ended or stopped.
    Kills,
    /// A process of its own outlives the run.
    Survives,
    /// What must still work does not: an allowed request, or the policy.
    Breaks,
    /// It prints its mark, having obtained what it must not have.
    Obtains,
}

/// A user.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// An unprivileged one.
    #[default]
    User,
    /// Root, with every capability.
    Root,
}

/// A layer of the firewall, with the others off.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The programs on the cgroup.
    Ebpf,
    /// The packet filter.
    Nftables,
    /// A network namespace that nothing leads out of.
    Namespace,
    /// A pid namespace, in which nobody else is seen.
    Pids,
    /// An ipc namespace, in which nobody else listens.
    Ipc,
    /// No capability, whoever it is.
    Capabilities,
}

/// How keyward is told to run an attempt.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// As an ordinary user, with a policy that allows some hosts.
    User,
    /// As root inside.
    Root,
    /// As an ordinary user, without a policy: no door is open but the gateway.
    Closed,
}

impl Layer {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ebpf => "eBPF",
            Self::Nftables => "nftables",
            Self::Namespace => "namespace",
            Self::Pids => "pids",
            Self::Ipc => "ipc",
            Self::Capabilities => "capabilities",
        }
    }

    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::Ebpf,
        Self::Nftables,
        Self::Namespace,
        Self::Pids,
        Self::Ipc,
        Self::Capabilities,
    ];
}

impl Mode {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Root => "root",
            Self::Closed => "closed",
        }
    }

    /// All there are.
    pub const ALL: [Self; 3] = [Self::User, Self::Root, Self::Closed];
}

impl Attempt {
    /// Whether it can share a run with others of the same flags and policy.
    #[must_use]
    pub const fn shares_a_run(&self) -> bool {
        let survives = !self.may_end_the_run && self.no_start.is_none();
        survives && !self.own_run && !self.has_scripts()
    }

    /// Whether others have a part in it.
    #[must_use]
    pub const fn has_scripts(&self) -> bool {
        let has_host = self.before.is_some() || self.meanwhile.is_some() || self.after.is_some();
        has_host || self.starter.is_some()
    }

    /// What is claimed in a mode.
    #[must_use]
    pub fn claims(&self, mode: Mode) -> Claims {
        let other = match mode {
            Mode::User => None,
            Mode::Root => self.root.as_ref(),
            Mode::Closed => self.closed.as_ref(),
        };
        other.cloned().unwrap_or_else(|| Claims {
            told: self.told.clone(),
            logged: self.logged.clone(),
        })
    }

    /// Whether there is a program to try.
    #[must_use]
    pub const fn is_tried(&self) -> bool {
        self.python.is_some() || self.shell.is_some()
    }

    fn check(&self) -> Result<()> {
        let is_a_number = |it: &str| it.len() >= 2 && it.bytes().all(|it| it.is_ascii_digit());
        ensure!(
            self.id.starts_with(|it: char| it.is_ascii_uppercase()) && is_a_number(&self.id[1..]),
            "an id is a capital letter and digits"
        );
        match (&self.python, &self.shell) {
            (Some(_), Some(_)) => bail!("it is either Python or shell"),
            (None, None) => ensure!(
                self.residual.is_some() && self.no_control.is_some(),
                "without a program it must be a residual that says why it has none (no-control)"
            ),
            _ => ensure!(self.proof.is_some(), "proof is missing"),
        }
        for (claims, mode) in [(&self.root, Mode::Root), (&self.closed, Mode::Closed)] {
            ensure!(
                claims.is_none() || self.modes.contains(&mode),
                "it is not tried as {}",
                mode.name()
            );
        }
        ensure!(
            self.depends.is_none() || self.no_control.is_none(),
            "depends is about a control, and there is none"
        );
        Ok(())
    }
}

/// The catalogue that comes with keyward.
///
/// # Errors
///
/// A file is not what it should be: the error says where.
pub fn built_in() -> Result<Vec<Group>> {
    let files = FILES.iter().map(|(name, text)| (*name, (*text).to_owned()));
    parse(files)
}

/// One from a directory, for attempts of one's own.
///
/// # Errors
///
/// As [`built_in`], and those of reading.
pub fn from_directory(directory: &Path) -> Result<Vec<Group>> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    let mut paths = entries
        .map(|it| Ok(it?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.retain(|it| it.extension().is_some_and(|it| it == "toml"));
    paths.sort();
    let mut files = Vec::new();
    for path in &paths {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        files.push((path.to_string_lossy(), text));
    }
    parse(files.iter().map(|(name, text)| (&**name, text.clone())))
}

fn parse<'a>(files: impl Iterator<Item = (&'a str, String)>) -> Result<Vec<Group>> {
    let mut seen = BTreeSet::new();
    let mut groups = Vec::new();
    for (name, text) in files {
        let mut group: Group = toml::from_str(&text).with_context(|| name.to_owned())?;
        for attempt in &mut group.attempts {
            if attempt.modes.is_empty() {
                attempt.modes.clone_from(&group.modes);
            }
            attempt
                .check()
                .with_context(|| format!("{name}: {}", attempt.id))?;
            ensure!(
                seen.insert(attempt.id.clone()),
                "{name}: {} is there twice",
                attempt.id
            );
        }
        groups.push(group);
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attempt_is_whole() {
        let groups = built_in().unwrap();
        let attempts: Vec<_> = groups.iter().flat_map(|it| &it.attempts).collect();
        assert!(attempts.len() >= 200, "{}", attempts.len());
        for attempt in attempts {
            assert!(!attempt.modes.is_empty(), "{}: no mode", attempt.id);
        }
    }

    #[test]
    fn what_is_not_stopped_is_in_the_security_policy_with_what_it_gains() {
        let policy = include_str!("../../SECURITY.md");
        for group in built_in().unwrap() {
            for attempt in group.attempts {
                let stands = policy.contains(&format!("({})", attempt.id))
                    || policy.contains(&format!(", {})", attempt.id))
                    || policy.contains(&format!("({},", attempt.id))
                    || policy.contains(&format!(", {},", attempt.id));
                assert_eq!(stands, attempt.residual.is_some(), "{}", attempt.id);
            }
        }
    }

    #[test]
    fn faults_name_their_place() {
        let text = "name = \"x\"\ntitle = \"x\"\n[[attempt]]\nid = \"A01\"\ntries = \"\"\nstopped-by = \"\"\n";
        let error = parse([("x.toml", text.to_owned())].into_iter()).unwrap_err();
        assert!(
            format!("{error:#}").starts_with("x.toml: A01: "),
            "{error:#}"
        );
    }
}
