// SPDX-License-Identifier: GPL-3.0-or-later
//! A `/run` of the workload's own.
//!
//! In the host's are the sockets of container engines, of the name service and of the user's session, each of which would
//! act for whoever asks.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::unistd::{Gid, Uid};

use super::mount_memory;
use super::stage::make_directory;

/// Enough for lock files and sockets; not a place to fill the host's memory from.
const OPTIONS: &str = "mode=755,size=16m,nr_inodes=4096";

/// What of the host's `/run` programs are started from on some distributions. Links and directories, no sockets.
const KEPT: &[&str] = &["booted-system", "current-system", "opengl-driver"];

pub(super) fn mount_run(uid: Uid, gid: Gid) -> Result<()> {
    let run = Path::new("/run");
    let kept: Vec<_> = KEPT
        .iter()
        .filter_map(|name| Some((name, fs::canonicalize(run.join(name)).ok()?)))
        .collect();
    mount_memory(run, OPTIONS)?;
    for (name, target) in kept {
        let link = run.join(name);
        symlink(&target, &link).with_context(|| format!("cannot make {}", link.display()))?;
    }
    let own = run.join("user").join(uid.to_string());
    make_directory(&run.join("user"), 0o755)?;
    make_directory(&own, 0o700)?;
    make_directory(&run.join("lock"), 0o1777)?;
    chown(&own, Some(uid.as_raw()), Some(gid.as_raw()))
        .with_context(|| format!("cannot give {} to the user", own.display()))
}
