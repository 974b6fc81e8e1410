// SPDX-License-Identifier: GPL-3.0-or-later
//! What was asked of a view.

use std::path::{Path, PathBuf};

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
    pub writable: Vec<PathBuf>,
    /// What is to be seen at another path.
    pub mounts: Vec<Mount>,
    /// What is to be absent besides: paths, with `*` in the last part.
    pub hide: Vec<PathBuf>,
    /// What is to be seen although it would be hidden.
    pub expose: Vec<PathBuf>,
    /// Sockets that a flag of their own opens.
    pub sockets: Vec<(PathBuf, &'static str)>,
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

impl Asked<'_> {
    /// Every directory that programs take for the home.
    pub(super) fn homes(&self) -> impl Iterator<Item = &Path> {
        let set = self.home.as_deref();
        [self.identity.home.as_path()].into_iter().chain(set)
    }

    /// Every hole, with its flag.
    pub(super) fn exposed(&self) -> Vec<(PathBuf, &'static str)> {
        let paths = self.expose.iter().map(|it| (it.clone(), "--expose"));
        paths.chain(self.sockets.iter().cloned()).collect()
    }

    /// Whether something that was asked for lies below a path.
    pub(super) fn needs(&self, path: &Path) -> bool {
        let writable = self.writable.iter().map(PathBuf::as_path);
        let mounts = self.mounts.iter().map(|it| it.source.as_path());
        writable
            .chain(mounts)
            .chain(self.expose.iter().map(PathBuf::as_path))
            .chain(self.homes())
            .chain([self.directory])
            .any(|it| it.starts_with(path))
    }
}
