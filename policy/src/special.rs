// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses that are not just any host of the internet.
//!
//! A name of somebody else's that leads to one of them reaches into the own network (DNS rebinding), so it is dialled
//! only if a rule says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A host of the internet. Ranges for documentation count: nothing is there to be protected.
    Global,
    /// Private, shared, loopback, link-local, and what is reserved: reached if the rule is trusted with it.
    Local,
    /// Not one host: unspecified (which is loopback to `connect(2)`), multicast, broadcast.
    Nobody,
    /// Where clouds answer with credentials.
    Metadata,
}

/// Addresses at which clouds hand out credentials to whoever asks.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    // Container credentials, and the identity agent of its pods.
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Classifies an address, and every IPv4 address that it leads to by way of a translator or a tunnel: the worst counts.
pub(crate) fn kind(address: IpAddr) -> Kind {
    let address = address.to_canonical();
    let own = match address {
        _ if METADATA.contains(&address) => Kind::Metadata,
        IpAddr::V4(v4) => kind_v4(v4),
        IpAddr::V6(v6) => kind_v6(v6),
    };
    embedded(address)
        .map(|inner| kind(inner.into()))
        .fold(own, worse)
}

fn worse(one: Kind, other: Kind) -> Kind {
    let rank = |kind| match kind {
        Kind::Global => 0,
        Kind::Local => 1,
        Kind::Nobody => 2,
        Kind::Metadata => 3,
    };
    if rank(other) > rank(one) { other } else { one }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    match address.octets() {
        [0, 0, 0, 0] | [255, 255, 255, 255] | [224..=239, ..] => Kind::Nobody,
        // "This network", private, shared (carrier-grade NAT), loopback, link-local.
        [0 | 10 | 127, ..] | [100, 64..=127, ..] | [169, 254, ..] => Kind::Local,
        [172, 16..=31, ..] | [192, 168, ..] => Kind::Local,
        // Protocol assignments, benchmarks (and our own synthetic addresses), reserved.
        [192, 0, 0, _] | [198, 18 | 19, ..] | [240..=255, ..] => Kind::Local,
        _ => Kind::Global,
    }
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    let [first, ..] = address.segments();
    if address.is_unspecified() || address.is_multicast() {
        return Kind::Nobody;
    }
    // Unique local, link-local, site-local (deprecated, and still routed by some).
    let local = matches!(first, 0xfc00..=0xfdff | 0xfe80..=0xfeff);
    // `::/8` has loopback and spellings of IPv4 that are not in use. Of it, 64:ff9b::/96 is the translator's.
    let low = first >> 8 == 0 && !matches!(address.segments(), [0x64, 0xff9b, 0, 0, 0, 0, _, _]);
    // Discard-only.
    let discard = matches!(address.segments(), [0x100, 0, 0, 0, ..]);
    if local || low || discard {
        Kind::Local
    } else {
        Kind::Global
    }
}

/// IPv4 addresses that an IPv6 one leads to: NAT64 (RFC 6052, and the local-use prefix of RFC 8215), 6to4, Teredo (server
/// and client), ISATAP, IPv4-compatible.
pub(crate) fn embedded(address: IpAddr) -> impl Iterator<Item = Ipv4Addr> {
    let mut found = [None, None];
    if let IpAddr::V6(v6) = address {
        let words = v6.segments();
        let v4 =
            |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
        found = match words {
            [0x64, 0xff9b, .., high, low] => [v4(high, low), None],
            [0x2002, high, low, ..] => [v4(high, low), None],
            [0x2001, 0, high, low, _, _, x, y] => [v4(high, low), v4(!x, !y)],
            [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => [v4(high, low), None],
            // `::1` and `::` are what they are.
            [0, 0, 0, 0, 0, 0, high, low] if high > 0 => [v4(high, low), None],
            _ => found,
        };
    }
    found.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_they_lead_to() {
        for (kind, addresses) in [
            (
                Kind::Global,
                "1.1.1.1 9.255.255.255 11.0.0.0 100.63.0.1 100.128.0.1 172.15.0.1 172.32.0.1 169.253.0.1 \
                 192.0.1.1 192.0.2.1 192.167.0.1 192.169.0.1 198.17.0.1 198.20.0.1 198.51.100.1 203.0.113.1 \
                 223.255.255.255 2001:db8::1 2606:4700::1 64:ff9b::101:101 2002:101:101::1",
            ),
            (
                Kind::Local,
                "0.0.0.1 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.1.2.3 169.254.0.1 172.16.0.1 \
                 172.31.255.255 192.0.0.1 192.168.0.1 198.18.0.1 198.19.255.255 240.0.0.1 255.255.255.254 ::1 \
                 fc00::1 fdff::1 fe80::1 febf::1 fec0::1 ::ffff:10.0.0.1 ::10.0.0.1 64:ff9b::a00:1 \
                 64:ff9b:1::1 64:ff9b:1:2:3:4:a00:1 2002:7f00:1::1 2002:c0a8:101::1 2001:0:a00:1::1 \
                 2001:0:101:101:0:0:f5ff:fffe 2001:db8::5efe:a00:1 100::1",
            ),
            (
                Kind::Nobody,
                "0.0.0.0 255.255.255.255 224.0.0.1 239.255.255.255 :: ff02::1 ::ffff:0.0.0.0 64:ff9b::",
            ),
            (
                Kind::Metadata,
                "169.254.169.254 169.254.170.2 169.254.170.23 100.100.100.200 fd00:ec2::254 \
                 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1 2001:0:0:0:0:0:5601:5601",
            ),
        ] {
            for address in addresses.split_whitespace() {
                assert_eq!(super::kind(address.parse().unwrap()), kind, "{address}");
            }
        }
    }
}
