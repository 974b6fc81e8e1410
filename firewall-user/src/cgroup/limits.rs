// SPDX-License-Identifier: GPL-3.0-or-later
//! How much of the machine a run may take: memory, processes, processor time.
//!
//! A controller is either in the version 2 hierarchy or, on a hybrid host, bound to a version 1 hierarchy of its own. It
//! is used where it is; both have the same kinds of limits under other names.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Cgroup, CgroupError, Hierarchies, io_error};

/// What is asked for. Nothing is limited where nothing is said.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Bytes of memory, over all processes; nothing of it may be swapped out to get more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Processes and threads at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// Thousandths of a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u64>,
}

/// A controller that keyward uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Memory.
    Memory,
    /// Processes and threads.
    Pids,
    /// Processor time.
    Cpu,
}

/// Length of the period in which processor time is counted, in microseconds: the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// The share of what the host can have that a run may have if nobody says otherwise, in percent: what systemd gives
/// to a service. A fork bomb ends there, and the host goes on.
const PIDS_SHARE: u64 = 15;

impl Controller {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    /// As the kernel names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }

    /// Whether a cgroup with processes of its own may pass it on.
    fn is_threaded(self) -> bool {
        match self {
            Self::Memory => false,
            Self::Pids | Self::Cpu => true,
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Limits {
    /// Each controller that is needed, with its limit.
    fn wanted(&self) -> impl Iterator<Item = (Controller, u64)> {
        let limits = [
            (Controller::Memory, self.memory),
            (Controller::Pids, self.pids),
            (Controller::Cpu, self.cpu),
        ];
        limits
            .into_iter()
            .filter_map(|(controller, limit)| Some((controller, limit?)))
    }

    /// The same without those that a controller would have to keep which is not there.
    pub fn without(mut self, missing: &[Controller]) -> Self {
        for controller in missing {
            match controller {
                Controller::Memory => self.memory = None,
                Controller::Pids => self.pids = None,
                Controller::Cpu => self.cpu = None,
            }
        }
        self
    }

    /// Controllers that are needed and that this host does not have.
    pub fn missing(&self, hierarchies: &Hierarchies) -> Vec<Controller> {
        self.wanted()
            .map(|(controller, _)| controller)
            .filter(|controller| hierarchies.place(*controller).is_none())
            .collect()
    }
}

/// How many processes and threads a run may have if nobody says so.
pub fn default_pids() -> Option<u64> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let most = number("/proc/sys/kernel/pid_max")?.min(number("/proc/sys/kernel/threads-max")?);
    Some(most * PIDS_SHARE / 100)
}

/// The limits of a run, in force.
#[derive(Debug)]
pub struct Limited {
    limits: Limits,
    /// Where each limit is kept.
    kept: Vec<(Controller, PathBuf, Version)>,
    /// `tasks` of the groups in version 1 hierarchies: nothing is born into them.
    join: Vec<File>,
}

/// What came of the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Processes that were killed for want of memory.
    pub killed: u64,
    /// Processes and threads that could not be made.
    pub refused: u64,
}

/// Which kind of hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// The files of a limit, with what is written to them. A file that may be missing is one that some kernels are built
/// without.
fn files(
    controller: Controller,
    limit: u64,
    version: Version,
) -> Vec<(&'static str, String, bool)> {
    let required = |name, value: String| (name, value, true);
    let number = limit.to_string();
    let quota = limit.saturating_mul(CPU_PERIOD / 1000);
    match (controller, version) {
        (Controller::Memory, Version::Two) => vec![
            required("memory.max", number),
            ("memory.swap.max", "0".to_owned(), false),
            // A workload that lost one of its processes would go on in a state that nobody has tried.
            required("memory.oom.group", "1".to_owned()),
        ],
        (Controller::Memory, Version::One) => vec![
            required("memory.limit_in_bytes", number.clone()),
            ("memory.memsw.limit_in_bytes", number, false),
        ],
        (Controller::Pids, _) => vec![required("pids.max", number)],
        (Controller::Cpu, Version::Two) => {
            vec![required("cpu.max", format!("{quota} {CPU_PERIOD}"))]
        }
        (Controller::Cpu, Version::One) => vec![
            required("cpu.cfs_period_us", CPU_PERIOD.to_string()),
            required("cpu.cfs_quota_us", quota.to_string()),
        ],
    }
}

/// Puts limits in force for a run's cgroup, in which there is nobody yet, and reads them back.
pub fn apply(
    hierarchies: &Hierarchies,
    cgroup: &Cgroup,
    run: &str,
    limits: Limits,
) -> Result<Limited, CgroupError> {
    let mut limited = Limited {
        limits,
        kept: Vec::new(),
        join: Vec::new(),
    };
    for (controller, limit) in limits.wanted() {
        let place = hierarchies
            .place(controller)
            .ok_or(CgroupError::NoController(controller))?;
        let (path, version) = match place {
            None => {
                hierarchies.delegate(controller)?;
                (cgroup.path().to_owned(), Version::Two)
            }
            Some(mount) => {
                let path = super::path_of(mount, run);
                match fs::create_dir(&path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(io_error("make", &path, error));
                    }
                    Ok(()) | Err(_) => {}
                }
                (path, Version::One)
            }
        };
        for (name, value, is_required) in files(controller, limit, version) {
            let file = path.join(name);
            match write_and_compare(&file, &value) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !is_required => {}
                result => result.map_err(|source| io_error("limit", &file, source))?,
            }
        }
        if version == Version::Two && controller.is_threaded() {
            // As long as this cgroup passes it on, nobody can take it away from it: systemd does, as soon as no unit of its
            // own needs it any more, and the limit would go with it.
            let file = path.join("cgroup.subtree_control");
            fs::write(&file, format!("+{controller}"))
                .map_err(|source| io_error("limit", &file, source))?;
        }
        if version == Version::One {
            // A thread moves itself by this file at once. By `cgroup.procs` the kernel would wait until no process on the
            // host is just being made, which takes it 6 ms and more (cgroup_procs_write_start
            // in kernel/cgroup/cgroup.c). Init has only the one thread.
            let tasks = path.join("tasks");
            let tasks = OpenOptions::new()
                .write(true)
                .open(&tasks)
                .map_err(|source| io_error("open", &tasks, source))?;
            limited.join.push(tasks);
        }
        limited.kept.push((controller, path, version));
    }
    Ok(limited)
}

/// `O_CREAT` would be another error on a file that is not there.
fn write_and_compare(file: &Path, value: &str) -> io::Result<()> {
    use std::io::Write as _;
    let mut opened = OpenOptions::new().write(true).open(file)?;
    opened.write_all(value.as_bytes())?;
    let found = fs::read_to_string(file)?;
    if found.trim() == value {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{value} was written, and {} is there",
        found.trim()
    )))
}

impl Limited {
    /// The limits of a run that another process keeps, for [`Self::verify`].
    pub fn look_up(hierarchies: &Hierarchies, run: &str, limits: Limits) -> Self {
        let place = |(controller, _)| {
            let (mount, version) = match hierarchies.place(controller)? {
                None => (hierarchies.unified(), Version::Two),
                Some(mount) => (mount, Version::One),
            };
            Some((controller, super::path_of(mount, run), version))
        };
        Self {
            limits,
            kept: limits.wanted().filter_map(place).collect(),
            join: Vec::new(),
        }
    }

    /// What is limited.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Moves the calling process to where the limits are kept. Where that is the run's own cgroup, it was born there.
    pub fn join(&self) -> io::Result<()> {
        use std::io::Write as _;
        self.join
            .iter()
            .try_for_each(|mut file| file.write_all(b"0"))
    }

    /// What [`Self::join`] takes.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.join.iter().map(AsFd::as_fd)
    }

    /// Whether each limit is still what it was set to.
    pub fn verify(&self) -> io::Result<()> {
        for (controller, limit) in self.limits.wanted() {
            let kept = self.kept.iter().find(|(kept, _, _)| *kept == controller);
            let Some((_, path, version)) = kept else {
                continue;
            };
            for (name, value, is_required) in files(controller, limit, *version) {
                let file = path.join(name);
                match fs::read_to_string(&file) {
                    Ok(found) if found.trim() == value => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound && !is_required => {}
                    Ok(found) => {
                        return Err(io::Error::other(format!(
                            "{} is {}, not {value}",
                            file.display(),
                            found.trim()
                        )));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// What the limits did, as far as the kernel can still tell.
    pub fn reached(&self) -> Reached {
        let mut reached = Reached::default();
        for (controller, path, version) in &self.kept {
            let count = |file: &str, key: &str| {
                let text = fs::read_to_string(path.join(file)).unwrap_or_default();
                field(&text, key).unwrap_or(0)
            };
            match (controller, version) {
                (Controller::Memory, Version::Two) => {
                    reached.killed = count("memory.events", "oom_kill");
                }
                (Controller::Memory, Version::One) => {
                    reached.killed = count("memory.oom_control", "oom_kill");
                }
                (Controller::Pids, _) => reached.refused = count("pids.events", "max"),
                (Controller::Cpu, _) => {}
            }
        }
        reached
    }
}

/// The number behind a word at the beginning of a line.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

/// `512M`, `1.5G`, `100000`: bytes, whole pages of them, by powers of 1024.
pub fn parse_memory(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; write 512M, 1.5G or a number of bytes");
    let digits = text.trim_end_matches(|it: char| it.is_ascii_alphabetic());
    let scale: u32 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.parse().map_err(|_not_a_number| wrong())?;
    let bytes = number * (1_u64 << scale) as f64;
    if !(bytes >= LEAST_MEMORY as f64 && bytes < (1_u64 << 52) as f64) {
        return Err(format!("{text:?} is out of range; the least is 4M"));
    }
    let page = u64::try_from(rustix::param::page_size()).map_err(|error| error.to_string())?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it was found to be positive and to fit"
    )]
    Ok(bytes as u64 / page * page)
}

/// Less would not even hold init.
const LEAST_MEMORY: u64 = 4 << 20;

/// `2`, `0.5`: thousandths of a processor.
pub fn parse_cpu(text: &str) -> Result<u64, String> {
    let number: f64 = text
        .parse()
        .map_err(|_not_a_number| format!("{text:?} is no number of processors; write 2 or 0.5"))?;
    // The kernel gives a millisecond of a period at least.
    if !(0.01..=10_000.0).contains(&number) {
        return Err(format!("{text:?} is out of range; the least is 0.01"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it was found to be positive and small"
    )]
    Ok((number * 1000.0).round() as u64)
}

/// `2`, at least.
pub fn parse_pids(text: &str) -> Result<u64, String> {
    match text.parse() {
        // keyward's init and the command.
        Ok(number @ 2..=4_194_304) => Ok(number),
        Ok(_) => Err(format!("{text:?} is out of range; the least is 2")),
        Err(_) => Err(format!("{text:?} is no number of processes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_rounded_to_pages() {
        for (text, bytes) in [
            ("512M", 512 << 20),
            ("1.5G", 3 << 29),
            ("2gib", 2 << 30),
            ("5000000", 4_997_120),
            ("8192k", 8 << 20),
        ] {
            assert_eq!(parse_memory(text), Ok(bytes), "{text}");
        }
        for text in [
            "", "M", "1X", "-1G", "1M", "1e30", "NaN", "inf", "1 G", "9999T",
        ] {
            assert!(parse_memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processors_are_read_in_thousandths() {
        assert_eq!(parse_cpu("1.5"), Ok(1500));
        assert_eq!(parse_cpu("0.01"), Ok(10));
        for text in ["", "0", "-1", "0.001", "NaN", "inf", "two"] {
            assert!(parse_cpu(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processes_are_counted_with_init() {
        assert_eq!(parse_pids("2"), Ok(2));
        for text in ["", "0", "1", "-5", "1.5", "99999999"] {
            assert!(parse_pids(text).is_err(), "{text}");
        }
        assert!(
            default_pids().is_some_and(|it| it >= 100),
            "a share of pid_max"
        );
    }

    #[test]
    fn events_are_found_by_their_name() {
        let events = "low 0\nhigh 3\nmax 17\noom 2\noom_kill 1\noom_group_kill 1\n";
        assert_eq!(field(events, "max"), Some(17));
        assert_eq!(field(events, "oom_kill"), Some(1));
        assert_eq!(field(events, "none"), None);
        assert_eq!(
            field("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n", "oom_kill"),
            Some(4)
        );
    }
}
