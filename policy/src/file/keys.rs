// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keys that a policy file may have.

use crate::{
    Fault,
    text::Text,
    tree::{Field, Node, Value},
};

macro_rules! keys {
    ($($variant:ident = $name:literal;)+) => {
        /// A key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Key {
            $($variant,)+
        }

        impl Key {
            /// As it is written.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

keys! {
    Mode = "mode";
    Include = "include";
    Allow = "allow";
    Block = "block";
    AllowFiles = "allow-files";
    BlockFiles = "block-files";
    HostPorts = "host-ports";
    Groups = "groups";
    Dns = "dns";
    Answers = "answers";
    Servers = "servers";
    UpstreamProxy = "upstream-proxy";
    Provider = "provider";
    Limits = "limits";
    Spend = "spend";
    Models = "models";
    Scan = "scan";
    Rewrite = "rewrite";
    Retry = "retry";
    Sandbox = "sandbox";
    Files = "files";
    Telemetry = "telemetry";
    Url = "url";
    NoProxy = "no-proxy";
    Rule = "rule";
    Methods = "methods";
    Private = "private";
    Description = "description";
    Rules = "rules";
}

impl Key {
    /// Those of the file itself.
    pub(crate) const FILE: &[Self] = &[
        Self::Mode,
        Self::Include,
        Self::Allow,
        Self::Block,
        Self::AllowFiles,
        Self::BlockFiles,
        Self::HostPorts,
        Self::Groups,
        Self::Dns,
        Self::UpstreamProxy,
        Self::Provider,
        Self::Limits,
        Self::Spend,
        Self::Models,
        Self::Scan,
        Self::Rewrite,
        Self::Retry,
        Self::Sandbox,
        Self::Files,
        Self::Telemetry,
    ];
    /// Those of `dns`.
    pub(crate) const DNS: &[Self] = &[Self::Answers, Self::Servers];
    /// Those of `upstream-proxy`.
    pub(crate) const UPSTREAM_PROXY: &[Self] = &[Self::Url, Self::NoProxy];
    /// Those of a rule that is more than a string.
    pub(crate) const RULE: &[Self] = &[Self::Rule, Self::Methods, Self::Private];
    /// Those of a group that is more than a list.
    pub(crate) const GROUP: &[Self] = &[Self::Description, Self::Rules];
}

/// A table of the file.
pub(crate) struct Table<'n>(&'n [Field]);

impl<'n> Table<'n> {
    /// `None`, and a fault, if it is something else.
    pub(crate) fn new(text: &Text<'_>, node: &'n Node, faults: &mut Vec<Fault>) -> Option<Self> {
        if let Value::Table(fields) = &node.value {
            return Some(Self(fields));
        }
        // A YAML file with nothing but comments.
        if node.at == 0 && node.value == Value::Other("null") {
            return Some(Self(&[]));
        }
        let what = format!("this is a table, not {}", node.value.kind());
        faults.push(text.fault(node.at, what, None));
        None
    }

    pub(crate) fn fields(&self) -> &'n [Field] {
        self.0
    }

    /// The fields that may be here. For every other one there is a fault.
    pub(crate) fn known(
        &self,
        keys: &[Key],
        text: &Text<'_>,
        faults: &mut Vec<Fault>,
    ) -> Vec<(Key, &'n Node)> {
        let mut found = Vec::new();
        for field in self.0 {
            match keys.iter().find(|it| it.name() == field.key) {
                Some(key) => found.push((*key, &field.node)),
                None => {
                    let names = keys.iter().map(|it| it.name());
                    let hint = did_you_mean(&field.key, names.clone()).unwrap_or_else(|| {
                        let all: Vec<_> = names.map(|it| format!("`{it}`")).collect();
                        format!("there are {}", all.join(", "))
                    });
                    faults.push(text.fault(field.at, "this key is not known", Some(hint)));
                }
            }
        }
        found
    }
}

/// The known word that is nearest to one that is not, if it is near.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let plain = word.to_ascii_lowercase().replace('_', "-");
    let near = known.map(|it| (distance(&plain, it), it)).min()?;
    let limit = near.1.len().div_ceil(3);
    (near.0 <= limit).then(|| format!("did you mean `{}`?", near.1))
}

/// How many characters must be put in, left out, replaced or swapped with the next (Damerau and Levenshtein, each place
/// touched once).
fn distance(one: &str, other: &str) -> usize {
    // Longer than any word that is known.
    if one.len() > 64 {
        return usize::MAX;
    }
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut rows = vec![vec![0; other.len() + 1]; one.len() + 1];
    for (at, row) in rows.iter_mut().enumerate() {
        row[0] = at;
    }
    for (at, it) in rows[0].iter_mut().enumerate() {
        *it = at;
    }
    for x in 1..=one.len() {
        for y in 1..=other.len() {
            let replaced = usize::from(one[x - 1] != other[y - 1]);
            let mut best = (rows[x - 1][y] + 1)
                .min(rows[x][y - 1] + 1)
                .min(rows[x - 1][y - 1] + replaced);
            if x > 1 && y > 1 && one[x - 1] == other[y - 2] && one[x - 2] == other[y - 1] {
                best = best.min(rows[x - 2][y - 2] + 1);
            }
            rows[x][y] = best;
        }
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found() {
        let keys = || Key::FILE.iter().map(|it| it.name());
        for (word, found) in [
            ("alow", Some("allow")),
            ("Allow", Some("allow")),
            ("allow_files", Some("allow-files")),
            ("blcok", Some("block")),
            ("includes", Some("include")),
            ("host-port", Some("host-ports")),
            ("secrets", None),
            ("x", None),
        ] {
            let expected = found.map(|it| format!("did you mean `{it}`?"));
            assert_eq!(did_you_mean(word, keys()), expected, "{word}");
        }
    }
}
