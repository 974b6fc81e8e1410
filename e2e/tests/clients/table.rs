// SPDX-License-Identifier: GPL-3.0-or-later
//! `table.toml`, as it is read.

use std::collections::BTreeMap;

use keyward_emulator::Tool;
use serde::Deserialize;

use crate::install::Package;

/// The whole table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) install: BTreeMap<String, Package>,
    pub(crate) run: Vec<Run>,
}

/// One run of a client.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    pub(crate) client: String,
    #[serde(default)]
    pub(crate) name: String,
    /// Whose key keyward has. There is no other.
    pub(crate) provider: String,
    /// What the client is started with.
    pub(crate) command: Vec<String>,
    /// What the user sets, and keyward is told to pass on.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Further flags of keyward's.
    #[serde(default)]
    pub(crate) flags: Vec<String>,
    /// What the provider says first: see `Options::first` of the emulator.
    #[serde(default)]
    pub(crate) first: Vec<String>,
    /// What the provider calls before it answers.
    pub(crate) tool: Option<CalledTool>,
    /// Whether the provider takes WebSockets; else it says 426.
    #[serde(default = "yes")]
    pub(crate) websocket: bool,
    /// The path that the answer came from.
    pub(crate) asks: String,
    /// Hosts that it asks for besides, and may: `*` stands for the rest of a name.
    #[serde(default)]
    pub(crate) tries: Vec<String>,
    /// It ends badly and says this, and nothing was asked of the provider.
    pub(crate) refused: Option<String>,
    /// It is sdk.mjs or sdk.py.
    #[serde(default)]
    pub(crate) library: bool,
}

/// See [`Tool`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CalledTool {
    name: String,
    arguments: serde_json::Value,
}

impl From<CalledTool> for Tool {
    fn from(CalledTool { name, arguments }: CalledTool) -> Self {
        Self { name, arguments }
    }
}

fn yes() -> bool {
    true
}

impl Table {
    pub(crate) fn read() -> Self {
        toml::from_str(include_str!("table.toml")).unwrap()
    }
}

impl Run {
    /// Whether it is one of the hosts that it may ask for.
    pub(crate) fn may_try(&self, host: &str) -> bool {
        self.tries.iter().any(|it| match it.strip_suffix('*') {
            Some(start) => host.starts_with(start),
            None => it == host,
        })
    }
}
