// SPDX-License-Identifier: GPL-3.0-or-later
//! One look at one run: what it says of itself, and what the kernel says.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use firewall_common::Endpoints;
use jiff::Timestamp;
use nix::sys::stat::{fstat, stat};
use serde::Serialize;

use crate::cgroup::{self, Hierarchies, Limited, Limits};
use crate::commands::top::ask;
use crate::features::Feature;
use crate::posture::{
    CAPABILITIES, EBPF, LIMITS, Layer, NETWORK, NFTABLES, NO_NEW_PRIVS, Posture, SECCOMP, State,
};
use crate::reading::units::counted;
use crate::runs::{self, Introduction};
use crate::{ebpf, network, nft, preflight};

/// What there is of a run.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) program: String,
    /// keyward itself.
    pub(super) pid: i32,
    /// The workload's init.
    pub(super) init: i32,
    pub(super) started: String,
    pub(super) uptime_seconds: Option<f64>,
    pub(super) policy: String,
    pub(super) proxy: Proxy,
    pub(super) layers: Vec<Layer>,
    pub(super) limits: Limits,
    pub(super) degraded: Vec<Feature>,
    pub(super) exposures: Vec<String>,
}

/// How the proxy is.
#[derive(Debug, Serialize)]
pub(super) struct Proxy {
    /// Why it is not well.
    pub(super) problem: Option<String>,
    /// What it does.
    pub(super) detail: String,
}

impl Found {
    /// Looks.
    pub(super) fn look(id: String, introduction: Introduction) -> Self {
        let Introduction {
            pid,
            init,
            started,
            program,
            logs: _,
            reloadable,
            endpoints,
            gateway,
            limits,
            mut posture,
        } = introduction;
        let namespace = File::open(format!("/proc/{init}/ns/net"))
            .map(OwnedFd::from)
            .ok();
        let endpoints = Endpoints::from_bytes(&endpoints);
        let mut lost = Vec::new();
        read_back(&id, init, limits, &mut posture, &mut lost);
        check(&mut posture, NETWORK, &mut lost, || {
            let namespace = namespace.as_ref().context("its init is gone")?;
            let own = stat("/proc/self/ns/net").context("cannot look at this network namespace")?;
            let its = fstat(namespace).context("cannot look at its network namespace")?;
            ensure!(own.st_ino != its.st_ino, "it is this one");
            Ok(None)
        });
        check(&mut posture, NFTABLES, &mut lost, || {
            let namespace = namespace.as_ref().context("its init is gone")?;
            network::inside(namespace, || {
                Ok(nft::verify(&nft::Ruleset::for_workload(&endpoints)).map(drop)?)
            })?;
            Ok(None)
        });
        for (name, problem) in lost {
            if let Some(layer) = posture.layer_mut(name) {
                layer.state = State::Lost;
                layer.detail = problem;
            }
        }
        let snapshot = ask(&runs::status_of(&id)).ok();
        let answers = namespace
            .context("its init is gone")
            .and_then(|it| preflight::gateway_answers(&it, &endpoints, &gateway));
        let mode = match &snapshot {
            Some(snapshot) => snapshot.mode.clone(),
            None => "only the model providers".to_owned(),
        };
        Self {
            policy: if reloadable {
                format!("{mode}; it can be reloaded")
            } else {
                mode
            },
            proxy: Proxy {
                problem: answers.err().map(|error| format!("{error:#}")),
                detail: snapshot.map_or_else(
                    || "answers".to_owned(),
                    |it| {
                        let open = u64::try_from(it.connections.len()).unwrap_or(u64::MAX);
                        format!(
                            "answers; {} open, {} allowed, {} denied so far",
                            counted(open, "connection"),
                            it.totals.allowed,
                            it.totals.denied
                        )
                    },
                ),
            },
            uptime_seconds: uptime(&started),
            id,
            program,
            pid,
            init,
            started,
            layers: posture.layers,
            limits,
            degraded: posture.degraded,
            exposures: posture.exposures,
        }
    }

    /// Whether nothing is lost and the proxy answers.
    pub(super) fn is_whole(&self) -> bool {
        self.proxy.problem.is_none() && self.layers.iter().all(|it| it.state != State::Lost)
    }
}

/// A layer that is gone, and what is there instead.
type Lost = Vec<(&'static str, String)>;

/// Runs a check of a layer, which may say something better of it than was written down.
fn check(
    posture: &mut Posture,
    name: &'static str,
    lost: &mut Lost,
    act: impl FnOnce() -> Result<Option<String>>,
) {
    match act() {
        Ok(None) => {}
        Ok(Some(detail)) => {
            if let Some(layer) = posture.layer_mut(name) {
                layer.detail = detail;
            }
        }
        Err(error) => lost.push((name, format!("{error:#}"))),
    }
}

fn read_back(id: &str, init: i32, limits: Limits, posture: &mut Posture, lost: &mut Lost) {
    let (hierarchies, cgroup) = match open_cgroup(id) {
        Ok(found) => found,
        Err(error) => return lost.push((EBPF, format!("{error:#}"))),
    };
    check(posture, EBPF, lost, || {
        let hooks = ebpf::look_up(&runs::pins_of(id), &cgroup)?;
        Ok(Some(hooks.describe()))
    });
    if let Ok(hooks) = ebpf::look_up(&runs::pins_of(id), &cgroup)
        && let Some(layer) = posture.layer_mut(EBPF)
    {
        layer.programs = hooks.ids();
    }
    let status = fs::read_to_string(format!("/proc/{init}/status")).unwrap_or_default();
    check(posture, CAPABILITIES, lost, || {
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let found = field(&status, set);
            ensure!(
                found.trim_start_matches('0').is_empty() && !found.is_empty(),
                "{set} is {found}"
            );
        }
        Ok(None)
    });
    let everybody = || processes(&cgroup::path_of(hierarchies.unified(), id));
    check(posture, NO_NEW_PRIVS, lost, || {
        let all = everybody()?;
        all.iter().try_for_each(|it| it.has("NoNewPrivs", "1"))?;
        let many = u64::try_from(all.len()).unwrap_or(u64::MAX);
        Ok(Some(format!("set for all of {}", counted(many, "process"))))
    });
    check(posture, SECCOMP, lost, || {
        everybody()?
            .iter()
            .try_for_each(|it| it.has("Seccomp", "2"))?;
        Ok(None)
    });
    check(posture, LIMITS, lost, || {
        let limited = Limited::look_up(&hierarchies, id, limits);
        limited.verify()?;
        Ok(None)
    });
}

fn open_cgroup(id: &str) -> Result<(Hierarchies, File)> {
    let hierarchies = Hierarchies::find()?;
    let path = cgroup::path_of(hierarchies.unified(), id);
    let cgroup = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok((hierarchies, cgroup))
}

/// One process of the workload.
struct Process {
    pid: String,
    status: String,
}

impl Process {
    fn has(&self, name: &str, value: &str) -> Result<()> {
        let found = field(&self.status, name);
        ensure!(found == value, "{name} of process {} is {found}", self.pid);
        Ok(())
    }
}

/// Those that there are; who has ended meanwhile is not among them.
fn processes(cgroup: &Path) -> io::Result<Vec<Process>> {
    let pids = fs::read_to_string(cgroup.join("cgroup.procs"))?;
    let read = |pid: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        // Of a zombie there is not all of it left.
        (!status.contains("State:\tZ")).then(|| Process {
            pid: pid.to_owned(),
            status,
        })
    };
    Ok(pids.lines().filter_map(read).collect())
}

/// A line of `/proc/<pid>/status`; empty if there is none.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap_or_default()
        .trim()
}

fn uptime(started: &str) -> Option<f64> {
    let started: Timestamp = started.parse().ok()?;
    Some(Timestamp::now().duration_since(started).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_status_are_found_by_their_whole_name() {
        let status = "Name:\tsh\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\nCapEff:\t0000000000000000\n";
        assert_eq!(field(status, "Seccomp"), "2");
        assert_eq!(field(status, "NoNewPrivs"), "1");
        assert_eq!(field(status, "CapBnd"), "");
    }
}
