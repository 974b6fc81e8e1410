// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which models may be used, as it is written and checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::spend::ModelRules;

/// Which models may be used.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RawModels {
    /// Only these, `*` standing for anything. Absent: all that `deny` does not name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Not these, whatever `allow` says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// Names that stand for others: the request is sent on with the other.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, String>,
}

/// Longest name or pattern.
const LONGEST: usize = 256;

pub(super) fn parse(raw: &RawModels, faults: &mut Vec<String>) -> ModelRules {
    let mut check = |at: &str, name: &str, star: bool| {
        let plain = |it: u8| it.is_ascii_graphic() && (star || it != b'*');
        if name.is_empty() || name.len() > LONGEST || !name.bytes().all(plain) {
            faults.push(format!("models.{at}: {name:?}: not a name of a model"));
        }
    };
    for name in raw.allow.iter().flatten() {
        check("allow", name, true);
    }
    for name in &raw.deny {
        check("deny", name, true);
    }
    for (alias, name) in &raw.aliases {
        check("aliases", alias, false);
        check("aliases", name, false);
    }
    if raw.allow.as_ref().is_some_and(Vec::is_empty) {
        faults.push("models.allow: is empty; without it every model is allowed".to_owned());
    }
    let known = |name: &str| raw.aliases.keys().any(|it| it.eq_ignore_ascii_case(name));
    for (alias, name) in &raw.aliases {
        if known(name) {
            faults.push(format!(
                "models.aliases: {alias:?}: {name:?} is an alias itself"
            ));
        }
    }
    ModelRules::new(raw.allow.as_deref(), &raw.deny, &raw.aliases)
}
