// SPDX-License-Identifier: GPL-3.0-or-later
//! A `/dev` of the workload's own: the devices that every program may count on, terminals of its own, shared memory.

use std::fs::{self, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::MsFlags;
use rustix::fs::{CWD, FileType, Mode, makedev};

use super::stage::make_directory;
use super::{TEMPORARY, attach, mount_at, mount_memory, point};

/// Name and minor number of the memory devices, whose major number is 1 (Documentation/admin-guide/devices.txt).
const MEMORY: &[(&str, u32)] = &[
    ("full", 7),
    ("null", 3),
    ("random", 8),
    ("urandom", 9),
    ("zero", 5),
];

const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];

/// Where the terminal of a standard stream is: it belongs to the host's terminals, and so has no name among ours. The
/// C library looks for a device of the same number in all of `/dev`.
const TERMINAL: &str = "/dev/console";

pub(super) fn mount_devices(at: &Path) -> Result<()> {
    // With devices, as the only file system of the workload's own.
    let options = Some("mode=755,size=1m,nr_inodes=4096");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount_at("tmpfs", &point::open(at)?, flags, options)?;
    for (name, minor) in MEMORY {
        device(&at.join(name), 1, *minor)?;
    }
    device(&at.join("tty"), 5, 0)?;
    for (name, target) in LINKS {
        symlink(target, at.join(name)).with_context(|| format!("cannot make the link {name}"))?;
    }
    for name in ["mqueue", "pts", "shm"] {
        make_directory(&at.join(name), 0o755)?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let options = Some("newinstance,ptmxmode=0666,mode=600");
    mount_at("devpts", &point::open(&at.join("pts"))?, flags, options)?;
    let flags = flags | MsFlags::MS_NODEV;
    mount_at("mqueue", &point::open(&at.join("mqueue"))?, flags, None)?;
    mount_memory(&at.join("shm"), TEMPORARY)
}

fn device(path: &Path, major: u32, minor: u32) -> Result<()> {
    let number = makedev(major, minor);
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), number)
        .map_err(std::io::Error::from)
        // Whatever the umask is.
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o666)))
        .with_context(|| format!("cannot make {}", path.display()))
}

/// Shows the terminal of a standard stream under a name.
pub(super) fn show_terminal(terminal: &OwnedFd) -> Result<()> {
    let describe = || format!("cannot show the terminal at {TERMINAL}");
    fs::write(TERMINAL, "").with_context(describe)?;
    let point = point::open(Path::new(TERMINAL)).with_context(describe)?;
    attach(terminal, &point).with_context(describe)
}
