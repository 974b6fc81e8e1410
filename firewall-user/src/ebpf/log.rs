// SPDX-License-Identifier: GPL-3.0-or-later
//! What the programs say of what they let through, for whoever debugs them: `KEYWARD_LOG=keyward_ebpf=debug`.
//!
//! Denials are events, with or without it. How much is said is a constant of the programs: where nothing is, the
//! verifier sees that and leaves the saying out.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
};

use aya_log::EbpfLogger;

use super::EbpfError;

/// The ring buffer that lines come through.
pub(super) const LOGS: &str = "AYA_LOGS";

/// The global that says how much is said.
pub(super) const LEVEL: &str = aya_log::LEVEL;

/// A program that says something, by which the ring buffer is found.
pub(super) const SPEAKER: &str = "connect4";

/// The target of what is said, for filters.
const TARGET: &str = "keyward_ebpf";

/// How much is to be said: what the filter of this process lets through, as `aya-log` counts it. 0: nothing.
pub(super) fn level() -> u8 {
    if tracing::enabled!(target: TARGET, tracing::Level::TRACE) {
        aya_log::Level::Trace as u8
    } else if tracing::enabled!(target: TARGET, tracing::Level::DEBUG) {
        aya_log::Level::Debug as u8
    } else {
        0
    }
}

/// The lines of one set of programs.
pub struct Log(EbpfLogger<ToTracing>);

impl Log {
    /// Of the set that a program belongs to. `None`: nothing is said.
    pub(super) fn of(program: u32) -> Result<Option<Self>, EbpfError> {
        if level() == 0 {
            return Ok(None);
        }
        EbpfLogger::init_from_id_with_logger(program, ToTracing)
            .map(|it| Some(Self(it)))
            .map_err(|source| EbpfError::Object {
                act: "read the log of",
                source: Box::new(source),
            })
    }

    /// Passes on every line that is there, without waiting.
    pub fn drain(&mut self) {
        self.0.flush();
    }
}

impl AsFd for Log {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

/// Where lines go.
struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!(target: TARGET, "{}", record.args());
    }

    fn flush(&self) {}
}
