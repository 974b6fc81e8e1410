// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which models may be used. Pure.

use std::collections::BTreeMap;

/// Longest name of a model that is looked at.
const LONGEST: usize = 256;

/// Rules for the names of models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelRules {
    allow: Option<Vec<String>>,
    deny: Vec<String>,
    /// By the name in lower case.
    aliases: BTreeMap<String, String>,
}

impl ModelRules {
    /// Rules of checked patterns.
    pub(crate) fn new(
        allow: Option<&[String]>,
        deny: &[String],
        aliases: &BTreeMap<String, String>,
    ) -> Self {
        let lower = |all: &[String]| all.iter().map(|it| it.to_ascii_lowercase()).collect();
        let aliases = aliases.iter();
        Self {
            allow: allow.map(lower),
            deny: lower(deny),
            aliases: aliases
                .map(|(alias, name)| (alias.to_ascii_lowercase(), name.clone()))
                .collect(),
        }
    }

    /// Whether there is nothing to judge.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty() && self.aliases.is_empty()
    }

    /// What `model` is an alias of.
    #[must_use]
    pub fn alias(&self, model: &str) -> Option<&str> {
        self.aliases
            .get(&model.to_ascii_lowercase())
            .map(String::as_str)
    }

    /// Whether `model` (no alias) may be used.
    #[must_use]
    pub fn allows(&self, model: &str) -> bool {
        // Whoever reads such a name may read it as another.
        if model.is_empty()
            || model.len() > LONGEST
            || !model.bytes().all(|it| it.is_ascii_graphic())
        {
            return false;
        }
        let full = model.to_ascii_lowercase();
        let short = normal(model);
        let named = |patterns: &[String]| {
            patterns
                .iter()
                .any(|it| fits(it, &full) || fits(it, &short))
        };
        !named(&self.deny) && self.allow.as_deref().is_none_or(named)
    }
}

/// What names of models are compared by: lower case, and without what only says where the model is: `models/`, the
/// maker's name, and on Bedrock the region's and the maker's. Any other prefix is part of the name.
#[must_use]
pub(super) fn normal(model: &str) -> String {
    let name = model.to_ascii_lowercase();
    let mut rest = name.as_str();
    for front in ["publishers/google/", "publishers/anthropic/", "models/"] {
        rest = rest.strip_prefix(front).unwrap_or(rest);
    }
    let makers = ["openai/", "anthropic/", "google/", "gemini/"];
    if let Some(short) = makers.iter().find_map(|it| rest.strip_prefix(it)) {
        rest = short;
    } else {
        let regions = [
            "us.", "us-gov.", "eu.", "apac.", "jp.", "au.", "ca.", "global.",
        ];
        let place = regions
            .iter()
            .find_map(|it| rest.strip_prefix(it))
            .unwrap_or(rest);
        rest = place.strip_prefix("anthropic.").unwrap_or(rest);
    }
    rest.to_owned()
}

/// Whether `name` is of the form `pattern`, in which `*` stands for anything. Takes time in proportion to the product
/// of the lengths at worst.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut read) = (0, 0);
    // Where the last star is, and how much of the name it takes.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(read) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(expected) if expected == byte => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((back, taken)) = star else {
                    return false;
                };
                star = Some((back, taken + 1));
                at = back + 1;
                read = taken + 1;
            }
        }
    }
    pattern.iter().skip(at).all(|it| *it == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> ModelRules {
        let owned = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let allow = owned(allow);
        let allow = (!allow.is_empty()).then_some(allow.as_slice());
        ModelRules::new(allow, &owned(deny), &BTreeMap::new())
    }

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, expected) in [
            ("gpt-5*", "gpt-5", true),
            ("gpt-5*", "gpt-5-mini", true),
            ("gpt-5*", "ft:gpt-5", false),
            ("*mini*", "gpt-5-mini-x", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("*", "", true),
            ("", "a", false),
            ("a", "", false),
            ("**a", "ba", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
        let (pattern, name) = ("*a".repeat(100), "a".repeat(250) + "b");
        assert!(!fits(&pattern, &name));
    }

    #[test]
    fn names_are_compared_by_their_normal_form() {
        let rules = rules(
            &["gpt-5*", "claude-sonnet-*", "gemini-*", "meta/llama"],
            &["*-pro"],
        );
        for name in [
            "gpt-5",
            "GPT-5-Mini",
            "openai/gpt-5",
            "models/gemini-2.5-flash",
            "publishers/google/models/gemini-2.5-flash",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "meta/llama",
        ] {
            assert!(rules.allows(name), "{name}");
        }
        for name in [
            "gpt-4",
            "gpt-5-pro",
            "openai/GPT-5-PRO",
            "evil/gpt-5",
            "models/evil/gpt-5",
            "gpt-5 ",
            "gpt-5\u{0}",
            "gрt-5",
            "",
            "llama",
        ] {
            assert!(!rules.allows(name), "{name}");
        }
        assert!(!rules.allows(&format!("gpt-5{}", "x".repeat(300))));
    }

    #[test]
    fn without_an_allow_list_all_but_the_denied() {
        let rules = rules(&[], &["*opus*"]);
        assert!(rules.allows("claude-haiku-4-5") && !rules.allows("anthropic/Claude-Opus-5"));
    }
}
