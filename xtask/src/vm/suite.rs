// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is run in guests.

use std::fmt;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::test::kernel::TestBinary;

/// Binaries that guests do not run.
const LEFT_OUT: &str = include_str!("guest/left-out.txt");

/// A part of the tests.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(super) enum Suite {
    /// The eBPF programs, nftables rules and namespaces, each alone
    Kernel,
    /// `keyward run` and its real clients
    E2e,
    /// Every known way out: `keyward selftest`
    Escape,
    /// Below systemd: services, slices, the journal
    Systemd,
    /// The power goes at random moments of runs
    Power,
}

impl Suite {
    pub(super) const ALL: &[Self] = &[
        Self::Kernel,
        Self::E2e,
        Self::Escape,
        Self::Systemd,
        Self::Power,
    ];

    /// The suite that a test binary belongs to.
    pub(super) fn of(binary: &str) -> Self {
        match binary {
            "escape" => Self::Escape,
            "nft" => Self::Kernel,
            "power" => Self::Power,
            "systemd" => Self::Systemd,
            _ if binary.starts_with("kernel_") => Self::Kernel,
            _ => Self::E2e,
        }
    }

    /// What its binaries are told: the tests of some need systemd as pid 1 and are ignored elsewhere.
    pub(super) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kernel | Self::E2e | Self::Escape => &[],
            Self::Systemd | Self::Power => &["--ignored", "--test-threads=1"],
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::E2e => "e2e",
            Self::Escape => "escape",
            Self::Systemd => "systemd",
            Self::Power => "power",
        })
    }
}

/// The binaries that guests run.
///
/// # Errors
///
/// The list of those that they do not names one that there is not: it is out of date.
pub(super) fn in_guests(mut binaries: Vec<TestBinary>) -> Result<Vec<TestBinary>> {
    // A package's library and programs have test binaries of their own, with nothing in them.
    binaries.retain(|it| it.path.exists());
    for (name, _) in left_out() {
        let before = binaries.len();
        binaries.retain(|it| it.name != name);
        ensure!(
            binaries.len() < before,
            "left-out.txt names {name}, which is no test binary"
        );
    }
    Ok(binaries)
}

/// Name and reason of each binary that guests do not run.
pub(super) fn left_out() -> impl Iterator<Item = (&'static str, &'static str)> {
    LEFT_OUT
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, reason)| (name, reason.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_binary_belongs_to_a_suite() {
        for (binary, suite) in [
            ("kernel_probes", Suite::Kernel),
            ("nft", Suite::Kernel),
            ("escape", Suite::Escape),
            ("systemd", Suite::Systemd),
            ("power", Suite::Power),
            ("run", Suite::E2e),
        ] {
            assert_eq!(Suite::of(binary), suite, "{binary}");
        }
    }

    #[test]
    fn a_reason_stands_behind_each_that_is_left_out() {
        assert!(left_out().all(|(name, reason)| !name.is_empty() && reason.len() > 10));
    }

    #[test]
    fn a_list_that_is_out_of_date_is_noticed() {
        assert!(in_guests(Vec::new()).is_err());
    }
}
