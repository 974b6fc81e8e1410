// SPDX-License-Identifier: GPL-3.0-or-later
//! Where something is mounted, by descriptor, and made if it is not there.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use crate::sandbox::view::View;

/// What is at a path, without following a link anywhere in it. If the last part is one, it is the link itself.
pub(super) fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // A file system that something is to be mounted from may want to mount itself first.
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
}

/// The same; what is missing is made, for the user, if it lies in a place that is private to the run. Anywhere else
/// nothing can be made.
pub(super) fn make(path: &Path, kind: FileType, view: &View) -> Result<OwnedFd> {
    match open(path) {
        Err(Errno::NOENT) => {}
        found => return Ok(found?),
    }
    let missing: Vec<_> = path.ancestors().take_while(|it| !it.exists()).collect();
    for (index, part) in missing.iter().enumerate().rev() {
        let parent = part
            .parent()
            .ok_or_else(|| anyhow!("it has no directory"))?;
        let name = part.file_name().ok_or_else(|| anyhow!("it has no name"))?;
        let parent = open(parent)?;
        let made = if index > 0 || kind == FileType::Directory {
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))
        } else {
            rustix::fs::mknodat(
                &parent,
                name,
                FileType::RegularFile,
                Mode::from_raw_mode(0o644),
                0,
            )
        };
        match made {
            Ok(()) => {}
            Err(Errno::ROFS) => bail!(
                "{} is not there\n  hint: nothing can be mounted where the host has nothing, but below /tmp, /run \
                 and the home",
                part.display()
            ),
            Err(error) => return Err(error).context("cannot make it"),
        }
        let (uid, gid) = (
            Uid::from_raw(view.uid.as_raw()),
            Gid::from_raw(view.gid.as_raw()),
        );
        rustix::fs::chownat(
            &parent,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .context("cannot give it to the user")?;
    }
    Ok(open(path)?)
}
