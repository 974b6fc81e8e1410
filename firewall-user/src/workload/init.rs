// SPDX-License-Identifier: GPL-3.0-or-later
//! The first process of the pid namespace: starts the command, reaps, passes signals on, reports, ends.

use std::fs::OpenOptions;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, anyhow};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout};

use super::command::{self, Command, Launch};
use super::message::{Failure, Report, Request, Socket};
use super::{Plan, report_failure};

/// Waits for the word to start the command, runs until it ends, and returns what init is to exit with.
pub(super) fn run(plan: Plan, socket: &Socket) -> i32 {
    // The supervisor is gone, or has found that it cannot be: either way nobody is to be started.
    let Ok(Some(Request::Start)) = socket.receive() else {
        return Failure::NOT_STARTED;
    };
    let launched = match command::launch(plan) {
        Ok(Launch::Running(command)) => command,
        Ok(Launch::Failed(failure)) => {
            drop(socket.send(&Report::Failed(failure)));
            return Failure::NOT_STARTED;
        }
        Err(error) => {
            report_failure(socket, &format!("{error:#}"));
            return Failure::NOT_STARTED;
        }
    };
    let supervised = let_go_of_streams().and_then(|()| supervise(&launched, socket));
    match supervised {
        Ok(()) => 0,
        // The supervisor is gone or init cannot do its work: ending kills the command.
        Err(_) => Failure::NOT_STARTED,
    }
}

/// The standard streams are the command's: whoever reads them must see their end when it has closed them.
fn let_go_of_streams() -> Result<()> {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("cannot open /dev/null")?;
    dup2_stdin(&null)
        .and(dup2_stdout(&null))
        .and(dup2_stderr(&null))
        .context("cannot let go of the streams")
}

fn supervise(command: &Command, socket: &Socket) -> Result<()> {
    let signals = SignalFd::with_flags(
        &SigSet::all(),
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )
    .context("cannot read signals")?;
    socket.send(&Report::Started)?;
    loop {
        if let Some(last) = reap(command.pid, socket)? {
            return Ok(socket.send(&last)?);
        }
        let mut descriptors = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(socket.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut descriptors, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait"),
        }
        let asked = descriptors[1].any().unwrap_or(true);
        // Their only use is to wake init when a child changes. A signal that a process of the workload sends to
        // init means nothing: the user's signals come over the socket.
        while signals
            .read_signal()
            .context("cannot read a signal")?
            .is_some()
        {}
        if asked {
            let request = socket
                .receive()?
                .ok_or_else(|| anyhow!("the supervisor is gone"))?;
            obey(command, request);
        }
    }
}

fn obey(command: &Command, request: Request) {
    match request {
        // It runs.
        Request::Start => {}
        Request::Signal(number) => {
            if let Ok(signal) = Signal::try_from(number) {
                // It may have ended just now.
                killpg(command.pid, signal).ok();
            }
        }
        Request::Continue { foreground } => {
            if foreground {
                command.take_foreground();
            }
            killpg(command.pid, Signal::SIGCONT).ok();
        }
    }
}

/// Reaps whatever has ended. Returns the last report once the command itself has.
fn reap(command: Pid, socket: &Socket) -> Result<Option<Report>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == command => {
                return Ok(Some(Report::Exited(status)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => {
                return Ok(Some(Report::Signaled(as_number(signal))));
            }
            Ok(WaitStatus::Stopped(pid, signal)) if pid == command => {
                socket.send(&Report::Stopped(as_number(signal)))?;
            }
            Ok(WaitStatus::StillAlive) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the command"),
        }
    }
}

fn as_number(signal: Signal) -> i32 {
    signal as i32
}
