// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where package managers fetch from, read from their own configuration: a company's mirror is allowed without anyone
//! saying so twice, and no registry's name is kept here.
//!
//! Read are the caller's environment and home, and the system's files. Files of a project are not: whoever wrote the
//! project could open hosts with them. Where nothing is configured, the client is asked for its default.
//!
//! Nothing of these files is quoted in a fault or a note: they hold tokens.

mod apt;
mod cargo;
mod entry;
mod gem;
mod go;
mod ini;
mod maven;
mod npm;
mod nuget;
mod pip;
mod xml;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use self::entry::Place;
use crate::{Entry, Sources, sources::read};

macro_rules! clients {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $description:literal, $read:path;)+) => {
        /// A package manager.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Client {
            $($variant,)+
        }

        impl Client {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)+];

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            pub(crate) fn description(self) -> &'static str {
                match self { $(Self::$variant => $description,)+ }
            }

            fn read(self, reading: &mut Reading<'_>) {
                match self { $(Self::$variant => $read(reading),)+ }
            }
        }
    };
}

clients! {
    Npm = "npm", "where npm, pnpm and yarn fetch packages", npm::read;
    Pip = "pip", "where pip and uv fetch packages", pip::read;
    Cargo = "cargo", "where cargo fetches crates", cargo::read;
    Apt = "apt", "where apt fetches packages", apt::read;
    Go = "go", "where go fetches modules and their checksums", go::read;
    Maven = "maven", "where Maven and Gradle fetch artifacts", maven::read;
    Gem = "gem", "where gem and bundler fetch gems", gem::read;
    Nuget = "nuget", "where NuGet fetches packages", nuget::read;
}

impl Client {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.name() == name)
    }
}

/// Nothing could be learnt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} ({hint})")]
pub(crate) struct NotLearnt {
    pub(crate) what: String,
    pub(crate) hint: String,
}

/// Reads each client's configuration at most once.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    sources: Sources<'a>,
    known: BTreeMap<Client, Result<Vec<Entry>, NotLearnt>>,
    files: Vec<PathBuf>,
    notes: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(sources: Sources<'a>) -> Self {
        Self {
            sources,
            known: BTreeMap::new(),
            files: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The rules for what a client is set up with.
    pub(crate) fn rules(&mut self, client: Client) -> Result<Vec<Entry>, NotLearnt> {
        if let Some(known) = self.known.get(&client) {
            return known.clone();
        }
        let mut reading = Reading {
            client,
            sources: self.sources,
            entries: Vec::new(),
            files: &mut self.files,
            notes: &mut self.notes,
        };
        client.read(&mut reading);
        let entries = reading.entries;
        let learnt = if entries.is_empty() {
            Err(NotLearnt {
                what: format!(
                    "nothing on this host says where {} fetches from",
                    client.name()
                ),
                hint: format!(
                    "install or configure {0}, or write the host in place of `registry:{0}`",
                    client.name()
                ),
            })
        } else {
            Ok(entries)
        };
        self.known.insert(client, learnt.clone());
        learnt
    }

    /// Files that were read, and what people should know.
    pub(crate) fn finish(self) -> (Vec<PathBuf>, Vec<String>) {
        (self.files, self.notes)
    }
}

/// One client's configuration, while it is read.
struct Reading<'a> {
    client: Client,
    sources: Sources<'a>,
    entries: Vec<Entry>,
    files: &'a mut Vec<PathBuf>,
    notes: &'a mut Vec<String>,
}

/// Configuration is small; what is larger is something else.
const LIMIT: u64 = 4 << 20;

impl Reading<'_> {
    /// A file, if it is there and can be read. What cannot be is noted, not quoted.
    fn file(&mut self, path: &Path) -> Option<String> {
        if !path.is_file() {
            return None;
        }
        match read(path, LIMIT) {
            Ok(text) => {
                self.files.push(path.to_path_buf());
                Some(text)
            }
            Err(why) => {
                let name = self.client.name();
                self.notes.push(format!(
                    "registry:{name}: cannot read {}: {why}",
                    path.display()
                ));
                None
            }
        }
    }

    /// Files of a directory whose names end so, in the order of their names.
    fn files_in(&self, directory: &Path, end: &str) -> Vec<PathBuf> {
        let Ok(all) = std::fs::read_dir(directory) else {
            return Vec::new();
        };
        let mut found: Vec<_> = all
            .filter_map(|it| Some(it.ok()?.path()))
            .filter(|it| {
                it.file_name()
                    .is_some_and(|it| it.to_string_lossy().ends_with(end))
            })
            .collect();
        found.sort();
        found
    }

    /// Allows the host of a URL. What is no URL of a host that can be allowed is noted.
    fn url(&mut self, url: &str, place: &Place<'_>) {
        match entry::from_url(url) {
            Some(rule) => {
                let entry = Entry {
                    rule,
                    methods: Vec::new(),
                    private: true,
                    origin: place.origin(self.client.name()),
                };
                if !self.entries.iter().any(|it| it.rule == entry.rule) {
                    self.entries.push(entry);
                }
            }
            None => self.note(format!("{place} names no host that can be allowed")),
        }
    }

    fn note(&mut self, note: String) {
        self.notes
            .push(format!("registry:{}: {note}", self.client.name()));
    }

    /// Runs a program that says where it fetches from, and allows what looks like a URL in what it says.
    fn ask(&mut self, program: &str, arguments: &[&str]) {
        let Some(said) = self.sources.commands.run(program, arguments) else {
            return;
        };
        let command = command_line(program, arguments);
        let place = Place::Command(&command);
        for word in said.split([' ', '\n', '\r', '\t', ',', '|', '\'', '"']) {
            if word.starts_with("https://") || word.starts_with("http://") {
                self.url(word, &place);
            }
        }
    }
}

/// How people would type it; of a program given as an argument, only that there is one.
fn command_line(program: &str, arguments: &[&str]) -> String {
    let shown = arguments
        .iter()
        .map(|it| if it.contains(' ') { "…" } else { it });
    [program]
        .into_iter()
        .chain(shown)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests;
