// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward-proxy` as a child: its own user, no privileges, nothing in its arguments or environment.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::UnixStream;
use std::process;

use anyhow::{Context as _, Result, anyhow};
use keyward_policy::RawPolicy;
use keyward_proxy::control::{self, ControlError, Door, Role};
use keyward_proxy::credential::Credentials;
use keyward_proxy::settings::RawSettings;
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::{Gid, Uid, User, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fexecve};
use rustix::process::{
    PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, WaitIdStatus, getrlimit,
    pidfd_open, pidfd_send_signal, setrlimit, waitid,
};

use crate::sandbox::privileges;
use crate::supervise::Signals;
use crate::sys;

/// The range from which systemd takes the users of services that have none of their own (`DynamicUser=`): outside
/// what people and packages get.
const UIDS: std::ops::RangeInclusive<u32> = 61184..=65519;

/// Twice the connections that there may be at all doors, with room.
const DESCRIPTORS: u64 = 65_536;

/// Far more than writing a few log lines takes, in milliseconds.
const DRAIN: u16 = 1000;

/// Where the certificates of the host are, if its administrator says so; nothing else of the environment is passed.
const PASSED: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The running proxy. It ends when this is dropped, and at the latest when this process does: its control socket closes.
#[derive(Debug)]
pub struct ProxyProcess {
    pidfd: OwnedFd,
    control: UnixStream,
}

impl ProxyProcess {
    /// Starts the process. It has nothing yet, and waits to be told; see [`Self::entrust`], [`Self::prepare`] and
    /// [`Self::open`].
    ///
    /// Nobody waits for its first step: what goes wrong there is heard of by [`Self::wait_until_ready`]. Call it while there
    /// is one thread, and on the thread that stays: the proxy dies with it.
    pub fn begin() -> Result<Self> {
        let failed = || "cannot start keyward-proxy";
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
        let program = open_program()?;
        let Some(pid) = sys::clone::fork().with_context(failed)? else {
            drop(ours);
            let error = match become_proxy(&program, &theirs) {
                Ok(never) => match never {},
                Err(error) => error,
            };
            // If it cannot be told, the supervisor hears the socket close.
            control::refuse(&theirs, &format!("{error:#}")).ok();
            process::exit(1);
        };
        let pid = rustix::process::Pid::from_raw(pid.as_raw());
        let pid = pid.ok_or_else(|| anyhow!("internal error: a process without a pid"))?;
        Ok(Self {
            pidfd: pidfd_open(pid, PidfdFlags::empty()).with_context(failed)?,
            control: ours,
        })
    }

    /// Hands it the credentials, which nobody else needs from then on.
    pub fn entrust(&self, credentials: &Credentials) -> Result<()> {
        control::entrust(&self.control, credentials).context("cannot start keyward-proxy")
    }

    /// Hands it its settings, its logs and what it looks up, which it gets ready with while the caller goes on.
    pub fn prepare(
        &self,
        settings: &RawSettings,
        descriptors: &[(Role, BorrowedFd<'_>)],
    ) -> Result<()> {
        control::prepare(&self.control, settings, descriptors).context("cannot start keyward-proxy")
    }

    /// Hands it its doors.
    pub fn open(&self, doors: &[(Door, BorrowedFd<'_>)]) -> Result<()> {
        control::open(&self.control, doors).context("cannot start keyward-proxy")
    }

    /// Waits until it serves there.
    pub fn wait_until_ready(&self) -> Result<()> {
        match control::wait_until_ready(&self.control) {
            Ok(()) => Ok(()),
            Err(ControlError::Closed) => {
                let status = self.wait(WaitIdOptions::EXITED)?;
                Err(anyhow!(
                    "keyward-proxy ended before it was ready: {}",
                    describe(status.as_ref())
                ))
            }
            Err(error) => Err(error).context("cannot start keyward-proxy"),
        }
    }

    /// Puts another policy in force. Says how many open connections it ended.
    pub fn replace_policy(&self, policy: &RawPolicy) -> Result<usize, ControlError> {
        control::replace_policy(&self.control, policy)
    }

    /// Has later requests served with these credentials.
    pub fn replace_credentials(&self, credentials: &Credentials) -> Result<usize, ControlError> {
        control::replace_credentials(&self.control, credentials)
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<String> {
        let status = self.wait(WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        status.ok().flatten().map(|it| describe(Some(&it)))
    }

    /// Asks it to write its last log lines and to end. It does so while the caller goes on; see [`Self::stop`].
    pub fn drain(&self) {
        // If it is gone, there is nothing to ask for.
        control::drain(&self.control).ok();
    }

    /// Waits for the end that [`Self::drain`] asked for, or makes one.
    pub fn stop(self) -> io::Result<()> {
        let mut ended = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut ended, DRAIN)?;
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            // It has ended, and somebody has heard of that.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
        match self.wait(WaitIdOptions::EXITED) {
            Ok(_) | Err(rustix::io::Errno::CHILD) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn wait(&self, options: WaitIdOptions) -> rustix::io::Result<Option<WaitIdStatus>> {
        rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(self.pidfd.as_fd()), options))
    }
}

impl Drop for ProxyProcess {
    /// Of a run that never came to its end. Whoever left without waiting for it would leave a zombie to the host.
    fn drop(&mut self) {
        pidfd_send_signal(&self.pidfd, Signal::KILL).ok();
        self.wait(WaitIdOptions::EXITED).ok();
    }
}

impl AsFd for ProxyProcess {
    /// Readable when the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// The proxy lies beside keyward: they are one build and speak one version of the control protocol.
fn open_program() -> Result<File> {
    let own = std::env::current_exe().context("cannot tell where keyward itself is")?;
    let path = own.with_file_name("keyward-proxy");
    File::open(&path).with_context(|| {
        format!(
            "cannot open {}\n  hint: keyward-proxy belongs beside keyward",
            path.display()
        )
    })
}

/// From the fork to the exec: the child's side.
fn become_proxy(program: &File, control: &UnixStream) -> Result<Infallible> {
    let chance = getrandom::u32().context("cannot get random bytes from the kernel")?;
    let uid = first_free(chance)?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null");
    let null = null.context("cannot open /dev/null")?;
    dup2_stdin(control)
        .and(dup2_stdout(&null))
        .and(dup2_stderr(&null))
        .context("cannot replace the standard streams")?;
    chdir("/").context("cannot leave the working directory")?;
    // Root's to do.
    raise_descriptors();
    privileges::drop_to(Uid::from_raw(uid), Gid::from_raw(uid))?;
    // What ends or stops keyward's process group is keyward's to answer: the proxy ends last.
    Signals::attended()
        .thread_block()
        .context("cannot block the signals")?;
    let variables = PASSED
        .iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
        .map(|(name, value)| CString::new([name.as_bytes(), b"=", &value.into_vec()].concat()))
        .collect::<Result<Vec<_>, _>>()
        .context("internal error: a variable with a NUL byte")?;
    // By descriptor: the proxy's user may have no way through the directories that lead to the file.
    let arguments = [c"keyward-proxy", c"--supervised"];
    fexecve(program, &arguments, &variables).context("cannot execute keyward-proxy")
}

/// Each connection at a door is two descriptors. Without the right to as many, as many as there may be: fewer are served
/// at once then.
fn raise_descriptors() {
    let raise = |to: Option<u64>, maximum: Option<u64>| {
        let limit = Rlimit {
            current: to,
            maximum,
        };
        setrlimit(Resource::Nofile, limit).is_ok()
    };
    let allowed = getrlimit(Resource::Nofile).maximum;
    if !raise(Some(DESCRIPTORS), Some(DESCRIPTORS)) && !raise(allowed, allowed) {
        tracing::debug!("the proxy has the descriptors that it was started with");
    }
}

/// A user that nobody is: by chance, so that the proxies of two runs are apart from each other.
fn first_free(chance: u32) -> Result<u32> {
    let size = UIDS.end() - UIDS.start() + 1;
    for offset in 0..size {
        let uid = UIDS.start() + (chance % size + offset) % size;
        if User::from_uid(Uid::from_raw(uid))
            .context("cannot look up users")?
            .is_none()
        {
            return Ok(uid);
        }
    }
    Err(anyhow!(
        "every user id from {} to {} is taken on this host",
        UIDS.start(),
        UIDS.end()
    ))
}

fn describe(status: Option<&WaitIdStatus>) -> String {
    let (code, signal) = status.map_or((None, None), |it| {
        (it.exit_status(), it.terminating_signal())
    });
    match (code, signal) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_nobodys_and_differ() {
        let (one, other, last) = (first_free(1), first_free(2), first_free(u32::MAX));
        let all = [one.unwrap(), other.unwrap(), last.unwrap()];
        assert!(all.iter().all(|it| UIDS.contains(it)) && all[0] != all[1]);
    }
}
