// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who is measured, and how each is set up: one thread or worker, one log line a connection, and each goes on for an
//! hour when nothing is said.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Args, SPARE};
use crate::client::{self, Client, Proxy};
use crate::cores::{self, Cores};
use crate::keyward;
use crate::origin::{ADDRESS, NAME, PORT, TLS_PORT};
use crate::process::{Processes, Server};

/// One of those compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contestant {
    Direct,
    Haproxy,
    Squid,
    Transparent,
    Explicit,
}

impl Contestant {
    pub(super) const ALL: [Self; 5] = [
        Self::Direct,
        Self::Haproxy,
        Self::Squid,
        Self::Transparent,
        Self::Explicit,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Haproxy => "haproxy",
            Self::Squid => "squid",
            Self::Transparent => "transparent",
            Self::Explicit => "explicit",
        }
    }

    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Direct => "the client connects to the origin itself",
            Self::Haproxy => {
                "HAProxy in TCP mode, one thread, splicing where it thinks it worth it"
            }
            Self::Squid => "Squid, CONNECT, one worker, the host allowed by name",
            Self::Transparent => "`keyward run`: the client connects by name, and is redirected",
            Self::Explicit => "`keyward run --proxy-env`: the client sends CONNECT",
        }
    }
}

/// A contestant that is ready. The client goes first when it is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) client: Client,
    /// What is in between, as the kernel accounts for it.
    pub(super) processes: Option<Processes>,
    _server: Option<Server>,
}

/// What all of them need.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    pub(super) args: &'a Args,
    pub(super) cores: Cores,
    /// That a process may have.
    pub(super) descriptors: u64,
    pub(super) scratch: &'a Path,
    /// This program, where everybody can run it.
    pub(super) client: String,
    /// The origin's, PEM.
    pub(super) certificate: String,
}

impl Setup<'_> {
    pub(super) fn start(&self, contestant: Contestant) -> Result<Entry> {
        let directory = self.scratch.join(contestant.name());
        fs::create_dir_all(&directory).context("a temporary directory")?;
        match contestant {
            Contestant::Direct => self.entry(None, &ADDRESS.to_string(), Proxy::None),
            Contestant::Haproxy => {
                let listen = Ipv4Addr::new(127, 0, 0, 2);
                let command = self.haproxy(&directory, listen)?;
                let server = self.server(command, SocketAddr::from((listen, PORT)))?;
                self.entry(Some(server), &listen.to_string(), Proxy::None)
            }
            Contestant::Squid => {
                let listen = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 3), 3128));
                let command = self.squid(&directory, listen)?;
                let server = self.server(command, listen)?;
                self.entry(Some(server), NAME, Proxy::At(listen))
            }
            Contestant::Transparent => self.keyward(&directory, &[], Proxy::None),
            Contestant::Explicit => {
                self.keyward(&directory, &["--proxy-env"], Proxy::OfEnvironment)
            }
        }
    }

    fn server(&self, command: Command, address: SocketAddr) -> Result<Server> {
        cores::on(self.cores.server, || Server::start(command, address))
    }

    fn entry(&self, server: Option<Server>, host: &str, proxy: Proxy) -> Result<Entry> {
        let command = [&self.client, "client"].map(str::to_owned);
        let processes = server.as_ref().map(Server::processes).transpose()?;
        Ok(Entry {
            client: Client::start(&command, &self.client_setup(host, proxy))?,
            processes,
            _server: server,
        })
    }

    fn client_setup(&self, host: &str, proxy: Proxy) -> client::Setup {
        client::Setup {
            core: self.cores.load,
            host: host.to_owned(),
            proxy,
            certificate: self.certificate.clone(),
        }
    }

    fn haproxy(&self, directory: &Path, listen: Ipv4Addr) -> Result<Command> {
        let listener = |name: &str, port: u16| {
            format!("listen {name}\n    bind {listen}:{port}\n    server origin {ADDRESS}:{port}\n")
        };
        // Left to itself it keeps a quarter of the descriptors for pipes.
        let most = self.descriptors.saturating_sub(SPARE / 2) / 2;
        let text = format!(
            "global\n    maxconn {most}\n    maxpipes 100\n    nbthread 1\n    log stderr format raw local0\n\
             defaults\n    mode tcp\n    log global\n    option tcplog\n    option splice-auto\n    \
             timeout connect 10s\n    timeout client 1h\n    timeout server 1h\n{}{}",
            listener("plain", PORT),
            listener("tls", TLS_PORT),
        );
        let config = directory.join("haproxy.cfg");
        fs::write(&config, text).context("writing haproxy.cfg")?;
        let mut command = Command::new(&self.args.haproxy);
        command.arg("-db").arg("-f").arg(config);
        Ok(command)
    }

    fn squid(&self, directory: &Path, listen: SocketAddr) -> Result<Command> {
        // It gives up being root, and then writes its logs there.
        for (path, mode) in [(self.scratch, 0o711), (directory, 0o777)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).context("chmod")?;
        }
        let directory = directory.display();
        let hosts = format!("{directory}/hosts");
        fs::write(&hosts, format!("{ADDRESS} {NAME}\n")).context("writing hosts")?;
        let text = format!(
            "http_port {listen}\n\
             acl allowed dstdomain {NAME}\n\
             http_access allow allowed\n\
             http_access deny all\n\
             hosts_file {hosts}\n\
             dns_nameservers 127.0.0.1\n\
             cache deny all\n\
             cache_mem 8 MB\n\
             access_log stdio:{directory}/access.log\n\
             buffered_logs on\n\
             cache_log {directory}/cache.log\n\
             pid_filename none\n\
             netdb_filename none\n\
             coredump_dir none\n\
             pinger_enable off\n\
             max_filedescriptors {}\n\
             read_timeout 1 hour\n\
             shutdown_lifetime 0 seconds\n",
            self.descriptors
        );
        let config = format!("{directory}/squid.conf");
        fs::write(&config, text).context("writing squid.conf")?;
        let mut command = Command::new(&self.args.squid);
        command.args(["-N", "-f", &config]);
        Ok(command)
    }

    fn keyward(&self, directory: &Path, flags: &[&str], proxy: Proxy) -> Result<Entry> {
        let allow = format!("{NAME},{NAME}:{PORT}");
        let resolve = |port| {
            format!(
                "{NAME}:{port}={}",
                SocketAddr::new(IpAddr::V4(ADDRESS), port)
            )
        };
        let (plain, tls) = (resolve(PORT), resolve(TLS_PORT));
        let own = [
            "--allow-domains",
            &allow,
            "--resolve",
            &plain,
            "--resolve",
            &tls,
        ];
        let flags = [&own, flags].concat();
        let mut command = keyward::run(&self.args.keyward, directory, &flags)?;
        command.extend([&self.client, "client"].map(str::to_owned));
        let setup = self.client_setup(NAME, proxy);
        // The client changes to the other core by itself.
        let client = cores::on(self.cores.server, || Client::start(&command, &setup))?;
        let processes = Processes::below(client.pid(), "keyward-proxy")?;
        Ok(Entry {
            client,
            processes: Some(processes),
            _server: None,
        })
    }
}
