// SPDX-License-Identifier: GPL-3.0-or-later
//! Which runs there are on this host, and what a dead one left behind.
//!
//! A run holds a lock on `/run/keyward/<run>`. The kernel lets go of it when the supervisor dies, however it dies: a
//! run whose lock can be taken is over, and what it left is swept.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt as _, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::cgroup::{Hierarchies, Limits};
use crate::ebpf;
use crate::posture::Posture;

/// Where the locks are.
const LOCKS: &str = "/run/keyward";
/// Where what a workload writes is kept that is gone with its run: on disk, for it may be large.
const STATES: &str = "/var/lib/keyward";
/// In front of the run's name: the directory in the BPF file system where a run pins its links.
const PINS_PREFIX: &str = "keyward-";

/// This run: its name, and the lock that says it is alive.
#[derive(Debug)]
pub struct Run {
    id: String,
    lock: Flock<File>,
}

impl Run {
    /// Claims a new name.
    pub fn claim() -> Result<Self> {
        make_lock_directory()?;
        loop {
            let id = new_id()?;
            if let Some(lock) = try_lock(&Path::new(LOCKS).join(&id), true)? {
                return Ok(Self { id, lock });
            }
        }
    }

    /// The name: twelve hexadecimal digits, unique on this host.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where this run pins its eBPF links.
    pub fn pins(&self) -> PathBuf {
        pins_of(&self.id)
    }

    /// Tells the others on this host what this run is.
    pub fn introduce(&self, introduction: &Introduction) -> Result<()> {
        let describe = || format!("cannot write {}/{}", LOCKS, self.id);
        let text = serde_json::to_vec(introduction).with_context(describe)?;
        self.lock.write_all_at(&text, 0).with_context(describe)
    }

    /// A Unix socket at which root asks what is going on.
    pub fn listen_for_status(&self) -> Result<UnixListener> {
        let path = status_of(&self.id);
        // In a directory of root's alone.
        UnixListener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))
    }

    /// Gives the name back. Everything else of the run must be gone by now.
    pub fn release(self) -> Result<()> {
        remove_if_there(&status_of(&self.id))?;
        let path = Path::new(LOCKS).join(&self.id);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        drop(self.lock);
        Ok(())
    }
}

/// What a sweep found and did.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Runs that were over and are now cleared away.
    pub swept: Vec<String>,
    /// What could not be removed, and why.
    pub failures: Vec<String>,
}

/// Clears away what dead runs left: processes, cgroup, pinned links, files, lock. Goes on after a failure.
pub fn sweep(hierarchies: &Hierarchies) -> Sweep {
    let mut sweep = Sweep::default();
    for id in leftovers(hierarchies) {
        match sweep_one(hierarchies, &id) {
            Ok(true) => sweep.swept.push(id),
            Ok(false) => {}
            Err(error) => sweep.failures.push(format!("run {id}: {error:#}")),
        }
    }
    sweep
}

/// Whether the run goes on.
pub fn is_alive(id: &str) -> bool {
    let path = Path::new(LOCKS).join(id);
    is_id(id) && path.exists() && !matches!(try_lock(&path, false), Ok(Some(_)))
}

/// The names of runs that are over but have left something.
pub fn dead(hierarchies: &Hierarchies) -> Vec<String> {
    let is_dead = |id: &String| {
        let path = Path::new(LOCKS).join(id);
        // A lock that can be taken is let go of at once, on drop.
        matches!(try_lock(&path, false), Ok(Some(_))) || !path.exists()
    };
    leftovers(hierarchies).into_iter().filter(is_dead).collect()
}

fn sweep_one(hierarchies: &Hierarchies, id: &str) -> Result<bool> {
    // Taking the lock keeps two sweeps apart. A cgroup or pins without a lock file belong to nobody: a run makes
    // its lock first and removes it last. Making the file keeps even that case single.
    make_lock_directory()?;
    let path = Path::new(LOCKS).join(id);
    let Some(lock) = try_lock(&path, true)? else {
        return Ok(false);
    };
    // The processes go first: while any of them lives, its eBPF links stay.
    hierarchies.remove(id)?;
    ebpf::unpin(&pins_of(id))?;
    remove_state(id)?;
    remove_if_there(&status_of(id))?;
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    drop(lock);
    Ok(true)
}

/// What a run tells of itself, in the file that it locks.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Introduction {
    /// The supervisor.
    pub pid: i32,
    /// The workload's init, as the host numbers it.
    pub init: i32,
    /// When the run started, RFC 3339.
    pub started: String,
    /// Name of the program that runs; its arguments are nobody's business.
    pub program: String,
    /// Where its logs are.
    pub logs: PathBuf,
    /// Whether its policy can be changed.
    pub reloadable: bool,
    /// Where the proxy is, which is what the nftables rules are made of: see [`firewall_common::Endpoints::to_bytes`].
    pub endpoints: [u8; firewall_common::Endpoints::SIZE],
    /// The gateway's ports.
    pub gateway: Vec<u16>,
    /// How much it may take.
    pub limits: Limits,
    /// What confined it when it started.
    pub posture: Posture,
}

/// The runs that live on this host, by name.
pub fn live() -> Vec<(String, Introduction)> {
    let lives = |id: &String| matches!(try_lock(&Path::new(LOCKS).join(id), false), Ok(None));
    let introduce = |id: String| {
        let text = fs::read(Path::new(LOCKS).join(&id)).ok()?;
        // One that has not introduced itself yet is not ready to be talked to either.
        Some((id, serde_json::from_slice(&text).ok()?))
    };
    let mut ids = names_in(Path::new(LOCKS), "");
    ids.sort();
    ids.into_iter()
        .filter(lives)
        .filter_map(introduce)
        .collect()
}

/// Where a run says what is going on.
pub fn status_of(id: &str) -> PathBuf {
    Path::new(LOCKS).join(format!("{id}.status"))
}

/// Makes the directory of a run in which what is written to its overlays is kept until its end, on disk.
pub fn make_state(id: &str) -> Result<PathBuf> {
    let path = Path::new(STATES).join(id);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

/// Removes what a workload wrote that is gone with its run. No process of it may be left.
pub fn remove_state(id: &str) -> Result<()> {
    let path = Path::new(STATES).join(id);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(crate) fn pins_of(id: &str) -> PathBuf {
    Path::new(ebpf::BPFFS).join(format!("{PINS_PREFIX}{id}"))
}

/// Every name that has a lock, a cgroup, pins or files.
fn leftovers(hierarchies: &Hierarchies) -> Vec<String> {
    let mut ids = names_in(Path::new(LOCKS), "");
    ids.extend(names_in(Path::new(ebpf::BPFFS), PINS_PREFIX));
    ids.extend(names_in(Path::new(STATES), ""));
    ids.extend(hierarchies.runs());
    ids.sort();
    ids.dedup();
    ids
}

/// The names of runs among the entries of a directory, each behind a prefix.
pub(crate) fn names_in(directory: &Path, prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix(prefix)
                .map(str::to_owned)
        })
        .filter(|name| is_id(name))
        .collect()
}

/// Makes sure that there is a BPF file system. One at a time on this host: each mount is a file system of its own,
/// and two runs that mounted one each would not see each other's pins.
pub fn ensure_bpffs() -> Result<()> {
    make_lock_directory()?;
    let path = Path::new(LOCKS).join("bpffs");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let _lock = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(ebpf::ensure_bpffs(Path::new(ebpf::BPFFS))?)
}

fn make_lock_directory() -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(LOCKS)
        .with_context(|| format!("cannot make {LOCKS}"))
}

/// Takes the lock at `path`, or returns `None` if its owner lives.
///
/// Between opening and locking, a sweep may have removed the file; then the lock is on a file that nobody can find,
/// so it does not count.
fn try_lock(path: &Path, create: bool) -> Result<Option<Flock<File>>> {
    let describe = || format!("cannot lock {}", path.display());
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .mode(0o600)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(describe),
    };
    let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, error)) => return Err(error).with_context(describe),
    };
    let ours = lock.metadata().with_context(describe)?;
    match fs::metadata(path) {
        Ok(current) if current.ino() == ours.ino() => Ok(Some(lock)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(describe),
    }
}

fn new_id() -> Result<String> {
    let number = getrandom::u64().context("cannot get random bytes from the kernel")?;
    Ok(format!("{:012x}", number >> 16))
}

fn is_id(name: &str) -> bool {
    name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_recognised_and_nothing_else_is() {
        assert!(is_id(&new_id().unwrap()));
        for name in [
            "",
            "..",
            "short",
            "0123456789abc",
            "0123456789ag",
            "../../etc/pas",
        ] {
            assert!(!is_id(name), "{name}");
        }
    }

    #[test]
    fn a_lock_is_held_by_one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run");
        let first = try_lock(&path, true).unwrap();
        assert!(first.is_some());
        assert!(try_lock(&path, true).unwrap().is_none());
        drop(first);
        assert!(try_lock(&path, true).unwrap().is_some());
    }

    #[test]
    fn a_lock_on_a_removed_file_does_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run");
        let file = File::create(&path).unwrap();
        fs::remove_file(&path).unwrap();
        drop(file);
        assert!(try_lock(&path, false).unwrap().is_none());
    }
}
