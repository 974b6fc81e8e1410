// SPDX-License-Identifier: GPL-3.0-or-later
//! Carries a view of the file system out, in the workload's own mount namespace. What is where, and why, is in
//! [`super::view`].
//!
//! First every tree that is to be seen is taken as the host has it; then all is made read-only; then the places are
//! put, what contains before what is contained. So no place hides the source of another.
//!
//! What is covered stays covered: the workload has no capability here, and in a user namespace of its own the kernel
//! holds the mounts together that came from here (`mount_namespaces(7)`, "locked").

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::view::{Place, Private, View};
use crate::sys;
use crate::sys::mount::Attribute;

mod devices;
mod overlay;
mod point;
mod processes;
mod run;
mod stage;

use stage::Stage;

/// What a private place may be filled with at most. It is in the host's memory, and counts as the workload's.
const TEMPORARY: &str = "mode=1777,size=50%";
/// Room for the mount points in it.
const EMPTY: &str = "mode=755,size=1m,nr_inodes=4096";

/// What is needed besides the view.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// A directory of the run's own, where what is written to overlays is kept; needed if there are any.
    pub state: Option<&'a Path>,
    /// The terminal that is a standard stream of the command, if there is one.
    pub terminal: Option<&'a Path>,
}

/// Sets the view up. Runs as root in a new mount and pid namespace; nothing here is seen outside.
pub fn enter(view: &View, surroundings: Surroundings<'_>) -> Result<()> {
    // First, or all that follows would appear on the host.
    change(
        "/",
        MsFlags::MS_PRIVATE | MsFlags::MS_REC,
        "cannot make the mounts private",
    )?;
    // A program with file capabilities (ping has them on some hosts) could not even be executed: the kernel refuses to
    // run it without what it may not have. So it runs without, and is told what it may not do when it tries.
    give(c"/", Attribute::NoSetuid)?;
    let mut taken = take_all(view)?;
    let state = surroundings.state.map(|it| take(it, Depth::One));
    let state = state.transpose()?;
    let terminal = surroundings.terminal.map(|it| take(it, Depth::One));
    let terminal = terminal.transpose()?;
    give(c"/", Attribute::ReadOnly)?;
    // It holds the stage, so it comes before all others.
    run::mount_run(view.uid, view.gid)?;
    let stage = Stage::set(state.as_ref())?;
    for (at, place) in &view.places {
        let taken = taken.remove(at);
        put(view, &stage, at, place, taken.as_ref())
            .with_context(|| format!("cannot set up {}", at.display()))?;
    }
    if let Some(terminal) = terminal {
        devices::show_terminal(&terminal)?;
    }
    stage.strike()?;
    // Where it is now may be below something that has been mounted since.
    std::env::set_current_dir("/").context("cannot leave the working directory")
}

/// Whether what is mounted below comes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    All,
    One,
}

/// The host's files for each place that shows some.
fn take_all(view: &View) -> Result<BTreeMap<PathBuf, OwnedFd>> {
    let mut taken = BTreeMap::new();
    for (at, place) in &view.places {
        let tree = match place {
            Place::Host { source, writable } => {
                let tree = take(source, Depth::All)?;
                if !writable {
                    sys::mount::set_attribute_of(tree.as_fd(), Attribute::ReadOnly)
                        .with_context(|| format!("cannot make {} read-only", source.display()))?;
                }
                tree
            }
            Place::Overlay(layer) => take(&layer.below, Depth::One)?,
            Place::Private(_) | Place::Copy(_) | Place::Absent => continue,
        };
        taken.insert(at.clone(), tree);
    }
    Ok(taken)
}

/// A copy of the mounts at a path, mounted nowhere. The path has no links in it, and is not followed if by now it has:
/// somebody might be at work there.
fn take(path: &Path, depth: Depth) -> Result<OwnedFd> {
    let open = || {
        let found = point::open(path)?;
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        if depth == Depth::All {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        open_tree(&found, c"", flags)
    };
    open().with_context(|| format!("cannot show {}", path.display()))
}

fn put(
    view: &View,
    stage: &Stage,
    at: &Path,
    place: &Place,
    taken: Option<&OwnedFd>,
) -> Result<()> {
    match (place, taken) {
        (Place::Private(Private::Devices), _) => devices::mount_devices(at),
        (Place::Private(Private::Processes), _) => processes::mount_proc(at, view.uid),
        (Place::Private(Private::Run), _) => Ok(()),
        (Place::Private(Private::Temporary), _) => mount_memory(at, TEMPORARY),
        (Place::Private(Private::Empty), _) => mount_memory(at, EMPTY),
        (Place::Overlay(layer), Some(below)) => {
            let point = point::make(at, FileType::Directory, view)?;
            overlay::mount_overlay(stage, layer, below, &point)
        }
        (Place::Host { .. }, Some(tree)) => {
            let point = point::make(at, kind_of(tree)?, view)?;
            attach(tree, &point)
        }
        (Place::Copy(content), _) => {
            let copy = stage.copy(content)?;
            attach(&copy, &point::make(at, FileType::RegularFile, view)?)
        }
        (Place::Absent, _) => match point::open(at) {
            Ok(point) => {
                let is_directory = kind_of(&point)? == FileType::Directory;
                attach(&stage.nothing(is_directory)?, &point)
            }
            // It has gone by itself.
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        },
        (Place::Overlay(_) | Place::Host { .. }, None) => {
            anyhow::bail!("internal error: it was not taken")
        }
    }
}

fn attach(tree: &OwnedFd, point: &OwnedFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, c"", point, c"", flags)?)
}

fn kind_of(file: &OwnedFd) -> Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode))
}

/// A file system in memory.
fn mount_memory(at: &Path, options: &str) -> Result<()> {
    let point = point::open(at)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount_at("tmpfs", &point, flags, Some(options))
}

/// Mounts a file system of a kind whose name says all at a descriptor, not at a path that may lead elsewhere by now.
fn mount_at(kind: &str, point: &OwnedFd, flags: MsFlags, options: Option<&str>) -> Result<()> {
    let target = format!("/proc/self/fd/{}", point.as_raw_fd());
    mount(Some(kind), target.as_str(), Some(kind), flags, options)
        .with_context(|| format!("cannot mount a {kind}"))
}

fn give(path: &'static CStr, attribute: Attribute) -> Result<()> {
    sys::mount::set_attribute(path, attribute)
        .with_context(|| format!("cannot make {} {attribute:?}", path.to_string_lossy()))
}

fn change(path: &str, flags: MsFlags, failure: &'static str) -> Result<()> {
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>).context(failure)
}

fn detach(path: &str) -> Result<()> {
    umount2(path, MntFlags::MNT_DETACH).with_context(|| format!("cannot unmount {path}"))
}
