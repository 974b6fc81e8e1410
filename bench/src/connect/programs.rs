// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long eBPF programs ran, as the kernel counts it.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use serde::Serialize;

/// The kernel counts as long as this exists. Counting costs some tens of nanoseconds a run, which
/// the times include.
#[derive(Debug)]
pub(super) struct Statistics {
    _enabled: OwnedFd,
    /// The ids of what was loaded before: other programs of this host, which are not ours to report.
    before: BTreeSet<u32>,
}

/// One program's runs.
#[derive(Debug, Serialize)]
pub(super) struct Ran {
    pub(super) name: String,
    pub(super) runs: u32,
    pub(super) ns_per_run: f64,
    pub(super) total_ns: f64,
}

impl Statistics {
    pub(super) fn enable() -> Result<Self> {
        let enabled = enable_stats(Stats::RunTime).context("BPF_ENABLE_STATS")?;
        let before = loaded_programs().map(|program| program.map(|program| program.id()));
        let before = before
            .collect::<Result<_, _>>()
            .context("listing eBPF programs")?;
        Ok(Self {
            _enabled: enabled,
            before,
        })
    }

    /// The programs that were loaded since, and ran.
    pub(super) fn read(&self) -> Result<Vec<Ran>> {
        let mut ran = Vec::new();
        for program in loaded_programs() {
            let program = program.context("listing eBPF programs")?;
            if self.before.contains(&program.id()) || program.run_count() == 0 {
                continue;
            }
            let runs = u32::try_from(program.run_count()).context("too many runs to count")?;
            let total_ns = program.run_time().as_secs_f64() * 1e9;
            ran.push(Ran {
                name: program.name_as_str().unwrap_or("?").to_owned(),
                runs,
                ns_per_run: total_ns / f64::from(runs),
                total_ns,
            });
        }
        ran.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(ran)
    }
}
