// SPDX-License-Identifier: GPL-3.0-or-later
//! Which name an address was given for: the kernel sees addresses, people think in names.

use std::collections::HashMap;

use super::line::{Line, Verdict};

/// Most addresses that are remembered.
const MAX_NAMES: usize = 4096;

/// Names by the address that our DNS answered with.
#[derive(Clone, Debug, Default)]
pub struct Names(HashMap<String, String>);

impl Names {
    /// Remembers what a line tells, if the proxy allowed a name that it had given an address.
    pub fn learn(&mut self, line: &Line) {
        if line.door == "kernel" || line.verdict != Verdict::Allow {
            return;
        }
        if let (Some(address), Some(host)) = (&line.address, &line.host)
            && (self.0.len() < MAX_NAMES || self.0.contains_key(address))
        {
            self.0.insert(address.clone(), host.clone());
        }
    }

    /// The name that the address was last given for.
    pub fn of(&self, address: &str) -> Option<&str> {
        self.0.get(address).map(String::as_str)
    }
}
