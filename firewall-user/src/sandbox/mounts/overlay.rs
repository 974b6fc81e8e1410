// SPDX-License-Identifier: GPL-3.0-or-later
//! Overlays: the host's directory, keyward's layer over it, and over both what the workload writes.
//!
//! What it writes is kept on disk, in the run's own directory, if the file system there can hold it; if it cannot (it
//! is an overlay itself, say, as in most containers), in memory.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use rustix::fs::{CWD, Mode, XattrFlags};

use super::stage::{self, Stage, WHITEOUT, make_directory};
use super::{attach, mount_memory, point};
use crate::sandbox::view::{Entry, Layer, Owner};

/// As much as half of the memory, which counts as the workload's.
const IN_MEMORY: &str = "mode=700,size=50%";

/// Only the top of a run's own directory is written to, and is gone with the run: nothing needs to be kept through a
/// crash (`volatile`), and directories of the host can be renamed (`redirect_dir`).
const WRITABLE: &str = "redirect_dir=on,index=off,metacopy=off,volatile";

const HINT: &str = "hint: the kernel needs overlayfs: modprobe overlay";

/// Mounts one. `below` is the host's directory.
pub(super) fn mount_overlay(
    stage: &Stage,
    layer: &Layer,
    below: &OwnedFd,
    target: &OwnedFd,
) -> Result<()> {
    let directory = stage.directory()?;
    let (over, lower) = (directory.join("over"), directory.join("below"));
    make_directory(&lower, 0o700)?;
    attach(below, &point::open(&lower)?)?;
    let owner = Owner::like(&fs::metadata(&lower).context("cannot look at it")?);
    make_owned(&over, owner)?;
    lay(&over, layer)?;
    let lower = format!("lowerdir={}:{}", over.display(), lower.display());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    if !layer.writable {
        return mount_with(target, flags | MsFlags::MS_RDONLY, &lower).context(HINT);
    }
    let upper = |top: &Path| -> Result<String> {
        make_directory(top, 0o700)?;
        let (upper, work) = (top.join("upper"), top.join("work"));
        make_owned(&upper, owner)?;
        make_directory(&work, 0o700)?;
        Ok(format!(
            "{lower},upperdir={},workdir={},{WRITABLE}",
            upper.display(),
            work.display()
        ))
    };
    let on_disk = upper(&stage.state().join(stage.number()))?;
    match mount_with(target, flags, &on_disk) {
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => {
            let memory = stage.directory()?;
            mount_memory(&memory, IN_MEMORY)?;
            mount_with(target, flags, &upper(&memory.join("top"))?).context(HINT)
        }
        mounted => mounted.context(HINT),
    }
}

fn mount_with(target: &OwnedFd, flags: MsFlags, options: &str) -> Result<(), Errno> {
    use std::os::fd::AsRawFd as _;
    let target = format!("/proc/self/fd/{}", target.as_raw_fd());
    mount(
        Some("overlay"),
        target.as_str(),
        Some("overlay"),
        flags,
        Some(options),
    )
}

fn lay(over: &Path, layer: &Layer) -> Result<()> {
    for (path, entry) in &layer.entries {
        let path = over.join(path);
        match entry {
            Entry::Directory { owner, opaque } => {
                make_owned(&path, *owner)?;
                if *opaque {
                    let flags = XattrFlags::empty();
                    rustix::fs::lsetxattr(&path, c"trusted.overlay.opaque", b"y", flags)
                        .with_context(|| format!("cannot make {} opaque", path.display()))?;
                }
            }
            Entry::File(content) => stage::write(&path, content)?,
            Entry::Whiteout => rustix::fs::mknodat(CWD, &path, WHITEOUT, Mode::empty(), 0)
                .with_context(|| format!("cannot hide {}", path.display()))?,
        }
    }
    Ok(())
}

fn make_owned(path: &Path, owner: Owner) -> Result<()> {
    make_directory(path, 0o700)?;
    chown(path, Some(owner.uid), Some(owner.gid))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(owner.mode)))
        .with_context(|| format!("cannot give {} its owner", path.display()))
}
