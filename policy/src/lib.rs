// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which hosts a workload may reach.
//!
//! [`RawPolicy`] is what people wrote, each rule with the place where it stands; [`Policy`] is the same, checked and
//! ready to be asked; [`Policy::decide`] is the one decision that the proxy's doors, `keyward explain` and the tests
//! share.
#![forbid(unsafe_code)]

mod explain;
mod fault;
mod file;
mod groups;
mod host;
mod index;
mod lists;
mod load;
mod policy;
mod raw;
mod registry;
mod remedy;
mod rule;
mod schema;
mod sections;
mod settings;
mod sources;
mod special;
mod suggest;
mod text;
mod tree;

pub use self::{
    explain::{Considered, Effect, Explanation, Verdict},
    fault::{Excerpt, Fault, Faults},
    host::{Host, HostError, Name},
    load::{Builder, GroupList, Input, Loaded, list_groups},
    policy::{Asked, Decision, Policy, PolicyError, Rule, Scheme},
    raw::{Entry, Mode, Origin, RawPolicy},
    schema::schema,
    sections::Sections,
    settings::{Answers, DnsServer, DnsSettings, SettingError, UpstreamProxySettings},
    sources::{Commands, NoCommands, Sources},
    suggest::{Suggestion, suggest},
    tree::Format,
};
