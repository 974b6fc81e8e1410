// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses as every map, event and decision has them: 16 bytes, IPv4 as IPv4-mapped IPv6.
//!
//! One spelling means one rule: a v4 socket, a v6 socket that connects to `::ffff:a.b.c.d`, and the
//! proxy that accepts either all name the same destination.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::endpoints::{NAMES_V4, NAMES_V6};

/// The third word of an IPv4-mapped address, `::ffff:0:0/96` (RFC 4291, 2.5.5.2).
const MAPPED: u32 = 0xffff_u32.to_be();

/// An IP address as it lies in memory and on the wire, IPv4 as IPv4-mapped.
///
/// In words, each in network order: the kernel hands addresses to eBPF programs so, and bytes would
/// have to be compared one by one there.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address([u32; 4]);

impl Address {
    /// The unspecified IPv6 address, `::`.
    pub const UNSPECIFIED: Self = Self([0; 4]);

    /// From the words of an IPv6 address (IPv4-mapped or not), each in network order.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// From an IPv4 address in network order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(word: u32) -> Self {
        Self([0, 0, MAPPED, word])
    }

    /// The words, each in network order.
    #[inline(always)]
    #[must_use]
    pub const fn words(self) -> [u32; 4] {
        self.0
    }

    /// The word of an IPv4 address in network order, if that is what this is.
    #[inline(always)]
    #[must_use]
    pub const fn v4_word(self) -> Option<u32> {
        if self.is_v4() { Some(self.0[3]) } else { None }
    }

    /// The 16 bytes, in network order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        let [w, x, y, z] = self.0;
        let ([a, b, c, d], [e, f, g, h]) = (w.to_ne_bytes(), x.to_ne_bytes());
        let ([i, j, k, l], [m, n, o, p]) = (y.to_ne_bytes(), z.to_ne_bytes());
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// From the 16 bytes of an IPv6 address (IPv4-mapped or not), in network order.
    #[inline(always)]
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self([
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, g, h]),
            u32::from_ne_bytes([i, j, k, l]),
            u32::from_ne_bytes([m, n, o, p]),
        ])
    }

    /// Whether this is an IPv4 address (IPv4-mapped).
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(self) -> bool {
        let [w, x, y, _] = self.0;
        w | x == 0 && y == MAPPED
    }

    /// Whether a packet to this address stays on the host's own loopback.
    ///
    /// `0.0.0.0` and `::` count: `connect(2)` and `sendto(2)` take them for loopback.
    #[inline(always)]
    #[must_use]
    pub const fn is_loopback(self) -> bool {
        let [w, x, y, z] = self.0;
        if self.is_v4() {
            z == 0 || u32::from_be(z) >> 24 == 127
        } else {
            // `::` and `::1`.
            w | x | y == 0 && u32::from_be(z) <= 1
        }
    }

    /// Whether this is an address of the pool that stands for names.
    #[must_use]
    pub const fn is_of_a_name(self) -> bool {
        let [w, x, _, z] = self.0;
        if self.is_v4() {
            u32::from_be(z) >> 17 == NAMES_V4 >> 17
        } else {
            u32::from_be(w) == NAMES_V6[0] && u32::from_be(x) == NAMES_V6[1]
        }
    }

    /// Whether two addresses are the same. Written out: what is derived compares arrays by a loop in
    /// eBPF.
    #[inline(always)]
    #[must_use]
    pub const fn is(self, other: Self) -> bool {
        let ([w, x, y, z], [a, b, c, d]) = (self.0, other.0);
        (w ^ a) | (x ^ b) | (y ^ c) | (z ^ d) == 0
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self::from_v4_word(u32::from_ne_bytes(address.octets()))
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        Self::from_bytes(address.octets())
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<Address> for IpAddr {
    /// IPv4-mapped addresses come back as IPv4.
    fn from(address: Address) -> Self {
        Ipv6Addr::from(address.to_bytes()).to_canonical()
    }
}

/// An address and a port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The address.
    pub address: Address,
    /// The port, in host order; 0 for what has none.
    pub port: u16,
    /// Keeps the size a multiple of the alignment.
    reserved: u16,
}

impl Destination {
    /// No address and no port.
    pub const NONE: Self = Self::new(Address::UNSPECIFIED, 0);

    /// An address and a port in host order.
    #[inline(always)]
    #[must_use]
    pub const fn new(address: Address, port: u16) -> Self {
        Self {
            address,
            port,
            reserved: 0,
        }
    }
}

impl From<SocketAddr> for Destination {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip().into(), address.port())
    }
}

impl From<Destination> for SocketAddr {
    fn from(destination: Destination) -> Self {
        Self::new(destination.address.into(), destination.port)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn addresses_of_names_are_those_of_the_pool() {
        for (text, expected) in [
            ("198.18.0.0", true),
            ("198.19.255.255", true),
            ("198.17.255.255", false),
            ("198.20.0.0", false),
            ("fd6b:6579:7761:7265::c612:1", true),
            ("fd6b:6579:7761:7264::30", false),
            ("::c612:1", false),
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(Address::from(address).is_of_a_name(), expected, "{text}");
        }
    }

    use super::*;

    #[test]
    fn layout() {
        assert_eq!((size_of::<Address>(), align_of::<Address>()), (16, 4));
        assert_eq!(
            (size_of::<Destination>(), align_of::<Destination>()),
            (20, 4)
        );
        assert_eq!(core::mem::offset_of!(Destination, address), 0);
        assert_eq!(core::mem::offset_of!(Destination, port), 16);
        assert_eq!(core::mem::offset_of!(Destination, reserved), 18);
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library(bytes: [u8; 16], v4: [u8; 4], mapped: bool) {
            let address = if mapped { Ipv4Addr::from(v4).into() } else { Address::from_bytes(bytes) };
            let ip = IpAddr::from(address);
            prop_assert_eq!(address.is_v4(), ip.is_ipv4());
            prop_assert_eq!(address.is_loopback(), ip.is_loopback() || ip.is_unspecified());
            prop_assert_eq!(Address::from(ip), address);
            prop_assert_eq!(address.v4_word().is_some(), ip.is_ipv4());
            prop_assert_eq!(Address::from_bytes(address.to_bytes()), address);
        }

        #[test]
        fn near_loopback(high in 0u128..4, prefix in prop_oneof![Just(0u128), Just(0xffff_7f00_0000), Just(0xffff_0000_0000)]) {
            let ip = Ipv6Addr::from(prefix + high);
            let expected = match IpAddr::V6(ip).to_canonical() {
                IpAddr::V4(v4) => v4.is_loopback() || v4.is_unspecified(),
                IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified(),
            };
            prop_assert_eq!(Address::from(ip).is_loopback(), expected);
        }

        #[test]
        fn equality_is_bytewise(a: [u8; 16], at in 0usize..16, bit in 0u8..8) {
            let mut b = a;
            b[at] ^= 1 << bit;
            prop_assert!(Address::from_bytes(a).is(Address::from_bytes(a)));
            prop_assert!(!Address::from_bytes(a).is(Address::from_bytes(b)));
        }
    }
}
