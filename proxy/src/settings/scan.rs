// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether secrets are looked for in what the workload sends.

use serde::{Deserialize, Serialize};

use super::RawScan;

/// What becomes of what holds a secret.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScanMode {
    /// Nothing is looked at.
    #[default]
    Off,
    /// It is written down.
    Warn,
    /// It does not leave.
    Block,
}

/// Whether secrets are looked for, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanSettings {
    /// What becomes of what holds one.
    pub mode: ScanMode,
    /// What begins like one of these is none.
    pub allow: Vec<String>,
}

/// What is shorter would allow whole kinds.
const SHORTEST: usize = 6;

/// More are a mistake.
const MOST: usize = 1000;

impl ScanSettings {
    pub(super) fn parse(raw: &RawScan, faults: &mut Vec<String>) -> Self {
        // The value itself may be a secret that is allowed: only its place is named.
        for (index, it) in raw.allow.iter().enumerate() {
            if it.len() < SHORTEST || !it.bytes().all(|it| it.is_ascii_graphic()) {
                faults.push(format!(
                    "scan.allow: number {}: not {SHORTEST} or more printable ASCII characters without spaces",
                    index + 1
                ));
            }
        }
        if raw.allow.len() > MOST {
            faults.push(format!("scan.allow: more than {MOST}"));
        }
        Self {
            mode: raw.mode,
            allow: raw.allow.clone(),
        }
    }
}
