// SPDX-License-Identifier: GPL-3.0-or-later
//! Addresses, and the wire between the host and the outside.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};

use super::Place;

/// The host's address on the wire.
pub const HOST_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The host's address on the wire.
pub const HOST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// The canary's address, at the other end of the wire.
pub const CANARY_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The canary's address, at the other end of the wire.
pub const CANARY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// An address of a neighbour's, who does not answer.
const LINK_LOCAL: &str = "fe80::1";
/// The proxy's address, on the host's loopback device.
pub const PROXY_V4: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 30);
/// The proxy's address, on the host's loopback device.
pub const PROXY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x6b77, 0, 0, 0, 0, 0, 0x30);
/// The canary's port for everything that has ports.
pub const PORT: u16 = 4242;

/// Lays the wire: the host's end is `out`, the other `in`.
///
/// # Errors
///
/// The kernel has no veth, or `ip` is missing.
pub fn join(host: &Place, outside: &Place) -> Result<()> {
    // Ping sockets are everybody's where the distribution says so, as Debian and Fedora do.
    host.sysctl("net/ipv4/ping_group_range", "0 2147483647")?;
    host.ip(&format!(
        "link add out type veth peer name in netns {}",
        outside.tid()?
    ))?;
    host.ip(&format!(
        "address add {HOST_V4}/24 broadcast 192.0.2.255 dev out"
    ))?;
    host.ip(&format!("address add {HOST_V6}/64 dev out nodad"))?;
    host.ip(&format!("address add {PROXY_V4}/32 dev lo"))?;
    host.ip(&format!("address add {PROXY_V6}/128 dev lo nodad"))?;
    // Its own link-local address is good at once.
    host.sysctl("net/ipv6/conf/out/accept_dad", "0")?;
    host.ip("link set out up")?;
    outside.ip(&format!("address add {CANARY_V4}/24 dev in"))?;
    outside.ip(&format!("address add {CANARY_V6}/64 dev in nodad"))?;
    outside.ip("link set in up")?;
    host.ip(&format!("route add default via {CANARY_V4}"))?;
    host.ip(&format!("-6 route add default via {CANARY_V6}"))?;
    // Both know each other: the question for an address would be a packet that left.
    let (here, there) = (
        hardware_address(host, "out")?,
        hardware_address(outside, "in")?,
    );
    for (place, device, address, other) in [
        (host, "out", CANARY_V4.to_string(), &there),
        (host, "out", CANARY_V6.to_string(), &there),
        (host, "out", LINK_LOCAL.to_owned(), &there),
        (outside, "in", HOST_V4.to_string(), &here),
        (outside, "in", HOST_V6.to_string(), &here),
    ] {
        place.ip(&format!(
            "neigh replace {address} lladdr {other} dev {device}"
        ))?;
    }
    Ok(())
}

fn hardware_address(place: &Place, device: &str) -> Result<String> {
    let link = place.ip(&format!("-oneline link show {device}"))?;
    let address = link
        .split_once("link/ether ")
        .and_then(|(_, rest)| rest.split(' ').next());
    Ok(address.context("an Ethernet device")?.to_owned())
}
