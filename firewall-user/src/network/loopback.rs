// SPDX-License-Identifier: GPL-3.0-or-later
//! The loopback device of a new network namespace: up, and with the proxy's addresses on it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

use firewall_common::Endpoints;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// The loopback device is the first in every network namespace.
const LOOPBACK_INDEX: u32 = 1;

/// Larger than any answer: an acknowledgement repeats the request, and ours are under 100 bytes; a route is about 200.
const RECEIVE_BUFFER: usize = 4096;

/// Far more than a work queue's turn takes.
const DEADLINE: Duration = Duration::from_secs(5);

/// The route is there at the first look, as good as always.
const LOOK_AGAIN: Duration = Duration::from_micros(100);

/// Brings the loopback device of the calling thread's network namespace up and adds the proxy's addresses.
/// 127.0.0.1 and ::1 come with the device.
pub(super) fn bring_up(endpoints: &Endpoints) -> io::Result<()> {
    let socket = connect()?;
    change(&socket, RouteNetlinkMessage::SetLink(link_up()), 0)?;
    for address in [
        IpAddr::V4(Ipv4Addr::from(endpoints.v4)),
        IpAddr::V6(Ipv6Addr::from(endpoints.v6)),
    ] {
        let message = RouteNetlinkMessage::NewAddress(host_address(address));
        change(&socket, message, NLM_F_CREATE | NLM_F_EXCL)?;
    }
    Ok(())
}

/// Waits until the proxy's IPv6 address can be reached. It was acknowledged before the kernel made its route, which a
/// work queue does (`addrconf_dad_work` in `net/ipv6/addrconf.c`): whoever connects in between is told that the network
/// is unreachable.
pub(super) fn wait_for_route(endpoints: &Endpoints) -> io::Result<()> {
    let socket = connect()?;
    let deadline = Instant::now() + DEADLINE;
    loop {
        let message = RouteNetlinkMessage::GetRoute(route_to(Ipv6Addr::from(endpoints.v6)));
        if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) =
            exchange(&socket, message, 0)?
            && route.header.kind == RouteType::Local
        {
            return Ok(());
        }
        // Another route for as long, or none.
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(LOOK_AGAIN);
    }
}

fn connect() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

fn link_up() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = LOOPBACK_INDEX;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

fn host_address(address: IpAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = LOOPBACK_INDEX;
    (message.header.family, message.header.prefix_len) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    // Without this an IPv6 address may be tentative, and not be listened on, for a second.
    message.header.flags = AddressHeaderFlags::Nodad;
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    message
}

fn route_to(address: Ipv6Addr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet6;
    message.header.destination_prefix_length = 128;
    message.attributes = vec![RouteAttribute::Destination(RouteAddress::Inet6(address))];
    message
}

/// Asks for a change, and for its acknowledgement.
fn change(socket: &Socket, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let NetlinkPayload::Error(outcome) = exchange(socket, message, NLM_F_ACK | flags)? else {
        return Err(io::Error::other(
            "unexpected answer of the kernel to a change of the loopback device",
        ));
    };
    // No code means that it was an acknowledgement.
    if outcome.code.is_none() {
        Ok(())
    } else {
        Err(outcome.to_io())
    }
}

/// Sends a request, and receives its one answer.
fn exchange(
    socket: &Socket,
    message: RouteNetlinkMessage,
    flags: u16,
) -> io::Result<NetlinkPayload<RouteNetlinkMessage>> {
    let mut packet = NetlinkMessage::from(message);
    packet.header.flags = NLM_F_REQUEST | flags;
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let mut answer = vec![0; RECEIVE_BUFFER];
    // netlink-sys fills the buffer through `BufMut`, which for a slice is what it has left.
    let length = socket.recv(&mut answer.as_mut_slice(), 0)?;
    let answer = answer.get(..length).unwrap_or_default();
    NetlinkMessage::<RouteNetlinkMessage>::deserialize(answer)
        .map(|it| it.payload)
        .map_err(|error| io::Error::other(format!("unreadable answer of the kernel: {error}")))
}
