// SPDX-License-Identifier: GPL-3.0-or-later
//! What a workload must not read: absent wherever it would be seen, or there without its secrets.
//!
//! Below an overlay a path is whited out: to the workload it does not exist. In a place of the host's own, where
//! nothing can be taken away, it is covered: by a link that leads nowhere, so that to open it is to find nothing, or by
//! an empty directory.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::layer::{Content, Entry, Owner};
use super::redact::redact;
use super::tables::{HELPERS, SECRETS, Without, matches};
use super::{Place, Planner, Private};

/// Longest file of which a copy is made.
const LONGEST: u64 = 1 << 20;

impl Planner<'_> {
    /// Hides what the tables and the flags name.
    pub(super) fn hide(&mut self) {
        for row in &SECRETS.hide {
            for path in self.found(&row.path) {
                self.refuse_inside(&path, &row.reason);
                self.hide_one(&path, &row.keep);
            }
        }
        for row in &SECRETS.redact {
            for path in self.found(&row.path) {
                self.show_without(&path, &row.without);
            }
        }
        for row in &HELPERS.mask {
            for path in self.found(&row.path) {
                self.refuse_inside(&path, &row.reason);
                self.hide_one(&path, &[]);
            }
        }
        for wish in &self.asked.hide {
            let path = self.asked.directory.join(&wish.what);
            for path in expand(&path) {
                self.hide_one(&path, &[]);
            }
        }
    }

    /// What there is of a row's path, without links in it.
    fn found(&self, path: &str) -> Vec<PathBuf> {
        let below = |directory: &Path, rest| expand(&directory.join(rest));
        if let Some(rest) = path.strip_prefix("~/") {
            self.homes.iter().flat_map(|it| below(it, rest)).collect()
        } else if let Some(rest) = path.strip_prefix("../") {
            let above = self.asked.directory.ancestors().skip(1);
            above.flat_map(|it| below(it, rest)).collect()
        } else {
            expand(Path::new(path))
        }
    }

    /// Who works in a directory that is hidden must say so.
    fn refuse_inside(&mut self, hidden: &Path, reason: &str) {
        if self.is_exposed(hidden) {
            return;
        }
        let writable = self.view.places.iter().filter_map(|(at, place)| {
            let writable = matches!(place, Place::Host { writable: true, .. });
            writable.then(|| at.clone())
        });
        for place in writable.collect::<Vec<_>>() {
            if place.starts_with(hidden) && !self.is_exposed(&place) {
                self.faults.push(format!(
                    "{} is hidden from the command ({reason}), and so is {}\n  hint: --expose {}",
                    hidden.display(),
                    place.display(),
                    hidden.display(),
                ));
            }
        }
    }

    /// Hides a path wherever it can be seen, but for entries that are kept and for what was exposed.
    fn hide_one(&mut self, real: &Path, keep: &[String]) {
        // The home itself is not hidden for lying where something else usually is.
        if self.is_exposed(real) || self.homes.iter().any(|it| it.starts_with(real)) {
            return;
        }
        let Ok(metadata) = fs::symlink_metadata(real) else {
            return;
        };
        for shown in self.view.appearances(real) {
            let inner = self.view.places.range(shown.clone()..);
            let holds = inner.take_while(|(at, _)| at.starts_with(&shown)).count() > 0;
            let Some((at, Place::Overlay(_))) = self.view.owner(&shown) else {
                let place = if metadata.is_dir() && (holds || !keep.is_empty()) {
                    Place::Private(Private::Empty)
                } else {
                    Place::Absent
                };
                self.put(&shown, place);
                for kept in kept(real, keep) {
                    let at = shown.join(kept.file_name().unwrap_or_default());
                    self.host(&at, &kept, false);
                }
                continue;
            };
            let at = at.to_owned();
            let rest = shown.strip_prefix(&at).unwrap_or(&shown).to_owned();
            let files: Vec<_> = kept(real, keep)
                .into_iter()
                .filter_map(|path| Some((path.file_name()?.to_owned(), read(&path).ok()?)))
                .collect();
            let Some(Place::Overlay(layer)) = self.view.places.get_mut(&at) else {
                continue;
            };
            if metadata.is_dir() && (holds || !keep.is_empty()) {
                layer.clear(&rest);
                for (name, content) in files {
                    layer.add(&rest.join(name), Entry::File(content));
                }
            } else {
                layer.add(&rest, Entry::Whiteout);
            }
        }
    }

    /// Shows a copy in a file's place, if there is something in it that must not be seen.
    fn show_without(&mut self, real: &Path, without: &Without) {
        if self.is_exposed(real) {
            return;
        }
        let content = read(real).and_then(|content| {
            let text = std::str::from_utf8(&content.bytes).map_err(io::Error::other)?;
            let redacted = redact(text, without)
                .ok_or_else(|| io::Error::other("it is not what it should be"))?;
            Ok((redacted.into_bytes(), content))
        });
        let (bytes, owner) = match content {
            Ok((redacted, content)) if redacted == content.bytes => return,
            Ok((redacted, content)) => (redacted, content.owner),
            // Whatever it is, it is not shown with what may be in it.
            Err(_) => return self.hide_one(real, &[]),
        };
        for shown in self.view.appearances(real) {
            let content = Content {
                bytes: bytes.clone(),
                owner,
            };
            let at = self.view.owner(&shown).map(|(at, _)| at.to_owned());
            match at.and_then(|at| Some((self.view.places.get_mut(&at)?, at))) {
                Some((Place::Overlay(layer), at)) => {
                    let rest = shown.strip_prefix(&at).unwrap_or(&shown);
                    layer.add(rest, Entry::File(content));
                }
                Some(_) | None => self.put(&shown, Place::Copy(content)),
            }
        }
    }
}

/// Whether a path lies in a directory that the tables hide.
pub(super) fn is_inside(planner: &Planner<'_>, real: &Path) -> bool {
    let rows = SECRETS.hide.iter().map(|it| &it.path);
    rows.flat_map(|path| planner.found(path))
        .any(|hidden| real.starts_with(&hidden) && real != hidden)
}

/// The paths that a pattern in the last part of a path means, each without links. What is not there, or not to be
/// reached by the user, needs no hiding.
fn expand(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let found = if name.contains('*') {
        let entries = path.parent().and_then(|it| fs::read_dir(it).ok());
        let entries = entries.into_iter().flatten().flatten();
        let named =
            entries.filter(|it| it.file_name().to_str().is_some_and(|it| matches(name, it)));
        named.map(|it| it.path()).collect()
    } else if fs::symlink_metadata(path).is_ok() {
        vec![path.to_owned()]
    } else {
        // One look for most of the rows: the resolution of links looks at each part of a path.
        Vec::new()
    };
    let real = found.iter().filter_map(|it| fs::canonicalize(it).ok());
    real.collect()
}

/// The entries of a directory that are kept.
fn kept(directory: &Path, keep: &[String]) -> Vec<PathBuf> {
    if keep.is_empty() {
        return Vec::new();
    }
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_kept = |it: &fs::DirEntry| {
        let name = it.file_name();
        let name = name.to_str().unwrap_or_default();
        keep.iter().any(|pattern| matches(pattern, name))
    };
    entries
        .filter(is_kept)
        .filter_map(|it| fs::canonicalize(it.path()).ok().map(|_| it.path()))
        .collect()
}

/// Reads a file for a copy of it: as the user, who must be able to.
fn read(path: &Path) -> io::Result<Content> {
    let file = File::options()
        .read(true)
        // A pipe would be waited for.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LONGEST {
        return Err(io::Error::other("not a small file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(Content {
        bytes,
        owner: Owner::like(&metadata),
    })
}
