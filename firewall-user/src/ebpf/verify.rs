// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading back: what the kernel shows counts, not that no call failed.

use std::os::fd::BorrowedFd;

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use std::{io, path::Path};

use super::{EbpfError, programs::PROGRAMS};
use crate::sys::bpf;

/// Checks that the pins hold a link for every program, and that the kernel runs the programs of these
/// links at their hooks of this cgroup.
///
/// Both are needed: the pin is what outlives this process, the hook is what is enforced.
pub(super) fn links(pins: &Path, cgroup: BorrowedFd<'_>) -> Result<(), EbpfError> {
    for spec in PROGRAMS {
        let name = spec.name;
        let failed = |source| EbpfError::ReadBack { name, source };
        let pinned = pinned(&pins.join(name)).map_err(|error| failed(io::Error::other(error)))?;
        let attached = bpf::attached(cgroup, spec.hook).map_err(failed)?;
        if !attached.contains(&pinned) {
            return Err(EbpfError::NotAttached {
                name,
                pinned,
                attached,
            });
        }
    }
    Ok(())
}

/// The id of the program behind a pinned link.
fn pinned(pin: &Path) -> Result<u32, LinkError> {
    Ok(FdLink::from(PinnedLink::from_pin(pin)?)
        .info()?
        .program_id())
}
