// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading back: what the kernel shows counts, not that no call failed.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

use aya::programs::links::{FdLink, LinkError, PinnedLink};
use std::{io, path::Path};

use super::{
    EbpfError,
    programs::{PROGRAMS, Spec},
};
use crate::sys::bpf;

/// The programs that are attached to a cgroup, as the kernel numbers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks(Vec<u32>);

impl Hooks {
    /// The id of the program at each hook.
    #[must_use]
    pub fn ids(&self) -> BTreeMap<String, u32> {
        let names = PROGRAMS.iter().map(|spec| spec.name.to_owned());
        names.zip(self.0.iter().copied()).collect()
    }

    /// The id of one of them.
    pub(super) fn id(&self, name: &str) -> Option<u32> {
        let programs = PROGRAMS.iter().zip(&self.0);
        let mut named = programs.filter(|(spec, _)| spec.name == name);
        named.next().map(|(_, id)| *id)
    }

    /// In a few words.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} programs attached, links pinned", self.0.len())
    }

    /// Whether the kernel still has all of them at their hooks of `cgroup`. A call for each: the pins are not looked at.
    ///
    /// # Errors
    ///
    /// One is not there.
    pub fn verify(&self, cgroup: impl AsFd) -> Result<(), EbpfError> {
        for (spec, &pinned) in PROGRAMS.iter().zip(&self.0) {
            require(spec, pinned, cgroup.as_fd())?;
        }
        Ok(())
    }
}

/// The programs behind the pins in a directory, each of which is attached to `cgroup`.
///
/// # Errors
///
/// One is missing at either place.
pub fn look_up(pins: &Path, cgroup: impl AsFd) -> Result<Hooks, EbpfError> {
    links(pins, cgroup.as_fd())
}

/// Checks that the pins hold a link for every program, and that the kernel runs the programs of these
/// links at their hooks of this cgroup.
///
/// Both are needed: the pin is what outlives this process, the hook is what is enforced.
pub(super) fn links(pins: &Path, cgroup: BorrowedFd<'_>) -> Result<Hooks, EbpfError> {
    let mut ids = Vec::with_capacity(PROGRAMS.len());
    for spec in PROGRAMS {
        let pinned = pinned(&pins.join(spec.name)).map_err(|error| EbpfError::ReadBack {
            name: spec.name,
            source: io::Error::other(error),
        })?;
        require(spec, pinned, cgroup)?;
        ids.push(pinned);
    }
    Ok(Hooks(ids))
}

fn require(spec: &Spec, pinned: u32, cgroup: BorrowedFd<'_>) -> Result<(), EbpfError> {
    let name = spec.name;
    let attached =
        bpf::attached(cgroup, spec.hook).map_err(|source| EbpfError::ReadBack { name, source })?;
    if attached.contains(&pinned) {
        Ok(())
    } else {
        Err(EbpfError::NotAttached {
            name,
            pinned,
            attached,
        })
    }
}

/// The id of the program behind a pinned link.
fn pinned(pin: &Path) -> Result<u32, LinkError> {
    Ok(FdLink::from(PinnedLink::from_pin(pin)?)
        .info()?
        .program_id())
}
