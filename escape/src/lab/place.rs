// SPDX-License-Identifier: GPL-3.0-or-later
//! A network namespace, held by a thread that does what it is told there.

use std::fmt;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

type Task = Box<dyn FnOnce() + Send>;

/// See the module. It has no name, and goes with the process whatever becomes of that.
pub struct Place {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

impl Place {
    /// A new namespace with its loopback up.
    ///
    /// # Errors
    ///
    /// It takes root, and iproute2.
    pub fn new() -> Result<Self> {
        let (tasks, inbox) = channel::<Task>();
        let (sender, receiver) = channel();
        let thread = std::thread::spawn(move || {
            let made = unshare(CloneFlags::CLONE_NEWNET);
            let is_made = made.is_ok();
            if sender.send(made).is_ok() && is_made {
                inbox.into_iter().for_each(|task| task());
            }
        });
        receiver.recv()?.context("a network namespace takes root")?;
        let place = Self {
            tasks: Some(tasks),
            thread: Some(thread),
        };
        place.ip("link set lo up")?;
        Ok(place)
    }

    /// Runs `task` there and waits for it: sockets and processes that it makes belong there.
    ///
    /// # Errors
    ///
    /// The task panicked, this one or one before it.
    pub fn run<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (sender, receiver) = channel();
        let task = Box::new(move || {
            // Nobody waits any more if the caller has panicked.
            drop(sender.send(task()));
        });
        let gone = || anyhow!("the lab's thread has ended");
        let tasks = self.tasks.as_ref().ok_or_else(gone)?;
        tasks.send(task).map_err(|_unsent| gone())?;
        receiver.recv().map_err(|_closed| gone())
    }

    /// Runs `ip` there.
    ///
    /// # Errors
    ///
    /// It is not installed, or fails.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let arguments = arguments.to_owned();
        self.run(move || {
            let output = Command::new("ip")
                .args(arguments.split(' '))
                .output()
                .context("iproute2 is needed")?;
            let error = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "ip {arguments}: {error}");
            Ok(String::from_utf8(output.stdout)?)
        })?
    }

    /// Writes a sysctl of the namespace.
    ///
    /// # Errors
    ///
    /// The kernel does not take it.
    pub fn sysctl(&self, path: &'static str, value: &'static str) -> Result<()> {
        // `/proc/sys/net` shows the namespace of the thread that opens it.
        self.run(move || std::fs::write(format!("/proc/sys/{path}"), value))?
            .context(path)
    }

    /// The thread, as `ip` names the namespace by.
    ///
    /// # Errors
    ///
    /// As [`Place::run`].
    pub fn tid(&self) -> Result<String> {
        self.run(|| gettid().to_string())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.tasks.take());
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}
