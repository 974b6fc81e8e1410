// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a permit to a connection.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use firewall_common::Reason;
use http::HeaderValue;
use keyward_policy::{Host, Name, Policy};
use tokio::{net::TcpStream, time::timeout};

use super::{Connection, Permit, Resolver, Via, tunnel};
use crate::{
    scan::Scanned,
    settings::{Limits, UpstreamSettings},
    upstream::{Wire, race},
};

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Dialler {
    upstream: Arc<UpstreamSettings>,
    resolver: Resolver,
    via: Option<Via>,
    time: Duration,
}

/// A connection that a permit led to.
pub(crate) struct Dialled {
    pub(crate) stream: Wire,
    pub(crate) address: SocketAddr,
}

/// How a request in plain HTTP is written.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// To the host itself: a path.
    Path,
    /// To a proxy: a URL, and who we are.
    Url(Option<HeaderValue>),
}

/// Why there is no connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Undialled {
    /// Unreachable, or why it may not be dialled after all.
    pub(crate) reason: Option<Reason>,
    /// More about it, as a sentence.
    pub(crate) detail: Option<String>,
    /// The rule that would allow it.
    pub(crate) remedy: Option<String>,
}

impl Undialled {
    pub(crate) fn reason(&self) -> Reason {
        self.reason.unwrap_or(Reason::Unreachable)
    }
}

impl Dialled {
    /// Carries bytes between the workload and this. `first` is what the workload said already.
    pub(crate) async fn carry(
        self,
        client: TcpStream,
        first: Vec<u8>,
        connection: &Connection,
        limits: &Limits,
    ) {
        match self.stream {
            Wire::Plain(upstream) => {
                tunnel::carry(client, upstream, first, connection, limits).await;
            }
            Wire::Tls(upstream) => {
                let mut client = Scanned::bytes(client, connection.scanner(), connection.report());
                if client.unread(first).is_err() {
                    connection.failed(Reason::SecretLeak);
                    return;
                }
                tunnel::carry_other(client, upstream, Vec::new(), connection, limits).await;
            }
        }
    }
}

impl Dialler {
    pub(crate) fn new(
        upstream: Arc<UpstreamSettings>,
        resolver: Resolver,
        via: Option<Via>,
        time: Duration,
    ) -> Self {
        Self {
            upstream,
            resolver,
            via,
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
    pub(crate) async fn dial(&self, permit: &Permit) -> Result<Dialled, Undialled> {
        check_address(permit)?;
        let dialled = async {
            match self.via(permit) {
                Some(via) => {
                    let question = permit.question();
                    let host = question.host.to_string();
                    dialled(via.tunnel(&host, question.port).await.map_err(|fault| {
                        tracing::debug!(%host, %fault, "upstream proxy");
                        unreachable(fault.to_string())
                    })?)
                }
                None => self.dial_direct(permit).await,
            }
        };
        timeout(self.time, dialled)
            .await
            .unwrap_or_else(|_late| Err(Undialled::default()))
    }

    /// The same for requests in plain HTTP, which a proxy takes as such.
    pub(crate) async fn dial_http(&self, permit: &Permit) -> Result<(Dialled, Form), Undialled> {
        check_address(permit)?;
        let dialled = async {
            match self.via(permit) {
                Some(via) => {
                    let wire = via
                        .reach()
                        .await
                        .map_err(|fault| unreachable(fault.to_string()))?;
                    Ok((dialled(wire)?, Form::Url(via.authorization())))
                }
                None => Ok((self.dial_direct(permit).await?, Form::Path)),
            }
        };
        timeout(self.time, dialled)
            .await
            .unwrap_or_else(|_late| Err(Undialled::default()))
    }

    /// The proxy that leads there, if one does. What this host offers, and what whoever started us fixed, it does not.
    fn via(&self, permit: &Permit) -> Option<&Via> {
        let question = permit.question();
        let fixed = match &question.host {
            Host::Name(name) => self
                .upstream
                .resolved(name.as_str(), question.port)
                .is_some(),
            Host::Address(_) => false,
        };
        let own = fixed || permit.policy.is_host_service(&question.host);
        self.via
            .as_ref()
            .filter(|it| !own && it.leads_to(&question.host, question.port))
    }

    async fn dial_direct(&self, permit: &Permit) -> Result<Dialled, Undialled> {
        let addresses = self.addresses(permit).await?;
        let stream = race::connect(addresses)
            .await
            .map_err(|_fault| Undialled::default())?;
        dialled(Wire::Plain(stream))
    }

    /// Where to dial: every address that may be.
    async fn addresses(&self, permit: &Permit) -> Result<Vec<SocketAddr>, Undialled> {
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
            unreachable("Its name has no address.".to_owned())
        })?;
        let mut refused = None;
        let mut addresses = Vec::new();
        for address in found.into_iter().map(|it| it.to_canonical()) {
            match may_dial(permit, address) {
                Ok(()) => addresses.push(SocketAddr::new(address, port)),
                Err(undialled) => refused = Some(undialled),
            }
        }
        match refused {
            Some(undialled) if addresses.is_empty() => Err(undialled),
            Some(_) | None => Ok(addresses),
        }
    }
}

/// What a rule lists may be dialled. What is only let through to be written down may not, if it is an address of the own
/// network, of this host, or one at which clouds hand out credentials: no more than a name may lead there.
fn check_address(permit: &Permit) -> Result<(), Undialled> {
    let question = permit.question();
    match question.host {
        Host::Address(address) => may_dial(permit, address),
        Host::Name(_) => Ok(()),
    }
}

fn may_dial(permit: &Permit, address: IpAddr) -> Result<(), Undialled> {
    let port = permit.question().port;
    // A rule that did not allow it is trusted with nothing.
    let rule = permit.rule.as_ref().filter(|_| permit.audited.is_none());
    permit
        .policy
        .may_dial(rule, address, port)
        .map_err(|reason| Undialled {
            reason: Some(reason),
            detail: None,
            remedy: (reason == Reason::PrivateAddress)
                .then(|| Policy::remedy_for_address(address, port)),
        })
}

fn dialled(stream: Wire) -> Result<Dialled, Undialled> {
    let address = stream.tcp().peer_addr();
    let address = address.map_err(|_gone| Undialled::default())?;
    Ok(Dialled { stream, address })
}

fn unreachable(detail: String) -> Undialled {
    Undialled {
        detail: Some(detail),
        ..Undialled::default()
    }
}

#[cfg(test)]
mod tests;
