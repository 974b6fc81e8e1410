// SPDX-License-Identifier: GPL-3.0-or-later
//! What lies over a directory of the host: files that are others, and files that are gone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The changes to one directory.
#[derive(Debug)]
pub struct Layer {
    /// The directory.
    pub below: PathBuf,
    /// Whether what is written to it is kept for the run, or refused.
    pub writable: bool,
    /// By path below the directory. Directories stand before what is in them.
    pub entries: BTreeMap<PathBuf, Entry>,
}

/// One change.
#[derive(Debug)]
pub enum Entry {
    /// A directory, merged with that of the host unless it is opaque.
    Directory {
        /// Whose it is.
        owner: Owner,
        /// Whether nothing of the host's shows through.
        opaque: bool,
    },
    /// A file.
    File(Content),
    /// Nothing, whatever the host has there.
    Whiteout,
}

/// A file that keyward writes.
#[derive(Debug)]
pub struct Content {
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Whose it is.
    pub owner: Owner,
}

/// Owner and permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

impl Owner {
    /// Those of a file or directory that there is.
    pub fn like(metadata: &fs::Metadata) -> Self {
        Self {
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode() & 0o7777,
        }
    }
}

impl Content {
    /// A file for everybody to read.
    pub fn of_root(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            owner: Owner {
                uid: 0,
                gid: 0,
                mode: 0o644,
            },
        }
    }
}

impl Layer {
    /// What nobody can write to.
    pub fn read_only(below: impl Into<PathBuf>) -> Self {
        Self {
            below: below.into(),
            writable: false,
            entries: BTreeMap::new(),
        }
    }

    /// What is written to for as long as the run lasts.
    pub fn writable(below: impl Into<PathBuf>) -> Self {
        Self {
            writable: true,
            ..Self::read_only(below)
        }
    }

    /// Puts an entry in, and the directories that lead to it: a directory of a layer is seen with the layer's own owner
    /// and permissions, so they are those of the host's.
    pub fn add(&mut self, path: &Path, entry: Entry) {
        for directory in path.ancestors().skip(1) {
            if directory.as_os_str().is_empty() {
                break;
            }
            self.entries
                .entry(directory.to_owned())
                .or_insert_with(|| Entry::Directory {
                    owner: owner_of(&self.below.join(directory)),
                    opaque: false,
                });
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Empties a directory but for what is added to it.
    pub fn clear(&mut self, path: &Path) {
        let owner = owner_of(&self.below.join(path));
        let opaque = true;
        self.add(path, Entry::Directory { owner, opaque });
    }
}

fn owner_of(directory: &Path) -> Owner {
    let root = Owner {
        uid: 0,
        gid: 0,
        mode: 0o755,
    };
    fs::symlink_metadata(directory).map_or(root, |it| Owner::like(&it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_along_with_the_permissions_of_the_hosts() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let private = home.path().join("a");
        fs::create_dir(&private).unwrap();
        fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
        let mut layer = Layer::writable(home.path());
        layer.add(Path::new("a/b/c"), Entry::Whiteout);
        let modes: Vec<_> = layer
            .entries
            .iter()
            .map(|(path, entry)| {
                let mode = match entry {
                    Entry::Directory { owner, .. } => Some(owner.mode),
                    Entry::File(_) | Entry::Whiteout => None,
                };
                (path.to_str().unwrap(), mode)
            })
            .collect();
        assert_eq!(
            modes,
            [("a", Some(0o700)), ("a/b", Some(0o755)), ("a/b/c", None)]
        );
    }
}
