// SPDX-License-Identifier: GPL-3.0-or-later
//! What programs use the doors: the proxy reports a process's number when it first sees it, and may not look further.

use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context as _, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::audit::Audit;

/// The reading end of the proxy's reports.
#[derive(Debug)]
pub struct Sightings(io::PipeReader);

impl Sightings {
    /// Both ends; neither blocks.
    pub fn pipe() -> Result<(Self, io::PipeWriter)> {
        let (reader, writer) = io::pipe().context("cannot make a pipe")?;
        for end in [reader.as_fd(), writer.as_fd()] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("cannot set up a pipe")?;
        }
        Ok((Self(reader), writer))
    }

    /// Writes down what program each of them runs. Says whether there can be more.
    pub fn look(&mut self, audit: &mut Audit) -> bool {
        // A whole number of reports: each is written whole, and the kernel keeps them apart.
        let mut buffer = [0; 4 * 256];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return false,
                Ok(length) => {
                    let reports = buffer.get(..length).unwrap_or_default().chunks_exact(4);
                    for pid in reports.filter_map(|it| it.try_into().ok()) {
                        audit.sighted(u32::from_ne_bytes(pid));
                    }
                }
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }
}

impl AsFd for Sightings {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
