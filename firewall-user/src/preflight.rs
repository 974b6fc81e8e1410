// SPDX-License-Identifier: GPL-3.0-or-later
//! The last check before the command starts: every port of the gateway answers, from where the command will be.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use firewall_common::Endpoints;
use keyward_proxy::provider::Providers;

use crate::network;

/// Long beyond what a healthy proxy takes (well under a millisecond), short for a person who waits.
const DEADLINE: Duration = Duration::from_secs(2);

/// Asks each port for its health. A provider without a credential says that it is not configured: that, too, is the
/// gateway answering.
pub fn gateway_answers(
    namespace: &OwnedFd,
    endpoints: &Endpoints,
    providers: &Providers,
) -> Result<()> {
    network::inside(namespace, || {
        let address = |port| SocketAddr::from((Ipv4Addr::from(endpoints.v4), port));
        let failure = |port| format!("the gateway does not answer on {}", address(port));
        // All are asked before the first is heard: the proxy is one thread, and answers them in one go.
        let mut asked = Vec::new();
        for port in providers.iter().map(|it| it.port) {
            asked.push((port, ask(address(port)).with_context(|| failure(port))?));
        }
        for (port, stream) in asked {
            hear(stream).with_context(|| failure(port))?;
        }
        Ok(())
    })
}

fn ask(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}

fn hear(mut stream: TcpStream) -> Result<()> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let status = answer.get(9..12).unwrap_or_default();
    ensure!(
        answer.starts_with(b"HTTP/1.1 ") && matches!(status, b"200" | b"503"),
        "it said something other than its health"
    );
    Ok(())
}
