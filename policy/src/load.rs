// SPDX-License-Identifier: MIT OR Apache-2.0
//! Puts a policy together from files and flags.
//!
//! Lists add up: a file's includes come first, then the file, then flags. Of settings that can only have one value, a
//! flag's counts more than a file's, a file's more than that of what it includes, a later include's more than an
//! earlier one's.

mod group_list;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

pub use self::group_list::{GroupList, list_groups};
use crate::{
    Answers, DnsServer, DnsSettings, Fault, Faults, Mode, Origin, Policy, RawPolicy, Sections,
    Sources, UpstreamProxySettings,
    file::{self, Contents, Item, Reference},
    groups::Groups,
    lists,
    registry::{self, Client},
    rule::{self, List},
    settings,
    sources::{LIST_LIMIT, POLICY_LIMIT, read},
    text::Text,
    tree::{self, Format},
};

/// A policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// At a path. Its extension says how it is written; without one that is known, its contents do.
    Path(PathBuf),
    /// Read already: what came on standard input.
    Text {
        /// What to call it: `<stdin>`.
        name: String,
        /// What it says.
        text: String,
    },
}

/// A policy, and what was read for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// What was written, every name of a group replaced by what it stands for.
    pub policy: RawPolicy,
    /// The same, ready to be asked.
    pub checked: Policy,
    /// What the workload's DNS answers.
    pub dns: DnsSettings,
    /// A proxy in front of ours.
    pub upstream_proxy: Option<UpstreamProxySettings>,
    /// What files say of the gateway, for the gateway to check.
    pub gateway: Sections,
    /// Every file that was read, to be watched or read again.
    pub files: Vec<PathBuf>,
    /// What people should know although nothing is wrong.
    pub notes: Vec<String>,
}

/// Takes files and flags, in any order.
#[derive(Debug)]
pub struct Builder<'a> {
    sources: Sources<'a>,
    groups: Groups,
    from_files: Contents,
    from_flags: Contents,
    /// Files that were read, so that none is read twice.
    seen: BTreeSet<PathBuf>,
    files: Vec<PathBuf>,
    notes: Vec<String>,
    faults: Vec<Fault>,
}

/// Files that may include each other. Nobody has as many.
const MOST_FILES: usize = 256;

impl<'a> Builder<'a> {
    /// Nothing yet, which allows nothing.
    #[must_use]
    pub fn new(sources: Sources<'a>) -> Self {
        Self {
            sources,
            groups: Groups::default(),
            from_files: Contents::default(),
            from_flags: Contents::default(),
            seen: BTreeSet::new(),
            files: Vec::new(),
            notes: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// `--config`: a policy file and what it includes.
    pub fn config(&mut self, input: &Input) {
        match input {
            Input::Path(path) => {
                let full = self.sources.directory.join(path);
                let complain = |what: String| Fault::new(named(path), what);
                self.policy_file(path, &full, &mut Vec::new(), &complain);
            }
            Input::Text { name, text } => {
                let text = text.strip_prefix('\u{feff}').unwrap_or(text);
                let directory = self.sources.directory.to_path_buf();
                let mut chain = Vec::new();
                self.policy_text(name, text, None, (&directory, Path::new("")), &mut chain);
            }
        }
    }

    /// `--allow-domains`: rules with commas between them.
    pub fn allow_domains(&mut self, rules: &str) {
        let text = Text::flag("--allow-domains", rules);
        let items = lists::flag(&text, List::Allow, &mut self.faults);
        self.from_flags.allow.extend(items);
    }

    /// `--block-domains`: rules with commas between them.
    pub fn block_domains(&mut self, rules: &str) {
        let text = Text::flag("--block-domains", rules);
        let items = lists::flag(&text, List::Block, &mut self.faults);
        self.from_flags.block.extend(items);
    }

    /// `--allow-domains-file`: one rule a line.
    pub fn allow_domains_file(&mut self, path: &Path) {
        let complain = |what: String| Fault::new(named(path), what);
        let full = self.sources.directory.join(path);
        let items = self.list_file(path, &full, List::Allow, &complain);
        self.from_flags.allow.extend(items);
    }

    /// `--block-domains-file`: one rule a line.
    pub fn block_domains_file(&mut self, path: &Path) {
        let complain = |what: String| Fault::new(named(path), what);
        let full = self.sources.directory.join(path);
        let items = self.list_file(path, &full, List::Block, &complain);
        self.from_flags.block.extend(items);
    }

    /// `--allow-host-service-ports`, `--allow-host-ports` (`flag` says which): ports with commas between them.
    pub fn host_ports(&mut self, flag: &str, ports: &str) {
        let text = Text::flag(flag, ports);
        let mut at = 0;
        for piece in ports.split(',').filter(|_| !ports.trim().is_empty()) {
            let trimmed = piece.trim();
            let start = at + piece.len() - piece.trim_start().len();
            match rule::ports(trimmed) {
                Ok(range) => self.from_flags.host_ports.push(range),
                Err(wrong) => {
                    let at = text.inside(start, trimmed, wrong.at);
                    self.faults.push(wrong.fault(&text, at));
                }
            }
            at += piece.len() + 1;
        }
    }

    /// `--mode`.
    pub fn mode(&mut self, mode: Mode) {
        self.from_flags.mode = Some(mode);
    }

    /// `--dns`.
    pub fn dns_answers(&mut self, answers: Answers) {
        self.from_flags.answers = Some(answers);
    }

    /// `--dns-servers`: addresses and URLs with commas between them, in place of those of files.
    pub fn dns_servers(&mut self, servers: &str) {
        let text = Text::flag("--dns-servers", servers);
        let mut at = 0;
        let mut found: Vec<DnsServer> = Vec::new();
        for piece in servers.split(',') {
            match piece.trim().parse() {
                Ok(server) => found.push(server),
                Err(error) => self.setting(&text, at, error),
            }
            at += piece.len() + 1;
        }
        self.from_flags.servers = Some(found);
    }

    /// `--upstream-proxy`.
    pub fn upstream_proxy(&mut self, url: &str) {
        if let Err(error) = settings::proxy_url(url) {
            let text = Text::flag("--upstream-proxy", "");
            self.setting(&text, 0, error);
        }
        self.from_flags.proxy = Some(url.to_owned());
    }

    /// `NO_PROXY`, or a flag of that name: what the upstream proxy is not for, with commas between them.
    pub fn no_proxy(&mut self, source: &str, entries: &str) {
        let text = Text::flag(source, entries);
        let mut at = 0;
        let mut found = Vec::new();
        for piece in entries.split(',') {
            let entry = piece.trim();
            if !entry.is_empty() {
                if let Err(error) = settings::no_proxy(entry) {
                    self.setting(&text, at, error);
                }
                found.push(entry.to_owned());
            }
            at += piece.len() + 1;
        }
        self.from_flags.no_proxy = Some(found);
    }

    /// What the files read so far say of the gateway. Nothing is run for it, and no fault is told before [`Self::finish`].
    #[must_use]
    pub fn gateway(&self) -> &Sections {
        &self.from_files.gateway
    }

    /// Puts everything together.
    ///
    /// # Errors
    ///
    /// All faults at once.
    pub fn finish(mut self) -> Result<Loaded, Faults> {
        let (files, flags) = (self.from_files, self.from_flags);
        let allow = [files.allow, flags.allow].concat();
        let block = [files.block, flags.block].concat();
        self.groups
            .check(allow.iter().chain(&block), &mut self.faults);
        if !self.faults.is_empty() {
            let place = |it: &Fault| (it.origin.source.clone(), it.origin.line, it.origin.column);
            self.faults.sort_by_key(place);
            return Err(Faults(self.faults));
        }

        let mut reader = registry::Reader::new(self.sources);
        let mut faults = Vec::new();
        let mut registry = |client: Client, reference: &Reference| {
            reader.rules(client).unwrap_or_else(|wrong| {
                faults.push(reference.fault(wrong.what, Some(wrong.hint)));
                Vec::new()
            })
        };
        let policy = RawPolicy {
            mode: flags.mode.or(files.mode).unwrap_or_default(),
            allow: self.groups.expand(&allow, &mut registry),
            block: self.groups.expand(&block, &mut registry),
            host_ports: [files.host_ports, flags.host_ports].concat(),
        };
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let (more_files, more_notes) = reader.finish();
        self.files.extend(more_files);
        self.notes.extend(more_notes);

        // Rules that were checked one by one as they were read; what groups brought is checked here.
        let checked = Policy::new(&policy).map_err(|error| {
            let faults = error
                .0
                .into_iter()
                .map(|(origin, what)| Fault::new(origin, what));
            Faults(faults.collect())
        })?;
        let no_proxy = flags.no_proxy.or(files.no_proxy).unwrap_or_default();
        Ok(Loaded {
            policy,
            checked,
            dns: DnsSettings {
                answers: flags.answers.or(files.answers).unwrap_or_default(),
                servers: flags.servers.or(files.servers).unwrap_or_default(),
            },
            upstream_proxy: flags
                .proxy
                .or(files.proxy)
                .map(|url| UpstreamProxySettings { url, no_proxy }),
            gateway: files.gateway,
            files: self.files,
            notes: self.notes,
        })
    }

    /// Reads a policy file. `chain` is who includes it.
    fn policy_file(
        &mut self,
        path: &Path,
        full: &Path,
        chain: &mut Vec<PathBuf>,
        complain: &dyn Fn(String) -> Fault,
    ) {
        let Some((name, same, contents)) = self.open(path, full, POLICY_LIMIT, complain) else {
            return;
        };
        if let Some(begin) = chain.iter().position(|it| *it == same) {
            let mut circle: Vec<_> = chain[begin..]
                .iter()
                .map(|it| it.display().to_string())
                .collect();
            circle.push(same.display().to_string());
            let what = format!("the files include each other: {}", circle.join(" > "));
            self.faults.push(complain(what));
            return;
        }
        // By two ways to the same file: once is enough.
        if !self.seen.insert(same.clone()) {
            return;
        }
        if self.seen.len() > MOST_FILES {
            self.faults
                .push(complain("too many files are included".to_owned()));
            return;
        }
        self.files.push(full.to_path_buf());
        chain.push(same);
        let parent = |it: &Path| it.parent().unwrap_or(Path::new("")).to_path_buf();
        let (directory, shown) = (parent(full), parent(path));
        self.policy_text(
            &name,
            &contents,
            Format::of(path),
            (&directory, &shown),
            chain,
        );
        chain.pop();
    }

    /// Reads a policy. What it names is relative to a directory, which people know by another name.
    fn policy_text(
        &mut self,
        name: &str,
        text: &str,
        format: Option<Format>,
        (directory, shown): (&Path, &Path),
        chain: &mut Vec<PathBuf>,
    ) {
        let text = Text::file(name, text);
        let root = match format {
            Some(format) => match tree::read(&text, format) {
                Ok(root) => root,
                Err(fault) => return self.faults.push(fault),
            },
            None => match tree::detect(&text) {
                Ok((root, format)) => {
                    self.notes
                        .push(format!("{name} was read as {}", format.name()));
                    root
                }
                Err((fault, format)) => {
                    let what = format!(
                        "nothing says how this is written; it looks like {}",
                        format.name()
                    );
                    return self.faults.push(fault.hint(what));
                }
            },
        };
        let mut contents = file::contents(&text, &root, &mut self.faults);
        for included in std::mem::take(&mut contents.include) {
            let full = directory.join(&included.path);
            let path = shown.join(&included.path);
            self.policy_file(&path, &full, chain, &|what| included.fault(what));
        }
        for (list, named) in [
            (List::Allow, std::mem::take(&mut contents.allow_files)),
            (List::Block, std::mem::take(&mut contents.block_files)),
        ] {
            for named in named {
                let full = directory.join(&named.path);
                let complain = |what: String| named.fault(what);
                let items = self.list_file(&shown.join(&named.path), &full, list, &complain);
                match list {
                    List::Allow => contents.allow.extend(items),
                    List::Block => contents.block.extend(items),
                }
            }
        }
        for group in std::mem::take(&mut contents.groups) {
            self.groups.add(group, &mut self.faults);
        }
        let gateway = std::mem::take(&mut contents.gateway);
        self.from_files.gateway.merge(gateway, &mut self.faults);
        self.from_files.merge(contents);
    }

    fn list_file(
        &mut self,
        path: &Path,
        full: &Path,
        list: List,
        complain: &dyn Fn(String) -> Fault,
    ) -> Vec<Item> {
        let Some((name, _, contents)) = self.open(path, full, LIST_LIMIT, complain) else {
            return Vec::new();
        };
        self.files.push(full.to_path_buf());
        lists::file(&Text::file(&name, &contents), list, &mut self.faults)
    }

    /// A file's name for people, its one true path, and what it says.
    fn open(
        &mut self,
        path: &Path,
        full: &Path,
        limit: u64,
        complain: &dyn Fn(String) -> Fault,
    ) -> Option<(String, PathBuf, String)> {
        let name = path.display().to_string();
        match read(full, limit) {
            Ok(contents) => {
                let same = full.canonicalize().unwrap_or_else(|_| full.to_path_buf());
                Some((name, same, contents))
            }
            Err(why) => {
                self.faults
                    .push(complain(format!("cannot read `{name}`: {why}")));
                None
            }
        }
    }

    fn setting(&mut self, text: &Text<'_>, at: usize, error: settings::SettingError) {
        let hint = Some(error.hint.to_owned());
        let mut fault = text.fault(at, error.what, hint);
        if text.text().is_empty() {
            fault.excerpt = None;
        }
        self.faults.push(fault);
    }
}

/// A file as a whole.
fn named(path: &Path) -> Origin {
    Origin {
        source: path.display().to_string(),
        ..Origin::default()
    }
}

impl Contents {
    /// Adds what a file says to what the files before it say.
    fn merge(&mut self, later: Self) {
        self.mode = later.mode.or(self.mode);
        self.answers = later.answers.or(self.answers);
        self.servers = later.servers.or(self.servers.take());
        self.proxy = later.proxy.or(self.proxy.take());
        self.no_proxy = later.no_proxy.or(self.no_proxy.take());
        self.allow.extend(later.allow);
        self.block.extend(later.block);
        self.host_ports.extend(later.host_ports);
    }
}
