// SPDX-License-Identifier: GPL-3.0-or-later
//! What keyward uses and a kernel may lack although it is new enough to run on.
//!
//! What is lacking is refused by its name, and done without only where that was asked for by the same name.

use std::collections::BTreeSet;
use std::fmt;

use clap::ValueEnum;
use firewall_common::Lack;
use nix::sys::utsname::uname;
use serde::{Deserialize, Serialize};

use crate::sys;

/// One of them.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// Landlock for files, with --no-userns: writing is judged a second time (Linux 5.13)
    Landlock,
    /// Landlock for signals and abstract sockets: they are judged a second time (Linux 6.12)
    LandlockScope,
    /// The log of refused sockets: they are refused without being written down (Linux 5.19; taken, in some containers)
    SeccompNotify,
    /// Limits of memory, processes and processors (cgroup controllers)
    CgroupLimits,
}

/// Lacking features that a run may do without.
pub type Degraded = BTreeSet<Feature>;

impl Feature {
    /// All of them.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// The reason for which a run without it does not start.
    pub fn reason(self) -> Lack {
        match self {
            Self::Landlock => Lack::Landlock,
            Self::LandlockScope => Lack::LandlockScope,
            Self::SeccompNotify => Lack::SeccompNotify,
            Self::CgroupLimits => Lack::CgroupLimits,
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        self.reason().name()
    }

    /// What is lost without it.
    pub fn loss(self) -> &'static str {
        match self {
            Self::Landlock => "nothing but the mounts keeps the command from writing elsewhere",
            Self::LandlockScope => {
                "nothing but the pid and network namespaces keeps signals and abstract sockets inside"
            }
            Self::SeccompNotify => "sockets are refused without being written down",
            Self::CgroupLimits => "the command may take all of the host's memory and processes",
        }
    }

    /// What has it.
    pub fn since(self) -> &'static str {
        match self {
            Self::Landlock => {
                "Linux 5.13, booted with lsm=landlock,... (CONFIG_SECURITY_LANDLOCK=y)"
            }
            Self::LandlockScope => {
                "Linux 6.12, booted with lsm=landlock,... (CONFIG_SECURITY_LANDLOCK=y)"
            }
            Self::SeccompNotify => {
                "Linux 5.19, outside of containers whose own filter asks somebody"
            }
            Self::CgroupLimits => "the controllers memory, pids and cpu in the cgroup v2 hierarchy",
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A feature is lacking and nobody allowed to do without.
#[derive(Debug, thiserror::Error)]
#[error(
    "this host ({kernel}) lacks {feature}{detail}\n  it is in {}; without it {}\n  \
     hint: to run all the same: --allow-degraded {feature}",
    feature.since(),
    feature.loss()
)]
pub struct Lacking {
    feature: Feature,
    kernel: String,
    /// `: why`, or nothing.
    detail: String,
}

impl Lacking {
    /// `detail` says what was found; it may be empty.
    pub fn new(feature: Feature, detail: &str) -> Self {
        let detail = match detail {
            "" => String::new(),
            detail => format!(": {detail}"),
        };
        Self {
            feature,
            kernel: kernel(),
            detail,
        }
    }
}

/// `Linux 6.12.1`.
pub fn kernel() -> String {
    let release = uname().map(|it| it.release().to_string_lossy().into_owned());
    format!("Linux {}", release.unwrap_or_default())
}

/// Says whether to use a feature: yes if it is there, no if it may be done without.
///
/// # Errors
///
/// It is neither.
pub fn decide(feature: Feature, is_there: bool, allowed: &Degraded) -> Result<bool, Lacking> {
    if is_there {
        return Ok(true);
    }
    if allowed.contains(&feature) {
        return Ok(false);
    }
    Err(Lacking::new(feature, ""))
}

/// Whether the kernel has Landlock, and its scopes.
pub fn landlock() -> [(Feature, bool); 2] {
    let abi = sys::landlock::abi().unwrap_or(0);
    [
        (Feature::Landlock, abi >= 1),
        // Kernels of a distribution were seen that say 6 and have no scopes, so they are asked for.
        (
            Feature::LandlockScope,
            abi >= 6 && sys::landlock::has_scopes(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line_and_of_the_log() {
        let reasons: Vec<_> = Feature::all().iter().map(|it| it.reason()).collect();
        assert_eq!(reasons, Lack::ALL);
        for feature in Feature::all() {
            let typed = feature.to_possible_value().unwrap();
            assert_eq!(typed.get_name(), feature.name());
            assert_eq!(
                serde_json::to_value(feature).unwrap(),
                serde_json::Value::from(feature.name())
            );
        }
    }

    #[test]
    fn what_is_lacking_is_refused_by_name_unless_allowed_by_name() {
        let none = Degraded::new();
        let all: Degraded = Feature::all().iter().copied().collect();
        for &feature in Feature::all() {
            assert!(decide(feature, true, &none).unwrap());
            assert!(!decide(feature, false, &all).unwrap());
            let others: Degraded = all.iter().copied().filter(|it| *it != feature).collect();
            let text = decide(feature, false, &others).unwrap_err().to_string();
            assert!(text.contains(&format!("lacks {feature}\n")), "{text}");
            assert!(
                text.contains(&format!("--allow-degraded {feature}")),
                "{text}"
            );
        }
    }
}
