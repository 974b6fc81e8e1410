// SPDX-License-Identifier: GPL-3.0-or-later
//! What the sandbox of a run is to be, from flags and from the `[sandbox]` of policy files.

use keyward_policy::Sections;
use serde_json::Value;

use crate::cgroup::{self, Limits};
use crate::cli::ConfineArgs;
use crate::features::Degraded;
use crate::sandbox::seccomp::UserNamespaces;

/// The section of a policy file.
pub const SECTION: &str = "sandbox";

const KEYS: [&str; 4] = ["memory", "pids", "cpu", "user-namespaces"];

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Confinement {
    /// How much it may take.
    pub limits: Limits,
    /// Whether user namespaces may be made.
    pub user_namespaces: UserNamespaces,
    /// What may be lacking.
    pub allow_degraded: Degraded,
}

impl Confinement {
    /// What flags say counts more than what files say. Faults have their places.
    pub fn resolve(flags: &ConfineArgs, sections: &Sections, faults: &mut Vec<String>) -> Self {
        let file = from_file(sections, faults);
        let refused = flags.no_userns || file.user_namespaces == Some(false);
        Self {
            limits: Limits {
                memory: flags.memory.or(file.limits.memory),
                pids: flags
                    .pids
                    .or(file.limits.pids)
                    .or_else(cgroup::default_pids),
                cpu: flags.cpu.or(file.limits.cpu),
            },
            user_namespaces: if refused {
                UserNamespaces::Refused
            } else {
                UserNamespaces::Allowed
            },
            allow_degraded: flags.allow_degraded.iter().copied().collect(),
        }
    }
}

#[derive(Default)]
struct FromFile {
    limits: Limits,
    user_namespaces: Option<bool>,
}

/// What policy files say, as far as it can be read.
fn from_file(sections: &Sections, faults: &mut Vec<String>) -> FromFile {
    let mut found = FromFile::default();
    let Some(Value::Object(section)) = sections.values().get(SECTION) else {
        return found;
    };
    for (key, value) in section {
        let path = format!("{SECTION}.{key}");
        // A number is read as it is written.
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let result = match key.as_str() {
            "memory" => cgroup::parse_memory(&text).map(|it| found.limits.memory = Some(it)),
            "pids" => cgroup::parse_pids(&text).map(|it| found.limits.pids = Some(it)),
            "cpu" => cgroup::parse_cpu(&text).map(|it| found.limits.cpu = Some(it)),
            "user-namespaces" => value
                .as_bool()
                .map(|it| found.user_namespaces = Some(it))
                .ok_or_else(|| "this is true or false".to_owned()),
            _ => {
                let fault = sections.key_fault(&path, "this key is not known");
                faults.extend(fault.map(|mut fault| {
                    fault.hint = Some(format!("there are {}", KEYS.join(", ")));
                    fault.to_string()
                }));
                continue;
            }
        };
        if let Err(what) = result {
            let fault = sections.fault(&path, &what);
            faults.push(fault.map_or(format!("{path}: {what}"), |it| it.to_string()));
        }
    }
    found
}
