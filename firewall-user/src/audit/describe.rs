// SPDX-License-Identifier: GPL-3.0-or-later
//! Events in words.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use firewall_common::{Event, Hook};

/// Where the denied connection or packet was going, if it was going anywhere yet.
pub fn destination(event: &Event) -> Option<SocketAddr> {
    let address = Ipv6Addr::from(event.destination.address.to_bytes());
    let is_absent = address.is_unspecified() && event.destination.port == 0;
    (!is_absent)
        .then(|| SocketAddr::new(IpAddr::V6(address).to_canonical(), event.destination.port))
}

/// The protocol's usual name, or its number.
pub fn protocol(event: &Event) -> String {
    // For a socket option the field is the option's level, which is no protocol of a packet.
    if event.hook == Hook::Setsockopt {
        return "option".to_owned();
    }
    protocol_name(event.protocol)
}

/// The usual name of an IP protocol, or its number.
pub(super) fn protocol_name(number: u16) -> String {
    let name = match i32::from(number) {
        libc::IPPROTO_TCP => "tcp",
        libc::IPPROTO_UDP => "udp",
        libc::IPPROTO_ICMP => "icmp",
        libc::IPPROTO_ICMPV6 => "icmpv6",
        libc::IPPROTO_UDPLITE => "udp-lite",
        libc::IPPROTO_SCTP => "sctp",
        libc::IPPROTO_DCCP => "dccp",
        libc::IPPROTO_MPTCP => "mptcp",
        libc::IPPROTO_RAW => "raw",
        number => return format!("ip protocol {number}"),
    };
    name.to_owned()
}

/// What was denied, in a few words.
pub(super) fn what(event: &Event) -> String {
    match (event.hook, destination(event)) {
        (Hook::Setsockopt, _) => {
            format!("socket option {} of level {}", event.detail, event.protocol)
        }
        (Hook::SockCreate, _) => format!("{} socket", socket(event)),
        (Hook::Ingress, Some(from)) => format!("{} from {from}", protocol(event)),
        (_, Some(to)) => format!("{} to {to}", protocol(event)),
        (_, None) => format!("{} packet", protocol(event)),
    }
}

fn socket(event: &Event) -> String {
    if i32::try_from(event.detail) == Ok(libc::SOCK_RAW) {
        "raw".to_owned()
    } else {
        protocol(event)
    }
}

#[cfg(test)]
mod tests {
    use firewall_common::Reason;

    use super::super::event;
    use super::*;

    #[test]
    fn says_what_was_tried() {
        let mut it = event(Hook::Connect6, Reason::TcpNotAllowed);
        it.protocol = 6;
        it.destination = SocketAddr::from(([192, 0, 2, 1], 443)).into();
        assert_eq!(what(&it), "tcp to 192.0.2.1:443");
        assert_eq!(destination(&it).unwrap().to_string(), "192.0.2.1:443");

        let mut it = event(Hook::SockCreate, Reason::SocketNotAllowed);
        it.protocol = 136;
        it.detail = 2;
        assert_eq!(what(&it), "udp-lite socket");
        it.detail = 3;
        assert_eq!(what(&it), "raw socket");
        assert_eq!(destination(&it), None);

        let mut it = event(Hook::Setsockopt, Reason::SocketOption);
        (it.protocol, it.detail) = (41, 57);
        assert_eq!(what(&it), "socket option 57 of level 41");
    }
}
