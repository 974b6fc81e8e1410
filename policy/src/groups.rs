// SPDX-License-Identifier: MIT OR Apache-2.0
//! Groups: names that stand for rules.
//!
//! Those that come with keyward are files in `groups/`: services, never package registries, which are read from the
//! clients' own configuration (`registry:`). Users add their own, under names that are not taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use crate::{
    Entry, Fault,
    file::{self, Group, Item, Reference},
    registry::Client,
    text::Text,
    tree::{self, Format},
};

macro_rules! built_in {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../groups/", $name, ".toml")))),+]
    };
}

/// Names and files of those that come with keyward.
const BUILT_IN: &[(&str, &str)] = built_in![
    "anthropic",
    "aws-bedrock",
    "bitbucket",
    "codeberg",
    "deepseek",
    "github",
    "gitlab",
    "google-ai",
    "groq",
    "linear",
    "mistral",
    "model-apis",
    "openai",
    "openrouter",
    "slack",
    "vertex-ai",
    "xai",
];

/// How many groups may be in each other. Nobody needs more than three.
const DEEPEST: usize = 16;

/// The same, read once, and not before one is named: most runs name none, and start sooner.
static READ: LazyLock<(BTreeMap<&'static str, Group>, Vec<Fault>)> = LazyLock::new(|| {
    let mut faults = Vec::new();
    let mut groups = BTreeMap::new();
    for (name, contents) in BUILT_IN {
        let source = format!("group:{name}");
        let text = Text::file(&source, contents);
        match tree::read(&text, Format::Toml) {
            Ok(root) => {
                groups.insert(*name, file::group(&text, name, &root, &mut faults));
            }
            Err(fault) => faults.push(fault),
        }
    }
    (groups, faults)
});

/// Those that come with keyward.
fn built_in() -> &'static BTreeMap<&'static str, Group> {
    &READ.0
}

/// All groups that can be named: those that come with keyward, and a user's own.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    own: BTreeMap<String, Group>,
}

impl Groups {
    /// Adds one that a file defines. Its name must be new.
    pub(crate) fn add(&mut self, group: Group, faults: &mut Vec<Fault>) {
        let taken = |what: String| Fault {
            what,
            hint: Some("choose another name".to_owned()),
            ..group.place.clone()
        };
        if built_in().contains_key(group.name.as_str()) {
            let what = format!("`group:{}` comes with keyward", group.name);
            faults.push(taken(what));
        } else if let Some(other) = self.own.get(&group.name) {
            let what = format!(
                "`group:{}` is defined at {} already",
                group.name, other.place.origin
            );
            faults.push(taken(what));
        } else {
            self.own.insert(group.name.clone(), group);
        }
    }

    /// Checks that what is named is there, in every group and in these lists, and that no group contains itself.
    pub(crate) fn check<'a>(&self, lists: impl Iterator<Item = &'a Item>, faults: &mut Vec<Fault>) {
        let mut names = lists
            .filter_map(|item| match item {
                Item::Reference(reference) => Some(reference),
                Item::Rule(_) => None,
            })
            .peekable();
        if names.peek().is_none() && self.own.is_empty() {
            return;
        }
        faults.extend(READ.1.iter().cloned());
        for name in names {
            self.find(name)
                .map_or_else(|fault| faults.push(fault), drop);
        }
        for group in self.all() {
            let mut seen = BTreeSet::from([group.name.as_str()]);
            let path = &mut vec![group.name.as_str()];
            if let Err(too_deep) = self.check_group(group, path, &mut seen, faults) {
                faults.push(*too_deep);
                // Every group that leads there would say the same.
                return;
            }
        }
    }

    /// Follows every group that this one leads to once. An error ends it: it leads too far.
    fn check_group<'a>(
        &'a self,
        group: &'a Group,
        path: &mut Vec<&'a str>,
        seen: &mut BTreeSet<&'a str>,
        faults: &mut Vec<Fault>,
    ) -> Result<(), Box<Fault>> {
        for item in &group.items {
            let Item::Reference(reference) = item else {
                continue;
            };
            match self.find(reference) {
                // Said once, where it stands: not again for each group that leads here.
                Err(fault) if path.len() == 1 => faults.push(fault),
                Ok(Found::Group(next)) if path.first() == Some(&next.name.as_str()) => {
                    path.push(&next.name);
                    let what = format!("the groups contain each other: {}", path.join(" > "));
                    faults.push(reference.fault(what, None));
                    path.pop();
                }
                Ok(Found::Group(_)) if path.len() >= DEEPEST => {
                    let what = format!("groups are in each other more than {DEEPEST} times");
                    return Err(Box::new(reference.fault(what, None)));
                }
                Ok(Found::Group(next)) if seen.insert(&next.name) => {
                    path.push(&next.name);
                    self.check_group(next, path, seen, faults)?;
                    path.pop();
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Rules in place of names, after [`Groups::check`] found nothing. Of a group that is named several times, its first
    /// naming counts: groups of groups of groups would otherwise stand for more rules than there is memory.
    pub(crate) fn expand(
        &self,
        items: &[Item],
        registry: &mut impl FnMut(Client, &Reference) -> Vec<Entry>,
    ) -> Vec<Entry> {
        self.expand_new(items, &mut BTreeSet::new(), registry)
    }

    fn expand_new<'a>(
        &'a self,
        items: &'a [Item],
        seen: &mut BTreeSet<&'a str>,
        registry: &mut impl FnMut(Client, &Reference) -> Vec<Entry>,
    ) -> Vec<Entry> {
        let mut entries = Vec::new();
        for item in items {
            match item {
                Item::Rule(entry) => entries.push(entry.clone()),
                Item::Reference(reference) => match self.find(reference) {
                    Ok(Found::Group(group)) if !seen.insert(&group.name) => {}
                    Ok(Found::Client(client)) => entries.extend(registry(client, reference)),
                    Ok(Found::Group(group)) => {
                        let mut inner = self.expand_new(&group.items, seen, registry);
                        for entry in &mut inner {
                            let is_ours = built_in().contains_key(group.name.as_str());
                            // Who reads a fault or a log looks for the line that they can change.
                            if is_ours && entry.origin.source.starts_with("group:") {
                                entry.origin = reference.place.origin.clone();
                            }
                            let name = || format!("group:{}", group.name);
                            entry.origin.group.get_or_insert_with(name);
                        }
                        entries.extend(inner);
                    }
                    // `check` has said so.
                    Err(_) => {}
                },
            }
        }
        entries
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Group> {
        built_in().values().chain(self.own.values())
    }

    fn find(&self, reference: &Reference) -> Result<Found<'_>, Fault> {
        let text = reference.text.as_str();
        if let Some(name) = text.strip_prefix("registry:") {
            return Client::named(name).map(Found::Client).ok_or_else(|| {
                let all: Vec<_> = Client::ALL.iter().map(|it| it.name()).collect();
                let hint = file::did_you_mean(name, all.iter().copied())
                    .unwrap_or_else(|| format!("there are {}", all.join(", ")));
                reference.fault(format!("there is no `{text}`"), Some(hint))
            });
        }
        let name = text.strip_prefix("group:").unwrap_or(text);
        let group = built_in().get(name).or_else(|| self.own.get(name));
        group.map(Found::Group).ok_or_else(|| {
            let names = self.all().map(|it| it.name.as_str());
            let hint = file::did_you_mean(name, names)
                .unwrap_or_else(|| "`keyward policy groups` lists them".to_owned());
            reference.fault(format!("there is no `{text}`"), Some(hint))
        })
    }
}

/// What a name stands for.
enum Found<'g> {
    Group(&'g Group),
    Client(Client),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_come_with_keyward_are_sound() {
        let groups = Groups::default();
        let mut faults = Vec::new();
        // Whoever names one has all of them checked.
        let text = "group:github".to_owned();
        let place = Text::flag("--allow-domains", &text).fault(0, String::new(), None);
        let item = Item::Reference(Reference { text, place });
        groups.check([&item].into_iter(), &mut faults);
        assert_eq!(faults, []);
        assert!(built_in().len() >= 12);
        for group in groups.all() {
            assert!(group.description.is_some(), "{}", group.name);
            assert!(!group.items.is_empty(), "{}", group.name);
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/groups"));
        assert_eq!(files.unwrap().count(), BUILT_IN.len());
    }
}
