// SPDX-License-Identifier: GPL-3.0-or-later
//! The BPF file system, where pins live. systemd mounts it; other inits may not.

use std::path::Path;

use rustix::{
    fs::statfs,
    mount::{MountFlags, mount},
};

use super::EbpfError;

/// Where the BPF file system is, by convention.
pub const BPFFS: &str = "/sys/fs/bpf";

/// `BPF_FS_MAGIC` of `linux/magic.h`.
const MAGIC: u64 = 0xcafe_4a11;

/// Makes sure that `path` is a BPF file system: mounts one, if it is not.
///
/// # Errors
///
/// `path` does not exist, or the mount is refused.
pub fn ensure_bpffs(path: &Path) -> Result<(), EbpfError> {
    let failed = |errno: rustix::io::Errno| EbpfError::Bpffs {
        path: path.to_owned(),
        source: errno.into(),
    };
    if is_bpffs(path).map_err(failed)? {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RELATIME;
    mount("bpf", path, "bpf", flags, Some(c"mode=0700")).map_err(failed)?;
    // Another keyward may have mounted one at the same moment: one of the two is on top, and both see it.
    Ok(())
}

/// Whether `path` is a BPF file system.
///
/// # Errors
///
/// `path` does not exist, or may not be looked at.
pub fn is_bpffs(path: &Path) -> rustix::io::Result<bool> {
    Ok(u64::try_from(statfs(path)?.f_type).is_ok_and(|magic| magic == MAGIC))
}
