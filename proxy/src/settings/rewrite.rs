// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is changed in requests on their way.

use serde::{Deserialize, Serialize};

/// What is changed in requests on their way, as it is written.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct RawRewrite {
    /// Whether Anthropic requests that ask for no caching are made to.
    pub anthropic_cache: bool,
    /// Whether terminal escape sequences are removed from what the model is to read.
    pub strip_ansi: bool,
    /// Names of tools that no model is offered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove_tools: Vec<String>,
    /// Values that are dropped from the header `anthropic-beta`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop_beta: Vec<String>,
    /// Whether values of `anthropic-beta` are dropped that the provider says it does not take, and the request sent again.
    pub drop_refused_beta: bool,
}

/// What is changed in requests on their way, checked. By default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rewrite {
    /// Whether Anthropic requests that ask for no caching are made to.
    pub anthropic_cache: bool,
    /// Whether terminal escape sequences are removed from what the model is to read.
    pub strip_ansi: bool,
    /// Names of tools that no model is offered.
    pub remove_tools: Vec<String>,
    /// Values that are dropped from the header `anthropic-beta`.
    pub drop_beta: Vec<String>,
    /// Whether values of `anthropic-beta` are dropped that the provider says it does not take, and the request sent again.
    pub drop_refused_beta: bool,
}

/// More names in a list are a mistake.
const MOST: usize = 1000;

/// No API has longer names.
const LONGEST: usize = 256;

impl Rewrite {
    pub(super) fn parse(raw: &RawRewrite, faults: &mut Vec<String>) -> Self {
        for (key, names) in [
            ("remove-tools", &raw.remove_tools),
            ("drop-beta", &raw.drop_beta),
        ] {
            if names.len() > MOST {
                faults.push(format!("rewrite.{key}: more than {MOST}"));
            }
            for name in names {
                let plain = |it: u8| it.is_ascii_graphic() && it != b',';
                if name.is_empty() || name.len() > LONGEST || !name.bytes().all(plain) {
                    faults.push(format!(
                        "rewrite.{key}: {name:?} is not a name of 1 to {LONGEST} printable ASCII characters"
                    ));
                }
            }
        }
        Self {
            anthropic_cache: raw.anthropic_cache,
            strip_ansi: raw.strip_ansi,
            remove_tools: raw.remove_tools.clone(),
            drop_beta: raw.drop_beta.clone(),
            drop_refused_beta: raw.drop_refused_beta,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_the_default_and_names_are_checked() {
        let mut faults = Vec::new();
        let nothing = Rewrite::parse(&RawRewrite::default(), &mut faults);
        assert_eq!(nothing, Rewrite::default());
        let raw: RawRewrite = toml::from_str(
            "anthropic-cache = true\nstrip-ansi = true\nremove-tools = ['a']\ndrop-beta = ['b-1']\n\
             drop-refused-beta = true",
        )
        .unwrap();
        let all = Rewrite::parse(&raw, &mut faults);
        assert!(all.anthropic_cache && all.strip_ansi && all.drop_refused_beta);
        assert_eq!(
            (all.remove_tools, all.drop_beta),
            (vec!["a".to_owned()], vec!["b-1".to_owned()])
        );
        assert!(faults.is_empty(), "{faults:?}");
        let raw: RawRewrite =
            toml::from_str("remove-tools = ['']\ndrop-beta = ['a,b', 'c d']").unwrap();
        Rewrite::parse(&raw, &mut faults);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[0].starts_with("rewrite.remove-tools: "));
        assert!(faults[1].starts_with("rewrite.drop-beta: "));
        assert!(toml::from_str::<RawRewrite>("strip = true").is_err());
    }
}
