// SPDX-License-Identifier: GPL-3.0-or-later
//! What was asked of a view.

use std::fmt;
use std::path::{Path, PathBuf};

use keyward_policy::Fault;

use crate::user::Identity;

/// What a view is worked out from.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Whose view it is.
    pub identity: &'a Identity,
    /// `HOME`, as the command has it.
    pub home: Option<PathBuf>,
    /// Where the command starts.
    pub directory: &'a Path,
    /// What may be written to besides.
    pub writable: Vec<Wish<PathBuf>>,
    /// What is to be seen at another path.
    pub mounts: Vec<Wish<Mount>>,
    /// What is to be absent besides: paths, with `*` in the last part.
    pub hide: Vec<Wish<PathBuf>>,
    /// What is to be seen although it would be hidden.
    pub expose: Vec<Wish<PathBuf>>,
    /// Well-known sockets, which are asked for by what they are.
    pub sockets: Vec<Wish<PathBuf>>,
}

/// Something that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish<T> {
    /// What.
    pub what: T,
    /// By whom.
    pub by: By,
}

/// Who asked for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A flag.
    Flag(&'static str),
    /// A policy file: a fault at the place where it stands there.
    File(Box<Fault>),
}

/// A directory or file of the host at a path of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What.
    pub source: PathBuf,
    /// Where: absolute, without `..`.
    pub target: PathBuf,
    /// Whether it can be changed.
    pub writable: bool,
}

impl<T> Wish<T> {
    /// What is wrong with a path that was asked for, where it was.
    pub(super) fn fault(&self, path: &Path, what: &dyn fmt::Display) -> String {
        let path = path.display();
        match &self.by {
            By::Flag(flag) => format!("{flag} {path}: {what}"),
            By::File(_) => self.by.fault(&format!("{path}: {what}"), None),
        }
    }
}

impl By {
    /// What is wrong, where it was asked for.
    pub fn fault(&self, what: &str, hint: Option<&str>) -> String {
        match self {
            Self::Flag(flag) => match hint {
                None => format!("{flag}: {what}"),
                Some(hint) => format!("{flag}: {what}\n  hint: {hint}"),
            },
            Self::File(place) => {
                let mut fault = Fault::clone(place);
                fault.what = what.to_owned();
                fault.hint = hint.map(str::to_owned);
                fault.to_string()
            }
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::File(place) => place.origin.fmt(f),
        }
    }
}

impl Asked<'_> {
    /// Every directory that programs take for the home.
    pub(super) fn homes(&self) -> impl Iterator<Item = &Path> {
        let set = self.home.as_deref();
        [self.identity.home.as_path()].into_iter().chain(set)
    }

    /// Every hole.
    pub(super) fn exposed(&self) -> impl Iterator<Item = &Wish<PathBuf>> {
        self.expose.iter().chain(&self.sockets)
    }

    /// Whether something that was asked for lies below a path.
    pub(super) fn needs(&self, path: &Path) -> bool {
        let paths = self.writable.iter().chain(&self.expose);
        let mounts = self.mounts.iter().map(|it| it.what.source.as_path());
        paths
            .map(|it| it.what.as_path())
            .chain(mounts)
            .chain(self.homes())
            .chain([self.directory])
            .any(|it| it.starts_with(path))
    }
}
