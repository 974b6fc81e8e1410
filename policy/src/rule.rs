// SPDX-License-Identifier: MIT OR Apache-2.0
//! One rule, checked: whom it is about, at which ports, and how.

mod fault;
mod network;
mod parse;
mod pattern;
mod reach;
mod request;

pub(crate) use self::{
    fault::Problem,
    network::Network,
    parse::{List, parse, ports},
    pattern::Pattern,
    reach::Reach,
    request::Requests,
};
use crate::Name;

/// A rule's meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Whom it is about.
    pub(crate) target: Target,
    /// At which ports, and how.
    pub(crate) reach: Reach,
    /// For plain HTTP: which requests. All, if there is nothing.
    pub(crate) requests: Option<Requests>,
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A name, the names below it, or both.
    Name {
        name: Name,
        /// The name itself.
        apex: bool,
        /// Everything below it, at any depth.
        below: bool,
    },
    /// Names with `*` in them.
    Pattern(Pattern),
    /// An address or a network.
    Network(Network),
}

impl Target {
    /// The part that every name it stands for ends with, whole labels; `None` for addresses.
    pub(crate) fn suffix(&self) -> Option<&str> {
        match self {
            Self::Name { name, .. } => Some(name.as_str()),
            Self::Pattern(pattern) => Some(pattern.suffix()),
            Self::Network(_) => None,
        }
    }

    /// Whether a name is one of those. Names that do not end with [`Target::suffix`] need not be asked about.
    pub(crate) fn has(&self, asked: &Name) -> bool {
        match self {
            Self::Name { name, apex, below } => {
                let rest = asked.as_str().strip_suffix(name.as_str());
                rest.is_some_and(|rest| match rest {
                    "" => *apex,
                    _ => *below && rest.ends_with('.'),
                })
            }
            Self::Pattern(pattern) => pattern.matches(asked.as_str()),
            Self::Network(_) => false,
        }
    }
}
