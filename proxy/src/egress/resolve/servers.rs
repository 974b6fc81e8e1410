// SPDX-License-Identifier: MIT OR Apache-2.0
//! Servers that were named instead of the host's own: DNS over UDP and TCP, or over HTTPS.
//!
//! /etc/hosts comes first, as everywhere. The search domains of resolv.conf hold too; they are read once.

use std::{
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, NoRecords, runtime::TokioRuntimeProvider},
    proto::op::ResponseCode,
    system_conf::read_system_conf,
};
use keyward_policy::Name;
use tokio::{sync::OnceCell, time::timeout};

use super::{Failure, Found, Landed, host::HostResolver, hosts::Hosts};
use crate::{settings::DnsServer, upstream::tls::Tls};

/// How long one server may take before the next is asked: with two dead ones there is still time to connect.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Most addresses of one DNS over HTTPS service that are tried.
const MOST_ADDRESSES: usize = 4;

/// Asks named servers, one after the other until one answers: the next is for when the one before does not, and may
/// know less.
#[derive(Debug)]
pub(super) struct Servers {
    servers: Vec<Server>,
    tls: Tls,
    hosts: Hosts,
}

/// One of them.
struct Server {
    settings: DnsServer,
    /// Made when it is first needed: a service's own name has to be looked up for it, and roots have to be there.
    resolver: OnceCell<TokioResolver>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Servers {
    pub(super) fn new(servers: Vec<DnsServer>, tls: Tls) -> Self {
        let server = |settings| Server {
            settings,
            resolver: OnceCell::new(),
        };
        Self {
            servers: servers.into_iter().map(server).collect(),
            tls,
            hosts: Hosts::default(),
        }
    }

    pub(super) async fn look_up(&self, host: &HostResolver, name: &Name) -> Landed {
        let addresses = self.hosts.look_up(name);
        if !addresses.is_empty() {
            return Ok(Found {
                addresses,
                ttl: None,
            });
        }
        let mut last = Failure::Failed("no server".into());
        for server in &self.servers {
            let asked = timeout(TIMEOUT, server.ask(host, &self.tls, name)).await;
            last = match asked {
                Ok(Err(failure @ Failure::Failed(_))) => failure,
                Ok(answer) => return answer,
                Err(_elapsed) => Failure::Failed("no answer in time".into()),
            };
            tracing::debug!(server = ?server.settings, %name, failure = %last, "next server");
        }
        Err(last)
    }
}

impl Server {
    async fn ask(&self, host: &HostResolver, tls: &Tls, name: &Name) -> Landed {
        let make = || self.make(host, tls);
        let resolver = self.resolver.get_or_try_init(make).await?;
        match resolver.lookup_ip(name.as_str()).await {
            Ok(found) => Ok(Found {
                addresses: found.iter().collect(),
                ttl: Some(
                    found
                        .valid_until()
                        .saturating_duration_since(Instant::now()),
                ),
            }),
            Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords {
                response_code: ResponseCode::NXDomain | ResponseCode::NoError,
                ..
            }))) => Err(Failure::NotFound),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn make(&self, host: &HostResolver, tls: &Tls) -> Result<TokioResolver, Failure> {
        let mut servers = Vec::new();
        let mut config = None;
        match &self.settings {
            DnsServer::Plain(address) => {
                let connections = vec![
                    at(ConnectionConfig::udp(), address.port()),
                    at(ConnectionConfig::tcp(), address.port()),
                ];
                servers.push(NameServerConfig::new(address.ip(), true, connections));
            }
            DnsServer::Https {
                host: name,
                port,
                path,
            } => {
                let ready = tls.config(false).await;
                let ready = ready.map_err(|fault| Failure::Failed(fault.name().into()))?;
                let mut ready = (*ready).clone();
                ready.alpn_protocols = vec![b"h2".to_vec()];
                config = Some(ready);
                for address in service(host, name).await? {
                    let (name, path) = (name.as_str().into(), path.as_str().into());
                    let connection = ConnectionConfig::https(name, Some(path));
                    let connections = vec![at(connection, *port)];
                    servers.push(NameServerConfig::new(address, true, connections));
                }
            }
        }
        let mut options = ResolverOpts::default();
        let mut search = Vec::new();
        // A host without a resolv.conf has no search domains.
        if let Ok((system, its_options)) = read_system_conf() {
            search = system.search().to_vec();
            options.ndots = its_options.ndots;
        }
        options.timeout = TIMEOUT;
        // A connection that was closed meanwhile is made again.
        options.attempts = 1;
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 1024;
        let servers = ResolverConfig::from_parts(None, search, servers);
        let provider = TokioRuntimeProvider::default();
        let builder = TokioResolver::builder_with_config(servers, provider).with_options(options);
        let builder = match config {
            Some(config) => builder.with_tls_config(config),
            None => builder,
        };
        builder.build().map_err(|error| failed(&error))
    }
}

/// Where a DNS over HTTPS service is, asked of the host: somebody has to be asked first.
async fn service(host: &HostResolver, name: &str) -> Result<Vec<IpAddr>, Failure> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    let name: Name = name.parse().map_err(|error| failed(&error))?;
    let found = host.look_up(&name).await?;
    Ok(found.addresses.into_iter().take(MOST_ADDRESSES).collect())
}

fn at(mut connection: ConnectionConfig, port: u16) -> ConnectionConfig {
    connection.port = port;
    connection
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::Failed(error.to_string().into())
}
