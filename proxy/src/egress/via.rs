// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way through an upstream proxy: `CONNECT`, over TCP or verified TLS.
//!
//! Names are looked up by that proxy then, not here.

use std::{io, net::IpAddr, net::SocketAddr, sync::Arc};

use http::HeaderValue;
use keyward_policy::{Host, Name};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::Resolver;
use crate::{
    refusal::UpstreamFault,
    settings::{UpstreamProxy, UpstreamSettings},
    upstream::{Wire, race, tls::Tls},
};

/// Longest head of an answer to `CONNECT`.
const HEAD: usize = 16 * 1024;

/// The way through an upstream proxy.
#[derive(Clone, Debug)]
pub(crate) struct Via {
    proxy: Arc<UpstreamProxy>,
    tls: Tls,
    resolver: Resolver,
}

/// Why it does not lead anywhere. Says nothing of who we are to the proxy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViaFault {
    /// It cannot be reached.
    #[error("The upstream proxy could not be reached.")]
    Unreachable,
    /// It does not prove who it is.
    #[error("The upstream proxy's certificate could not be verified.")]
    NotVerified,
    /// It closed the connection, or its answer is none.
    #[error("The upstream proxy gave no answer to CONNECT.")]
    NoAnswer(#[source] io::Error),
    /// It does not know us.
    #[error(
        "The upstream proxy answered 407: it wants a user and a password, or others than it was given."
    )]
    Unauthorized,
    /// It refused.
    #[error("The upstream proxy answered {0}.")]
    Refused(u16),
}

impl Via {
    /// `None`: there is no such proxy.
    pub(crate) fn new(settings: &UpstreamSettings, tls: Tls, resolver: Resolver) -> Option<Self> {
        let proxy = Arc::clone(settings.proxy.as_ref()?);
        Some(Self {
            proxy,
            tls,
            resolver,
        })
    }

    /// Whether a connection to this host goes through it.
    pub(crate) fn leads_to(&self, host: &Host, port: u16) -> bool {
        self.proxy.leads_to(host, port)
    }

    /// What it wants to see of us.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        self.proxy.authorization()
    }

    /// A connection to the proxy itself.
    pub(crate) async fn reach(&self) -> Result<Wire, ViaFault> {
        let (host, port) = (self.proxy.host.as_str(), self.proxy.port);
        let unreachable = |error: &dyn std::fmt::Display| {
            tracing::warn!(%host, port, %error, "upstream proxy not reached");
            ViaFault::Unreachable
        };
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_name) => {
                let name: Name = host.parse().map_err(|fault| unreachable(&fault))?;
                let found = self.resolver.resolve(&name).await;
                found.map_err(|error| unreachable(&error))?
            }
        };
        let at_port = |it| SocketAddr::new(it, port);
        let tcp = race::connect(addresses.into_iter().map(at_port).collect())
            .await
            .map_err(|fault| unreachable(&fault.name()))?;
        if !self.proxy.tls {
            return Ok(Wire::Plain(tcp));
        }
        let not_verified = |fault: UpstreamFault| {
            tracing::warn!(%host, reason = fault.name(), "upstream proxy not verified");
            ViaFault::NotVerified
        };
        let config = self.tls.config(true).await.map_err(not_verified)?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_not_a_name| not_verified(UpstreamFault::TlsFailed))?;
        let tls = TlsConnector::from(config).connect(name, tcp).await;
        let tls = tls.map_err(|error| {
            tracing::warn!(%host, %error, "TLS handshake with the upstream proxy failed");
            ViaFault::NotVerified
        })?;
        Ok(Wire::Tls(Box::new(tls)))
    }

    /// A connection through it.
    pub(crate) async fn tunnel(&self, host: &str, port: u16) -> Result<Wire, ViaFault> {
        let mut wire = self.reach().await?;
        let target = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        if let Some(value) = self.authorization() {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let asked = async {
            wire.write_all(&request).await?;
            wire.flush().await?;
            let head = head(&mut wire).await?;
            status(&head).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
        };
        match asked.await.map_err(ViaFault::NoAnswer)? {
            200..=299 => Ok(wire),
            407 => Err(ViaFault::Unauthorized),
            status => Err(ViaFault::Refused(status)),
        }
    }
}

/// The head of an answer, to its last byte and no further: what follows is the tunnel's.
async fn head(wire: &mut Wire) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(256);
    let mut ahead = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        let count = match wire {
            // As much as there is of the head, found by looking ahead.
            Wire::Plain(tcp) => {
                let seen = tcp.peek(&mut ahead).await?;
                let seen = ahead.get(..seen).unwrap_or_default();
                up_to_end(&head, seen)
            }
            // What TLS has decrypted is in memory: byte by byte costs little.
            Wire::Tls(_) => 1,
        };
        let taken = ahead.get_mut(..count).unwrap_or_default();
        if count == 0 || wire.read_exact(taken).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(taken);
        if head.len() > HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(head)
}

/// How many of `fresh` bytes belong to a head that began with `before`.
fn up_to_end(before: &[u8], fresh: &[u8]) -> usize {
    let kept = before.len().min(3);
    let mut window = before
        .get(before.len() - kept..)
        .unwrap_or_default()
        .to_vec();
    window.extend_from_slice(fresh);
    match window.windows(4).position(|it| it == b"\r\n\r\n") {
        Some(at) => at + 4 - kept,
        None => fresh.len(),
    }
}

/// The status of an answer in HTTP/1.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|it| *it == b'\r').next()?;
    let rest = line
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, behind) = rest.split_at_checked(3)?;
    let ends = matches!(behind.first(), None | Some(b' '));
    let plain = digits.iter().all(u8::is_ascii_digit) && ends;
    let status: u16 = str::from_utf8(digits).ok()?.parse().ok()?;
    (plain && (100..600).contains(&status)).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_where_it_ends() {
        let all = b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0";
        for cut in 0..=19 {
            let (before, fresh) = all.split_at(cut);
            let expected = if cut == 19 { 7 } else { 19 - cut };
            // Behind its end nobody looks for it again.
            if cut < 19 {
                assert_eq!(up_to_end(before, fresh), expected, "{cut}");
            }
        }
        assert_eq!(up_to_end(b"HTTP/1.1 200", b" OK\r\n\r"), 6);
    }

    #[test]
    fn statuses() {
        for (head, expected) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Some(200)),
            ("HTTP/1.0 407\r\n\r\n", Some(407)),
            ("HTTP/1.1 2000 OK\r\n\r\n", None),
            ("HTTP/1.1 +20 OK\r\n\r\n", None),
            ("HTTP/2 200\r\n\r\n", None),
            ("ICY 200 OK\r\n\r\n", None),
            ("HTTP/1.1 099 X\r\n\r\n", None),
            ("", None),
        ] {
            assert_eq!(status(head.as_bytes()), expected, "{head:?}");
        }
    }
}
