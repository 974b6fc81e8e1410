// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a connection to the origin comes about: straight, or through a tunnel that a proxy was asked for.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Proxy, Setup};

/// A read or write that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The way to the origin.
#[derive(Clone, Debug)]
pub(super) struct Route {
    host: String,
    proxy: Proxy,
    /// By port: where to connect to. Looked up once.
    known: HashMap<u16, Place>,
}

/// Where to connect to for a port, and what to say there first.
#[derive(Clone, Debug)]
pub(super) struct Place {
    address: SocketAddr,
    /// The request for a tunnel.
    request: Option<String>,
}

/// The head of the proxy's answer, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Answer {
    head: Vec<u8>,
}

impl Route {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            host: setup.host.clone(),
            proxy: setup.proxy,
            known: HashMap::new(),
        }
    }

    /// Where to connect to for `port`.
    pub(super) fn to(&mut self, port: u16) -> Result<Place> {
        if let Some(place) = self.known.get(&port) {
            return Ok(place.clone());
        }
        let proxy = match self.proxy {
            Proxy::None => None,
            Proxy::At(address) => Some(address),
            Proxy::OfEnvironment => Some(proxy_of_environment()?),
        };
        let host = &self.host;
        let place = match proxy {
            Some(address) => Place {
                address,
                request: Some(format!(
                    "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"
                )),
            },
            None => Place {
                address: lookup(&format!("{host}:{port}"))?,
                request: None,
            },
        };
        self.known.insert(port, place.clone());
        Ok(place)
    }
}

impl Place {
    /// Connects, and asks for the tunnel if there is to be one. Whether it was granted is still to be read.
    pub(super) fn connect(&self) -> Result<(TcpStream, Option<Answer>)> {
        let mut stream = TcpStream::connect(self.address).context("connecting")?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        let Some(request) = &self.request else {
            return Ok((stream, None));
        };
        stream
            .write_all(request.as_bytes())
            .context("asking for a tunnel")?;
        Ok((stream, Some(Answer::default())))
    }

    /// A connection to the origin, or what cannot be told from one. It blocks, but not for ever.
    pub(super) fn open(&self) -> Result<TcpStream> {
        let (mut stream, answer) = self.connect()?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .context("SO_RCVTIMEO")?;
        stream
            .set_write_timeout(Some(PATIENCE))
            .context("SO_SNDTIMEO")?;
        if let Some(mut answer) = answer
            && !answer.read(&mut stream)?
        {
            bail!("no answer to CONNECT in time");
        }
        Ok(stream)
    }
}

impl Answer {
    /// Reads on. `false`: there is more to come and nothing there now.
    pub(super) fn read(&mut self, stream: &mut TcpStream) -> Result<bool> {
        let mut piece = [0; 512];
        // What follows the head is not said before the client has said something.
        while !self.head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut piece) {
                Ok(0) => bail!("the proxy hung up"),
                Ok(count) => self.head.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("reading the answer to CONNECT"),
            }
        }
        if self.head.get(9..12) != Some(b"200") {
            bail!("no tunnel: {}", String::from_utf8_lossy(&self.head).trim());
        }
        Ok(true)
    }
}

fn proxy_of_environment() -> Result<SocketAddr> {
    let url = std::env::var("HTTPS_PROXY").context("HTTPS_PROXY")?;
    let authority = url.strip_prefix("http://").context("not a http:// URL")?;
    lookup(authority.trim_end_matches('/'))
}

/// The first IPv4 address.
fn lookup(authority: &str) -> Result<SocketAddr> {
    let mut addresses = authority
        .to_socket_addrs()
        .with_context(|| format!("looking up {authority}"))?;
    addresses
        .find(SocketAddr::is_ipv4)
        .with_context(|| format!("{authority} has no IPv4 address"))
}
