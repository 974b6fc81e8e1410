// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward reload`: asks a run to read its policy anew, and says what came of it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

use crate::cli::ReloadArgs;
use crate::runs::{self, Introduction};

/// Package managers are asked how they are set up, and some take seconds to say.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the log is looked at meanwhile.
const GLANCE: Duration = Duration::from_millis(20);

/// What the run writes down.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Reload {
        ok: bool,
        #[serde(default)]
        rules: usize,
        #[serde(default)]
        ended: usize,
        #[serde(default)]
        error: String,
    },
    #[serde(other)]
    Other,
}

/// Asks, waits, and tells.
pub fn run(args: &ReloadArgs) -> Result<()> {
    let (id, run) = choose(args.run.as_deref(), runs::live())?;
    let path = run.logs.join("audit.jsonl");
    let mut log = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    log.seek(SeekFrom::End(0))?;
    kill(Pid::from_raw(run.pid), Signal::SIGHUP)
        .with_context(|| format!("cannot signal run {id}"))?;
    let (rules, ended) = answer(&mut log, &path)?;
    writeln!(
        io::stdout(),
        "run {id}: the new policy is in force ({rules} rules); {ended} open connections were ended by it"
    )?;
    Ok(())
}

fn choose(
    wanted: Option<&str>,
    live: Vec<(String, Introduction)>,
) -> Result<(String, Introduction)> {
    let mut fitting: Vec<_> = live
        .into_iter()
        .filter(|(id, _)| wanted.is_none_or(|wanted| id.starts_with(wanted)))
        .collect();
    let Some((id, run)) = fitting.pop() else {
        bail!("there is no such run on this host\n  hint: keyward top --once");
    };
    if !fitting.is_empty() {
        let names: Vec<_> = fitting.iter().map(|(id, _)| id.as_str()).collect();
        bail!(
            "which run? {id} or {}\n  hint: keyward reload {id}",
            names.join(" or ")
        );
    }
    if !run.reloadable {
        bail!("run {id} was started without a policy: it has nothing to read anew");
    }
    Ok((id, run))
}

fn answer(log: &mut File, path: &Path) -> Result<(usize, usize)> {
    let deadline = Instant::now() + PATIENCE;
    let mut text = String::new();
    loop {
        log.read_to_string(&mut text)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text.drain(..whole).collect::<String>().lines() {
            match serde_json::from_str(line) {
                Ok(Line::Reload {
                    ok: true,
                    rules,
                    ended,
                    ..
                }) => return Ok((rules, ended)),
                Ok(Line::Reload { error, .. }) => {
                    return Err(anyhow!("the old policy stays in force: {error}"));
                }
                Ok(Line::Other) | Err(_) => {}
            }
        }
        if Instant::now() > deadline {
            bail!(
                "no answer within {} s; look into {}",
                PATIENCE.as_secs(),
                path.display()
            );
        }
        sleep(GLANCE);
    }
}
