// SPDX-License-Identifier: GPL-3.0-or-later
//! The workload's cgroup.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long killed processes may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// A child of the cgroup v2 root, removed on drop with everything in it.
#[derive(Debug)]
pub(super) struct Cgroup {
    path: PathBuf,
    directory: File,
}

impl Cgroup {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = root().join(format!("keyward-lab-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a cgroup takes root: cargo xtask test");
        let directory = File::open(&path).expect("the new cgroup");
        Self { path, directory }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn directory(&self) -> &File {
        &self.directory
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let start = Instant::now();
        while let Err(error) = remove(&self.path) {
            // A second panic would hide the first.
            assert!(
                start.elapsed() < PATIENCE || std::thread::panicking(),
                "{}: {error}",
                self.path.display()
            );
            if start.elapsed() >= PATIENCE {
                return;
            }
            sleep(Duration::from_millis(5));
        }
    }
}

/// Kills what is in a cgroup and removes it, and those below it.
fn remove(path: &Path) -> std::io::Result<()> {
    fs::write(path.join("cgroup.kill"), "1")?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// Where cgroup v2 is mounted, alone or beside v1.
fn root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    let cgroup2 = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ")
            .then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    };
    mounts
        .lines()
        .find_map(cgroup2)
        .expect("cgroup v2 is mounted")
}
