// SPDX-License-Identifier: GPL-3.0-or-later
//! Attaching and pinning, and the way back.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{ffi::OsStrExt, fs::DirBuilderExt},
    },
    path::{Path, PathBuf},
};

use super::{Counters, EbpfError, Events, Hooks, Log, Set, Spare, log, programs::PROGRAMS, verify};
use crate::sys::bpf;

/// The proof that every program is attached. Dropping it detaches nothing: the pins hold.
#[derive(Debug)]
pub struct Attached {
    pins: PathBuf,
    hooks: Hooks,
    set: Set,
    log: Option<Log>,
}

impl Attached {
    pub(super) fn attach(set: Set, cgroup: BorrowedFd<'_>, pins: &Path) -> Result<Self, EbpfError> {
        if !set.pinned {
            make_directory(pins)?;
        }
        let undo = Undo { pins: Some(pins) };
        for (spec, program) in PROGRAMS.iter().zip(&set.programs) {
            let name = spec.name;
            let link = bpf::link_create(program.as_fd(), cgroup, spec.hook)
                .map_err(|source| EbpfError::Attach { name, source })?;
            let path = pins.join(name);
            CString::new(path.as_os_str().as_bytes())
                .map_err(io::Error::other)
                .and_then(|name| bpf::pin(link.as_fd(), &name))
                .map_err(|source| EbpfError::Pin { path, source })?;
        }
        // After the last attach and before anyone is told: what the kernel shows counts.
        let hooks = verify::links(pins, cgroup)?;
        let log = hooks.id(log::SPEAKER).map(Log::of).transpose()?.flatten();
        undo.defuse();
        Ok(Self {
            pins: pins.to_owned(),
            hooks,
            set,
            log,
        })
    }

    /// The denials, and what else the programs say if they are asked to.
    pub fn told(&mut self) -> (&mut Events, Option<&mut Log>) {
        (&mut self.set.events, self.log.as_mut())
    }

    /// The denials.
    pub fn events(&mut self) -> &mut Events {
        &mut self.set.events
    }

    /// How often each reason denied.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.set.counters
    }

    /// The map from [`firewall_common::FlowKey`] to [`firewall_common::FlowInfo`], for the proxy.
    #[must_use]
    pub fn flows_fd(&self) -> BorrowedFd<'_> {
        self.set.flows.as_fd()
    }

    /// What is attached.
    #[must_use]
    pub fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// The directory of the pins.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// Reads back once more that every link is on `cgroup`.
    ///
    /// # Errors
    ///
    /// One is not.
    pub fn verify(&self, cgroup: impl AsFd) -> Result<(), EbpfError> {
        verify::links(&self.pins, cgroup.as_fd()).map(drop)
    }

    /// Detaches everything. Only when no process is left in the cgroup: whoever is there is loose.
    ///
    /// What comes back is gone when it is dropped, and may be kept for another run.
    ///
    /// # Errors
    ///
    /// A pin could not be removed.
    pub fn detach(self) -> Result<Spare, EbpfError> {
        let links = PROGRAMS.iter().map(|spec| self.pins.join(spec.name));
        let removed = remove(links);
        let spare = Spare {
            set: self.set,
            pins: self.pins,
        };
        removed.map_err(|source| EbpfError::PinDirectory {
            act: "empty",
            path: spare.pins.clone(),
            source,
        })?;
        Ok(spare)
    }
}

/// Removes every pin in `pins`, and the directory. Done already is done: it may not exist.
///
/// # Errors
///
/// The directory could not be read, or something in it not removed. The rest was removed.
pub fn unpin(pins: &Path) -> Result<(), EbpfError> {
    let failed = |act| {
        move |source| EbpfError::PinDirectory {
            act,
            path: pins.to_owned(),
            source,
        }
    };
    let entries = match fs::read_dir(pins) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read")(error)),
    };
    // One that could not be read is in the way of the directory's removal.
    let removed = remove(entries.flatten().map(|it| it.path()));
    match removed.and_then(|()| fs::remove_dir(pins)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove")(error)),
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Goes through to the end, and returns the first failure. What is gone already is no failure.
fn remove(files: impl Iterator<Item = PathBuf>) -> io::Result<()> {
    let mut removed = Ok(());
    for file in files {
        if let Err(error) = fs::remove_file(file)
            && error.kind() != io::ErrorKind::NotFound
        {
            removed = removed.and(Err(error));
        }
    }
    removed
}

/// Makes the directory of the pins, for root alone.
pub(super) fn make_directory(pins: &Path) -> Result<(), EbpfError> {
    fs::DirBuilder::new()
        .recursive(false)
        .mode(0o700)
        .create(pins)
        .map_err(|source| EbpfError::PinDirectory {
            act: "make",
            path: pins.to_owned(),
            source,
        })
}

/// Removes the pins again when attaching fails half-way.
struct Undo<'a> {
    pins: Option<&'a Path>,
}

impl Undo<'_> {
    fn defuse(mut self) {
        self.pins = None;
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if let Some(pins) = self.pins
            && let Err(error) = unpin(pins)
        {
            tracing::warn!(pins = %pins.display(), %error, "pins of a failed attach are left");
        }
    }
}
