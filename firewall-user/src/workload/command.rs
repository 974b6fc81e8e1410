// SPDX-License-Identifier: GPL-3.0-or-later
//! The command itself: found, forked, given its terminal, executed.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::unistd::{
    AccessFlags, Pid, access, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve, getpid, setpgid,
    setsid, tcsetpgrp,
};

use super::message::Failure;
use super::{CoreLimit, Plan, Stdio};
use crate::environment::Variables;
use crate::sys::clone::vfork;

/// The running command.
pub(super) struct Command {
    /// Its process, which leads a process group of the same number.
    pub(super) pid: Pid,
    foreground: bool,
}

/// What came of starting it.
pub(super) enum Launch {
    /// It runs.
    Running(Command),
    /// It does not, and this is why.
    Failed(Failure),
}

impl Command {
    /// Makes its group the foreground of the terminal.
    pub(super) fn take_foreground(&self) {
        if self.foreground {
            give_foreground(self.pid);
        }
    }
}

/// Executes the command in a process of its own. Returns once the exec has succeeded or failed.
pub(super) fn launch(plan: Plan) -> Result<Launch> {
    let foreground = matches!(
        plan.stdio,
        Stdio::Inherit {
            foreground: true,
            ..
        }
    );
    let mut failure = None;
    let pid = vfork(|| match execute(&plan) {
        Ok(never) => match never {},
        Err(why) => {
            failure = Some(why);
            Failure::NOT_STARTED
        }
    })
    .context("cannot make the command's process")?;
    drop(plan);
    if let Some(failure) = failure {
        return Ok(Launch::Failed(failure));
    }
    Ok(Launch::Running(Command { pid, foreground }))
}

fn execute(plan: &Plan) -> Result<Infallible, Failure> {
    take_terminal(&plan.stdio).map_err(|error| Failure::Setup(format!("{error:#}")))?;
    reset_signals().map_err(|error| Failure::Setup(format!("{error:#}")))?;
    let CoreLimit { soft, hard } = plan.core_limit;
    setrlimit(Resource::RLIMIT_CORE, soft, hard).map_err(|error| {
        Failure::Setup(format!("cannot restore the limit on core dumps: {error}"))
    })?;
    chdir(&plan.directory).map_err(|error| {
        let directory = plan.directory.display();
        Failure::CannotRun(format!(
            "the working directory {directory} cannot be entered by user {}: {}",
            plan.identity.uid,
            error.desc()
        ))
    })?;
    let variables = plan.environment.variables();
    let program = find(
        plan.command
            .first()
            .map_or(OsStr::new(""), OsString::as_os_str),
        variables,
    )?;
    let arguments = c_strings(plan.command.iter().cloned())?;
    let environment = c_strings(variables.iter().map(|(name, value)| {
        let mut entry = name.clone();
        entry.push("=");
        entry.push(value);
        entry
    }))?;
    let path = c_strings([program.clone().into_os_string()])?.remove(0);
    execve(&path, &arguments, &environment).map_err(|error| cannot_run(&program, error))
}

fn take_terminal(stdio: &Stdio) -> Result<()> {
    match stdio {
        Stdio::Inherit {
            replaced,
            foreground,
        } => {
            setpgid(Pid::from_raw(0), Pid::from_raw(0)).context("cannot make a process group")?;
            if *foreground {
                give_foreground(getpid());
            }
            let [input, output, error] = replaced;
            if let Some(input) = input {
                dup2_stdin(input).context("cannot replace standard input")?;
            }
            if let Some(output) = output {
                dup2_stdout(output).context("cannot replace standard output")?;
            }
            if let Some(error) = error {
                dup2_stderr(error).context("cannot replace standard error")?;
            }
        }
        Stdio::Terminal(terminal) => {
            setsid().context("cannot make a session")?;
            rustix::process::ioctl_tiocsctty(terminal).context("cannot take the terminal")?;
            dup2_stdin(terminal).context("cannot replace standard input")?;
            dup2_stdout(terminal).context("cannot replace standard output")?;
            dup2_stderr(terminal).context("cannot replace standard error")?;
        }
    }
    Ok(())
}

/// Who is not in the foreground may put somebody there only while SIGTTOU is blocked, which it is in init and in the
/// command until [`reset_signals`]. If the terminal is gone there is nothing to give.
fn give_foreground(group: Pid) {
    if let Ok(terminal) = File::open("/dev/tty") {
        tcsetpgrp(terminal.as_fd(), group).ok();
    }
}

/// The command starts with every signal at its default and none blocked.
fn reset_signals() -> Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator() {
        if matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
            continue;
        }
        crate::sys::signals::set_default(signal, &default)
            .with_context(|| format!("cannot reset {signal}"))?;
    }
    SigSet::all()
        .thread_unblock()
        .context("cannot unblock the signals")
}

/// As a shell looks a command up: in `PATH` unless its name has a slash.
fn find(program: &OsStr, variables: &Variables) -> Result<PathBuf, Failure> {
    if program.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(program));
    }
    let paths = variables
        .get(OsStr::new("PATH"))
        .map_or(OsStr::new("/usr/bin:/bin"), OsString::as_os_str);
    let mut denied = None;
    for directory in std::env::split_paths(paths) {
        let candidate = directory.join(program);
        match access(&candidate, AccessFlags::X_OK) {
            Ok(()) if candidate.is_file() => return Ok(candidate),
            Err(Errno::EACCES) if candidate.is_file() => denied = Some(candidate),
            Ok(()) | Err(_) => {}
        }
    }
    match denied {
        Some(candidate) => Err(cannot_run(&candidate, Errno::EACCES)),
        None => Err(Failure::NotFound(format!(
            "{}: command not found in PATH={}\n  hint: sudo may have replaced PATH; keep yours: \
             sudo -E env PATH=\"$PATH\" keyward run ...",
            program.display(),
            paths.display(),
        ))),
    }
}

fn cannot_run(program: &Path, error: Errno) -> Failure {
    let text = format!("{}: {}", program.display(), error.desc());
    if matches!(error, Errno::ENOENT | Errno::ENOTDIR) {
        Failure::NotFound(text)
    } else {
        Failure::CannotRun(text)
    }
}

fn c_strings(strings: impl IntoIterator<Item = OsString>) -> Result<Vec<CString>, Failure> {
    strings
        .into_iter()
        .map(|string| {
            CString::new(string.into_vec()).map_err(|_nul| {
                Failure::CannotRun("an argument or a variable holds a NUL byte".to_owned())
            })
        })
        .collect()
}
