// SPDX-License-Identifier: GPL-3.0-or-later
//! The workload's cgroup: where the eBPF programs are attached, and what can be killed as a whole.
//!
//! Only the version 2 hierarchy has cgroup eBPF. Where it is mounted is read from `/proc/self/mountinfo`: on a hybrid
//! host it is at `/sys/fs/cgroup/unified`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::runs;

mod limits;

pub use limits::{
    Controller, Limited, Limits, Reached, apply, default_pids, parse_cpu, parse_memory, parse_pids,
};

/// In front of the run's name: a cgroup of keyward's is told from others by it.
const PREFIX: &str = "keyward-";

/// How long the kernel may take to bury killed processes before the cgroup counts as stuck.
pub const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// A process that was killed takes a few hundred microseconds to be buried.
const LOOK_AGAIN: Duration = Duration::from_micros(50);

/// What went wrong with the cgroup.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No version 2 hierarchy.
    #[error(
        "cgroup v2 is not mounted\n  hint: mount it: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"
    )]
    NotMounted,
    /// A file operation on the hierarchy failed.
    #[error("cannot {act} the cgroup {path}")]
    Io {
        /// What was being done.
        act: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Killed processes did not go away.
    #[error("the processes in the cgroup {0} did not end within 5 seconds of being killed")]
    Stuck(PathBuf),
    /// A limit needs a controller that no hierarchy has.
    #[error("the cgroup controller {0} is not there")]
    NoController(Controller),
    /// A controller is there, but the cgroup at the top may not pass it on.
    #[error(
        "cannot pass the cgroup controller {controller} on at {path}\n  hint: a cgroup with processes in it cannot; in a \
         container, move them into one below, or start it with controllers delegated (systemd: Delegate=yes)"
    )]
    NotDelegated {
        /// Which.
        controller: Controller,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Where this host's cgroups are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchies {
    /// Mount point of version 2.
    unified: PathBuf,
    /// Controllers that version 2 has there.
    controllers: Vec<Controller>,
    /// Mount points of version 1, each with the controller that is bound to it.
    legacy: Vec<(Controller, PathBuf)>,
}

impl Hierarchies {
    /// Looks for them.
    pub fn find() -> Result<Self, CgroupError> {
        let mounts = mountinfo()?;
        let unified = parse_mountinfo(&mounts).ok_or(CgroupError::NotMounted)?;
        let path = unified.join("cgroup.controllers");
        let names = fs::read_to_string(&path).map_err(|source| io_error("read", &path, source))?;
        let is_here =
            |controller: &Controller| names.split_whitespace().any(|it| it == controller.name());
        Ok(Self {
            controllers: Controller::ALL.into_iter().filter(is_here).collect(),
            legacy: parse_legacy(&mounts),
            unified,
        })
    }

    /// The mount point of the version 2 hierarchy.
    pub fn unified(&self) -> &Path {
        &self.unified
    }

    /// Where a controller is: `Some(None)` in the version 2 hierarchy, or at this mount point.
    fn place(&self, controller: Controller) -> Option<Option<&Path>> {
        if self.controllers.contains(&controller) {
            return Some(None);
        }
        self.legacy
            .iter()
            .find(|(bound, _)| *bound == controller)
            .map(|(_, mount)| Some(mount.as_path()))
    }

    /// Has the top of the version 2 hierarchy pass a controller on to the cgroups below it. It stays so: other cgroups
    /// come to have the controller's files, with nothing limited.
    fn delegate(&self, controller: Controller) -> Result<(), CgroupError> {
        let path = self.unified.join("cgroup.subtree_control");
        let passed = fs::read_to_string(&path).map_err(|source| io_error("read", &path, source))?;
        if passed.split_whitespace().any(|it| it == controller.name()) {
            return Ok(());
        }
        fs::write(&path, format!("+{controller}")).map_err(|source| CgroupError::NotDelegated {
            controller,
            path: self.unified.clone(),
            source,
        })
    }

    /// The names of the runs that have a cgroup, wherever.
    pub(crate) fn runs(&self) -> Vec<String> {
        let mut runs = runs::names_in(&self.unified, PREFIX);
        for (_, mount) in &self.legacy {
            runs.extend(runs::names_in(mount, PREFIX));
        }
        runs
    }

    /// Kills what is in the cgroups of a run, and removes them. Absent is fine.
    pub(crate) fn remove(&self, run: &str) -> Result<(), CgroupError> {
        // Everybody is in this one; in those of version 1 are the same, and nobody can be killed by them.
        remove(&path_of(&self.unified, run))?;
        self.legacy
            .iter()
            .try_for_each(|(_, mount)| remove(&path_of(mount, run)))
    }
}

/// A cgroup that this process made. It is removed with its run ([`Hierarchies`]), not on drop: removing can fail, and that is
/// to be reported.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    directory: File,
}

impl Cgroup {
    /// Makes the cgroup of one run.
    pub fn create(hierarchy: &Path, run: &str) -> Result<Self, CgroupError> {
        let path = path_of(hierarchy, run);
        fs::create_dir(&path).map_err(|source| io_error("make", &path, source))?;
        let directory = File::open(&path).map_err(|source| io_error("open", &path, source))?;
        Ok(Self { path, directory })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Where the cgroup of a run is.
pub fn path_of(hierarchy: &Path, run: &str) -> PathBuf {
    hierarchy.join(format!("{PREFIX}{run}"))
}

/// Kills everything in the cgroup at `path` and in those below it, then removes them. Absent is fine.
fn remove(path: &Path) -> Result<(), CgroupError> {
    let deadline = Instant::now() + KILL_DEADLINE;
    loop {
        match remove_tree(path) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            // Processes are still in it, or were a moment ago.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                kill(path)?;
                if Instant::now() > deadline {
                    return Err(CgroupError::Stuck(path.to_owned()));
                }
                thread::sleep(Duration::from_millis(1));
            }
            Err(source) => return Err(io_error("remove", path, source)),
        }
    }
    Ok(())
}

/// The workload may have made cgroups below its own.
fn remove_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// Kills everything in the cgroup. The kernel takes a moment to bury it: see [`wait_until_empty`].
pub fn kill_all(cgroup: &Cgroup) -> Result<(), CgroupError> {
    kill(&cgroup.path)
}

/// Waits until what was killed is gone.
pub fn wait_until_empty(cgroup: &Cgroup) -> Result<(), CgroupError> {
    let deadline = Instant::now() + KILL_DEADLINE;
    let events = cgroup.path.join("cgroup.events");
    loop {
        let state =
            fs::read_to_string(&events).map_err(|source| io_error("read", &events, source))?;
        if state.lines().any(|line| line == "populated 0") {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(CgroupError::Stuck(cgroup.path.clone()));
        }
        // The kernel would say when, but no more often than every 10 ms.
        thread::sleep(LOOK_AGAIN);
        kill(&cgroup.path)?;
    }
}

/// `cgroup.kill` (Linux 5.14) reaches processes that fork while they are being killed. Version 1 has no such file.
fn kill(path: &Path) -> Result<(), CgroupError> {
    let file = OpenOptions::new()
        .write(true)
        .open(path.join("cgroup.kill"));
    match file.and_then(|mut file| file.write_all(b"1")) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(io_error("kill what is in", path, source)),
    }
}

/// The mount point of the version 2 hierarchy.
pub fn find_hierarchy() -> Result<PathBuf, CgroupError> {
    parse_mountinfo(&mountinfo()?).ok_or(CgroupError::NotMounted)
}

fn mountinfo() -> Result<String, CgroupError> {
    let path = Path::new("/proc/self/mountinfo");
    fs::read_to_string(path).map_err(|source| io_error("find", path, source))
}

/// Version 1 says among a mount's own options which controllers are bound to it.
fn parse_legacy(mounts: &str) -> Vec<(Controller, PathBuf)> {
    let mount = |line: &str| {
        let (fields, filesystem) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        let mut filesystem = filesystem.split(' ');
        let is_cgroup = filesystem.next() == Some("cgroup");
        let options = filesystem.nth(1)?.to_owned();
        (is_cgroup && root == "/").then(|| (PathBuf::from(unescape(mount_point)), options))
    };
    let mounts: Vec<_> = mounts.lines().filter_map(mount).collect();
    let bound = |controller: Controller| {
        let has = |options: &str| options.split(',').any(|it| it == controller.name());
        let (mount_point, _) = mounts.iter().find(|(_, options)| has(options))?;
        Some((controller, mount_point.clone()))
    };
    Controller::ALL.into_iter().filter_map(bound).collect()
}

/// See proc_pid_mountinfo(5): the mount point is the fifth field, the type the first one after the lone hyphen.
fn parse_mountinfo(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (fields, filesystem) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        // A bind mount of a part of the hierarchy is not the hierarchy.
        let root = fields.next()?;
        let mount_point = fields.next()?;
        let is_cgroup2 = filesystem.split(' ').next() == Some("cgroup2");
        (is_cgroup2 && root == "/").then(|| PathBuf::from(unescape(mount_point)))
    })
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> String {
    field
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

fn io_error(act: &'static str, path: &Path, source: io::Error) -> CgroupError {
    CgroupError::Io {
        act,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
    const HYBRID: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw";

    #[test]
    fn finds_the_hierarchy_where_it_is_mounted() {
        assert_eq!(
            parse_mountinfo(UNIFIED),
            Some(PathBuf::from("/sys/fs/cgroup"))
        );
        assert_eq!(
            parse_mountinfo(HYBRID),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
    }

    #[test]
    fn controllers_of_version_1_are_where_they_are_bound() {
        let hybrid = format!(
            "{HYBRID}\n33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpuacct\n\
             35 31 0:32 /part /mnt rw - cgroup cgroup rw,pids"
        );
        let expected = [
            (Controller::Memory, PathBuf::from("/sys/fs/cgroup/memory")),
            (Controller::Cpu, PathBuf::from("/sys/fs/cgroup/cpu")),
        ];
        assert_eq!(parse_legacy(&hybrid), expected);
        assert_eq!(parse_legacy(UNIFIED), []);
    }

    #[test]
    fn a_version_1_host_has_none() {
        assert_eq!(
            parse_mountinfo("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"),
            None
        );
        assert_eq!(parse_mountinfo(""), None);
        assert_eq!(parse_mountinfo("garbage - cgroup2"), None);
    }

    #[test]
    fn a_bind_mount_of_a_part_is_not_the_hierarchy() {
        let mounts = format!("40 1 0:26 /user.slice /mnt rw - cgroup2 cgroup2 rw\n{UNIFIED}");
        assert_eq!(
            parse_mountinfo(&mounts),
            Some(PathBuf::from("/sys/fs/cgroup"))
        );
    }

    #[test]
    fn a_mount_point_with_a_space_is_unescaped() {
        let line = "29 23 0:26 / /mnt/my\\040cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(parse_mountinfo(line), Some(PathBuf::from("/mnt/my cgroup")));
    }
}
