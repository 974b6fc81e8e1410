// SPDX-License-Identifier: GPL-3.0-or-later
//! What the kernel denied: one line of JSON each in the audit log. [`crate::reading`] reads it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use firewall_common::{Event, Hook, MalformedEvent, Reason};
use jiff::{SignedDuration, Timestamp};
use keyward_policy::Mode;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde_json::json;

use crate::posture::Posture;
use crate::reload::Reloaded;
use crate::runs::Introduction;

mod describe;
mod socket;

pub use describe::{destination, protocol};
pub use socket::RefusedSocket;

/// The audit log of a run.
#[derive(Debug)]
pub struct Audit {
    run: String,
    file: File,
    /// From `CLOCK_MONOTONIC`, which events carry, to the time of day.
    epoch: Timestamp,
    failed_writes: u64,
    /// How many of them the log itself does not yet speak of.
    unsaid: u64,
    /// Whether a line was begun and not ended: the next is not to follow half of one.
    torn: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    run: &'a str,
    event: &'static str,
    door: &'static str,
    hook: &'static str,
    /// What it was, in a few words.
    what: String,
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

impl Audit {
    /// Starts the log of a run.
    pub fn new(run: &str, file: File) -> io::Result<Self> {
        let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
        let nanoseconds = i32::try_from(monotonic.tv_nsec()).map_err(io::Error::other)?;
        let since_boot = SignedDuration::new(monotonic.tv_sec(), nanoseconds);
        let epoch = Timestamp::now()
            .checked_sub(since_boot)
            .map_err(io::Error::other)?;
        Ok(Self {
            run: run.to_owned(),
            file,
            epoch,
            failed_writes: 0,
            unsaid: 0,
            torn: false,
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

    /// Writes down what confines the command, before it starts.
    pub fn confined(&mut self, posture: &Posture) {
        let line = json!({
            "time": Timestamp::now().to_string(), "run": self.run, "event": "sandbox",
            "kernel": posture.kernel, "layers": posture.layers, "degraded": posture.degraded,
            "exposures": posture.exposures,
        });
        self.append(line_bytes(&line));
    }

    /// Writes down which secrets the command really got, if any.
    pub fn gave<'n>(&mut self, names: impl Iterator<Item = &'n OsStr>) {
        let names: Vec<_> = names.map(OsStr::to_string_lossy).collect();
        if names.is_empty() {
            return;
        }
        let line = json!({
            "time": Timestamp::now().to_string(), "run": self.run, "event": "one_shot",
            "variables": names,
        });
        self.append(line_bytes(&line));
    }

    /// Writes down that the command made a file that programs outside take orders from.
    pub fn planted(&mut self, path: &Path) {
        let line = json!({
            "time": Timestamp::now().to_string(), "run": self.run, "event": "planted",
            "path": path.to_string_lossy(),
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
        if is_a_look_at_the_routes(&event) {
            return;
        }
        let bytes = line_bytes(&self.line(&event));
        self.append(bytes);
    }

    /// Writes down that a socket was refused, as [`Self::record`] does.
    pub fn record_socket(&mut self, refused: &RefusedSocket) {
        let reason = refused.reason();
        let owner = &refused.owner;
        let line = line_bytes(&Line {
            time: Timestamp::now().to_string(),
            run: &self.run,
            event: "decision",
            door: "kernel",
            hook: "seccomp",
            what: refused.what(),
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
            comm: String::from_utf8_lossy(owner.command()).into_owned(),
            exe: executable(owner.tgid),
            cgroup: owner.cgroup,
        });
        self.append(line);
    }

    fn append(&mut self, line: io::Result<Vec<u8>>) {
        let Ok(line) = line else {
            self.failed_writes += 1;
            return;
        };
        if !self.write(&line) {
            self.failed_writes += 1;
            self.unsaid += 1;
        } else if self.unsaid > 0 {
            let lost = json!({
                "time": Timestamp::now().to_string(), "run": self.run, "event": "lines_lost",
                "lines": self.unsaid,
            });
            if line_bytes(&lost).is_ok_and(|it| self.write(&it)) {
                self.unsaid = 0;
            }
        }
    }

    /// Whether the whole line was written.
    fn write(&mut self, line: &[u8]) -> bool {
        let mut bytes = Vec::with_capacity(line.len() + 1);
        if self.torn {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(line);
        let mut rest = &*bytes;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(count @ 1..) => {
                    rest = rest.get(count..).unwrap_or_default();
                    // In between, it ends as its last byte does.
                    self.torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return false,
            }
        }
        true
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
            event: "decision",
            door: "kernel",
            hook: event.hook.name(),
            what: describe::what(event),
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

    /// Lines that could not be written.
    pub fn failed_writes(&self) -> u64 {
        self.failed_writes
    }
}

/// The C library connects UDP sockets to a name's addresses, and sends nothing, to see which of them it would be sent
/// from. What is allowed by name would be reported as blocked each time.
fn is_a_look_at_the_routes(event: &Event) -> bool {
    event.reason == Reason::UdpNotAllowed
        && matches!(event.hook, Hook::Connect4 | Hook::Connect6)
        && event.destination.address.is_of_a_name()
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
fn event(hook: Hook, reason: Reason) -> Event {
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
