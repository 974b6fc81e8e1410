// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which core runs what: what is measured has one core to itself, what measures it has another.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The core for what is measured, and the core for load and emulator. On a machine with one core
/// they are the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) load: usize,
}

impl Cores {
    /// The first two cores that this process may use.
    pub(crate) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("sched_getaffinity")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        let server = cores.next().context("no core is allowed")?;
        Ok(Self {
            server,
            load: cores.next().unwrap_or(server),
        })
    }
}

/// Runs `act` on one core. Threads and processes that it starts stay there.
pub(crate) fn on<T>(core: usize, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = sched_getaffinity(None).context("sched_getaffinity")?;
    pin(core)?;
    let result = act();
    sched_setaffinity(None, &before).context("sched_setaffinity")?;
    result
}

/// Keeps this thread on one core from here on.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("pinning to core {core}"))
}
