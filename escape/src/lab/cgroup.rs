// SPDX-License-Identifier: GPL-3.0-or-later
//! A workload's cgroup.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How long killed processes may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// A child of the cgroup v2 root, removed on drop with everything in it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    directory: File,
}

impl Cgroup {
    /// Makes one with a name that nobody has.
    ///
    /// # Errors
    ///
    /// It takes root, and cgroup v2.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = root()?.join(format!("keyward-lab-{}-{number}", std::process::id()));
        fs::create_dir(&path).context("a cgroup takes root")?;
        let directory = File::open(&path).context("the new cgroup")?;
        Ok(Self { path, directory })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// To attach to.
    #[must_use]
    pub fn directory(&self) -> &File {
        &self.directory
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let start = Instant::now();
        while remove(&self.path).is_err() && start.elapsed() < PATIENCE {
            sleep(Duration::from_millis(5));
        }
        // A test that leaves something behind has failed; a second panic would hide the first.
        assert!(
            !self.path.exists() || std::thread::panicking(),
            "{} is left",
            self.path.display()
        );
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
fn root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("procfs")?;
    let cgroup2 = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ")
            .then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    };
    mounts
        .lines()
        .find_map(cgroup2)
        .context("cgroup v2 is not mounted")
}
