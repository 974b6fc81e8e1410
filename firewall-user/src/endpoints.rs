// SPDX-License-Identifier: GPL-3.0-or-later
//! The proxy's addresses and ports for a run.

use std::net::{Ipv4Addr, Ipv6Addr};

use firewall_common::Endpoints;
use keyward_proxy::provider::Providers;

/// The address that existing workflows expect. It exists only inside the workload's network namespace, so it does
/// not matter what else on the host or beyond uses it.
pub const DEFAULT_ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 30);

/// From the range for private use (RFC 4193); spells "keyward" followed by the same host part as the IPv4 address.
const V6: Ipv6Addr = Ipv6Addr::new(0xfd6b, 0x6579, 0x7761, 0x7264, 0, 0, 0, 0x30);

/// Resolvers know no other port.
const DNS: u16 = 53;

/// Whether anything besides the gateway could be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doors {
    /// By host name, as the policy says.
    Open,
    /// Nothing, for the whole run.
    Closed,
}

/// Where redirected connections go. The workload cannot ask for it by itself, so the number means nothing to anybody.
const TRANSPARENT: u16 = 10900;

/// Where clients find a forward proxy: the number that they know from Squid.
const EXPLICIT: u16 = 3128;

/// Where the proxy is reached in a run. With the doors for egress by host name closed, a connection to anywhere but the
/// gateway is refused on the spot.
pub fn for_run(v4: Ipv4Addr, doors: Doors, providers: &Providers) -> Endpoints {
    let (transparent, explicit) = match doors {
        Doors::Open => (TRANSPARENT, EXPLICIT),
        Doors::Closed => (0, 0),
    };
    Endpoints {
        v6: V6.octets(),
        v4: v4.octets(),
        gateway_first: providers.first_port(),
        // Nothing listens on a port between two providers'.
        gateway_last: providers.last_port(),
        transparent,
        explicit,
        dns: DNS,
        reserved: 0,
    }
}
