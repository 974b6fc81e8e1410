// SPDX-License-Identifier: MIT OR Apache-2.0
//! A policy as it was written: groups and includes put in, rules not yet checked. The supervisor sends it to the
//! proxy in this form.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Everything that decides.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawPolicy {
    /// Whether denials are carried out.
    pub mode: Mode,
    /// What is allowed. Nothing, if it is empty.
    pub allow: Vec<Entry>,
    /// What is blocked, whatever is allowed.
    pub block: Vec<Entry>,
    /// Ports of the host's loopback that `host.docker.internal` and `host.keyward.internal` lead to: first and last.
    pub host_ports: Vec<(u16, u16)>,
}

/// Whether denials are carried out.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They are.
    #[default]
    Enforce,
    /// They are only written down, as far as names are concerned.
    Audit,
}

/// One rule, and where it stands.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Entry {
    /// The rule: `github.com`, `*.example.com:8443`, `tcp://db.lan:5432-5440`, `10.0.0.0/8`, `http://host/path/*` …
    pub rule: String,
    /// For plain HTTP: methods that are allowed. All, if it is empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Whether the name may lead to a private address: true for what the host's own package managers are set up with.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
    /// Where it stands.
    pub origin: Origin,
}

/// Where a rule stands.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Origin {
    /// A file's path as it was given, or a flag: `--allow-domains`.
    pub source: String,
    /// Line, counted from 1; 0 if there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub line: u32,
    /// Column in characters, counted from 1; 0 if there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub column: u32,
    /// The group that brought it: `group:github`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// `keyward.toml:12:5 (group:github)`.
impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.source)?;
        if self.line > 0 {
            write!(formatter, ":{}:{}", self.line, self.column)?;
        }
        match &self.group {
            Some(group) => write!(formatter, " ({group})"),
            None => Ok(()),
        }
    }
}
