// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who is measured, and how each is set up: one thread, UDP, the answer known without asking anybody.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::Args;
use crate::client::{self, Client, Proxy};
use crate::cores::{self, Cores};
use crate::keyward;
use crate::origin::NAME;
use crate::process::{Processes, Server};

/// What all but keyward answer: keyward's first is one like it.
const ANSWER: &str = "198.18.0.1";

/// One of those compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contestant {
    Unbound,
    Dnsmasq,
    DnsmasqCached,
    Keyward,
}

impl Contestant {
    /// unbound first: a dnsmasq asks it once.
    pub(super) const ALL: [Self; 4] = [
        Self::Unbound,
        Self::Dnsmasq,
        Self::DnsmasqCached,
        Self::Keyward,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unbound => "unbound",
            Self::Dnsmasq => "dnsmasq",
            Self::DnsmasqCached => "dnsmasq-cached",
            Self::Keyward => "keyward",
        }
    }

    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Unbound => "unbound, local data",
            Self::Dnsmasq => "dnsmasq, `--address`",
            Self::DnsmasqCached => "dnsmasq, from its cache, after it asked unbound once",
            Self::Keyward => "`keyward run`, an allowed name",
        }
    }

    fn address(self) -> Ipv4Addr {
        match self {
            Self::Unbound => Ipv4Addr::new(127, 0, 0, 2),
            Self::Dnsmasq => Ipv4Addr::new(127, 0, 0, 3),
            Self::DnsmasqCached => Ipv4Addr::new(127, 0, 0, 4),
            Self::Keyward => Ipv4Addr::UNSPECIFIED,
        }
    }
}

/// A contestant that is ready. The client goes first when it is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) client: Client,
    /// Whom to ask; `None`: whom the system says.
    pub(super) address: Option<IpAddr>,
    /// The server, as the kernel accounts for it.
    pub(super) processes: Processes,
    _server: Option<Server>,
}

/// What all of them need.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    pub(super) args: &'a Args,
    pub(super) cores: Cores,
    pub(super) scratch: &'a Path,
    /// This program, where everybody can run it.
    pub(super) client: String,
}

impl Setup<'_> {
    pub(super) fn start(&self, contestant: Contestant) -> Result<Entry> {
        let directory = self.scratch.join(contestant.name());
        fs::create_dir_all(&directory).context("a temporary directory")?;
        let answer = format!("--address=/{NAME}/{ANSWER}");
        let command = match contestant {
            Contestant::Unbound => self.unbound(&directory)?,
            Contestant::Dnsmasq => self.dnsmasq(contestant, &directory, &[&answer]),
            Contestant::DnsmasqCached => {
                let server = format!("--server={}", Contestant::Unbound.address());
                self.dnsmasq(contestant, &directory, &[&server])
            }
            Contestant::Keyward => return self.keyward(&directory),
        };
        let address = contestant.address();
        let listen = SocketAddr::from((address, 53));
        let server = cores::on(self.cores.server, || Server::start(command, listen))?;
        let command = [&self.client, "client"].map(str::to_owned);
        Ok(Entry {
            client: Client::start(&command, &self.client_setup())?,
            address: Some(address.into()),
            processes: server.processes()?,
            _server: Some(server),
        })
    }

    fn client_setup(&self) -> client::Setup {
        client::Setup {
            core: self.cores.load,
            host: NAME.to_owned(),
            proxy: Proxy::None,
            certificate: String::new(),
        }
    }

    fn dnsmasq(&self, contestant: Contestant, directory: &Path, flags: &[&str]) -> Command {
        let mut command = Command::new(&self.args.dnsmasq);
        command
            .args(["--keep-in-foreground", "--conf-file=/dev/null"])
            .args(["--no-resolv", "--no-hosts", "--user=root", "--group=root"])
            .arg(format!("--pid-file={}/pid", directory.display()))
            .arg("--bind-interfaces")
            .arg(format!("--listen-address={}", contestant.address()))
            .args(flags);
        command
    }

    fn unbound(&self, directory: &Path) -> Result<Command> {
        let text = format!(
            "server:\n\
             \tinterface: {}\n\
             \tnum-threads: 1\n\
             \tdo-daemonize: no\n\
             \tusername: \"\"\n\
             \tchroot: \"\"\n\
             \tdirectory: \"{}\"\n\
             \tpidfile: \"\"\n\
             \tuse-syslog: no\n\
             \tmodule-config: \"iterator\"\n\
             \tlocal-data: \"{NAME}. 3600 IN A {ANSWER}\"\n\
             remote-control:\n\
             \tcontrol-enable: no\n",
            Contestant::Unbound.address(),
            directory.display(),
        );
        let config = directory.join("unbound.conf");
        fs::write(&config, text).context("writing unbound.conf")?;
        let mut command = Command::new(&self.args.unbound);
        command.arg("-d").arg("-c").arg(config);
        Ok(command)
    }

    fn keyward(&self, directory: &Path) -> Result<Entry> {
        let flags = ["--allow-domains", NAME];
        let mut command = keyward::run(&self.args.keyward, directory, &flags)?;
        command.extend([&self.client, "client"].map(str::to_owned));
        let setup = self.client_setup();
        // The client changes to the other core by itself.
        let client = cores::on(self.cores.server, || Client::start(&command, &setup))?;
        let processes = Processes::below(client.pid(), "keyward-proxy")?;
        Ok(Entry {
            client,
            address: None,
            processes,
            _server: None,
        })
    }
}
