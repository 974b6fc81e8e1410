// SPDX-License-Identifier: GPL-3.0-or-later
//! A place behind the scenes, from which the others are made: layers, copies, and two kinds of nothing. At the end it
//! is unmounted, so that no path leads to it, not even for root.

use std::cell::Cell;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{
    DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, symlink,
};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::fs::FileType;

use super::{Depth, attach, detach, mount_memory, point, take};
use crate::sandbox::view::Content;
use crate::sys;
use crate::sys::mount::Attribute;

/// In the private `/run`.
const STAGE: &str = "/run/keyward";
/// Layers are small: the longest file of which there are copies has a megabyte.
const OPTIONS: &str = "mode=700,size=64m";
/// Nothing can be made in `/proc`, so the link stays one that leads nowhere.
const NOWHERE: &str = "/proc/hidden by keyward";

/// See the module.
#[derive(Debug)]
pub(super) struct Stage {
    made: Cell<usize>,
}

impl Stage {
    /// Sets it. `state` is where what is written to overlays is kept, if there are any.
    pub(super) fn set(state: Option<&OwnedFd>) -> Result<Self> {
        make_directory(Path::new(STAGE), 0o700)?;
        mount_memory(Path::new(STAGE), OPTIONS)?;
        let stage = Self { made: Cell::new(0) };
        symlink(NOWHERE, stage.path("nothing")).context("cannot make a link")?;
        make_directory(&stage.path("empty"), 0o555)?;
        if let Some(state) = state {
            make_directory(&stage.path("state"), 0o700)?;
            attach(state, &point::open(&stage.path("state"))?)?;
        }
        Ok(stage)
    }

    /// Something on it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        Path::new(STAGE).join(name)
    }

    /// Where something can be made that is on disk.
    pub(super) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// A new directory, for root alone.
    pub(super) fn directory(&self) -> Result<PathBuf> {
        let path = self.path(&self.number());
        make_directory(&path, 0o700)?;
        Ok(path)
    }

    /// A name that there is not yet.
    pub(super) fn number(&self) -> String {
        let number = self.made.get() + 1;
        self.made.set(number);
        number.to_string()
    }

    /// A link that leads nowhere, or an empty directory.
    pub(super) fn nothing(&self, is_directory: bool) -> Result<OwnedFd> {
        let name = if is_directory { "empty" } else { "nothing" };
        self.show(&self.path(name))
    }

    /// A file with this content.
    pub(super) fn copy(&self, content: &Content) -> Result<OwnedFd> {
        let path = self.path(&self.number());
        write(&path, content)?;
        self.show(&path)
    }

    fn show(&self, path: &Path) -> Result<OwnedFd> {
        let tree = take(path, Depth::One)?;
        sys::mount::set_attribute_of(tree.as_fd(), Attribute::ReadOnly)
            .context("cannot make it read-only")?;
        Ok(tree)
    }

    /// Takes it away. What was made from it stays where it is mounted.
    pub(super) fn strike(self) -> Result<()> {
        detach(STAGE)?;
        fs::remove_dir(STAGE).with_context(|| format!("cannot remove {STAGE}"))
    }
}

/// Makes a directory, whatever the umask is.
pub(super) fn make_directory(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .with_context(|| format!("cannot make {}", path.display()))
}

/// Writes a file that is not there yet.
pub(super) fn write(path: &Path, content: &Content) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(&content.bytes)?;
        let owner = content.owner;
        fchown(&file, Some(owner.uid), Some(owner.gid))?;
        file.set_permissions(Permissions::from_mode(owner.mode))
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// What kind of thing a layer's entry is when it hides what is below: a character device of number 0
/// (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
pub(super) const WHITEOUT: FileType = FileType::CharacterDevice;
