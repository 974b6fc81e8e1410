// SPDX-License-Identifier: GPL-3.0-or-later
//! Programs that no run uses, kept for the next one.
//!
//! The verifier takes most of the time that starting the firewall takes, and says the same of the same programs each
//! time. So a run that ends leaves its programs and maps behind, attached to nothing, and the next one takes them. A
//! set has one owner at any time: a directory of pins, which is taken and put back by rename(2) and has the run's links,
//! too, while there is one. Between two runs its maps are emptied.
//! Which endpoints the proxy has is frozen into a set, so it serves only runs that have the same.
//!
//! They lie in the BPF file system, where only root gets: who can change them there can attach other programs, too.
//! Whatever is wrong with a set, it is thrown away and the programs are loaded anew.

use std::{
    ffi::{CString, OsStr},
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use firewall_common::Endpoints;

use super::{
    Counters, Events, Flows, Loaded, Set,
    attach::{make_directory, unpin},
    bpffs::BPFFS,
    log,
    object::{self, COUNTERS, EVENTS, FLOWS},
    programs::{PROGRAMS, Spec},
};
use crate::sys::bpf;

/// Where they lie, in the BPF file system.
const DIRECTORY: &str = "keyward-spare";

/// How many are kept: each holds about 1.5 MB of the kernel's memory, and runs that go on at the same time need one each.
const MOST: usize = 4;

/// Programs and maps of a run that is over, attached to nothing. Dropping it removes them.
#[derive(Debug)]
pub struct Spare {
    pub(super) set: Set,
    /// The directory where the run's links were pinned.
    pub(super) pins: PathBuf,
}

/// Programs for `endpoints`: spare ones if there are any, else loaded now. `pins` is where the run will pin its links.
///
/// # Errors
///
/// As [`super::load`].
pub fn take_or_load(endpoints: &Endpoints, pins: &Path) -> Result<Loaded, super::EbpfError> {
    match take(endpoints, pins) {
        Ok(Some(loaded)) => return Ok(loaded),
        Ok(None) => {}
        Err(error) => {
            tracing::warn!("cannot use spare eBPF programs: {error:#}");
            unpin(pins)?;
        }
    }
    super::load(endpoints)
}

/// Takes a set, by moving it to where this run's pins are to be: if this process is killed, it is swept with them.
fn take(endpoints: &Endpoints, pins: &Path) -> Result<Option<Loaded>> {
    let Some(directory) = directory()? else {
        return Ok(None);
    };
    let key = key(endpoints);
    for name in sets(&directory)? {
        if !name.as_bytes().starts_with(key.as_bytes()) {
            continue;
        }
        match fs::rename(directory.join(&name), pins) {
            Ok(()) => return open(pins, key).map(Some),
            // Another run was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context("cannot take a set"),
        }
    }
    Ok(None)
}

/// Opens everything that is pinned in `pins`.
fn open(pins: &Path, key: String) -> Result<Loaded> {
    let programs = PROGRAMS
        .iter()
        .map(|spec| bpf::get(&c_path(&pins.join(pin_of(spec)))?))
        .collect::<io::Result<Vec<_>>>()
        .context("a program is missing")?;
    let map = |name: &str| -> Result<MapData> {
        let fd = bpf::get(&c_path(&pins.join(name))?)
            .with_context(|| format!("the map {name} is missing"))?;
        Ok(MapData::from_fd(fd)?)
    };
    Ok(Loaded(Set {
        key,
        programs,
        events: Events::new(map(EVENTS)?)?,
        counters: Counters::new(map(COUNTERS)?)?,
        flows: Flows::new(map(FLOWS)?)?,
        pinned: true,
    }))
}

/// Under its own name there is its link.
fn pin_of(program: &Spec) -> String {
    format!("program_{}", program.name)
}

impl Spare {
    /// Empties the maps and puts the set where the next run finds it.
    ///
    /// # Errors
    ///
    /// The set could not be kept. It is gone then.
    pub fn keep(mut self) -> Result<()> {
        let set = &mut self.set;
        set.events.drain(drop);
        set.counters.reset()?;
        set.flows.reset()?;
        if !set.pinned {
            self.pin()?;
        }
        let directory = make_spare_directory()?;
        make_room(&directory)?;
        // Unique as the run's own name is.
        let run = self.pins.file_name().unwrap_or_default();
        let name = format!("{}-{}", self.set.key, run.to_string_lossy());
        fs::rename(&self.pins, directory.join(name)).context("cannot put the set away")
    }

    fn pin(&self) -> Result<()> {
        let set = &self.set;
        let programs = PROGRAMS.iter().zip(&set.programs);
        let programs = programs.map(|(spec, program)| (pin_of(spec), program.as_fd()));
        let maps: [(&str, BorrowedFd<'_>); 3] = [
            (EVENTS, set.events.as_fd()),
            (COUNTERS, set.counters.as_fd()),
            (FLOWS, set.flows.as_fd()),
        ];
        let maps = maps.map(|(name, fd)| (name.to_owned(), fd));
        for (name, fd) in programs.chain(maps) {
            bpf::pin(fd, &c_path(&self.pins.join(&name))?)
                .with_context(|| format!("cannot pin {name}"))?;
        }
        Ok(())
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        // One that was kept has left its place.
        if let Err(error) = unpin(&self.pins) {
            tracing::warn!("spare eBPF programs are left: {error}");
        }
    }
}

/// Throws every set away.
///
/// # Errors
///
/// One could not be removed.
pub fn clear() -> Result<()> {
    let Some(directory) = directory()? else {
        return Ok(());
    };
    for name in sets(&directory)? {
        unpin(&directory.join(name))?;
    }
    match fs::remove_dir(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What the programs of this keyward are told apart by, with these endpoints, from those of others.
pub(super) fn key(endpoints: &Endpoints) -> String {
    let mut hasher = DefaultHasher::new();
    object::HASH.hash(&mut hasher);
    endpoints.to_bytes().hash(&mut hasher);
    log::level().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The directory, if it is there and root's alone.
fn directory() -> Result<Option<PathBuf>> {
    let path = Path::new(BPFFS).join(DIRECTORY);
    let found = match fs::symlink_metadata(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    ensure!(
        found.is_dir() && found.uid() == 0 && found.mode() & 0o077 == 0,
        "{} is not a directory for root alone",
        path.display()
    );
    Ok(Some(path))
}

fn make_spare_directory() -> Result<PathBuf> {
    if let Some(directory) = directory()? {
        return Ok(directory);
    }
    let path = Path::new(BPFFS).join(DIRECTORY);
    match make_directory(&path) {
        // Another run made it a moment ago.
        Err(super::EbpfError::PinDirectory { source, .. })
            if source.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    directory()?.context("it is gone again")
}

/// The names of what lies there.
fn sets(directory: &Path) -> Result<Vec<std::ffi::OsString>> {
    let names = fs::read_dir(directory)
        .and_then(|entries| entries.map(|it| it.map(|it| it.file_name())).collect())
        .with_context(|| format!("cannot read {}", directory.display()))?;
    Ok(names)
}

/// Removes the sets that are too many: those of other versions and endpoints may never be asked for again.
fn make_room(directory: &Path) -> Result<()> {
    let names = sets(directory)?;
    let too_many = (names.len() + 1).saturating_sub(MOST);
    for name in names.iter().take(too_many) {
        unpin(&directory.join(name))?;
    }
    Ok(())
}

fn c_path(path: &Path) -> io::Result<CString> {
    let path: &OsStr = path.as_os_str();
    CString::new(path.as_bytes()).map_err(io::Error::other)
}
