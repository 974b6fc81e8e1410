// SPDX-License-Identifier: GPL-3.0-or-later
//! Files below what can be written to that programs outside take orders from: they can be read and not changed.
//!
//! A file that is a mount point can be neither renamed nor removed, and with it each directory that leads to it is made
//! one: or that could be moved away and another put in its place.

use std::fs;
use std::path::{Path, PathBuf};

use super::tables::ORDERS;
use super::{Place, Planner, git};

impl Planner<'_> {
    /// Protects what there is.
    pub(super) fn protect(&mut self) {
        for root in self.writable_places() {
            for row in &ORDERS.protect {
                self.protect_one(&root, Path::new(&row.path));
            }
            let git = git::of(&root);
            for repository in git.elsewhere {
                if !self.is_open(&repository) {
                    self.host(&repository, &repository, true);
                }
            }
            for (root, path) in git.orders {
                self.protect_one(&root, &path);
            }
            self.view.notes.extend(git.notes);
        }
    }

    fn writable_places(&self) -> Vec<PathBuf> {
        let places = self.view.places.iter();
        places
            .filter(|(at, place)| match place {
                Place::Host { source, writable } => *writable && source == *at && at.is_dir(),
                Place::Private(_) | Place::Overlay(_) | Place::Copy(_) | Place::Absent => false,
            })
            .map(|(at, _)| at.clone())
            .collect()
    }

    fn protect_one(&mut self, root: &Path, path: &Path) {
        // Whoever wants it changed has said so.
        if self.is_exposed(&root.join(path)) {
            return;
        }
        let mut at = root.to_owned();
        let mut parts = path.components().peekable();
        while let Some(part) = parts.next() {
            at.push(part);
            let Ok(metadata) = fs::symlink_metadata(&at) else {
                self.view.missing.push(root.join(path));
                return;
            };
            let last = parts.peek().is_none();
            let link = metadata.is_symlink();
            if !self.view.places.contains_key(&at) || last || link {
                self.host(&at, &at.clone(), !last && !link);
            }
            if link {
                // Where it leads may be in reach, too.
                if let Ok(real) = fs::canonicalize(root.join(path))
                    && self.is_open(&real)
                {
                    self.host(&real, &real.clone(), false);
                }
                return;
            }
        }
    }
}
