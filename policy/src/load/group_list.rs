// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every group stands for now.

use crate::{
    Entry,
    groups::Groups,
    load::Builder,
    registry::{Client, Reader},
};

/// A group, and what it stands for on this host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GroupList {
    /// `group:github`, `registry:npm`.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Its rules, or why there are none, with what to do about it.
    pub rules: Result<Vec<Entry>, String>,
}

/// All groups: those that come with keyward, those of package managers, those of the files that a builder has read.
#[must_use]
pub fn list_groups(builder: &Builder<'_>) -> Vec<GroupList> {
    let mut reader = Reader::new(builder.sources);
    let mut found = own(&builder.groups, &mut reader);
    found.extend(Client::ALL.iter().map(|client| GroupList {
        name: format!("registry:{}", client.name()),
        description: client.description().to_owned(),
        rules: reader.rules(*client).map_err(|it| it.to_string()),
    }));
    found
}

fn own(groups: &Groups, reader: &mut Reader<'_>) -> Vec<GroupList> {
    let mut faults = Vec::new();
    groups.check(std::iter::empty(), &mut faults);
    if !faults.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for group in groups.all() {
        let mut missing = None;
        let entries = groups.expand(&group.items, &mut |client, _| {
            reader.rules(client).unwrap_or_else(|wrong| {
                missing = Some(wrong.to_string());
                Vec::new()
            })
        });
        found.push(GroupList {
            name: format!("group:{}", group.name),
            description: group.description.clone().unwrap_or_default(),
            rules: missing.map_or(Ok(entries), Err),
        });
    }
    found
}
