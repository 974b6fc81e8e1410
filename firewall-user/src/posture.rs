// SPDX-License-Identifier: GPL-3.0-or-later
//! What confines a run, layer by layer: written down when it starts, and shown by `keyward status`.

use std::collections::BTreeMap;

use keyward_policy::{Mode, RawPolicy};
use serde::{Deserialize, Serialize};

use crate::cgroup::Limits;
use crate::confine::Confinement;
use crate::ebpf::Hooks;
use crate::features::{self, Feature};
use crate::reading::units;
use crate::sandbox::landlock::Restrictions;
use crate::sandbox::seccomp::{Filter, UserNamespaces};
use crate::sandbox::view::Exposure;
use crate::sys;
use crate::user::Identity;

/// All of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Posture {
    /// The kernel's name and version.
    pub kernel: String,
    /// In the order in which they stand before the workload.
    pub layers: Vec<Layer>,
    /// What this host lacks and the run does without.
    pub degraded: Vec<Feature>,
    /// What was opened on purpose.
    pub exposures: Vec<String>,
}

/// One layer.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// What it is called.
    pub name: String,
    /// Whether it is there.
    pub state: State,
    /// In a few words.
    pub detail: String,
    /// For eBPF: the id of the program at each hook.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub programs: BTreeMap<String, u32>,
}

/// Whether a layer is there.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    InForce,
    /// Nobody asked for it.
    Off,
    /// This host lacks it, and the run was allowed to do without.
    Degraded,
    /// It was in force when the run started.
    Lost,
}

impl State {
    /// As people read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::InForce => "in force",
            Self::Off => "off",
            Self::Degraded => "degraded",
            Self::Lost => "LOST",
        }
    }
}

/// Names of layers that `keyward status` reads back.
pub(crate) const NETWORK: &str = "network namespace";
pub(crate) const EBPF: &str = "eBPF";
pub(crate) const NFTABLES: &str = "nftables";
pub(crate) const CAPABILITIES: &str = "capabilities";
pub(crate) const NO_NEW_PRIVS: &str = "no_new_privs";
pub(crate) const SECCOMP: &str = "seccomp";
pub(crate) const LIMITS: &str = "limits";

impl Layer {
    fn new(name: &str, state: State, detail: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            state,
            detail: detail.into(),
            programs: BTreeMap::new(),
        }
    }
}

/// What a posture is made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The programs that are attached.
    pub hooks: &'a Hooks,
    /// The filter for system calls.
    pub filter: &'a Filter,
    /// What Landlock keeps the command from.
    pub landlock: &'a Restrictions,
    /// What was asked for.
    pub confinement: &'a Confinement,
    /// What of the limits is in force.
    pub limits: Limits,
    /// Who the command runs as.
    pub identity: &'a Identity,
    /// What it may reach.
    pub policy: &'a RawPolicy,
    /// What of the host's files, sockets and devices was opened for it.
    pub exposed: &'a [Exposure],
}

impl Posture {
    /// Of a run whose layers were all read back, or will be by its init before the command starts.
    pub fn new(parts: &Parts<'_>) -> Self {
        let Parts {
            hooks,
            filter,
            landlock,
            confinement,
            limits,
            identity,
            policy,
            exposed,
        } = parts;
        let in_force = |name, detail: String| Layer::new(name, State::InForce, detail);
        let mut degraded = Vec::new();
        let mut layers = vec![
            in_force(
                NETWORK,
                "of its own, with nothing but a loopback device".to_owned(),
            ),
            Layer {
                programs: hooks.ids(),
                ..in_force(EBPF, hooks.describe())
            },
            in_force(NFTABLES, "table inet keyward, read back".to_owned()),
            in_force(
                "other namespaces",
                "pid, mount, ipc, uts of its own; its init dies with keyward".to_owned(),
            ),
            in_force(
                CAPABILITIES,
                "none, in all five sets; secure bits locked".to_owned(),
            ),
            in_force(NO_NEW_PRIVS, "set".to_owned()),
            in_force(
                SECCOMP,
                format!(
                    "{} instructions; refused sockets are written down",
                    filter.length()
                ),
            ),
        ];
        layers.push(landlock_layer(landlock, confinement, &mut degraded));
        layers.push(in_force("keyring", "a new, empty one".to_owned()));
        layers.push(match confinement.user_namespaces {
            UserNamespaces::Refused => in_force("no user namespaces", "nor mounts".to_owned()),
            UserNamespaces::Allowed => Layer::new(
                "no user namespaces",
                State::Off,
                "they are allowed, for browsers and other sandboxes; --no-userns",
            ),
        });
        let wanted = confinement.limits;
        let is_degraded = *limits != wanted;
        if is_degraded {
            degraded.push(Feature::CgroupLimits);
        }
        let state = if is_degraded {
            State::Degraded
        } else {
            State::InForce
        };
        layers.push(Layer::new(LIMITS, state, describe_limits(limits)));
        Self {
            kernel: features::kernel(),
            layers,
            degraded,
            exposures: exposures(identity, policy, exposed),
        }
    }

    /// Init has told that nobody can be asked about sockets.
    pub fn without_listener(&mut self) {
        self.degraded.push(Feature::SeccompNotify);
        if let Some(layer) = self.layer_mut(SECCOMP) {
            layer.state = State::Degraded;
            layer.detail = Feature::SeccompNotify.loss().to_owned();
        }
    }

    /// The layer of this name.
    pub(crate) fn layer_mut(&mut self, name: &str) -> Option<&mut Layer> {
        self.layers.iter_mut().find(|layer| layer.name == name)
    }
}

fn landlock_layer(
    landlock: &Restrictions,
    confinement: &Confinement,
    degraded: &mut Vec<Feature>,
) -> Layer {
    let abi = sys::landlock::abi().unwrap_or(0);
    let mut restricts = Vec::new();
    if landlock.scoped {
        restricts.push("signals and abstract sockets");
    } else {
        degraded.push(Feature::LandlockScope);
    }
    if landlock.writable.is_some() {
        restricts.push("writing");
    } else if confinement.user_namespaces == UserNamespaces::Refused && abi == 0 {
        degraded.push(Feature::Landlock);
    }
    let detail = match &restricts[..] {
        [] => format!("ABI {abi}"),
        restricts => format!("ABI {abi}: {}", restricts.join(", ")),
    };
    let state = if degraded.is_empty() {
        State::InForce
    } else {
        State::Degraded
    };
    Layer::new("Landlock", state, detail)
}

fn describe_limits(limits: &Limits) -> String {
    let mut parts = Vec::new();
    if let Some(bytes) = limits.memory {
        parts.push(format!("memory {}", units::bytes(bytes)));
    }
    if let Some(number) = limits.pids {
        parts.push(format!("processes {number}"));
    }
    if let Some(thousandths) = limits.cpu {
        let number = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
        let number = number.trim_end_matches('0').trim_end_matches('.');
        parts.push(format!("processors {number}"));
    }
    if parts.is_empty() {
        "nothing is limited".to_owned()
    } else {
        parts.join(", ")
    }
}

/// What was opened by flags or files, beyond names.
fn exposures(identity: &Identity, policy: &RawPolicy, exposed: &[Exposure]) -> Vec<String> {
    let mut exposures: Vec<_> = exposed.iter().map(ToString::to_string).collect();
    if identity.uid.is_root() {
        exposures.push("the command runs as root, which owns files that root runs".to_owned());
    }
    if policy.mode == Mode::Audit {
        exposures.push("audit mode: every host name is let through".to_owned());
    }
    for (first, last) in &policy.host_ports {
        exposures.push(if first == last {
            format!("port {first} of the host's loopback")
        } else {
            format!("ports {first}-{last} of the host's loopback")
        });
    }
    exposures
}
