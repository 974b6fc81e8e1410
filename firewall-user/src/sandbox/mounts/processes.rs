// SPDX-License-Identifier: GPL-3.0-or-later
//! A `/proc` that shows the workload's processes alone.
//!
//! What else is in it, the kernel guards by user: what can be changed or what tells where memory lies is root's. So
//! nothing of it is covered for other users: a user namespace inside (a browser's, Codex's) may then have a `/proc` of
//! its own, which the kernel allows only where the whole of one can be seen already. A workload that is root gets a
//! `/proc` with those files covered, and cannot have another.

use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::MsFlags;
use nix::unistd::Uid;
use rustix::io::Errno;

use super::{Depth, attach, mount_at, point, take};
use crate::sys;
use crate::sys::mount::Attribute;

/// By root without capabilities these could be changed, some to run programs outside (`kernel.core_pattern`).
const READ_ONLY_TO_ROOT: &[&str] = &["acpi", "bus", "fs", "irq", "sys", "sysrq-trigger", "mtrr"];

pub(super) fn mount_proc(at: &Path, uid: Uid) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_at("proc", &point::open(at)?, flags, None)?;
    if uid.is_root() {
        for name in READ_ONLY_TO_ROOT {
            let path = at.join(name);
            let point = match point::open(&path) {
                Ok(point) => point,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let tree = take(&path, Depth::One)?;
            sys::mount::set_attribute_of(tree.as_fd(), Attribute::ReadOnly)
                .with_context(|| format!("cannot make {} read-only", path.display()))?;
            attach(&tree, &point)?;
        }
    }
    Ok(())
}
