// SPDX-License-Identifier: GPL-3.0-or-later
//! The workload's view of the file system, in its own mount namespace.
//!
//! The host's tools, the user's files and the working directory are as they are. What differs: `/proc` shows only the
//! workload's processes, `/run` is empty (the sockets of container engines, of the name service and of the user's
//! session are there, and each of them would act for whoever asks), `/etc` has keyward's files laid over it, and
//! `/sys` (the cgroups, the pinned eBPF links) is read-only.

use std::ffi::CStr;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use nix::mount::{MsFlags, mount};
use nix::unistd::{Gid, Uid};

use super::files::PrivateFile;
use crate::sys;
use crate::sys::mount::Attribute;

/// Where keyward's files for `/etc` are put: below the private `/run`.
const LAYER: &str = "/run/keyward-etc";

/// Enough for lock files and sockets; not a place to fill the host's memory from.
const RUN_OPTIONS: &str = "mode=755,size=16m,nr_inodes=4096";

/// What of the host's `/run` programs are started from on some distributions. Links and directories, no sockets.
const KEEP_IN_RUN: &[&str] = &["booted-system", "current-system", "opengl-driver"];

/// Sets the view up. Runs as root in a new mount and pid namespace; nothing here is seen outside.
pub fn enter(files: &[PrivateFile], uid: Uid, gid: Gid) -> Result<()> {
    // First, or all that follows would appear on the host.
    change(
        "/",
        MsFlags::MS_PRIVATE | MsFlags::MS_REC,
        "cannot make the mounts private",
    )?;
    // A program with file capabilities (ping has them on some hosts) could not even be executed: the kernel refuses to
    // run it without what it may not have. So it runs without, and is told what it may not do when it tries.
    give(c"/", Attribute::NoSetuid)?;
    mount_proc()?;
    mount_run(uid, gid)?;
    lay_over_etc(files)?;
    give(c"/sys", Attribute::ReadOnly)
}

fn mount_proc() -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).context("cannot mount /proc")
}

fn mount_run(uid: Uid, gid: Gid) -> Result<()> {
    let kept: Vec<_> = KEEP_IN_RUN
        .iter()
        .filter_map(|name| {
            fs::canonicalize(Path::new("/run").join(name))
                .ok()
                .map(|to| (name, to))
        })
        .collect();
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        flags,
        Some(RUN_OPTIONS),
    )
    .context("cannot mount /run")?;
    for (name, target) in kept {
        let link = Path::new("/run").join(name);
        std::os::unix::fs::symlink(&target, &link)
            .with_context(|| format!("cannot make {}", link.display()))?;
    }
    let home = Path::new("/run/user").join(uid.to_string());
    for (path, mode) in [
        (Path::new("/run/user"), 0o755),
        (&home, 0o700),
        (Path::new("/run/lock"), 0o1777),
    ] {
        DirBuilder::new()
            .mode(mode)
            .create(path)
            .with_context(|| format!("cannot make {}", path.display()))?;
    }
    chown(&home, Some(uid.as_raw()), Some(gid.as_raw()))
        .with_context(|| format!("cannot give {} to the user", home.display()))
}

/// A read-only overlay: our files above, the host's `/etc` below. Directories are merged, so the rest of `/etc` is
/// there; a file of ours hides the host's, also where that is a link to somewhere else (`resolv.conf` often is).
fn lay_over_etc(files: &[PrivateFile]) -> Result<()> {
    let layer = Path::new(LAYER);
    for file in files {
        let path = layer.join(&file.path);
        let parent = path
            .parent()
            .ok_or_else(|| anyhow!("{} has no directory", path.display()))?;
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        fs::write(&path, &file.content)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let options = format!("lowerdir={LAYER}:/etc");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_RDONLY;
    mount(Some("overlay"), "/etc", Some("overlay"), flags, Some(options.as_str())).context(
        "cannot lay keyward's files over /etc\n  hint: the kernel needs overlayfs: modprobe overlay",
    )
}

fn give(path: &'static CStr, attribute: Attribute) -> Result<()> {
    sys::mount::set_attribute(path, attribute)
        .with_context(|| format!("cannot make {} {attribute:?}", path.to_string_lossy()))
}

fn change(path: &str, flags: MsFlags, failure: &'static str) -> Result<()> {
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>).context(failure)
}
