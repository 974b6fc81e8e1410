// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long eBPF programs ran, as the kernel counts it. The kernel only adds up: single runs cannot
//! be seen, but differences between two looks can.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};

/// The kernel counts as long as this exists. Counting costs some tens of nanoseconds a run, which
/// the times include.
#[derive(Debug)]
pub(super) struct Statistics {
    _enabled: OwnedFd,
    /// The ids of what was loaded before: other programs of this host, which are not ours to report.
    before: BTreeSet<u32>,
}

/// What all programs that were loaded since have counted so far, by id.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<u32, (String, Count)>);

/// What programs did between two looks, by name.
#[derive(Debug, Default)]
pub(super) struct Ran(pub(super) BTreeMap<String, Count>);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) runs: f64,
    pub(super) nanoseconds: f64,
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

    pub(super) fn read(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        for program in loaded_programs() {
            let program = program.context("listing eBPF programs")?;
            if self.before.contains(&program.id()) {
                continue;
            }
            let runs = u32::try_from(program.run_count()).context("too many runs to count")?;
            let nanoseconds = program.run_time().as_secs_f64() * 1e9;
            let name = program.name_as_str().unwrap_or("?").to_owned();
            counts.0.insert(
                program.id(),
                (
                    name,
                    Count {
                        runs: f64::from(runs),
                        nanoseconds,
                    },
                ),
            );
        }
        Ok(counts)
    }
}

impl Counts {
    /// What ran since an earlier look. Programs that did not run are left out.
    pub(super) fn since(&self, earlier: &Self) -> Ran {
        let mut ran = Ran::default();
        for (id, (name, count)) in &self.0 {
            let before = earlier
                .0
                .get(id)
                .map_or(Count::default(), |(_, count)| *count);
            if count.runs > before.runs {
                let sum = ran.0.entry(name.clone()).or_default();
                sum.runs += count.runs - before.runs;
                sum.nanoseconds += count.nanoseconds - before.nanoseconds;
            }
        }
        ran
    }
}
