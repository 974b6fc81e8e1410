// SPDX-License-Identifier: GPL-3.0-or-later
//! What a workload sees of the host's files, worked out before anything is mounted. [`super::mounts`] carries it out.
//!
//! Everything is as it is on the host, and read-only, but for the *places* of a view. A path belongs to the place that
//! is nearest above it:
//!
//! - **private** places begin empty and end with the run: `/tmp`, `/run`, `/dev`, the other users' homes;
//! - **overlays** show the host's files with some changed or gone, `/etc` and the home: what is written to the home is
//!   private, what a program of the workload finds there is what the user has, without his secrets;
//! - **the host's** places are the host's own files: the working directory, and what was asked for;
//! - **absent** ones hide a file, a directory or a socket of any of these.
//!
//! All looks at the user's files are taken with the user's rights: they lead where he can go, and nothing that he could
//! not read is copied for him.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use super::files::PrivateFile;
use crate::user::Identity;

mod asked;
mod git;
mod hidden;
mod layer;
mod mounted;
mod protected;
mod redact;
mod sockets;
mod tables;

pub use asked::{Asked, By, Mount, Wish};
pub use layer::{Content, Entry, Layer, Owner};

/// See the module.
#[derive(Debug)]
pub struct View {
    /// Whose view it is.
    pub uid: Uid,
    /// His group.
    pub gid: Gid,
    /// By path: what contains stands before what is contained.
    pub places: BTreeMap<PathBuf, Place>,
    /// Holes that were asked for.
    pub exposures: Vec<Exposure>,
    /// Files that would be protected, were they there: if the command makes one, people should know.
    pub missing: Vec<PathBuf>,
    /// What people should know of it.
    pub notes: Vec<String>,
}

/// What is at a path in place of what the host has there.
#[derive(Debug)]
pub enum Place {
    /// Empty at first, and gone with the run.
    Private(Private),
    /// The host's directory with a layer over it.
    Overlay(Layer),
    /// A file or directory of the host.
    Host {
        /// Without links in it.
        source: PathBuf,
        /// Whether it can be changed.
        writable: bool,
    },
    /// A file that keyward wrote, read-only.
    Copy(Content),
    /// Nothing.
    Absent,
}

/// What a private place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Private {
    /// `/dev`.
    Devices,
    /// Nothing but what is mounted in it; nobody can write to it.
    Empty,
    /// `/proc`.
    Processes,
    /// `/run`.
    Run,
    /// Everybody can write to it.
    Temporary,
}

/// A hole that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// What can be reached.
    pub path: PathBuf,
    /// Who asked for it.
    pub by: By,
    /// What it may lead to, if that is more than reading a file.
    pub danger: Option<&'static str>,
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path.display(), self.by)?;
        self.danger.map_or(Ok(()), |danger| write!(f, ": {danger}"))
    }
}

/// Places that are private for every run, if the host has them.
const PRIVATE: &[(&str, Private)] = &[
    ("/dev", Private::Devices),
    ("/home", Private::Empty),
    ("/proc", Private::Processes),
    ("/root", Private::Empty),
    ("/run", Private::Run),
    ("/tmp", Private::Temporary),
    ("/var/tmp", Private::Temporary),
];

/// Homes that are not a person's: tools are there.
const SHARED_HOMES: &[&str] = &["/home/linuxbrew"];

impl View {
    /// Works a view out.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with what was asked for.
    pub fn plan(asked: &Asked<'_>) -> Result<Self, Vec<String>> {
        let _rights = Rights::of(asked.identity);
        Planner::new(asked).plan()
    }

    /// Lays keyward's own files over `/etc`.
    pub fn lay_over_etc(&mut self, files: Vec<PrivateFile>) {
        for file in files {
            // The host may have something mounted there, as engines do in their containers.
            self.places.remove(&Path::new("/etc").join(&file.path));
            if let Some(Place::Overlay(layer)) = self.places.get_mut(Path::new("/etc")) {
                layer.add(&file.path, Entry::File(Content::of_root(file.content)));
            }
        }
    }

    /// Where the command can write, whatever becomes of it afterwards.
    pub fn writable(&self) -> Vec<PathBuf> {
        let is_writable = |place: &Place| match place {
            Place::Private(Private::Empty) | Place::Copy(_) | Place::Absent => false,
            Place::Private(_) => true,
            Place::Overlay(layer) => layer.writable,
            Place::Host { writable, .. } => *writable,
        };
        let places = self.places.iter();
        places
            .filter(|(_, place)| is_writable(place))
            .map(|(at, _)| at.clone())
            .collect()
    }

    /// Whether the command can write to overlays.
    pub fn is_written_to(&self) -> bool {
        let is_writable = |it: &Place| matches!(it, Place::Overlay(layer) if layer.writable);
        self.places.values().any(is_writable)
    }

    /// The place that a path belongs to.
    fn owner(&self, path: &Path) -> Option<(&Path, &Place)> {
        let owner = |it: &Path| {
            let (at, place) = self.places.get_key_value(it)?;
            Some((at.as_path(), place))
        };
        path.ancestors().find_map(owner)
    }

    /// Where a file of the host can be seen.
    fn appearances(&self, real: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        if self.owner(real).is_none() {
            found.push(real.to_owned());
        }
        for (at, place) in &self.places {
            let source = match place {
                Place::Overlay(_) => at,
                Place::Host { source, .. } => source,
                Place::Private(_) | Place::Copy(_) | Place::Absent => continue,
            };
            let Ok(rest) = real.strip_prefix(source) else {
                continue;
            };
            let shown = if rest.as_os_str().is_empty() {
                at.clone()
            } else {
                at.join(rest)
            };
            if self.owner(&shown).is_some_and(|(owner, _)| owner == at) {
                found.push(shown);
            }
        }
        found
    }
}

/// Puts a view together.
struct Planner<'a> {
    asked: &'a Asked<'a>,
    view: View,
    /// Each exists, and has no links in it.
    homes: Vec<PathBuf>,
    faults: Vec<String>,
}

impl<'a> Planner<'a> {
    fn new(asked: &'a Asked<'a>) -> Self {
        let mut homes: Vec<PathBuf> = Vec::new();
        for home in asked.homes() {
            if let Ok(home) = fs::canonicalize(home)
                && home != Path::new("/")
                && home.is_dir()
                && !homes.contains(&home)
            {
                homes.push(home);
            }
        }
        Self {
            asked,
            view: View {
                uid: asked.identity.uid,
                gid: asked.identity.gid,
                places: BTreeMap::new(),
                exposures: Vec::new(),
                missing: Vec::new(),
                notes: Vec::new(),
            },
            homes,
            faults: Vec::new(),
        }
    }

    fn plan(mut self) -> Result<View, Vec<String>> {
        for (path, private) in PRIVATE {
            self.private(Path::new(path), *private);
        }
        for path in SHARED_HOMES {
            if Path::new(path).is_dir() {
                self.host(Path::new(path), Path::new(path), false);
            }
        }
        self.writable();
        self.overlays();
        self.submounts();
        self.mounts();
        self.expose();
        self.protect();
        // Last, so that they hold for everything that can be seen by then.
        self.hide();
        self.sockets();
        if self.faults.is_empty() {
            Ok(self.view)
        } else {
            Err(self.faults)
        }
    }

    fn put(&mut self, at: &Path, place: Place) {
        self.view.places.insert(at.to_owned(), place);
    }

    fn host(&mut self, at: &Path, source: &Path, writable: bool) {
        let source = source.to_owned();
        self.put(at, Place::Host { source, writable });
    }

    /// A link is no place: what it leads to is.
    fn private(&mut self, path: &Path, private: Private) {
        if let Ok(real) = fs::canonicalize(path)
            && real.is_dir()
        {
            self.put(&real, Place::Private(private));
        }
    }

    /// The working directory, and what else may be written to.
    fn writable(&mut self) {
        for wish in &self.asked.writable {
            match fs::canonicalize(&wish.what) {
                Ok(real) => self.host(&real, &real, true),
                Err(error) => self.faults.push(wish.fault(&wish.what, &error)),
            }
        }
        let directory = self.asked.directory;
        if self.is_open(directory) {
            return;
        }
        if let Some(held) = self.private_below(directory) {
            let owner = fs::metadata(directory).map_or(0, |it| it.uid());
            if owner == self.view.uid.as_raw() {
                self.view.notes.push(format!(
                    "the working directory {directory} holds {held}, which is private to the run: what the command \
                     writes there is gone when it ends\n  hint: work in a directory of the project; or, to keep it: \
                     --writable {directory}",
                    directory = directory.display(),
                    held = held.display(),
                ));
            }
        } else {
            self.host(directory, directory, true);
        }
    }

    /// Whether it is a place of the host that can be written to, or in one.
    fn is_open(&self, path: &Path) -> bool {
        let owner = self.view.owner(path);
        owner.is_some_and(|(_, it)| matches!(it, Place::Host { writable: true, .. }))
    }

    /// What is private to every run, and would not be if this directory were opened.
    fn private_below(&self, directory: &Path) -> Option<PathBuf> {
        let own = PRIVATE.iter().map(|(path, _)| Path::new(path));
        // One that was set for this run alone is part of what it lies in.
        let home = fs::canonicalize(&self.asked.identity.home).ok();
        let home = home.filter(|it| it != Path::new("/"));
        own.chain([Path::new("/etc"), Path::new("/sys")])
            .map(Path::to_owned)
            .chain(home)
            .find(|it| it.starts_with(directory))
    }

    fn overlays(&mut self) {
        self.put(Path::new("/etc"), Place::Overlay(Layer::read_only("/etc")));
        for home in self.homes.clone() {
            if !self.is_open(&home) && home != Path::new("/etc") {
                self.put(&home, Place::Overlay(Layer::writable(&home)));
            }
        }
    }

    /// An overlay shows one file system. What the host has mounted in its directory comes on top again.
    fn submounts(&mut self) {
        let mounted = match mounted::all() {
            Ok(mounted) => mounted,
            Err(error) => {
                self.faults
                    .push(format!("cannot read what is mounted: {error}"));
                return;
            }
        };
        for mount in mounted {
            let wanted = self.asked.needs(&mount.path) || self.homes.contains(&mount.path);
            match self.view.owner(&mount.path) {
                Some((at, Place::Overlay(_))) if at != mount.path => {
                    if !mount.is_remote() {
                        self.host(&mount.path, &mount.path, false);
                    }
                }
                None | Some((_, Place::Host { .. })) if mount.is_remote() && !wanted => {
                    self.put(&mount.path, Place::Absent);
                }
                None | Some(_) => {}
            }
        }
    }

    fn mounts(&mut self) {
        for wish in &self.asked.mounts {
            let mount = &wish.what;
            match fs::canonicalize(&mount.source) {
                Ok(source) => self.host(&without_links(&mount.target), &source, mount.writable),
                Err(error) => self.faults.push(wish.fault(&mount.source, &error)),
            }
        }
    }

    fn expose(&mut self) {
        for wish in self.asked.exposed() {
            let (real, metadata) = match fs::canonicalize(&wish.what)
                .and_then(|real| fs::symlink_metadata(&real).map(|it| (real, it)))
            {
                Ok(found) => found,
                Err(error) => {
                    self.faults.push(wish.fault(&wish.what, &error));
                    continue;
                }
            };
            let kind = metadata.file_type();
            let special = !kind.is_file() && !kind.is_dir();
            // A socket is what it is only at its own inode: an overlay's copy of it leads nowhere.
            let lost = match self.view.owner(&real) {
                None => false,
                Some((_, Place::Host { .. })) => false,
                Some((_, Place::Overlay(_))) => special || hidden::is_inside(self, &real),
                Some(_) => true,
            };
            if lost {
                self.host(&real, &real, special);
            }
            let danger = if kind.is_socket() {
                Some("what listens there acts for the command")
            } else if special {
                Some("the command has the device")
            } else {
                None
            };
            self.view.exposures.push(Exposure {
                path: real,
                by: wish.by.clone(),
                danger,
            });
        }
    }

    /// Whether a hole was asked for that shows this.
    fn is_exposed(&self, real: &Path) -> bool {
        let exposures = &self.view.exposures;
        exposures.iter().any(|it| real.starts_with(&it.path))
    }
}

/// A path whose links are followed as far as it exists.
fn without_links(path: &Path) -> PathBuf {
    let real = |it: &Path| {
        let rest = path.strip_prefix(it).ok()?;
        let real = fs::canonicalize(it).ok()?;
        // With an empty rest a slash would be added.
        Some(real.components().chain(rest.components()).collect())
    };
    let found = path.ancestors().find_map(real);
    found.unwrap_or_else(|| path.to_owned())
}

/// The calling thread's rights to files are a user's until this is dropped.
struct Rights {
    uid: Uid,
    gid: Gid,
}

impl Rights {
    fn of(user: &Identity) -> Self {
        // The group first: with the user go the capabilities that changing it takes.
        let gid = setfsgid(user.gid);
        let uid = setfsuid(user.uid);
        Self { uid, gid }
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        setfsuid(self.uid);
        setfsgid(self.gid);
    }
}
