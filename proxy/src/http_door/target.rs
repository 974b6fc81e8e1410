// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whom a request is for: its target, its `Host`, and what is known of the connection have to agree. Pure.

use http::{HeaderMap, Method, Uri, header};
use keyward_policy::Host;

use super::Face;
use crate::gateway::guard::authority;

/// Port of `http://`.
const HTTP: u16 = 80;

/// Whom a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: Host,
    pub(super) port: u16,
    /// Path with its query, or `*`.
    pub(super) path: String,
}

/// Why nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unclear {
    /// No host that there could be.
    NotAHost,
    /// Target, `Host` and connection name different hosts or ports: what the request would have been for.
    Mismatch(Host, u16),
    /// A path where a proxy gets a URL.
    NotForAProxy,
    /// `https://`, which only `CONNECT` leads to.
    Https(Host, u16),
}

impl Target {
    /// As the `Host` header and a URL have it.
    pub(super) fn authority(&self) -> String {
        authority_of(&self.host, self.port)
    }
}

/// `host`, or `host:port` where it is not the port of `http://`.
pub(super) fn authority_of(host: &Host, port: u16) -> String {
    let host = match host {
        Host::Address(std::net::IpAddr::V6(v6)) => format!("[{v6}]"),
        Host::Address(std::net::IpAddr::V4(_)) | Host::Name(_) => host.to_string(),
    };
    match port {
        HTTP => host,
        port => format!("{host}:{port}"),
    }
}

/// Whom a request other than `CONNECT` is for.
pub(super) fn of(
    face: &Face,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Target, Unclear> {
    let named = host(headers)?;
    let url = match uri.authority() {
        Some(authority) => Some(parse(authority.as_str())?),
        None => None,
    };
    if let Some((host, port)) = &url
        && uri.scheme_str() != Some("http")
    {
        return Err(Unclear::Https(host.clone(), port.unwrap_or(443)));
    }
    let (host, port) = match (face, &url) {
        (Face::Proxy { .. }, None) => return Err(Unclear::NotForAProxy),
        (Face::Proxy { .. }, Some((host, port))) => (host.clone(), port.unwrap_or(HTTP)),
        (Face::Server { hosts, port }, _) => {
            let host = &named.as_ref().ok_or(Unclear::NotAHost)?.0;
            if !hosts.contains(host) {
                return Err(Unclear::Mismatch(host.clone(), *port));
            }
            (host.clone(), *port)
        }
    };
    for (other, at) in [named, url].into_iter().flatten() {
        // Without a port it is the connection's: plenty of clients leave an unusual one out.
        if other != host || at.is_some_and(|it| it != port) {
            return Err(Unclear::Mismatch(other, at.unwrap_or(port)));
        }
    }
    let path = match uri.path_and_query() {
        Some(path) if !path.as_str().is_empty() => path.as_str().to_owned(),
        Some(_) | None if method == Method::OPTIONS => "*".to_owned(),
        Some(_) | None => "/".to_owned(),
    };
    Ok(Target { host, port, path })
}

/// Whom `CONNECT` is for.
pub(crate) fn of_connect(uri: &Uri, headers: &HeaderMap) -> Result<(Host, u16), Unclear> {
    let authority = uri.authority().ok_or(Unclear::NotAHost)?;
    let (host, port) = parse(authority.as_str())?;
    let port = port.ok_or(Unclear::NotAHost)?;
    if let Some((other, at)) = self::host(headers)?
        && (other != host || at.is_some_and(|it| it != port))
    {
        return Err(Unclear::Mismatch(other, at.unwrap_or(port)));
    }
    Ok((host, port))
}

/// What the `Host` header names. The guard lets no more than one through.
fn host(headers: &HeaderMap) -> Result<Option<(Host, Option<u16>)>, Unclear> {
    let Some(value) = headers.get(header::HOST) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_not_text| Unclear::NotAHost)?;
    parse(text).map(Some)
}

fn parse(text: &str) -> Result<(Host, Option<u16>), Unclear> {
    let (host, port) = authority::split(text.as_bytes()).ok_or(Unclear::NotAHost)?;
    let host = host.parse().map_err(|_not_one| Unclear::NotAHost)?;
    Ok((host, port))
}
