// SPDX-License-Identifier: GPL-3.0-or-later
//! A network namespace, held by a thread that does what it is told there.

use std::{
    fmt,
    process::Command,
    sync::mpsc::{Sender, channel},
    thread::JoinHandle,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::gettid,
};

type Task = Box<dyn FnOnce() + Send>;

/// See the module.
pub(super) struct Place {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

impl Place {
    /// A new namespace with its loopback up.
    pub(super) fn new() -> Self {
        let (tasks, inbox) = channel::<Task>();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET)
                .expect("a network namespace takes root: cargo xtask test");
            inbox.into_iter().for_each(|task| task());
        });
        let place = Self {
            tasks: Some(tasks),
            thread: Some(thread),
        };
        place.ip("link set lo up");
        place
    }

    /// Runs `task` there and waits for it.
    pub(super) fn run<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = channel();
        let task = Box::new(move || {
            // Nobody waits any more if the test has panicked.
            drop(sender.send(task()));
        });
        self.tasks
            .as_ref()
            .expect("open until dropped")
            .send(task)
            .expect("the thread lives");
        receiver.recv().expect("the task ended well")
    }

    /// Runs `ip` there.
    pub(super) fn ip(&self, arguments: &str) -> String {
        let arguments = arguments.to_owned();
        self.run(move || {
            let output = Command::new("ip")
                .args(arguments.split(' '))
                .output()
                .expect("iproute2");
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "ip {arguments}: {error}");
            String::from_utf8(output.stdout).expect("text")
        })
    }

    /// Writes a sysctl of the namespace.
    pub(super) fn sysctl(&self, path: &'static str, value: &'static str) {
        // `/proc/sys/net` shows the namespace of the thread that opens it.
        self.run(move || std::fs::write(format!("/proc/sys/{path}"), value))
            .expect(path);
    }

    /// The thread, as `ip` names the namespace by.
    pub(super) fn tid(&self) -> String {
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
