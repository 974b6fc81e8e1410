// SPDX-License-Identifier: GPL-3.0-or-later
//! The log files of a run: one directory a run, readable by root alone.
//!
//! The workload runs as a user of the host; were the files his, it could write its own history.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};

/// How many runs are kept. A run without a denial writes a few kilobytes.
const KEPT_RUNS: usize = 200;

/// How many more there may be before the oldest are removed: to look at all of them takes time, which is so not taken at
/// each run's end.
const SURPLUS: usize = 20;

/// The open files of a run.
#[derive(Debug)]
pub struct Logs {
    directory: PathBuf,
    /// Denials of the kernel, one JSON line each.
    pub audit: File,
    /// Requests at the gateway, one JSON line each; the proxy writes it.
    pub requests: File,
    /// What answers cost in tokens, one JSON line each; the proxy writes it.
    pub tokens: File,
    /// Diagnostics of the proxy.
    pub proxy: File,
}

impl Logs {
    /// The name of the log of decisions.
    pub const AUDIT: &str = "audit.jsonl";
    /// The name of the request log.
    pub const REQUESTS: &str = "requests.jsonl";
    /// The name of the log of tokens: what reads these logs elsewhere knows it by this name.
    pub const TOKENS: &str = "token-usage.jsonl";

    /// Makes the directory of the run below `parent`, and the files in it.
    pub fn create(parent: &Path, run: &str) -> Result<Self> {
        let directory = parent.join(run);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .with_context(|| format!("cannot make the log directory {}", directory.display()))?;
        let open = |name: &str| {
            let path = directory.join(name);
            OpenOptions::new()
                .create_new(true)
                .append(true)
                .mode(0o600)
                .open(&path)
                .with_context(|| format!("cannot make the log file {}", path.display()))
        };
        Ok(Self {
            audit: open(Self::AUDIT)?,
            requests: open(Self::REQUESTS)?,
            tokens: open(Self::TOKENS)?,
            proxy: open("proxy.jsonl")?,
            directory,
        })
    }

    /// Where they are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Removes the logs of the oldest runs beyond the newest 200, once there are 20 of them.
pub fn prune(parent: &Path) -> Result<()> {
    let describe = || format!("cannot tidy the log directory {}", parent.display());
    let entries = fs::read_dir(parent).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.with_context(describe)?;
    if entries.len() <= KEPT_RUNS + SURPLUS {
        return Ok(());
    }
    let mut runs: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in entries {
        let path = entry.path();
        // Only what a run of ours has made: a directory with its audit log in it. Another run may be removing it.
        if let Ok(audit) = fs::metadata(path.join(Logs::AUDIT)) {
            runs.push((audit.modified().with_context(describe)?, path));
        }
    }
    let surplus = runs.len().saturating_sub(KEPT_RUNS);
    runs.sort();
    for (_, path) in runs.iter().take(surplus) {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(describe);
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_runs_go_and_strangers_stay() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("not-ours")).unwrap();
        let now = SystemTime::now();
        for number in 0..KEPT_RUNS + SURPLUS {
            let logs = Logs::create(parent.path(), &format!("run{number:04}")).unwrap();
            let age = std::time::Duration::from_secs(u64::try_from(1000 - number).unwrap());
            logs.audit.set_modified(now - age).unwrap();
        }
        let left = |name: &str| parent.path().join(name).exists();
        // With the stranger there is one more than there may be.
        prune(parent.path()).unwrap();
        assert!(!left("run0000") && !left("run0019"));
        assert!(left("run0020") && left("run0219") && left("not-ours"));
        Logs::create(parent.path(), "run0220").unwrap();
        prune(parent.path()).unwrap();
        assert!(left("run0020"));
    }
}
