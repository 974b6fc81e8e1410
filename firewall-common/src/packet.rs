// SPDX-License-Identifier: MIT OR Apache-2.0
//! The decision on packets: the last word, on what is really in the header.
//!
//! The hooks on `connect(2)` and `sendmsg(2)` judge what was asked for; this judges what leaves. It
//! knows no redirect any more: a packet is at a listener of the proxy, or on loopback, or dropped.

use crate::{Address, Destination, Listeners, Reason, Transport};

/// What the headers of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Address family: 2 for IPv4, 10 for IPv6.
    pub family: u8,
    /// IP protocol; for IPv6 the next header, which may be an extension header's.
    pub protocol: u8,
    /// From where. The port is 0 when `transport` is an error.
    pub source: Destination,
    /// Where to. The port is 0 when `transport` is an error.
    pub destination: Destination,
    /// What it carries, or why it may not leave whatever its destination.
    pub transport: Result<Transport, Reason>,
}

impl Headers {
    /// Words to read of an IPv4 packet: a header without options, and the ports.
    pub const V4_WORDS: usize = 6;
    /// Words to read of an IPv6 packet: the fixed header, and the ports.
    pub const V6_WORDS: usize = 11;

    /// Reads an IPv4 header (RFC 791, 3.1), as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub const fn v4(words: &[u32; Self::V4_WORDS]) -> Self {
        let [first, fragment, third, source, destination, l4] = *words;
        let [version, _, _, _] = first.to_ne_bytes();
        let [_, _, f0, f1] = fragment.to_ne_bytes();
        let [_, protocol, _, _] = third.to_ne_bytes();
        let transport = decide_v4_header(version, u16::from_be_bytes([f0, f1]), protocol);
        let (from, to) = ports(transport, l4);
        Self {
            family: 2,
            protocol,
            source: Destination::new(Address::from_v4_word(source), from),
            destination: Destination::new(Address::from_v4_word(destination), to),
            transport,
        }
    }

    /// Reads a fixed IPv6 header (RFC 8200, 3), as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub const fn v6(words: &[u32; Self::V6_WORDS]) -> Self {
        let [first, second, s0, s1, s2, s3, d0, d1, d2, d3, l4] = *words;
        let [version, _, _, _] = first.to_ne_bytes();
        let [_, _, protocol, _] = second.to_ne_bytes();
        let source = Address::from_words([s0, s1, s2, s3]);
        let destination = Address::from_words([d0, d1, d2, d3]);
        let transport = if version >> 4 != 6 || source.is_v4() || destination.is_v4() {
            // On the wire `::ffff:127.0.0.1` is not loopback but an address like any other.
            Err(Reason::PacketMalformed)
        } else {
            decide_v6_header(protocol)
        };
        let (from, to) = ports(transport, l4);
        Self {
            family: 10,
            protocol,
            source: Destination::new(source, from),
            destination: Destination::new(destination, to),
            transport,
        }
    }

    /// A packet that is too short to read, or of no family that we know.
    #[inline(always)]
    #[must_use]
    pub const fn unreadable(family: u8) -> Self {
        Self {
            family,
            protocol: 0,
            source: Destination::NONE,
            destination: Destination::NONE,
            transport: Err(Reason::PacketMalformed),
        }
    }
}

/// The ports, where TCP and UDP have them.
#[inline(always)]
const fn ports(transport: Result<Transport, Reason>, word: u32) -> (u16, u16) {
    match transport {
        Ok(Transport::Tcp | Transport::Udp) => {
            let [s0, s1, d0, d1] = word.to_ne_bytes();
            (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]))
        }
        Err(_) => (0, 0),
    }
}

/// Decides on the fixed part of an IPv4 header: its first byte, the field of flags and fragment
/// offset in host order, and the protocol.
#[inline(always)]
const fn decide_v4_header(version: u8, fragment: u16, protocol: u8) -> Result<Transport, Reason> {
    // RFC 791: "more fragments" and the offset; "do not fragment" is harmless.
    const MORE_OR_OFFSET: u16 = 0x3fff;
    match version {
        0x45 => {}
        // Options can hold a source route. The real first hop is in the header then, but nothing
        // that is allowed needs one, and the ports would not be where we look.
        0x46..=0x4f => return Err(Reason::IpOptions),
        _ => return Err(Reason::PacketMalformed),
    }
    // This hook comes before the kernel fragments: only hand-made packets are fragments here.
    if fragment & MORE_OR_OFFSET != 0 {
        return Err(Reason::Fragment);
    }
    match protocol {
        6 => Ok(Transport::Tcp),
        17 => Ok(Transport::Udp),
        _ => Err(Reason::ProtocolNotAllowed),
    }
}

/// Decides on the next-header field of a fixed IPv6 header. No extension header is stepped over:
/// none is needed, and several change where the packet goes.
#[inline(always)]
const fn decide_v6_header(next_header: u8) -> Result<Transport, Reason> {
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
#[inline(always)]
pub const fn decide_egress(listeners: &Listeners, headers: &Headers) -> Result<Transport, Reason> {
    let transport = match headers.transport {
        Ok(transport) => transport,
        Err(reason) => return Err(reason),
    };
    let destination = headers.destination;
    if destination.address.is_loopback() || listeners.is_listener(transport, destination) {
        Ok(transport)
    } else {
        Err(Reason::PacketDestination)
    }
}

/// Decides on a packet that is about to reach a socket of the workload, by where it came from.
///
/// What it carries does not matter: the kernel has reassembled and parsed it for this socket.
///
/// # Errors
///
/// The reason to drop the packet.
#[inline(always)]
pub const fn decide_ingress(listeners: &Listeners, source: Address) -> Result<(), Reason> {
    if source.is_loopback() || listeners.is_proxy(source) {
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
    use crate::Endpoints;

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

    /// Bytes of the wire as words of memory.
    fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes(bytes.try_into().unwrap());
        }
        words
    }

    /// A packet to `ip` and `port`, with the standard library's idea of the bytes.
    fn packet(ip: IpAddr, port: u16, protocol: u8) -> Headers {
        match ip {
            IpAddr::V4(to) => {
                let mut bytes = [0; 24];
                bytes[0] = 0x45;
                bytes[9] = protocol;
                bytes[12..16].copy_from_slice(&[192, 0, 2, 1]);
                bytes[16..20].copy_from_slice(&to.octets());
                bytes[20..22].copy_from_slice(&40000_u16.to_be_bytes());
                bytes[22..24].copy_from_slice(&port.to_be_bytes());
                Headers::v4(&words(&bytes))
            }
            IpAddr::V6(to) => {
                let mut bytes = [0; 44];
                bytes[0] = 0x60;
                bytes[6] = protocol;
                bytes[8..24].copy_from_slice(&[0x20; 16]);
                bytes[24..40].copy_from_slice(&to.octets());
                bytes[40..42].copy_from_slice(&40000_u16.to_be_bytes());
                bytes[42..44].copy_from_slice(&port.to_be_bytes());
                Headers::v6(&words(&bytes))
            }
        }
    }

    #[test]
    fn headers_are_read_where_they_are() {
        for ip in ["203.0.113.9", "2001:db8::9"].map(|ip| ip.parse::<IpAddr>().unwrap()) {
            let headers = packet(ip, 443, 17);
            assert_eq!(headers.destination, SocketAddr::new(ip, 443).into());
            assert_eq!((headers.source.port, headers.protocol), (40000, 17));
            assert_eq!(headers.transport, Ok(Transport::Udp));
        }
    }

    /// `::ffff:127.0.0.1` in a packet is no loopback, though `connect(2)` takes it for one.
    #[test]
    fn mapped_addresses_do_not_pass_on_the_wire() {
        let mapped = packet("::ffff:127.0.0.1".parse().unwrap(), 80, 6);
        assert_eq!(
            decide_egress(&ENDPOINTS.listeners(), &mapped),
            Err(Reason::PacketMalformed)
        );
    }

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
            let mapped = ip.to_canonical() != ip;
            let own = !mapped && (ip.is_loopback() || ip.is_unspecified());
            let expected = own || (proxy.contains(&ip) && ports.contains(&port));
            let headers = packet(ip, port, if tcp { 6 } else { 17 });
            prop_assert_eq!(decide_egress(&ENDPOINTS.listeners(), &headers).is_ok(), expected);
        }

        #[test]
        fn ingress_is_from_here_only(ip in address()) {
            let proxy = [IpAddr::from(ENDPOINTS.v4), IpAddr::from(ENDPOINTS.v6)];
            let ip = ip.to_canonical();
            let expected = ip.is_loopback() || ip.is_unspecified() || proxy.contains(&ip);
            prop_assert_eq!(decide_ingress(&ENDPOINTS.listeners(), ip.into()).is_ok(), expected);
        }

        #[test]
        fn only_plain_v4_headers_pass(version: u8, fragment: u16, protocol: u8) {
            let plain = version == 0x45 && matches!(fragment, 0 | 0x4000 | 0x8000 | 0xc000);
            let expected = plain && matches!(protocol, 6 | 17);
            prop_assert_eq!(decide_v4_header(version, fragment, protocol).is_ok(), expected);
        }

        /// No byte of a packet makes the parsers panic, and a port is never invented.
        #[test]
        fn any_bytes(bytes: [u8; 44]) {
            for headers in [Headers::v6(&words(&bytes)), Headers::v4(&words(&bytes[..24]))] {
                if headers.transport.is_err() {
                    prop_assert_eq!((headers.source.port, headers.destination.port), (0, 0));
                    prop_assert!(decide_egress(&ENDPOINTS.listeners(), &headers).is_err());
                }
            }
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
