// SPDX-License-Identifier: MIT OR Apache-2.0
//! Secrets in what the workload sends.
//!
//! A workload that holds no credential can still come by one: it reads a file, a log, another's environment. What it
//! sends is looked through here for the configured credentials, in plain and in the encodings that are at hand
//! (`encodings`), and for what well-known tokens look like (`shapes`). A [`Scan`] looks at a stream piece by piece; a
//! [`Filter`] around it carries out the mode: it notes, or it breaks off before the finding has left.
//!
//! A finding has the name of a credential's slot or of a shape, and nothing of the value.

pub(crate) mod encodings;
mod escapes;
mod filter;
mod frames;
mod known;
mod patterns;
mod reader;
mod shapes;
mod stream;
#[cfg(test)]
mod tests;
mod view;

use std::{fmt, sync::Arc};

pub(crate) use self::{
    filter::{Filter, Stop},
    reader::Scanned,
};
use self::{known::Known, stream::Scan};
use crate::{
    credential::{Credential, Credentials},
    provider::Providers,
    settings::{ScanMode, ScanSettings},
};

/// What was found: a name, never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding(Arc<str>);

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Finding {
    /// What is said to the workload's user.
    pub(crate) fn message(&self) -> String {
        let name = &self.0;
        if name.starts_with("credential.") {
            return format!(
                "what was sent holds a credential that keyward guards ({name}); scan.mode = \"warn\" lets it pass"
            );
        }
        format!(
            "what was sent looks like a secret ({name}); if it is none, put how it begins into scan.allow, \
             or set scan.mode = \"warn\""
        )
    }
}

/// Looks for secrets, if that is asked for.
#[derive(Clone)]
pub(crate) struct Scanner {
    known: Arc<Known>,
    /// Whether what holds a finding is stopped.
    blocks: bool,
}

impl Scanner {
    /// `None`: not asked for.
    ///
    /// # Errors
    ///
    /// When the patterns make no automaton.
    pub(crate) fn new(
        settings: &ScanSettings,
        credentials: &Credentials,
        providers: &Providers,
    ) -> Result<Option<Self>, String> {
        let blocks = match settings.mode {
            ScanMode::Off => return Ok(None),
            ScanMode::Warn => false,
            ScanMode::Block => true,
        };
        let known = Known::new(&settings.allow, credentials, providers)?;
        let known = Arc::new(known);
        Ok(Some(Self { known, blocks }))
    }

    /// A credential took the place of another, or is new: both are looked for from here on, also in streams that are
    /// under way.
    ///
    /// # Errors
    ///
    /// When the patterns make no automaton: those of before stay.
    pub(crate) fn learn(&self, slot: &str, credential: &Credential) -> Result<(), String> {
        self.known.learn(slot, credential)
    }

    /// Whether what holds a finding is stopped.
    pub(crate) fn blocks(&self) -> bool {
        self.blocks
    }

    /// What is in these bytes.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<Finding> {
        let mut scan = Scan::new(&self.known);
        scan.feed(bytes).or_else(|| scan.finish())
    }

    /// What is in a name, in which letters have no case and dots can be anywhere.
    pub(crate) fn find_in_name(&self, name: &str) -> Option<Finding> {
        self.known.patterns().find_in_name(name)
    }

    /// For one stream.
    pub(crate) fn filter(&self) -> Filter {
        Filter::new(Scan::new(&self.known), self.blocks)
    }
}
