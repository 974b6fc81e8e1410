// SPDX-License-Identifier: MIT OR Apache-2.0
//! The decision against a naive restatement of it over the standard library's types, and the lines
//! of the specification one by one.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;

use super::*;
use crate::Endpoints;

const V4: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 30);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x30);

fn endpoints(transparent: u16, explicit: u16, dns: u16) -> Endpoints {
    Endpoints {
        v6: V6.octets(),
        v4: V4.octets(),
        gateway_first: 10000,
        gateway_last: 10004,
        transparent,
        explicit,
        dns,
        reserved: 0,
    }
}

/// The same policy, written as a list of allowed socket addresses.
fn naive(endpoints: &Endpoints, transport: Transport, to: SocketAddr) -> Verdict {
    let ip = to.ip().to_canonical();
    let proxy = [IpAddr::V4(V4), IpAddr::V6(V6)];
    let mut open = [0; 7];
    if transport == Transport::Tcp {
        open[..5].copy_from_slice(&[10000, 10001, 10002, 10003, 10004]);
        open[5] = endpoints.explicit;
    }
    open[6] = endpoints.dns;
    let listed = to.port() != 0 && proxy.contains(&ip) && open.contains(&to.port());
    if ip.is_loopback() || ip.is_unspecified() || listed {
        Verdict::Proceed
    } else if to.port() == 53 && endpoints.dns == 0 {
        Verdict::Deny(Reason::DnsNotAllowed)
    } else if to.port() == 53 {
        Verdict::Redirect(Door::Dns)
    } else if proxy.contains(&ip) {
        Verdict::Deny(Reason::NotAListener)
    } else if transport == Transport::Udp {
        Verdict::Deny(Reason::UdpNotAllowed)
    } else if endpoints.transparent == 0 {
        Verdict::Deny(Reason::TcpNotAllowed)
    } else {
        Verdict::Redirect(Door::Transparent)
    }
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    let interesting = prop_oneof![
        Just(IpAddr::V4(V4)),
        Just(IpAddr::V6(V6)),
        Just(IpAddr::V6(V4.to_ipv6_mapped())),
        Just(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Just(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        Just(IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped())),
        Just(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        Just(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    ];
    prop_oneof![
        interesting,
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
        any::<[u8; 4]>().prop_map(|v4| IpAddr::V6(Ipv4Addr::from(v4).to_ipv6_mapped())),
    ]
}

fn any_port() -> impl Strategy<Value = u16> {
    prop_oneof![
        Just(0),
        Just(53),
        Just(443),
        Just(3128),
        Just(8053),
        9999u16..10006,
        any::<u16>(),
    ]
}

proptest! {
    #[test]
    fn agrees_with_the_naive_version(
        ip in any_ip(),
        port in any_port(),
        tcp: bool,
        transparent in any_port(),
        explicit in any_port(),
        dns in any_port(),
    ) {
        let endpoints = endpoints(transparent, explicit, dns);
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let to = SocketAddr::new(ip, port);
        let flow = Flow { transport, destination: to.into() };
        prop_assert_eq!(decide(&endpoints.listeners(), &flow), naive(&endpoints, transport, to));
    }

    /// Whatever proceeds stays on loopback or at a listener of the proxy.
    #[test]
    fn nothing_proceeds_to_the_outside(ip in any_ip(), port in any_port(), tcp: bool, dns in any_port()) {
        let endpoints = endpoints(0, 0, dns);
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        let destination = Destination::from(SocketAddr::new(ip, port));
        if decide(&endpoints.listeners(), &Flow { transport, destination }) == Verdict::Proceed {
            prop_assert!(destination.address.is_loopback() || endpoints.listeners().is_listener(transport, destination));
        }
    }
}

fn at(endpoints: &Endpoints, transport: Transport, to: &str) -> Verdict {
    let destination = to.parse::<SocketAddr>().unwrap().into();
    decide(
        &endpoints.listeners(),
        &Flow {
            transport,
            destination,
        },
    )
}

#[test]
fn with_every_door_open() {
    let doors = endpoints(15001, 3128, 53);
    for to in [
        "172.30.0.30:10000",
        "172.30.0.30:10004",
        "[fd00::30]:10002",
        "172.30.0.30:3128",
        "172.30.0.30:53",
    ] {
        assert_eq!(at(&doors, Transport::Tcp, to), Verdict::Proceed, "{to}");
    }
    for to in [
        "127.0.0.1:53",
        "[::1]:9",
        "0.0.0.0:80",
        "[::]:80",
        "[::ffff:127.9.9.9]:80",
    ] {
        assert_eq!(at(&doors, Transport::Tcp, to), Verdict::Proceed, "{to}");
        assert_eq!(at(&doors, Transport::Udp, to), Verdict::Proceed, "{to}");
    }
    for to in [
        "140.82.1.1:443",
        "[2606::1]:443",
        "[::ffff:140.82.1.1]:443",
        "[fe80::1]:22",
    ] {
        assert_eq!(
            at(&doors, Transport::Tcp, to),
            Verdict::Redirect(Door::Transparent),
            "{to}"
        );
        assert_eq!(
            at(&doors, Transport::Udp, to),
            Verdict::Deny(Reason::UdpNotAllowed),
            "{to}"
        );
    }
    for to in ["8.8.8.8:53", "[2001:4860::8888]:53"] {
        assert_eq!(
            at(&doors, Transport::Tcp, to),
            Verdict::Redirect(Door::Dns),
            "{to}"
        );
        assert_eq!(
            at(&doors, Transport::Udp, to),
            Verdict::Redirect(Door::Dns),
            "{to}"
        );
    }
    for to in ["172.30.0.30:15001", "172.30.0.30:22", "[fd00::30]:10005"] {
        assert_eq!(
            at(&doors, Transport::Tcp, to),
            Verdict::Deny(Reason::NotAListener),
            "{to}"
        );
    }
}

#[test]
fn with_only_the_gateway() {
    let gateway = endpoints(0, 0, 0);
    assert_eq!(
        at(&gateway, Transport::Tcp, "172.30.0.30:10001"),
        Verdict::Proceed
    );
    assert_eq!(
        at(&gateway, Transport::Tcp, "140.82.1.1:443"),
        Verdict::Deny(Reason::TcpNotAllowed)
    );
    assert_eq!(
        at(&gateway, Transport::Tcp, "8.8.8.8:53"),
        Verdict::Deny(Reason::DnsNotAllowed)
    );
    assert_eq!(
        at(&gateway, Transport::Udp, "8.8.8.8:53"),
        Verdict::Deny(Reason::DnsNotAllowed)
    );
    // A closed door has port 0, and so does nobody.
    assert_eq!(
        at(&gateway, Transport::Tcp, "172.30.0.30:0"),
        Verdict::Deny(Reason::NotAListener)
    );
}
