// SPDX-License-Identifier: GPL-3.0-or-later
//! The command's standard input, output and error, seen from the supervisor.
//!
//! Mostly they are keyward's own. A socket is not passed on: the command could connect it anew, past every hook,
//! so a pipe takes its place and keyward copies. With `--tty` the command gets a pseudo-terminal.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{fchown, getpgrp, pipe2, tcgetpgrp, tcsetpgrp};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use crate::user::Identity;
use crate::workload;

/// What the supervisor does for the command's standard input and output while it runs.
#[derive(Debug)]
pub struct Attended {
    kind: Kind,
    relays: Vec<Relay>,
}

#[derive(Debug)]
enum Kind {
    /// keyward's own terminal, whose foreground the command holds.
    Foreground(File),
    /// A pseudo-terminal of the command's own; keyward's is in raw mode, if it has one.
    Terminal {
        master: OwnedFd,
        before: Option<Termios>,
    },
    /// No terminal, or one that somebody else has the foreground of.
    Detached,
}

#[derive(Debug)]
struct Relay {
    from: OwnedFd,
    to: OwnedFd,
    /// Whether the run is not over before everything was copied: output is waited for, input is not.
    is_output: bool,
}

/// Copies that run until their source ends.
#[derive(Debug)]
pub struct Copying(Vec<JoinHandle<()>>);

/// Decides what the command gets and what the supervisor keeps.
pub fn prepare(tty: bool, identity: &Identity) -> Result<(workload::Stdio, Attended)> {
    if tty { terminal(identity) } else { inherited() }
}

fn inherited() -> Result<(workload::Stdio, Attended)> {
    let mut relays = Vec::new();
    let mut replaced = [None, None, None];
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    let own = [input.as_fd(), output.as_fd(), error.as_fd()];
    for (index, descriptor) in own.into_iter().enumerate() {
        ensure!(
            !is_directory(descriptor),
            "a standard stream is a directory, by which the command would see all of the host's files\n  \
             hint: redirect it: </dev/null"
        );
        if is_socket(descriptor) {
            let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")?;
            let own = descriptor
                .try_clone_to_owned()
                .context("cannot duplicate a standard stream")?;
            let is_output = index != 0;
            let (from, to, theirs) = if is_output {
                (reader, own, writer)
            } else {
                (own, writer, reader)
            };
            relays.push(Relay {
                from,
                to,
                is_output,
            });
            replaced[index] = Some(theirs);
        }
    }
    let terminal = File::open("/dev/tty")
        .ok()
        .filter(|it| tcgetpgrp(it).is_ok_and(|group| group == getpgrp()));
    let stdio = workload::Stdio::Inherit {
        replaced,
        foreground: terminal.is_some(),
    };
    let kind = terminal.map_or(Kind::Detached, Kind::Foreground);
    Ok((stdio, Attended { kind, relays }))
}

fn terminal(identity: &Identity) -> Result<(workload::Stdio, Attended)> {
    let pair = nix::pty::openpty(None, None).context("cannot make a pseudo-terminal")?;
    for descriptor in [&pair.master, &pair.slave] {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)
            .context("cannot make the pseudo-terminal close-on-exec")?;
    }
    // The command opens it anew as /dev/tty, and other programs by its name.
    fchown(&pair.slave, Some(identity.uid), Some(identity.gid))
        .and_then(|()| fchmod(&pair.slave, Mode::S_IRUSR | Mode::S_IWUSR))
        .context("cannot give the pseudo-terminal to the user")?;
    let input = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("cannot duplicate standard input")?;
    let output = io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .context("cannot duplicate standard output")?;
    let duplicate = || {
        pair.master
            .try_clone()
            .context("cannot duplicate the pseudo-terminal")
    };
    let relays = vec![
        Relay {
            from: input,
            to: duplicate()?,
            is_output: false,
        },
        Relay {
            from: duplicate()?,
            to: output,
            is_output: true,
        },
    ];
    let kind = Kind::Terminal {
        master: pair.master,
        before: None,
    };
    let mut attended = Attended { kind, relays };
    attended.copy_window_size();
    Ok((workload::Stdio::Terminal(pair.slave), attended))
}

fn is_directory(descriptor: BorrowedFd<'_>) -> bool {
    is_kind(descriptor, SFlag::S_IFDIR)
}

fn is_socket(descriptor: BorrowedFd<'_>) -> bool {
    is_kind(descriptor, SFlag::S_IFSOCK)
}

fn is_kind(descriptor: BorrowedFd<'_>, kind: SFlag) -> bool {
    // A stream that cannot be examined is treated as the worst it may be. One that is closed stays closed.
    match fstat(descriptor) {
        Ok(status) => SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == kind,
        Err(nix::errno::Errno::EBADF) => false,
        Err(_) => true,
    }
}

impl Attended {
    /// Starts to copy. Only after the workload was cloned: a process with threads cannot be.
    pub fn begin(&mut self) -> Copying {
        if let Kind::Terminal { before, .. } = &mut self.kind {
            *before = make_raw();
        }
        let start = |relay: Relay| {
            let is_output = relay.is_output;
            let handle = thread::spawn(move || copy(File::from(relay.from), File::from(relay.to)));
            is_output.then_some(handle)
        };
        Copying(self.relays.drain(..).filter_map(start).collect())
    }

    /// The window of keyward's terminal changed its size.
    pub fn copy_window_size(&mut self) {
        if let Kind::Terminal { master, .. } = &self.kind
            && let Ok(size) = tcgetwinsize(io::stdin())
        {
            tcsetwinsize(master, size).ok();
        }
    }

    /// The command was stopped: gives keyward's terminal back to whoever started keyward.
    pub fn step_back(&self) {
        if let Kind::Foreground(terminal) = &self.kind {
            tcsetpgrp(terminal, getpgrp()).ok();
        }
    }

    /// Whether keyward was put into the foreground again, so that the command may have it.
    pub fn is_in_foreground(&self) -> bool {
        match &self.kind {
            Kind::Foreground(terminal) => tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()),
            Kind::Terminal { .. } | Kind::Detached => false,
        }
    }

    /// Leaves the terminal as it was found.
    pub fn restore(&mut self) {
        self.step_back();
        if let Kind::Terminal {
            before: Some(before),
            ..
        } = &self.kind
        {
            tcsetattr(io::stdin(), OptionalActions::Flush, before).ok();
        }
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.restore();
    }
}

impl Copying {
    /// Waits until all output was passed on. The command has ended, so it will end too.
    pub fn finish(self) {
        for handle in self.0 {
            drop(handle.join());
        }
    }
}

/// Sets keyward's terminal to raw mode: the command's own pseudo-terminal does the editing and makes the signals.
fn make_raw() -> Option<Termios> {
    let input = io::stdin();
    if !isatty(&input) {
        return None;
    }
    let before = tcgetattr(&input).ok()?;
    let mut raw = before.clone();
    raw.make_raw();
    tcsetattr(&input, OptionalActions::Flush, &raw).ok()?;
    Some(before)
}

/// A pseudo-terminal ends with an error (EIO) once nobody has it open any more; a pipe ends with nothing to read.
fn copy(mut from: File, mut to: File) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                if to.write_all(&buffer[..length]).is_err() {
                    return;
                }
            }
        }
    }
}
