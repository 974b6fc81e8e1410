// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rows that come with keyward, as the files in `proxy/providers/` say them; build.rs has made JSON of them.

use std::{collections::BTreeMap, sync::OnceLock};

use super::Providers;
use crate::settings::RawProvider;

/// Name and row.
macro_rules! files {
    ($($name:literal),+) => {
        [$(($name, include_str!(concat!(env!("OUT_DIR"), "/", $name, ".json")))),+]
    };
}

const FILES: [(&str, &str); 6] = files![
    "openai",
    "anthropic",
    "copilot",
    "gemini",
    "vertex",
    "bedrock"
];

/// The rows as they are written.
pub(super) fn rows() -> &'static BTreeMap<&'static str, RawProvider> {
    static ROWS: OnceLock<BTreeMap<&'static str, RawProvider>> = OnceLock::new();
    // A file that is wrong is left out, which a test finds.
    ROWS.get_or_init(|| {
        let parsed = FILES
            .iter()
            .map(|(name, text)| (*name, serde_json::from_str(text)));
        parsed
            .filter_map(|(name, it)| Some((name, it.ok()?)))
            .collect()
    })
}

/// The table of these rows.
pub(super) fn providers() -> &'static Providers {
    static TABLE: OnceLock<Providers> = OnceLock::new();
    TABLE.get_or_init(|| Providers::changed_by(&BTreeMap::new(), &mut Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_right() {
        for (name, text) in FILES {
            serde_json::from_str::<RawProvider>(text)
                .unwrap_or_else(|fault| panic!("{name}: {fault}"));
        }
        let mut faults = Vec::new();
        let table = Providers::changed_by(&BTreeMap::new(), &mut faults);
        assert_eq!(
            (faults, table.iter().len()),
            (Vec::<String>::new(), FILES.len())
        );
    }
}
