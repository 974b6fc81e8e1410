// SPDX-License-Identifier: GPL-3.0-or-later
//! The outside: a server that takes every connection, and a sniffer that sees every packet.

use std::{
    io::Read,
    net::{Ipv6Addr, TcpListener},
    os::fd::{AsRawFd, OwnedFd},
    thread::sleep,
    time::Duration,
};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

use keyward_escape::lab::Place;

use super::{HOST_V4, HOST_V6, PORT};

/// How long a packet may take over the wire, on a busy machine.
const ARRIVAL: Duration = Duration::from_millis(60);

/// The longest frame: what a veth pair carries without cutting it into segments.
const FRAME: usize = 70_000;

/// The length of an Ethernet header.
const ETHERNET: usize = 14;

/// See the module.
#[derive(Debug)]
pub(super) struct Canary {
    sniffer: OwnedFd,
    place: Place,
}

/// One packet of the host's, as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Vec<u8>);

impl Canary {
    pub(super) fn new(place: Place) -> Self {
        let sniffer = place.run(|| {
            for port in [PORT, 53] {
                let listener =
                    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).expect("a port of our own");
                // Ends with the process. It holds the namespace until then, which is all it can do.
                std::thread::spawn(move || serve(&listener));
            }
            socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::EthAll,
            )
            .expect("a packet socket takes root")
        });
        let sniffer = sniffer.expect("the canary's thread");
        Self { sniffer, place }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn arrived(&self) -> Vec<Frame> {
        sleep(ARRIVAL);
        let mut frames = Vec::new();
        let mut buffer = vec![0; FRAME];
        while let Ok(length) = recv(
            self.sniffer.as_raw_fd(),
            &mut buffer,
            MsgFlags::MSG_DONTWAIT,
        ) {
            let frame = Frame(buffer[..length].to_vec());
            if frame.is_the_hosts() {
                frames.push(frame);
            }
        }
        frames
    }
}

/// Takes connections and reads them to their end.
fn serve(listener: &TcpListener) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        std::thread::spawn(move || while stream.read(&mut [0; 512]).is_ok_and(|n| n > 0) {});
    }
}

impl Frame {
    /// Whether the packet carries these bytes anywhere.
    #[must_use]
    pub fn carries(&self, marker: &str) -> bool {
        self.0
            .windows(marker.len())
            .any(|window| window == marker.as_bytes())
    }

    /// What it is, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        let packet = &self.0[ETHERNET..];
        match packet[0] >> 4 {
            4 => format!("IPv4, protocol {}, {} bytes", packet[9], packet.len()),
            _ => format!("IPv6, next header {}, {} bytes", packet[6], packet.len()),
        }
    }

    /// Whether a socket of the host's sent it: not the other side, and not the kernel by itself.
    fn is_the_hosts(&self) -> bool {
        let (Some(kind), Some(packet)) = (self.0.get(12..ETHERNET), self.0.get(ETHERNET..)) else {
            return false;
        };
        match kind {
            [0x08, 0x00] => packet.get(12..16) == Some(&HOST_V4.octets()[..]),
            [0x86, 0xdd] => {
                // Neighbour discovery, and reports of the groups that every host is in.
                let kernels = match packet.get(6) {
                    Some(0) => packet.get(40) == Some(&58),
                    Some(58) => packet
                        .get(40)
                        .is_some_and(|kind| (133..=136).contains(kind)),
                    Some(_) | None => false,
                };
                !kernels && packet.get(8..24) == Some(&HOST_V6.octets()[..])
            }
            _ => false,
        }
    }
}
