// SPDX-License-Identifier: GPL-3.0-or-later
//! The last check before the command starts, which `keyward status` repeats: every port of the gateway answers, from where the command will be.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use firewall_common::Endpoints;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::network;

/// Long beyond what a healthy proxy takes (well under a millisecond): as for its start, a machine with more to do than it
/// can gets it. One that is gone refuses at once.
const DEADLINE: Duration = Duration::from_mins(1);

/// Proof that every port of the gateway answered.
///
/// Only this module makes one; what starts the command asks for it.
#[derive(Debug)]
#[must_use]
pub struct Answered(());

/// Sockets by which each port can be asked for its health. A socket belongs to the network namespace that it was made in,
/// whoever connects it.
#[derive(Debug)]
pub struct Questions(Vec<(SocketAddrV4, TcpStream)>);

/// Questions that were asked, and not answered yet.
#[derive(Debug)]
pub struct Asked(Vec<(SocketAddrV4, TcpStream)>);

impl Questions {
    /// Makes them in the calling thread's namespace.
    pub fn prepare(endpoints: &Endpoints, ports: impl IntoIterator<Item = u16>) -> Result<Self> {
        let gateway = Ipv4Addr::from(endpoints.v4);
        let addresses = ports
            .into_iter()
            .map(|port| SocketAddrV4::new(gateway, port));
        Self::to(addresses)
    }

    fn to(addresses: impl Iterator<Item = SocketAddrV4>) -> Result<Self> {
        let socket = |address| Ok((address, socket().context("cannot make a socket")?));
        addresses.map(socket).collect::<Result<_>>().map(Self)
    }

    /// Asks. A listener takes the question before there is a proxy to answer it, so that it can be asked while that comes
    /// up.
    pub fn ask(self) -> Result<Asked> {
        // All are asked before the first is heard: the proxy is one thread, and answers them in one go.
        for (address, stream) in &self.0 {
            ask_one(*address, stream).with_context(|| failure(*address))?;
        }
        Ok(Asked(self.0))
    }
}

impl Asked {
    /// Waits for the answers. A provider without a credential says that it is not configured: that, too, is the gateway
    /// answering.
    pub fn answers(self) -> Result<Answered> {
        for (address, stream) in self.0 {
            hear(stream).with_context(|| failure(address))?;
        }
        Ok(Answered(()))
    }
}

/// All at once, in another namespace than the caller's.
pub fn gateway_answers(
    namespace: &OwnedFd,
    endpoints: &Endpoints,
    ports: &[u16],
) -> Result<Answered> {
    let prepare = || Questions::prepare(endpoints, ports.iter().copied());
    network::inside(namespace, prepare)?.ask()?.answers()
}

fn failure(address: SocketAddrV4) -> String {
    format!("the gateway does not answer on {address}")
}

fn socket() -> io::Result<TcpStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE))?;
    // For connecting, too: socket(7).
    stream.set_write_timeout(Some(DEADLINE))?;
    Ok(stream)
}

fn ask_one(address: SocketAddrV4, mut stream: &TcpStream) -> Result<()> {
    connect(stream, &address)?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A port where each connection is answered so.
    fn port(answer: &'static str) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 1024];
                let count = stream.read(&mut request).unwrap();
                assert!(request[..count].starts_with(b"GET /health HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        port
    }

    fn ask(ports: &[u16]) -> Result<Asked> {
        let ports = ports.iter();
        Questions::to(ports.map(|it| SocketAddrV4::new(Ipv4Addr::LOCALHOST, *it)))?.ask()
    }

    /// A port that refuses for as long as it is held: bound, so that nobody else gets it, and not listening.
    fn nobody() -> (OwnedFd, u16) {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
        let held = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&held, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = SocketAddrV4::try_from(getsockname(&held).unwrap()).unwrap();
        (held, address.port())
    }

    #[test]
    fn every_port_is_asked_for_its_health_and_the_one_that_fails_is_named() {
        let healthy = port("HTTP/1.1 200 OK\r\n\r\n");
        let unconfigured = port("HTTP/1.1 503 Service Unavailable\r\n\r\n");
        let check = |ports: &[u16]| ask(ports)?.answers();
        let _answered = check(&[healthy, unconfigured, healthy]).unwrap();

        let (_held, nobody) = nobody();
        for wrong in [nobody, port(""), port("HTTP/1.1 404 Not Found\r\n\r\n")] {
            for ports in [[wrong, healthy, healthy], [healthy, unconfigured, wrong]] {
                let error = check(&ports).unwrap_err().to_string();
                assert!(error.ends_with(&format!(":{wrong}")), "{error}");
            }
        }
    }

    /// A hole elsewhere: where not all ports are asked, the command starts although one is dead.
    #[test]
    fn a_port_that_nobody_asks_is_dead_unnoticed_elsewhere() {
        let starts = |ports: &[u16]| ask(ports).is_ok_and(|asked| asked.answers().is_ok());
        // The peer's rule: all but the last of them.
        let starts_elsewhere = |ports: &[u16]| starts(&ports[..ports.len() - 1]);
        let (_held, nobody) = nobody();
        let mut ports = [(); 5].map(|()| port("HTTP/1.1 200 OK\r\n\r\n"));
        assert!(starts(&ports) && starts_elsewhere(&ports));
        ports[4] = nobody;
        assert!(!starts(&ports) && starts_elsewhere(&ports));
    }
}
