// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether what confines a run is still there while it runs.
//!
//! Only root outside can take it away: an administrator, or a program that manages firewalls. The run ends then.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::cgroup::{Cgroup, Limited};
use crate::ebpf::Hooks;
use crate::network;
use crate::nft;

/// How often what the kernel tells nobody about is looked at. A look takes some 50 µs.
const PERIOD: Duration = Duration::from_secs(1);

/// What is looked at.
#[derive(Debug)]
pub struct Drift<'a> {
    /// The programs, and where they are to be.
    pub hooks: Hooks,
    /// The run's cgroup.
    pub cgroup: &'a Cgroup,
    /// Its limits.
    pub limited: &'a Limited,
    /// The namespace that the rules are in.
    pub namespace: &'a OwnedFd,
    /// The rules.
    pub ruleset: nft::Ruleset,
    /// Says that somebody has changed rules.
    pub changes: nft::Changes,
    /// When to look next.
    pub next: Instant,
}

impl Drift<'_> {
    /// When [`Self::look`] is due.
    pub fn due(&self) -> Instant {
        self.next
    }

    /// Looks, and says what is gone.
    pub fn look(&mut self) -> Result<(), String> {
        self.next = Instant::now() + PERIOD;
        self.hooks
            .verify(self.cgroup.as_fd())
            .map_err(|error| error.to_string())?;
        self.limited
            .verify()
            .map_err(|error| format!("a limit was changed: {error}"))
    }

    /// Somebody has changed rules in the workload's namespace: says whether they are still those that were meant.
    pub fn look_at_rules(&mut self) -> Result<(), String> {
        self.changes.forget();
        network::inside(self.namespace, || {
            nft::verify(&self.ruleset)
                .map(drop)
                .context("the nftables rules were changed")
        })
        .map_err(|error| format!("{error:#}"))
    }
}

impl AsFd for Drift<'_> {
    /// Readable when rules were changed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}
