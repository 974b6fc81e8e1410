// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward run`.

use std::io::{self, Write as _};

use anyhow::{Result, bail};
use keyward_policy::Mode;
use nix::unistd::geteuid;

use crate::cli::RunArgs;
use crate::proxy_process::ProxyProcess;
use crate::settings::{self, HostEnvironment};
use crate::timings::Timings;
use crate::workload::CoreLimit;
use crate::{oom, report, run, supervise};

/// Runs the command and returns the exit status.
pub fn run(args: RunArgs, host: HostEnvironment, core_limit: CoreLimit) -> Result<u8> {
    if !geteuid().is_root() {
        bail!(
            "keyward run needs root, to make namespaces and to attach eBPF programs\n  hint: sudo -E keyward run ..."
        );
    }
    let mut timings = Timings::default();
    // Before the proxy, which has it from this process.
    let oom_score = oom::come_last();
    // Early, although nothing is known yet: it takes as long to come up as the settings take to be worked out. It has
    // nothing and serves nobody until it is told, and ends with this process.
    let proxy = ProxyProcess::begin()?;
    timings.lap("spawn_proxy");
    let settings = settings::resolve(args, host)?;
    timings.lap("settings");
    let mut talk = io::stderr();
    let notes = settings.environment.notes().iter();
    for note in notes.chain(&settings.notes).chain(&settings.view.notes) {
        writeln!(talk, "keyward: {note}")?;
    }
    for exposure in &settings.view.exposures {
        if let Some(danger) = exposure.danger {
            let (by, path) = (&exposure.by, exposure.path.display());
            writeln!(talk, "keyward: {by} exposes {path}: {danger}")?;
        }
    }
    if settings.policy.mode == Mode::Audit {
        writeln!(
            talk,
            "keyward: AUDIT MODE: every host name is let through and written down; nothing is blocked by name.\n  \
             The command still holds no real key. Afterwards: keyward policy suggest"
        )?;
    }
    let finished = run::run(settings, proxy, core_limit, oom_score, timings)?;
    if let Err(explanation) = supervise::explain(&finished.outcome) {
        writeln!(talk, "keyward: {explanation:#}")?;
    }
    report::write(&finished, &mut talk)?;
    Ok(supervise::exit_status(&finished.outcome))
}
