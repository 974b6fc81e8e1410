// SPDX-License-Identifier: GPL-3.0-or-later
//! From the clone to the exec: the side of the child.
//!
//! The first process of the pid namespace stays as its init: it reaps, passes signals on and reports. When it ends,
//! the kernel kills whatever else is left in the namespace, so nothing that the command put into the background
//! outlives it.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process;

use anyhow::{Context as _, Result, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::fstat;
use nix::unistd::{Pid, ttyname};
use rustix::process::{WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::environment::Environment;
use crate::features::{Degraded, Feature, Lacking};
use crate::sandbox::landlock::{self, Restrictions};
use crate::sandbox::view::View;
use crate::sandbox::{mounts, privileges, seccomp};
use crate::sys::clone::{Clone, clone_into_cgroup};
use crate::timings::Timings;
use crate::user::Identity;
use crate::{cgroup, ebpf, nft, preflight, sys};

mod command;
mod init;
mod message;

pub use message::{Confined, Failure, Report, Request, Socket};

/// Namespaces that a workload has of its own. That of the network was made before; see [`crate::network`].
const NAMESPACES: [CloneFlags; 4] = [
    CloneFlags::CLONE_NEWPID,
    CloneFlags::CLONE_NEWNS,
    CloneFlags::CLONE_NEWIPC,
    CloneFlags::CLONE_NEWUTS,
];

/// Everything that the child needs, computed before it exists.
#[derive(Debug)]
pub struct Plan {
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Checked.
    pub environment: Environment,
    /// The user to become.
    pub identity: Identity,
    /// Where the command starts.
    pub directory: PathBuf,
    /// What it sees of the host's files.
    pub view: View,
    /// Where what it writes to overlays is kept until the run ends, if it can write to any.
    pub state: Option<PathBuf>,
    /// The compiled filter.
    pub seccomp: seccomp::Filter,
    /// What Landlock keeps it from.
    pub landlock: Restrictions,
    /// What may be lacking.
    pub allow_degraded: Degraded,
    /// How soon the kernel kills it when the host's memory runs out (`/proc/<pid>/oom_score_adj`): keyward itself
    /// comes later.
    pub oom_score: i32,
    /// What standard input, output and error become.
    pub stdio: Stdio,
    /// keyward itself leaves no core dumps; the command may, if it might before.
    pub core_limit: CoreLimit,
}

/// The limit on the size of core dumps (`RLIMIT_CORE`), in bytes.
#[derive(Clone, Copy, Debug)]
pub struct CoreLimit {
    /// What is in force.
    pub soft: u64,
    /// What it may be raised to.
    pub hard: u64,
}

/// The command's standard input, output and error.
#[derive(Debug)]
pub enum Stdio {
    /// As keyward's own, but for those that are replaced (a socket of the outside is never passed on).
    Inherit {
        /// One entry for each of the three.
        replaced: [Option<OwnedFd>; 3],
        /// Whether the command gets the foreground of keyward's terminal.
        foreground: bool,
    },
    /// A new pseudo-terminal, as the controlling terminal of a new session.
    Terminal(OwnedFd),
}

impl Stdio {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Inherit { replaced, .. } => replaced.iter().flatten().map(AsFd::as_fd).collect(),
            Self::Terminal(terminal) => vec![terminal.as_fd()],
        }
    }

    /// The name on the host of the first stream that is a terminal.
    fn terminal(&self) -> Option<PathBuf> {
        let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
        let own = [input.as_fd(), output.as_fd(), error.as_fd()];
        let streams = match self {
            Self::Inherit { replaced, .. } => own
                .into_iter()
                .zip(replaced)
                .filter_map(|(own, replaced)| replaced.is_none().then_some(own))
                .collect(),
            Self::Terminal(terminal) => vec![terminal.as_fd()],
        };
        streams.into_iter().find_map(|it| ttyname(it).ok())
    }
}

/// Proof that a workload may be set up: the eBPF programs are attached to its cgroup and read back, and the nftables
/// rules of its network namespace were read back and compared.
#[derive(Clone, Copy, Debug)]
pub struct Enforced<'a> {
    /// The cgroup that the programs are attached to.
    pub cgroup: &'a cgroup::Cgroup,
    /// How much it may take; read back, too.
    pub limited: &'a cgroup::Limited,
    /// The programs.
    pub programs: &'a ebpf::Attached,
    /// The network namespace that the rules are in.
    pub namespace: &'a OwnedFd,
    /// The rules.
    pub rules: &'a nft::Enforced,
}

/// An init that sets the sandbox up, and then waits for the word to start the command.
#[derive(Debug)]
pub struct Held(Workload);

impl Held {
    /// Init, as the supervisor numbers it.
    pub fn pid(&self) -> Pid {
        self.0.pid
    }

    /// Has the command started, whose way out was found to be there.
    pub fn start(self, _answered: preflight::Answered) -> Workload {
        // One that is gone, for the sandbox could not be set up, is heard of by its report.
        drop(self.0.socket.send(&Request::Start));
        self.0
    }
}

/// A started init, seen from the supervisor. Dropping it kills init, and with it everything in the pid namespace, and
/// waits for the end: before its first step init has what the supervisor had open, the run's lock among it.
#[derive(Debug)]
pub struct Workload {
    /// Init, as the supervisor numbers it.
    pub pid: Pid,
    /// Readable when init has ended.
    pub pidfd: OwnedFd,
    /// What init reports and is asked.
    pub socket: Socket,
    /// The id of its cgroup, as the kernel's denials have it.
    pub cgroup: u64,
}

impl Drop for Workload {
    fn drop(&mut self) {
        let init = self.pidfd.as_fd();
        // It may have ended by itself. Whatever cannot be ended is found in the cgroup.
        pidfd_send_signal(init, rustix::process::Signal::KILL).ok();
        let patience = cgroup::KILL_DEADLINE.as_millis();
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        poll(&mut [PollFd::new(init, PollFlags::POLLIN)], patience).ok();
        waitid(
            WaitId::PidFd(init),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        )
        .ok();
    }
}

/// Starts init, which sets the sandbox up while the caller does other things. The command is started by
/// [`Held::start`].
///
/// Returns in the supervisor only; the child never returns from here.
pub fn spawn(plan: Plan, enforced: Enforced<'_>) -> Result<Held> {
    let (ours, theirs) = Socket::pair().context("cannot make a socket pair")?;
    let cgroup = fstat(enforced.cgroup).context("cannot tell the cgroup's id")?;
    let flags = NAMESPACES.iter().fold(0, |all, flag| all | flag.bits());
    match clone_into_cgroup(enforced.cgroup.as_fd(), flags)
        .context("cannot make the workload's process")?
    {
        Clone::Parent { pid, pidfd } => Ok(Held(Workload {
            pid,
            pidfd,
            socket: ours,
            cgroup: cgroup.st_ino,
        })),
        Clone::Child => {
            drop(ours);
            let code = match become_init(&plan, enforced, &theirs) {
                Ok(()) => init::run(plan, &theirs),
                Err(error) => {
                    report_failure(&theirs, &format!("{error:#}"));
                    Failure::NOT_STARTED
                }
            };
            process::exit(code)
        }
    }
}

/// The child's part of the privilege timeline. Each step says why it stands where it does.
fn become_init(plan: &Plan, enforced: Enforced<'_>, socket: &Socket) -> Result<()> {
    let mut timings = Timings::default();
    let namespace = enforced.namespace;
    // First: the supervisor's listeners, eBPF maps and control socket are none of the workload's, the ends of pipes that
    // init held open would keep them from ever ending, and its lock says that the supervisor lives.
    let let_go = |keep: &[BorrowedFd<'_>]| {
        sys::descriptors::close_all_but(keep).context("cannot close the supervisor's descriptors")
    };
    let mut keep = vec![namespace.as_fd(), socket.as_fd()];
    keep.extend(plan.stdio.descriptors());
    let joining = enforced.limited.descriptors();
    let_go(&keep.iter().copied().chain(joining).collect::<Vec<_>>())?;
    enforced
        .limited
        .join()
        .context("cannot join the cgroups that limit the command")?;
    let_go(&keep)?;
    // Root's to do, as is what follows, so it comes before root is given up.
    fs::write("/proc/self/oom_score_adj", plan.oom_score.to_string())
        .context("cannot be killed before keyward when memory runs out")?;
    // The keys of whoever called keyward are in the session keyring that is inherited.
    sys::keyring::join_new_session().context("cannot get a keyring of its own")?;
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)
        .context("cannot enter the network namespace")?;
    timings.lap("init_join");
    let terminal = plan.stdio.terminal();
    let surroundings = mounts::Surroundings {
        state: plan.state.as_deref(),
        terminal: terminal.as_deref(),
    };
    mounts::enter(&plan.view, surroundings)?;
    timings.lap("init_mounts");
    // Signals wait until init reads them; a default action would end it, and the command with it.
    SigSet::all()
        .thread_set_mask()
        .context("cannot block the signals")?;
    privileges::drop_to(plan.identity.uid, plan.identity.gid)?;
    // After the change of user, which clears it. If the supervisor is gone by now nobody would ever send the signal.
    prctl::set_pdeathsig(Signal::SIGKILL).context("cannot ask to die with the supervisor")?;
    ensure!(!socket.is_closed(), "the supervisor is gone");
    // The user's other processes in this namespace, the command itself among them, may not look into init.
    prctl::set_dumpable(false).context("cannot make init undumpable")?;
    timings.lap("init_privileges");
    landlock::apply(&plan.landlock)?;
    timings.lap("init_landlock");
    // Last: from here on the filter judges init, too.
    let may_lack_listener = plan.allow_degraded.contains(&Feature::SeccompNotify);
    let listener = match seccomp::apply(&plan.seccomp) {
        Err(error) if may_lack_listener && seccomp::is_lacking(&error) => {
            seccomp::apply_without_listener(&plan.seccomp)?;
            None
        }
        Err(error) if seccomp::is_lacking(&error) => {
            let detail = error.root_cause().to_string();
            return Err(Lacking::new(Feature::SeccompNotify, &detail).into());
        }
        applied => Some(applied?),
    };
    timings.lap("init_seccomp");
    let confined = Report::Confined(Confined {
        timings: timings.steps(),
    });
    // Before the command exists, which may have to wait for what comes of it. The copy here is closed at once: with
    // it open, the kernel would believe that somebody answers even if the supervisor were gone.
    socket
        .send_with(&confined, listener.as_ref().map(AsFd::as_fd))
        .context("cannot hand the seccomp listener to the supervisor")
}

fn report_failure(socket: &Socket, text: &impl Display) {
    // If the supervisor cannot be told, it sees init end without a report, which it takes for a failure.
    drop(socket.send(&Report::Failed(Failure::Setup(text.to_string()))));
}
