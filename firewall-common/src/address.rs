// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses as every map, event and decision has them: 16 bytes, IPv4 as IPv4-mapped IPv6.
//!
//! One spelling means one rule: a v4 socket, a v6 socket that connects to `::ffff:a.b.c.d`, and the
//! proxy that accepts either all name the same destination.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first twelve bytes of an IPv4-mapped address, `::ffff:0:0/96` (RFC 4291, 2.5.5.2).
#[cfg(test)]
const MAPPED_PREFIX: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// An IP address in network order, IPv4 as IPv4-mapped.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address([u8; 16]);

impl Address {
    /// The unspecified IPv6 address, `::`.
    pub const UNSPECIFIED: Self = Self([0; 16]);

    /// From an IPv6 address (IPv4-mapped or not) in network order.
    #[inline]
    #[must_use]
    pub const fn from_v6(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// From an IPv4 address in network order.
    #[inline]
    #[must_use]
    pub const fn from_v4([a, b, c, d]: [u8; 4]) -> Self {
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// The 16 bytes, in network order.
    #[inline]
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The four bytes of an IPv4 address, if that is what this is.
    #[inline]
    #[must_use]
    pub const fn to_v4(self) -> Option<[u8; 4]> {
        let [_, _, _, _, _, _, _, _, _, _, _, _, a, b, c, d] = self.0;
        if self.is_v4() {
            Some([a, b, c, d])
        } else {
            None
        }
    }

    /// Whether this is an IPv4 address (IPv4-mapped).
    #[inline]
    #[must_use]
    pub const fn is_v4(self) -> bool {
        let (high, low) = self.halves();
        let (prefix_high, prefix_low) = Self::from_v4([0; 4]).halves();
        // The first eight bytes, then the next four of the second half.
        high == prefix_high && low >> 32 == prefix_low >> 32
    }

    /// Whether a packet to this address stays on the host's own loopback.
    ///
    /// `0.0.0.0` and `::` count: `connect(2)` and `sendto(2)` take them for loopback.
    #[inline]
    #[must_use]
    pub const fn is_loopback(self) -> bool {
        let (high, low) = self.halves();
        if self.is_v4() {
            let v4 = low & 0xffff_ffff;
            v4 >> 24 == 127 || v4 == 0
        } else {
            // `::` is 0 and `::1` is 1.
            high == 0 && low <= 1
        }
    }

    /// Whether two addresses are the same, as two comparisons of eight bytes: the derived comparison
    /// of arrays becomes a loop in eBPF.
    #[inline]
    #[must_use]
    pub const fn is(self, other: Self) -> bool {
        let (high, low) = self.halves();
        let (other_high, other_low) = other.halves();
        high == other_high && low == other_low
    }

    /// The two halves as numbers.
    const fn halves(self) -> (u64, u64) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.0;
        (
            u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            u64::from_be_bytes([i, j, k, l, m, n, o, p]),
        )
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self::from_v4(address.octets())
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        Self::from_v6(address.octets())
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
        Ipv6Addr::from(address.0).to_canonical()
    }
}

/// An address and a port (or two bytes of zero, for what has no ports).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The address.
    pub address: Address,
    /// The port, in host order.
    pub port: u16,
}

impl From<SocketAddr> for Destination {
    fn from(address: SocketAddr) -> Self {
        Self {
            address: address.ip().into(),
            port: address.port(),
        }
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

    use super::*;

    #[test]
    fn layout() {
        assert_eq!((size_of::<Address>(), align_of::<Address>()), (16, 1));
        assert_eq!(
            (size_of::<Destination>(), align_of::<Destination>()),
            (18, 2)
        );
        assert_eq!(core::mem::offset_of!(Destination, port), 16);
    }

    #[test]
    fn mapped_prefix_is_what_the_rfc_says() {
        assert_eq!(Address::from_v4([192, 0, 2, 1]).0[..12], MAPPED_PREFIX);
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library(bytes: [u8; 16], v4: [u8; 4], mapped: bool) {
            let address = if mapped { Address::from_v4(v4) } else { Address::from_v6(bytes) };
            let ip = IpAddr::from(address);
            prop_assert_eq!(address.is_v4(), ip.is_ipv4());
            prop_assert_eq!(address.is_loopback(), ip.is_loopback() || ip.is_unspecified());
            prop_assert_eq!(Address::from(ip), address);
            prop_assert_eq!(address.to_v4().is_some(), ip.is_ipv4());
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
            prop_assert!(Address(a).is(Address(a)));
            prop_assert!(!Address(a).is(Address(b)));
        }
    }
}
