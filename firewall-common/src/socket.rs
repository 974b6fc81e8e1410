// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which kinds of socket a workload may make.

use crate::{Reason, Transport};

/// `AF_INET`.
const INET: u32 = 2;
/// `AF_INET6`.
const INET6: u32 = 10;
/// `SOCK_STREAM`.
const STREAM: u32 = 1;
/// `SOCK_DGRAM`.
const DGRAM: u32 = 2;

/// Decides on a new IP socket, by its family, its type and the protocol that the kernel chose for it
/// (never 0).
///
/// Only IP sockets pass this hook: unix, netlink, packet and vsock sockets are not its business.
///
/// # Errors
///
/// The reason to refuse the socket.
#[inline(always)]
pub const fn decide_socket(family: u32, kind: u32, protocol: u32) -> Result<Transport, Reason> {
    if family != INET && family != INET6 {
        return Err(Reason::SocketNotAllowed);
    }
    match (kind, Transport::from_protocol(protocol)) {
        (STREAM, Some(Transport::Tcp)) => Ok(Transport::Tcp),
        (DGRAM, Some(Transport::Udp)) => Ok(Transport::Udp),
        (_, Some(Transport::Tcp | Transport::Udp) | None) => Err(Reason::SocketNotAllowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_combinations_pass() {
        for family in 0..64 {
            for kind in 0..16 {
                for protocol in (0..=512).chain([u32::MAX]) {
                    let allowed = [(2, 1, 6), (2, 2, 17), (10, 1, 6), (10, 2, 17)];
                    let expected = allowed.contains(&(family, kind, protocol));
                    assert_eq!(decide_socket(family, kind, protocol).is_ok(), expected);
                }
            }
        }
    }
}
