// SPDX-License-Identifier: MIT OR Apache-2.0
//! Networks: an address and how many of its bits count.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A network, or one address (all bits count). IPv4-mapped ones are IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u8,
}

/// Why an address and a number are no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkError {
    /// More bits than the address has.
    TooLong(u8),
    /// It stands for too much to be meant.
    TooBroad,
    /// Bits are set that do not count: the network that may have been meant.
    HostBits(Network),
}

impl Network {
    /// One address.
    pub(crate) fn single(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self {
            address,
            bits: width(address),
        }
    }

    /// The network of the first `bits` bits of an address.
    pub(crate) fn new(address: IpAddr, bits: u8) -> Result<Self, NetworkError> {
        let width_as_written = width(address);
        if bits > width_as_written {
            return Err(NetworkError::TooLong(width_as_written));
        }
        let canonical = address.to_canonical();
        let mapped = width_as_written - width(canonical);
        let bits = bits.checked_sub(mapped).ok_or(NetworkError::TooBroad)?;
        // Nobody has more than a /8 of IPv4. In IPv6 the widest that is somebody's is fc00::/7.
        let broadest = match canonical {
            IpAddr::V4(_) => 8,
            IpAddr::V6(_) => 7,
        };
        if bits < broadest {
            return Err(NetworkError::TooBroad);
        }
        let network = Self {
            address: first_of(canonical, bits),
            bits,
        };
        if network.address == canonical {
            Ok(network)
        } else {
            Err(NetworkError::HostBits(network))
        }
    }

    /// The network of so many bits that an address is in; `None` if it has fewer.
    pub(crate) fn around(address: IpAddr, bits: u8) -> Option<Self> {
        let address = address.to_canonical();
        (bits <= width(address)).then(|| Self {
            address: first_of(address, bits),
            bits,
        })
    }

    /// Whether it is one address.
    pub(crate) fn is_single(&self) -> bool {
        self.bits == width(self.address)
    }

    /// How many bits count, for comparing networks that contain the same address.
    pub(crate) fn bits(&self) -> u8 {
        self.bits
    }
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn first_of(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() {
            self.address.fmt(formatter)
        } else {
            write!(formatter, "{}/{}", self.address, self.bits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str, bits: u8) -> Result<Network, NetworkError> {
        Network::new(address.parse().unwrap(), bits)
    }

    #[test]
    fn a_network_contains_what_shares_its_bits() {
        let net = network("10.1.0.0", 16).unwrap();
        for (address, inside) in [
            ("10.1.0.0", true),
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("::ffff:10.1.2.3", true),
            ("::10.1.2.3", false),
        ] {
            let around = Network::around(address.parse().unwrap(), 16);
            assert_eq!(around == Some(net), inside, "{address}");
        }
        let net = network("2001:db8::", 33).unwrap();
        let around = |it: &str| Network::around(it.parse().unwrap(), 33);
        assert_eq!(around("2001:db8:7fff::1"), Some(net));
        assert_ne!(around("2001:db8:8000::1"), Some(net));
        assert_eq!(around("10.0.0.1"), None);
    }

    #[test]
    fn mapped_networks_are_ipv4() {
        assert_eq!(network("::ffff:10.0.0.0", 104), network("10.0.0.0", 8));
        assert_eq!(network("::ffff:0.0.0.0", 90), Err(NetworkError::TooBroad));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        assert_eq!(network("10.0.0.0", 33), Err(NetworkError::TooLong(32)));
        assert_eq!(network("::", 129), Err(NetworkError::TooLong(128)));
        assert_eq!(network("0.0.0.0", 0), Err(NetworkError::TooBroad));
        assert_eq!(network("2000::", 3), Err(NetworkError::TooBroad));
        let meant = network("10.0.0.0", 8).unwrap();
        assert_eq!(network("10.0.0.5", 8), Err(NetworkError::HostBits(meant)));
    }
}
