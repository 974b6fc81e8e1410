// SPDX-License-Identifier: GPL-3.0-or-later
//! What the kernel denied: one line of JSON each in the audit log, and a tally for the end of the run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, Write as _};

use firewall_common::{Event, MalformedEvent};
use jiff::{SignedDuration, Timestamp};
use keyward_policy::Mode;
use keyward_proxy::refusal::Refusal;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::reload::Reloaded;
use crate::runs::Introduction;

mod describe;
mod socket;

pub use describe::{destination, protocol};
pub use socket::RefusedSocket;

/// Most different things that the tally tells apart; beyond that they are counted together. A workload can aim at
/// as many addresses as it likes, and the report is to stay readable and small in memory.
const MAX_TALLY: usize = 1000;

/// The audit log of a run.
#[derive(Debug)]
pub struct Audit {
    run: String,
    file: File,
    /// From `CLOCK_MONOTONIC`, which events carry, to the time of day.
    epoch: Timestamp,
    tally: BTreeMap<Denied, u64>,
    beyond: u64,
    failed_writes: u64,
}

/// What counts as the same denial in the tally.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denied {
    /// Protocol and destination, in words.
    pub what: String,
    /// Who asked: the command name.
    pub comm: String,
    /// The reason's name.
    pub reason: &'static str,
    /// The reason's sentence.
    pub sentence: &'static str,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    run: &'a str,
    event: &'static str,
    door: &'static str,
    hook: &'static str,
    verdict: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<String>,
    protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    pid: u32,
    tid: u32,
    uid: u32,
    comm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exe: Option<String>,
    cgroup: u64,
}

/// A line of the proxy's log that says that a name was refused.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum NameDenied {
    Dns {
        decision: String,
        #[serde(default)]
        name: String,
        #[serde(default)]
        comm: String,
    },
}

impl Audit {
    /// Starts the log of a run.
    pub fn new(run: &str, file: File) -> io::Result<Self> {
        let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
        let nanoseconds = i32::try_from(monotonic.tv_nsec()).map_err(io::Error::other)?;
        let since_boot = SignedDuration::new(monotonic.tv_sec(), nanoseconds);
        let epoch = Timestamp::now()
            .checked_sub(since_boot)
            .map_err(io::Error::other)?;
        let tally = BTreeMap::new();
        Ok(Self {
            run: run.to_owned(),
            file,
            epoch,
            tally,
            beyond: 0,
            failed_writes: 0,
        })
    }

    /// Writes down that the run begins.
    pub fn started(&mut self, run: &Introduction, mode: Mode) {
        let line = json!({
            "time": Timestamp::now().to_string(), "run": self.run, "event": "start",
            "program": run.program, "mode": mode,
        });
        self.append(line_bytes(&line));
    }

    /// Writes down how the run ended.
    pub fn ended(&mut self, status: u8) {
        let line = json!({
            "time": Timestamp::now().to_string(), "run": self.run, "event": "end",
            "status": status,
        });
        self.append(line_bytes(&line));
    }

    /// Writes down what became of a new policy. If nothing did, whoever sits before the terminal is told, too.
    pub fn reloaded(&mut self, result: &Result<Reloaded, String>) {
        let time = Timestamp::now().to_string();
        let line = match result {
            Ok(Reloaded { rules, ended }) => json!({
                "time": time, "run": self.run, "event": "reload", "ok": true,
                "rules": rules, "ended": ended,
            }),
            Err(error) => {
                tracing::warn!("the policy was not changed: {error}");
                json!({
                    "time": time, "run": self.run, "event": "reload", "ok": false,
                    "error": error,
                })
            }
        };
        self.append(line_bytes(&line));
    }

    /// Writes down what program a process runs that used a door. Its decisions have its number.
    pub fn sighted(&mut self, pid: u32) {
        let Some(exe) = executable(pid) else {
            return;
        };
        let line = json!({
            "time": Timestamp::now().to_string(), "run": self.run, "event": "process",
            "pid": pid, "exe": exe,
        });
        self.append(line_bytes(&line));
    }

    /// Writes one denial down. That a line cannot be written never keeps the next from being handled: the denial
    /// itself has happened in the kernel.
    pub fn record(&mut self, event: Result<Event, MalformedEvent>) {
        // The kernel side and this one come from one build, so it cannot happen; if it does, the line is missing.
        let Ok(event) = event else {
            self.failed_writes += 1;
            return;
        };
        let event = &event;
        let line = self.line(event);
        let (comm, bytes) = (line.comm.clone(), line_bytes(&line));
        self.count(Denied {
            what: describe::what(event),
            comm,
            reason: event.reason.name(),
            sentence: event.reason.sentence(),
        });
        self.append(bytes);
    }

    /// Writes down that a socket was refused, as [`Self::record`] does.
    pub fn record_socket(&mut self, refused: &RefusedSocket) {
        let reason = refused.reason();
        let owner = &refused.owner;
        let comm = String::from_utf8_lossy(owner.command()).into_owned();
        let line = line_bytes(&Line {
            time: Timestamp::now().to_string(),
            run: &self.run,
            event: "denial",
            door: "kernel",
            hook: "seccomp",
            verdict: "deny",
            reason: reason.name(),
            family: Some(refused.family()),
            socket: Some(refused.kind()),
            protocol: refused.protocol(),
            host: None,
            port: None,
            pid: owner.tgid,
            tid: owner.pid,
            uid: owner.uid,
            comm: comm.clone(),
            exe: executable(owner.tgid),
            cgroup: owner.cgroup,
        });
        self.append(line);
        self.count(Denied {
            what: refused.what(),
            comm,
            reason: reason.name(),
            sentence: reason.sentence(),
        });
    }

    fn append(&mut self, line: io::Result<Vec<u8>>) {
        if line.and_then(|line| self.file.write_all(&line)).is_err() {
            self.failed_writes += 1;
        }
    }

    /// Counts what the proxy denied by itself: names that were asked of its DNS. It has written them down already.
    pub fn count_names(&mut self, request_log: impl BufRead) {
        for line in request_log.lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(NameDenied::Dns {
                    decision,
                    name,
                    comm,
                }) if decision == "denied" => {
                    self.count(Denied {
                        what: format!("name {}", name.trim_end_matches('.')),
                        comm,
                        reason: Refusal::Dns.name(),
                        sentence: "No name is looked up: only the gateway can be reached.",
                    });
                }
                // Requests, and whatever else the log may come to hold.
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn line(&self, event: &Event) -> Line<'_> {
        let at = i64::try_from(event.time).ok().and_then(|time| {
            self.epoch
                .checked_add(SignedDuration::from_nanos(time))
                .ok()
        });
        let to = destination(event);
        Line {
            time: at.map_or_else(String::new, |at| at.to_string()),
            run: &self.run,
            event: "denial",
            door: "kernel",
            hook: event.hook.name(),
            verdict: "deny",
            reason: event.reason.name(),
            family: None,
            socket: None,
            protocol: protocol(event),
            host: to.map(|to| to.ip().to_string()),
            port: to.map(|to| to.port()),
            pid: event.owner.tgid,
            tid: event.owner.pid,
            uid: event.owner.uid,
            comm: String::from_utf8_lossy(event.owner.command()).into_owned(),
            exe: executable(event.owner.tgid),
            cgroup: event.owner.cgroup,
        }
    }

    fn count(&mut self, denied: Denied) {
        if self.tally.len() < MAX_TALLY || self.tally.contains_key(&denied) {
            *self.tally.entry(denied).or_default() += 1;
        } else {
            self.beyond += 1;
        }
    }

    /// Denials so far, each kind with its number.
    pub fn tally(&self) -> &BTreeMap<Denied, u64> {
        &self.tally
    }

    /// Denials of kinds that the tally has no room for.
    pub fn beyond(&self) -> u64 {
        self.beyond
    }

    /// Lines that could not be written.
    pub fn failed_writes(&self) -> u64 {
        self.failed_writes
    }
}

/// The program that a process runs, if it still does.
fn executable(pid: u32) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.to_string_lossy().into_owned())
}

fn line_bytes(line: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// An event to try words on.
#[cfg(test)]
fn event(hook: firewall_common::Hook, reason: firewall_common::Reason) -> Event {
    use firewall_common::{Destination, Owner};
    Event {
        time: 1,
        owner: Owner::UNKNOWN,
        destination: Destination::NONE,
        reason,
        detail: 0,
        protocol: 0,
        family: 2,
        hook,
        reserved: 0,
    }
}
