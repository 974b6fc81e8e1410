// SPDX-License-Identifier: GPL-3.0-or-later
//! What leaves the host, packet by packet.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};

use super::Place;

/// The longest frame: what a veth pair carries without cutting it into segments.
const FRAME: usize = 70_000;

/// The length of an Ethernet header.
const ETHERNET: usize = 14;

/// Room for frames that nobody has looked at yet.
const ROOM: usize = 64 << 20;

/// Looks at every packet that arrives outside, in a thread that ends with the process.
#[derive(Debug)]
pub struct Wire {
    found: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Wire {
    /// Looks for marks, which begin with `nonce` and end with `z`.
    ///
    /// # Errors
    ///
    /// It takes root.
    pub fn watch(outside: &Place, nonce: &str) -> Result<Self> {
        let sniffer = outside.run(|| {
            let sniffer = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::EthAll,
            )?;
            // Beyond what the sysctl allows: a frame that is lost may be the one.
            setsockopt(&sniffer, sockopt::RcvBufForce, &ROOM)?;
            nix::Result::Ok(sniffer)
        })?;
        let sniffer = sniffer.context("a packet socket takes root")?;
        let found = Arc::new(Mutex::new(BTreeMap::new()));
        let (shared, nonce) = (Arc::clone(&found), nonce.to_owned());
        std::thread::spawn(move || look(&sniffer, &nonce, &shared));
        Ok(Self { found })
    }

    /// Whether this mark has left.
    #[must_use]
    pub fn has(&self, mark: &str) -> bool {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.contains_key(mark)
    }

    /// The marks that have left so far, each with the first packet that carried it.
    #[must_use]
    pub fn found(&self) -> BTreeMap<String, String> {
        self.found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn look(sniffer: &OwnedFd, nonce: &str, found: &Mutex<BTreeMap<String, String>>) {
    let mut buffer = vec![0; FRAME];
    while let Ok(length) = recv(sniffer.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
        let frame = &buffer[..length];
        for mark in marks(frame, nonce) {
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.entry(mark).or_insert_with(|| describe(frame));
        }
    }
}

/// The marks in these bytes. Case does not matter: names on their way through DNS may change it.
pub fn marks(bytes: &[u8], nonce: &str) -> Vec<String> {
    let mut marks = Vec::new();
    for at in 0..bytes.len().saturating_sub(nonce.len()) {
        if !bytes[at..at + nonce.len()].eq_ignore_ascii_case(nonce.as_bytes()) {
            continue;
        }
        let rest = bytes[at..]
            .iter()
            .take(nonce.len() + 24)
            .map(u8::to_ascii_lowercase);
        let mut mark = String::new();
        for byte in rest.take_while(u8::is_ascii_alphanumeric) {
            mark.push(char::from(byte));
            if byte == b'z' {
                marks.push(mark);
                break;
            }
        }
    }
    marks
}

fn describe(frame: &[u8]) -> String {
    let packet = frame.get(ETHERNET..).unwrap_or_default();
    match (frame.get(12..ETHERNET), packet.first()) {
        (Some([0x08, 0x00]), Some(_)) if packet.len() >= 20 => format!(
            "IPv4 to {}.{}.{}.{}, protocol {}",
            packet[16], packet[17], packet[18], packet[19], packet[9]
        ),
        (Some([0x86, 0xdd]), Some(_)) if packet.len() >= 40 => {
            format!("IPv6, next header {}", packet[6])
        }
        _ => "a frame that is no IP packet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::marks;

    #[test]
    fn marks_are_found_in_any_case_and_whole() {
        let found = marks(b"..K9abX01uz..k9abd13rzz.k9ab!k9ab", "k9ab");
        assert_eq!(found, ["k9abx01uz", "k9abd13rz"]);
    }
}
