// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a run's policy comes from: flags and files, read once at the start and again whenever it is reloaded.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use keyward_policy::{Answers, Builder, Faults, Input, Loaded, Mode, Sections, Sources};
use nix::unistd::geteuid;

use crate::cli::EgressArgs;
use crate::endpoints::Doors;
use crate::environment::Variables;
use crate::user::Identity;

mod ask;

use ask::AsUser;

/// What `--config -` is called in what people read.
const STDIN: &str = "<stdin>";

/// Where the policy comes from.
#[derive(Clone, Debug)]
pub struct Source {
    flags: EgressArgs,
    /// What `--config -` read: there is no second time.
    stdin: Option<Result<String, String>>,
    home: Option<PathBuf>,
    directory: PathBuf,
    environment: BTreeMap<String, String>,
    /// As whom package managers are asked how they are set up.
    user: Option<(u32, u32)>,
}

impl Source {
    /// Reads nothing yet but standard input, if that is where the policy is.
    ///
    /// `host` is the environment of whoever called; `identity` is who that is, if keyward is root on his behalf.
    pub fn new(flags: &EgressArgs, identity: Option<&Identity>, host: &Variables) -> Self {
        let text = |value: &std::ffi::OsString| value.to_str().map(str::to_owned);
        let mut environment: BTreeMap<String, String> = host
            .iter()
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect();
        let home = identity
            .map(|it| it.home.clone())
            .or_else(|| environment.get("HOME").map(PathBuf::from));
        // sudo leaves root's, which the package managers that are asked may not read.
        if let Some(home) = home.as_deref().and_then(Path::to_str) {
            environment.insert("HOME".to_owned(), home.to_owned());
        }
        let user = identity.map(|it| (it.uid.as_raw(), it.gid.as_raw()));
        Self {
            flags: flags.clone(),
            stdin: (flags.config.as_deref() == Some(Path::new("-"))).then(read_stdin),
            home,
            directory: std::env::current_dir().unwrap_or_else(|_gone| PathBuf::from("/")),
            environment,
            user: user.filter(|_| geteuid().is_root()),
        }
    }

    /// What the files say of the gateway. Nothing is run for it; what is wrong with the files is left to [`Self::read`].
    pub fn gateway(&self) -> Sections {
        self.with_builder(|builder| builder.gateway().clone())
    }

    /// Has package managers not see these variables.
    pub fn forget(&mut self, names: &[&str]) {
        for name in names {
            self.environment.remove(*name);
        }
    }

    /// Reads everything.
    ///
    /// # Errors
    ///
    /// Every fault, with its place.
    pub fn read(&self) -> Result<Loaded, Faults> {
        self.with_builder(|builder| builder.finish())
    }

    /// Reads everything into a builder, for `act` to make something of.
    pub fn with_builder<T>(&self, act: impl FnOnce(Builder<'_>) -> T) -> T {
        let commands = AsUser {
            user: self.user,
            environment: &self.environment,
        };
        let mut builder = Builder::new(Sources {
            root: Path::new("/"),
            home: self.home.as_deref(),
            directory: &self.directory,
            environment: &self.environment,
            commands: &commands,
        });
        self.fill(&mut builder);
        act(builder)
    }

    fn fill(&self, builder: &mut Builder<'_>) {
        let flags = &self.flags;
        match (&flags.config, &self.stdin) {
            (Some(_), Some(Ok(text))) => builder.config(&Input::Text {
                name: STDIN.to_owned(),
                text: text.clone(),
            }),
            // Reading it as a file says what is wrong with it.
            (Some(path), Some(Err(_)) | None) => builder.config(&Input::Path(path.clone())),
            (None, _) => {}
        }
        flags
            .allow_domains
            .iter()
            .for_each(|it| builder.allow_domains(it));
        flags
            .allow_domains_file
            .iter()
            .for_each(|it| builder.allow_domains_file(it));
        flags
            .block_domains
            .iter()
            .for_each(|it| builder.block_domains(it));
        flags
            .block_domains_file
            .iter()
            .for_each(|it| builder.block_domains_file(it));
        for ports in &flags.allow_host_service_ports {
            builder.host_ports("--allow-host-service-ports", ports);
        }
        match flags.mode.as_deref() {
            Some("audit") => builder.mode(Mode::Audit),
            Some(_) => builder.mode(Mode::Enforce),
            None => {}
        }
        match flags.dns.as_deref() {
            Some("real") => builder.dns_answers(Answers::Real),
            Some(_) => builder.dns_answers(Answers::Synthetic),
            None => {}
        }
        flags
            .dns_servers
            .iter()
            .for_each(|it| builder.dns_servers(it));
        if let Some(url) = &flags.upstream_proxy {
            builder.upstream_proxy(url);
        }
        for entries in &flags.upstream_no_proxy {
            builder.no_proxy("--upstream-no-proxy", entries);
        }
    }

    /// Whether anything besides the gateway can be reached, now or after a reload.
    pub fn doors(&self, loaded: &Loaded) -> Doors {
        let policy = &loaded.policy;
        let opens = !policy.allow.is_empty()
            || !policy.host_ports.is_empty()
            || policy.mode == Mode::Audit
            || self.flags.config.is_some()
            || !self.flags.allow_domains_file.is_empty();
        if opens { Doors::Open } else { Doors::Closed }
    }

    /// What to read anew, if that can change anything.
    pub fn for_reload(self, doors: Doors) -> Option<Self> {
        (doors == Doors::Open).then_some(self)
    }
}

fn read_stdin() -> Result<String, String> {
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    Ok(text)
}
