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

/// A run of which nothing is known yet.
#[derive(Debug)]
pub struct Begun {
    timings: Timings,
    oom_score: i32,
    proxy: Result<ProxyProcess>,
}

impl Begun {
    /// Starts the proxy, which takes as long to come up as the command line and the settings take to be worked out. It has
    /// nothing and serves nobody until it is told, and ends with this process.
    ///
    /// Call it when the credentials have been taken out of the environment, and before any thread is started.
    pub fn now() -> Self {
        let mut timings = Timings::default();
        // Before the proxy, which has it from this process.
        let oom_score = oom::come_last();
        let proxy = ProxyProcess::begin();
        timings.lap("spawn_proxy");
        Self {
            timings,
            oom_score,
            proxy,
        }
    }

    /// The same, if the command line looks as if there were going to be a run. `None`: it is begun with its arguments.
    pub fn early() -> Option<Self> {
        let asked_for = std::env::args_os().nth(1).is_some_and(|it| it == "run");
        (asked_for && geteuid().is_root()).then(Self::now)
    }
}

/// Runs the command and returns the exit status.
pub fn run(
    args: RunArgs,
    host: HostEnvironment,
    core_limit: CoreLimit,
    begun: Option<Begun>,
) -> Result<u8> {
    if !geteuid().is_root() {
        bail!(
            "keyward run needs root, to make namespaces and to attach eBPF programs\n  hint: sudo -E keyward run ..."
        );
    }
    let Begun {
        mut timings,
        oom_score,
        proxy,
    } = begun.unwrap_or_else(Begun::now);
    let proxy = proxy?;
    timings.lap("arguments");
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
