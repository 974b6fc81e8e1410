// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a run's policy comes from: flags and files, read once at the start and again whenever it is reloaded.

use keyward_policy::{Entry, Mode, Origin, RawPolicy};
use keyward_proxy::settings::RawDns;

use crate::cli::EgressArgs;
use crate::endpoints::Doors;
use crate::environment::Variables;
use crate::user::Identity;

/// Where the policy comes from.
#[derive(Clone, Debug)]
pub struct Source {
    flags: EgressArgs,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    /// What may be reached.
    pub policy: RawPolicy,
    /// How names are answered and looked up.
    pub dns: RawDns,
}

impl Source {
    /// Nothing is read yet.
    pub fn new(flags: &EgressArgs, _identity: Option<&Identity>, _host: &Variables) -> Self {
        Self {
            flags: flags.clone(),
        }
    }

    /// Reads everything.
    ///
    /// # Errors
    ///
    /// Every fault, one line each, with its place.
    pub fn read(&self) -> Result<Egress, String> {
        let entries = |flag: &str, lists: &[String]| -> Vec<Entry> {
            lists
                .iter()
                .flat_map(|it| it.split(','))
                .map(|rule| Entry {
                    rule: rule.to_owned(),
                    origin: Origin {
                        source: flag.to_owned(),
                        ..Origin::default()
                    },
                    ..Entry::default()
                })
                .collect()
        };
        Ok(Egress {
            policy: RawPolicy {
                mode: if self.flags.mode.as_deref() == Some("audit") {
                    Mode::Audit
                } else {
                    Mode::Enforce
                },
                allow: entries("--allow-domains", &self.flags.allow_domains),
                block: entries("--block-domains", &self.flags.block_domains),
                host_ports: self
                    .flags
                    .allow_host_service_ports
                    .iter()
                    .flat_map(|it| it.parse())
                    .map(|port| (port, port))
                    .collect(),
            },
            dns: RawDns::default(),
        })
    }

    /// Whether anything besides the gateway can be reached, now or after a reload.
    pub fn doors(&self, egress: &Egress) -> Doors {
        let policy = &egress.policy;
        let opens = !policy.allow.is_empty()
            || !policy.host_ports.is_empty()
            || policy.mode == Mode::Audit
            || self.flags.config.is_some()
            || !self.flags.allow_domains_file.is_empty();
        if opens { Doors::Open } else { Doors::Closed }
    }

    /// What to read anew, if that can change anything.
    pub fn for_reload(self, doors: Doors) -> Option<Self> {
        (doors == Doors::Open).then_some(self)
    }
}
