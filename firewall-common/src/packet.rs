// SPDX-License-Identifier: MIT OR Apache-2.0
//! The decision on packets: the last word, on what is really in the header.
//!
//! The hooks on `connect(2)` and `sendmsg(2)` judge what was asked for; this judges what leaves. It
//! knows no redirect any more: a packet is at a listener of the proxy, or on loopback, or dropped.

use crate::{Destination, Endpoints, Reason, Transport};

/// What the headers of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// TCP or UDP.
    pub transport: Transport,
    /// From where.
    pub source: Destination,
    /// Where to.
    pub destination: Destination,
}

/// Decides on the fixed part of an IPv4 header: its length in 32-bit words, the field of flags and
/// fragment offset in host order, and the protocol.
///
/// # Errors
///
/// The reason to drop the packet.
#[inline]
pub const fn decide_v4_header(words: u8, fragment: u16, protocol: u8) -> Result<Transport, Reason> {
    // RFC 791: "more fragments" and the offset; "do not fragment" is harmless.
    const MORE_OR_OFFSET: u16 = 0x3fff;
    if words < 5 {
        return Err(Reason::PacketMalformed);
    }
    // Options can hold a source route. The real first hop is in the header then, but nothing that is
    // allowed needs one, and the ports would not be where we look.
    if words > 5 {
        return Err(Reason::IpOptions);
    }
    // This hook comes before the kernel fragments, so that only hand-made packets are fragments here.
    if fragment & MORE_OR_OFFSET != 0 {
        return Err(Reason::Fragment);
    }
    match protocol {
        6 => Ok(Transport::Tcp),
        17 => Ok(Transport::Udp),
        _ => Err(Reason::ProtocolNotAllowed),
    }
}

/// Decides on the next-header field of a fixed IPv6 header.
///
/// # Errors
///
/// The reason to drop the packet. No extension header is stepped over: none is needed, and several
/// change where the packet goes.
#[inline]
pub const fn decide_v6_header(next_header: u8) -> Result<Transport, Reason> {
    match next_header {
        6 => Ok(Transport::Tcp),
        17 => Ok(Transport::Udp),
        43 => Err(Reason::RoutingHeader),
        44 => Err(Reason::Fragment),
        // Hop-by-hop, ESP, AH, destination options, mobility, HIP, shim6: IANA's registry of
        // IPv6 extension header types.
        0 | 50 | 51 | 60 | 135 | 139 | 140 => Err(Reason::ExtensionHeader),
        _ => Err(Reason::ProtocolNotAllowed),
    }
}

/// Decides on a packet that is about to leave a socket of the workload.
///
/// # Errors
///
/// The reason to drop the packet.
#[inline]
pub const fn decide_egress(endpoints: &Endpoints, packet: &Packet) -> Result<(), Reason> {
    let Packet {
        transport,
        source: _,
        destination,
    } = *packet;
    if destination.address.is_loopback() || endpoints.is_listener(transport, destination) {
        Ok(())
    } else {
        Err(Reason::PacketDestination)
    }
}

/// Decides on a packet that is about to reach a socket of the workload, by where it came from.
///
/// # Errors
///
/// The reason to drop the packet.
#[inline]
pub const fn decide_ingress(endpoints: &Endpoints, source: Destination) -> Result<(), Reason> {
    if source.address.is_loopback() || endpoints.is_proxy(source.address) {
        Ok(())
    } else {
        Err(Reason::Inbound)
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, SocketAddr};

    use proptest::prelude::*;

    use super::*;

    const ENDPOINTS: Endpoints = Endpoints {
        v6: [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x30],
        v4: [172, 30, 0, 30],
        gateway_first: 10000,
        gateway_last: 10004,
        transparent: 15001,
        explicit: 3128,
        dns: 53,
        reserved: 0,
    };

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            Just(IpAddr::from(ENDPOINTS.v4)),
            Just(IpAddr::from(ENDPOINTS.v6)),
            Just("127.0.0.1".parse().unwrap()),
            Just("::1".parse().unwrap()),
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from),
        ]
    }

    proptest! {
        #[test]
        fn egress_agrees_with_the_naive_version(
            ip in address(), tcp: bool,
            port in prop_oneof![Just(0), Just(53), Just(3128), Just(15001), 9999u16..10006, any::<u16>()],
        ) {
            let proxy = [IpAddr::from(ENDPOINTS.v4), IpAddr::from(ENDPOINTS.v6)];
            let ports: &[u16] =
                if tcp { &[10000, 10001, 10002, 10003, 10004, 3128, 15001, 53] } else { &[53] };
            let own = ip.to_canonical().is_loopback() || ip.to_canonical().is_unspecified();
            let expected = own || (proxy.contains(&ip) && ports.contains(&port));
            let to = SocketAddr::new(ip, port).into();
            let transport = if tcp { Transport::Tcp } else { Transport::Udp };
            let packet = Packet { transport, source: to, destination: to };
            prop_assert_eq!(decide_egress(&ENDPOINTS, &packet).is_ok(), expected);
        }

        #[test]
        fn ingress_is_from_here_only(ip in address(), port: u16) {
            let proxy = [IpAddr::from(ENDPOINTS.v4), IpAddr::from(ENDPOINTS.v6)];
            let ip = ip.to_canonical();
            let expected = ip.is_loopback() || ip.is_unspecified() || proxy.contains(&ip);
            prop_assert_eq!(decide_ingress(&ENDPOINTS, SocketAddr::new(ip, port).into()).is_ok(), expected);
        }

        #[test]
        fn only_plain_v4_headers_pass(words in 0u8..16, fragment: u16, protocol: u8) {
            let plain = words == 5 && matches!(fragment, 0 | 0x4000 | 0x8000 | 0xc000);
            let expected = plain && matches!(protocol, 6 | 17);
            prop_assert_eq!(decide_v4_header(words, fragment, protocol).is_ok(), expected);
        }
    }

    #[test]
    fn only_two_next_headers_pass() {
        for next_header in 0..=255 {
            let verdict = decide_v6_header(next_header);
            assert_eq!(
                verdict.is_ok(),
                matches!(next_header, 6 | 17),
                "{next_header}"
            );
        }
        assert_eq!(decide_v6_header(43), Err(Reason::RoutingHeader));
        assert_eq!(decide_v6_header(60), Err(Reason::ExtensionHeader));
        assert_eq!(decide_v6_header(58), Err(Reason::ProtocolNotAllowed));
    }
}
