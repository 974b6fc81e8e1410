// SPDX-License-Identifier: MIT OR Apache-2.0
//! Servers that were named instead of the host's own: DNS over UDP and TCP, or over HTTPS.
//!
//! /etc/hosts comes first, as everywhere. The search domains of resolv.conf hold too; they are read once.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver,
    config::{
        ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
        ServerOrderingStrategy,
    },
    net::{DnsError, NetError, NoRecords, runtime::TokioRuntimeProvider},
    proto::op::ResponseCode,
    system_conf::read_system_conf,
};
use keyward_policy::Name;
use tokio::sync::OnceCell;

use super::{Failure, Found, Landed, host::HostResolver, hosts::Hosts};
use crate::{settings::DnsServer, upstream::tls::Tls};

/// How long one server may take, and how often it is asked: together with a second server this stays below what a
/// connection may take.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// Most addresses of one DNS over HTTPS service that are tried.
const MOST_ADDRESSES: usize = 4;

/// Asks named servers.
#[derive(Debug)]
pub(super) struct Servers {
    servers: Vec<DnsServer>,
    tls: Tls,
    hosts: Hosts,
    /// Made when it is first needed: a service's own name has to be looked up for it, and roots have to be there.
    resolver: OnceCell<Asked>,
}

struct Asked(TokioResolver);

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asked")
    }
}

impl Servers {
    pub(super) fn new(servers: Vec<DnsServer>, tls: Tls) -> Self {
        Self {
            servers,
            tls,
            hosts: Hosts::default(),
            resolver: OnceCell::new(),
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
        let resolver = self.resolver.get_or_try_init(|| self.make(host)).await?;
        match resolver.0.lookup_ip(name.as_str()).await {
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

    async fn make(&self, host: &HostResolver) -> Result<Asked, Failure> {
        let mut servers = Vec::new();
        let mut tls = None;
        for server in &self.servers {
            match server {
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
                    let config = self
                        .tls
                        .config(false)
                        .await
                        .map_err(|fault| Failure::Failed(fault.name().into()))?;
                    tls = Some(config);
                    for address in self.service(host, name, *port).await? {
                        let (name, path) = (name.as_str().into(), path.as_str().into());
                        let connection = ConnectionConfig::https(name, Some(path));
                        let connections = vec![at(connection, *port)];
                        servers.push(NameServerConfig::new(address.ip(), true, connections));
                    }
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
        options.attempts = ATTEMPTS;
        options.use_hosts_file = ResolveHosts::Never;
        // The second is for when the first does not answer, and may know less.
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.num_concurrent_reqs = 1;
        options.cache_size = 1024;
        let config = ResolverConfig::from_parts(None, search, servers);
        let provider = TokioRuntimeProvider::default();
        let mut builder =
            TokioResolver::builder_with_config(config, provider).with_options(options);
        if let Some(tls) = tls {
            let mut tls = (*tls).clone();
            tls.alpn_protocols = vec![b"h2".to_vec()];
            builder = builder.with_tls_config(tls);
        }
        builder.build().map(Asked).map_err(|error| failed(&error))
    }

    /// Where a DNS over HTTPS service is, asked of the host: somebody has to be asked first.
    async fn service(
        &self,
        host: &HostResolver,
        name: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, Failure> {
        if let Ok(address) = name.parse() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let name: Name = name.parse().map_err(|error| failed(&error))?;
        let found = host.look_up(&name).await?;
        let addresses = found.addresses.into_iter().take(MOST_ADDRESSES);
        Ok(addresses.map(|it| SocketAddr::new(it, port)).collect())
    }
}

fn at(mut connection: ConnectionConfig, port: u16) -> ConnectionConfig {
    connection.port = port;
    connection
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::Failed(error.to_string().into())
}
