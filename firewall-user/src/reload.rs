// SPDX-License-Identifier: GPL-3.0-or-later
//! Another policy for a run that goes on.
//!
//! The files are read on a thread: that can take as long as a package manager takes to say how it is set up, and the
//! supervisor has signals and denials to attend to. Whatever is wrong with them leaves the old policy in force.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use keyward_policy::RawPolicy;

use crate::audit::Audit;
use crate::policy::Source;
use crate::proxy_process::ProxyProcess;

/// What reloads a run's policy.
#[derive(Debug)]
pub struct Reload {
    source: Option<Arc<Source>>,
    reading: Option<Reading>,
    again: bool,
}

#[derive(Debug)]
struct Reading {
    thread: JoinHandle<Result<RawPolicy, String>>,
    /// Ends when the thread does.
    done: io::PipeReader,
}

impl Reload {
    /// `source` is `None` for a run whose doors are closed for good.
    pub fn new(source: Option<Source>) -> Self {
        Self {
            source: source.map(Arc::new),
            reading: None,
            again: false,
        }
    }

    /// Whether there is anything to reload.
    pub fn is_possible(&self) -> bool {
        self.source.is_some()
    }

    /// Begins to read. What is asked for while that goes on is done once more behind it.
    pub fn begin(&mut self, audit: &mut Audit) {
        if self.reading.is_some() {
            self.again = true;
            return;
        }
        let Some(source) = self.source.clone() else {
            return;
        };
        match io::pipe() {
            Ok((done, open)) => {
                let thread = thread::spawn(move || {
                    let read = source.read();
                    drop(open);
                    Ok(read.map_err(|faults| faults.to_string())?.policy)
                });
                self.reading = Some(Reading { thread, done });
            }
            Err(error) => audit.reloaded(&Err(format!("cannot make a pipe: {error}"))),
        }
    }

    /// Readable when [`Self::finish`] has something to do.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.reading.as_ref().map(|it| it.done.as_fd())
    }

    /// Hands the policy that was read to the proxy, and writes down what became of it.
    pub fn finish(&mut self, proxy: &ProxyProcess, audit: &mut Audit) {
        let Some(reading) = self.reading.take() else {
            return;
        };
        let read = reading
            .thread
            .join()
            .unwrap_or_else(|_panic| Err("internal error: the reading thread panicked".to_owned()));
        let result = read.and_then(|policy| {
            let ended = proxy.replace_policy(&policy);
            let rules = policy.allow.len() + policy.block.len();
            ended
                .map(|ended| Reloaded { rules, ended })
                .map_err(|error| error.to_string())
        });
        audit.reloaded(&result);
        if std::mem::take(&mut self.again) {
            self.begin(audit);
        }
    }
}

/// A policy that is in force now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Its rules.
    pub rules: usize,
    /// Open connections that it ended.
    pub ended: usize,
}
