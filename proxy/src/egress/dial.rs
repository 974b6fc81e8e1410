// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a permit to a connection.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use firewall_common::Reason;
use keyward_policy::{Host, Name};
use tokio::{net::TcpStream, time::timeout};

use super::{Permit, Resolver};
use crate::{settings::UpstreamSettings, upstream::race};

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Dialler {
    upstream: Arc<UpstreamSettings>,
    resolver: Resolver,
    time: Duration,
}

/// A connection that a permit led to.
pub(crate) struct Dialled {
    pub(crate) stream: TcpStream,
    pub(crate) address: SocketAddr,
}

impl Dialler {
    pub(crate) fn new(upstream: Arc<UpstreamSettings>, resolver: Resolver, time: Duration) -> Self {
        Self {
            upstream,
            resolver,
            time,
        }
    }

    pub(crate) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// The address that a name was fixed to, at whatever port.
    pub(crate) fn fixed(&self, name: &Name) -> Option<IpAddr> {
        let mut fixed = self.upstream.resolve.iter();
        let found = fixed.find(|it| it.host == name.as_str());
        found.map(|it| it.address.ip())
    }

    /// Dials what the permit allows and nothing else: the name is looked up here, whatever address the workload chose.
    pub(crate) async fn dial(&self, permit: &Permit) -> Result<Dialled, Reason> {
        timeout(self.time, async {
            let addresses = self.addresses(permit).await?;
            let stream = race::connect(addresses)
                .await
                .map_err(|_fault| Reason::Unreachable)?;
            let address = stream.peer_addr().map_err(|_gone| Reason::Unreachable)?;
            Ok(Dialled { stream, address })
        })
        .await
        .unwrap_or(Err(Reason::Unreachable))
    }

    /// Where to dial: every address that may be.
    async fn addresses(&self, permit: &Permit) -> Result<Vec<SocketAddr>, Reason> {
        let question = permit.question();
        let (host, port) = (&question.host, question.port);
        if permit.policy.is_host_service(host) {
            let loopback = [
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ];
            return Ok(loopback.map(|it| SocketAddr::new(it, port)).to_vec());
        }
        let name = match host {
            Host::Address(address) => return Ok(vec![SocketAddr::new(*address, port)]),
            Host::Name(name) => name,
        };
        // Fixed by whoever started the proxy, who may mean any network.
        if let Some(fixed) = self.upstream.resolved(name.as_str(), port) {
            return Ok(vec![fixed]);
        }
        let found = self.resolver.resolve(name).await.map_err(|error| {
            tracing::debug!(%name, %error, "name not resolved");
            Reason::Unreachable
        })?;
        let mut refused = None;
        let mut addresses = Vec::new();
        for address in found.into_iter().map(|it| it.to_canonical()) {
            match permit.policy.may_dial(permit.rule.as_ref(), address, port) {
                Ok(()) => addresses.push(SocketAddr::new(address, port)),
                Err(reason) => refused = Some(reason),
            }
        }
        match refused {
            Some(reason) if addresses.is_empty() => Err(reason),
            Some(_) | None => Ok(addresses),
        }
    }
}

#[cfg(test)]
mod tests;
