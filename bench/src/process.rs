// SPDX-License-Identifier: MIT OR Apache-2.0
//! A server under measurement, and what the kernel says about it.

use std::fs;
use std::io::{Read, Seek};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(10);

/// Descriptors that a process may have: twice what ten thousand connections take that go through it.
const DESCRIPTORS: u64 = 1 << 16;

/// A running server and the processes that it started; dropping it ends them.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts it and waits until it accepts connections.
    pub(crate) fn start(mut command: Command, address: SocketAddr) -> Result<Self> {
        let name = command.get_program().to_owned();
        // To a file: a pipe that nobody empties would stop a talkative server.
        let mut said = tempfile::tempfile().context("a temporary file")?;
        let stderr = said.try_clone().context("duplicating a descriptor")?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", name.display()))?;
        let mut server = Self { child };
        let deadline = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait().context("waiting")? {
                let mut text = String::new();
                said.rewind().context("reading stderr")?;
                said.read_to_string(&mut text).context("reading stderr")?;
                bail!(
                    "{} ended at once, {status}: {}",
                    name.display(),
                    text.trim()
                );
            }
            if Instant::now() > deadline {
                bail!("{} does not listen on {address}", name.display());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// It and its children: nginx serves from a child.
    pub(crate) fn processes(&self) -> Result<Processes> {
        let pid = self.child.id();
        Ok(Processes([vec![pid], children(pid)?].concat()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, so that nginx takes its workers along.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM).ok();
        }
        for _ in 0..200 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Lets this process, and those that it starts, have as many descriptors as any measurement takes, or as many as may
/// be had. Returns how many.
pub(crate) fn raise_descriptor_limit() -> Result<u64> {
    let before = getrlimit(Resource::Nofile);
    let limit = |count| Rlimit {
        current: count,
        maximum: count,
    };
    // In some containers root cannot raise the upper limit.
    setrlimit(Resource::Nofile, limit(Some(DESCRIPTORS)))
        .or_else(|_refused| setrlimit(Resource::Nofile, limit(before.maximum)))
        .context("raising RLIMIT_NOFILE")?;
    Ok(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

/// Processes that are measured as one.
#[derive(Clone, Debug)]
pub(crate) struct Processes(Vec<u32>);

impl Processes {
    /// Those below `pid` whose arguments begin with this name.
    pub(crate) fn below(pid: u32, name: &str) -> Result<Self> {
        let mut found = Vec::new();
        let mut waiting = vec![pid];
        while let Some(pid) = waiting.pop() {
            // What has ended since has none any more.
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if arguments.split(|it| *it == 0).next() == Some(name.as_bytes()) {
                found.push(pid);
            }
            waiting.extend(children(pid)?);
        }
        if found.is_empty() {
            bail!("no process is called {name}");
        }
        Ok(Self(found))
    }

    /// Processor time used so far. One that was only there to start another may be gone.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let lives = |pid: &&u32| Path::new(&format!("/proc/{pid}")).exists();
        self.0.iter().filter(lives).map(|&pid| cpu_time(pid)).sum()
    }

    /// Proportional set size, in bytes: memory shared with others counts in proportion.
    pub(crate) fn pss(&self) -> Result<u64> {
        self.memory("Pss:")
    }

    /// Resident set size, in bytes.
    pub(crate) fn rss(&self) -> Result<u64> {
        self.memory("Rss:")
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        let count = |pid: &u32| {
            let path = format!("/proc/{pid}/fd");
            Ok(fs::read_dir(&path).with_context(|| path.clone())?.count())
        };
        self.0.iter().map(count).sum()
    }

    fn memory(&self, field: &str) -> Result<u64> {
        let mut sum = 0;
        for pid in &self.0 {
            let path = format!("/proc/{pid}/smaps_rollup");
            let rollup = fs::read_to_string(&path).with_context(|| path.clone())?;
            let line = rollup.lines().find_map(|line| line.strip_prefix(field));
            let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            sum += kib.with_context(|| format!("no {field} in {path}"))? * 1024;
        }
        Ok(sum)
    }
}

/// The processes that a process started, from any of its threads.
fn children(pid: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Ok(found);
    };
    for thread in threads.flatten() {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for pid in children.split_whitespace() {
            found.push(pid.parse().context("a pid in /proc/…/children")?);
        }
    }
    Ok(found)
}

/// Processor time of this process so far.
pub(crate) fn own_cpu_time() -> Result<Duration> {
    cpu_time(std::process::id())
}

/// User and system time of a process with all its threads, ended ones too.
fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(Path::new(&path)).with_context(|| path.clone())?;
    // The name, in parentheses, may hold spaces; what follows it does not.
    let fields = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace());
    // utime and stime are fields 14 and 15 of the line; after the name the third is the first.
    let ticks: Option<u64> = fields.and_then(|fields| {
        let times: Vec<u64> = fields
            .skip(11)
            .take(2)
            .filter_map(|it| it.parse().ok())
            .collect();
        (times.len() == 2).then(|| times.iter().sum())
    });
    let ticks = ticks.with_context(|| format!("no times in {path}"))?;
    Ok(Duration::from_millis(
        ticks * 1000 / rustix::param::clock_ticks_per_second(),
    ))
}
