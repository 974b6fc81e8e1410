// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward-proxy` as a child: its own user, no privileges, nothing in its arguments or environment.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, anyhow};
use keyward_policy::RawPolicy;
use keyward_proxy::control::{self, ControlError, Role};
use keyward_proxy::credential::Credentials;
use keyward_proxy::settings::RawSettings;
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::{Uid, User};
use rustix::process::{PidfdFlags, Resource, Rlimit, getrlimit, pidfd_open, prlimit};

use crate::beside::Beside;

/// The range from which systemd takes the users of services that have none of their own (`DynamicUser=`): outside
/// what people and packages get.
const UIDS: std::ops::RangeInclusive<u32> = 61184..=65519;

/// Twice the connections that there may be at all doors, with room.
const DESCRIPTORS: u64 = 65_536;

/// Far more than writing a few log lines takes, in milliseconds.
const DRAIN: u16 = 1000;

/// Where the certificates of the host are, if its administrator says so; nothing else of the environment is passed.
const PASSED: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The running proxy. It ends when this is dropped: its control socket closes.
#[derive(Debug)]
pub struct ProxyProcess {
    child: Child,
    pidfd: OwnedFd,
    control: UnixStream,
}

impl ProxyProcess {
    /// Starts the process and hands it the credentials, which nobody else needs from then on. It waits for its settings;
    /// see [`Self::configure`].
    pub fn spawn(uid: u32, diagnostics: &File, credentials: Credentials) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
        let program = open_program()?;
        // By descriptor: the proxy's user may have no way through the directories that lead to the file.
        let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        command
            .arg0("keyward-proxy")
            .arg("--supervised")
            .env_clear()
            .envs(
                PASSED
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .current_dir("/")
            // The standard library clears the supplementary groups when it changes the user.
            .uid(uid)
            .gid(uid)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(
                diagnostics
                    .try_clone()
                    .context("cannot duplicate the proxy's log")?,
            );
        let child = command.spawn().context("cannot start keyward-proxy")?;
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or_else(|| anyhow!("internal error: a process without a pid"))?;
        raise_descriptors(pid);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("cannot watch keyward-proxy")?;
        control::entrust(&ours, &credentials).context("cannot start keyward-proxy")?;
        Ok(Self {
            child,
            pidfd,
            control: ours,
        })
    }

    /// Hands it its settings and descriptors, and waits until it serves.
    pub fn configure(
        &mut self,
        settings: &RawSettings,
        descriptors: &[(Role, BorrowedFd<'_>)],
    ) -> Result<()> {
        match control::start(&self.control, settings, descriptors) {
            Ok(()) => Ok(()),
            Err(ControlError::Closed) => {
                let status = self.child.wait().context("cannot wait for keyward-proxy")?;
                Err(anyhow!(
                    "keyward-proxy ended before it was ready: {}",
                    describe(status)
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
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(describe)
    }

    /// Asks it to write its last log lines and to end. It does so while the caller goes on; see [`Self::stop`].
    pub fn drain(&self) {
        // If it is gone, there is nothing to ask for.
        control::drain(&self.control).ok();
    }

    /// Waits for the end that [`Self::drain`] asked for, or makes one.
    pub fn stop(mut self) -> io::Result<()> {
        let mut ended = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut ended, DRAIN)?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
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

/// Each connection at a door is two descriptors. Without the right to as many, as many as there may be: fewer are served
/// at once then.
fn raise_descriptors(pid: rustix::process::Pid) {
    let raise = |to: Option<u64>, maximum: Option<u64>| {
        let limit = Rlimit {
            current: to,
            maximum,
        };
        prlimit(Some(pid), Resource::Nofile, limit).is_ok()
    };
    let allowed = getrlimit(Resource::Nofile).maximum;
    if !raise(Some(DESCRIPTORS), Some(DESCRIPTORS)) && !raise(allowed, allowed) {
        tracing::debug!("the proxy has the descriptors that it was started with");
    }
}

/// A user that nobody is: by chance, so that the proxies of two runs are apart from each other.
///
/// Asking for each user's name may take a while, so it is done beside other things.
pub fn choose_uid() -> Beside<u32> {
    Beside::begin(|| {
        let chance = getrandom::u32().context("cannot get random bytes from the kernel")?;
        first_free(chance)
    })
}

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

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
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
