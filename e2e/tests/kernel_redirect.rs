// SPDX-License-Identifier: GPL-3.0-or-later
//! Connections that are redirected: they arrive at the proxy's listeners, the proxy learns where they were going and
//! whose they are, and the workload notices nothing.
#![cfg(test)]

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use e2e::lab::firewall::{self, Firewall};
use e2e::lab::{CANARY_V4, CANARY_V6, HOST_V4, HOST_V6, Lab, PROXY_V4, PROXY_V6, Where, Who};
use firewall_common::{Destination, Endpoints, FlowKey, Reason, Transport};

const TRANSPARENT: u16 = 15001;
/// Not 53, so that only a rewrite can lead there.
const DNS: u16 = 5353;

fn endpoints() -> Endpoints {
    Endpoints {
        transparent: TRANSPARENT,
        dns: DNS,
        ..Lab::endpoints()
    }
}

/// Connects, says whom it is connected to by its own account, and waits for an answer.
const CLIENT: &str = r#"
import socket, sys
address, port, only, bind = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
s = socket.socket(family)
s.settimeout(3)
if only: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
if bind: s.bind((bind, 0))
s.connect((address, int(port)))
s.send(b"x")
assert s.recv(1) == b"y"
print(*s.getpeername()[:2])
"#;

/// Asks by UDP, and says who answered.
const RESOLVER: &str = r#"
import socket, sys
address, connected = sys.argv[1:]
s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
if connected:
    s.connect((address, 53))
    s.send(b"x")
    assert s.getpeername()[:2] == (address, 53), s.getpeername()
else:
    s.sendto(b"x", (address, 53))
data, peer = s.recvfrom(9)
assert data == b"y"
print(*peer[:2])
"#;

fn python(lab: &Lab, script: &str, arguments: &[&str]) -> Child {
    let argv: Vec<_> = ["python3", "-c", script]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    let mut command = lab.command(Where::Workload, Who::User, &argv);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    lab.on_host(move || command.spawn().unwrap())
}

/// What it printed, and its pid.
fn finish(child: Child) -> (String, u32) {
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned(),
        pid,
    )
}

fn listener(lab: &Lab, ip: impl Into<IpAddr>, port: u16) -> TcpListener {
    let at = SocketAddr::new(ip.into(), port);
    let listener = lab.on_host(move || TcpListener::bind(at).unwrap());
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Accepts from whichever listener has a connection first.
fn accept<'a>(listeners: &[&'a TcpListener]) -> (&'a TcpListener, TcpStream, SocketAddr) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        for listener in listeners {
            if let Ok((stream, peer)) = listener.accept() {
                stream.set_nonblocking(false).unwrap();
                return (listener, stream, peer);
            }
        }
        sleep(Duration::from_millis(1));
    }
    panic!("nobody connected")
}

#[test]
fn tcp_arrives_at_the_transparent_listener_with_its_original_destination() {
    let lab = Lab::new();
    let v4 = listener(&lab, PROXY_V4, TRANSPARENT);
    let v6 = listener(&lab, PROXY_V6, TRANSPARENT);
    let dns = listener(&lab, PROXY_V4, DNS);
    let gateway = listener(&lab, PROXY_V4, 10001);
    let gateway_v6 = listener(&lab, PROXY_V6, 10001);
    let mut firewall = Firewall::on(&lab, &endpoints());

    let mapped = CANARY_V4.to_ipv6_mapped().to_string();
    let (canary_v4, canary_v6) = (CANARY_V4.to_string(), CANARY_V6.to_string());
    let (proxy_v4, proxy_v6) = (PROXY_V4.to_string(), PROXY_V6.to_string());
    let mapped_proxy = PROXY_V4.to_ipv6_mapped().to_string();
    let (host_v4, host_v6) = (HOST_V4.to_string(), HOST_V6.to_string());
    for (to, port, only, bind, expected) in [
        (&canary_v4, 443, "", "", &v4),
        (&canary_v4, 443, "", host_v4.as_str(), &v4),
        (&canary_v6, 443, "", "", &v4),
        (&mapped, 443, "", "", &v4),
        // These cannot speak IPv4.
        (&canary_v6, 443, "1", "", &v6),
        (&canary_v6, 443, "", host_v6.as_str(), &v6),
        (&canary_v4, 53, "", "", &dns),
        (&canary_v6, 53, "", "", &dns),
        // Not redirected, but known all the same.
        (&proxy_v4, 10001, "", "", &gateway),
        (&proxy_v6, 10001, "", "", &gateway_v6),
        (&mapped_proxy, 10001, "", "", &gateway),
    ] {
        let child = python(&lab, CLIENT, &[to, &port.to_string(), only, bind]);
        let (at, mut stream, peer) = accept(&[&v4, &v6, &dns, &gateway, &gateway_v6]);
        assert_eq!(
            at.local_addr().unwrap(),
            expected.local_addr().unwrap(),
            "{to} {only} {bind}"
        );
        // As the proxy does it: by the peer that it accepted, at once.
        let flow = firewall
            .flow(&FlowKey::new(Transport::Tcp, peer.into()))
            .unwrap_or_else(|| panic!("{to} {port} {only} {bind}: no flow from {peer}"));
        assert_eq!(stream.read(&mut [0]).unwrap(), 1);
        assert_eq!(stream.write(b"y").unwrap(), 1);
        let (said, pid) = finish(child);

        let original = SocketAddr::new(to.parse::<IpAddr>().unwrap(), port);
        assert_eq!(flow.original, Destination::from(original), "{to} {port}");
        assert_eq!((flow.owner.tgid, flow.owner.uid), (pid, 54321));
        assert_eq!(flow.owner.cgroup, firewall::cgroup_id(lab.cgroup_path()));
        assert_eq!(flow.owner.command(), b"python3");
        assert_eq!(said, format!("{to} {port}"), "what the workload sees");
    }
    assert_eq!(firewall.events(), []);
    assert_eq!(lab.arrived(), []);
}

#[test]
fn dns_is_answered_by_the_proxy_in_the_name_of_whoever_was_asked() {
    let lab = Lab::new();
    let [v4, v6] = [IpAddr::from(PROXY_V4), PROXY_V6.into()].map(|ip| {
        let server = lab.on_host(move || UdpSocket::bind((ip, DNS)).unwrap());
        server.set_nonblocking(true).unwrap();
        server
    });
    let mut firewall = Firewall::on(&lab, &endpoints());
    for (asked, connected, expected) in [
        ("8.8.8.8", "", &v4),
        ("8.8.8.8", "1", &v4),
        ("2001:db8::53", "", &v6),
        ("2001:db8::53", "1", &v4),
        ("::ffff:8.8.8.8", "", &v4),
        ("::ffff:8.8.8.8", "1", &v4),
        ("127.0.0.53", "", &v4),
    ] {
        if asked == "127.0.0.53" {
            // Own loopback: a resolver of the workload's own, or nobody.
            let child = python(&lab, RESOLVER, &[asked, connected]);
            assert!(!child.wait_with_output().unwrap().status.success());
            continue;
        }
        let child = python(&lab, RESOLVER, &[asked, connected]);
        let (server, peer) = question(&[&v4, &v6]);
        assert_eq!(
            server.local_addr().unwrap(),
            expected.local_addr().unwrap(),
            "{asked} {connected}"
        );
        let flow = firewall
            .flow(&FlowKey::new(Transport::Udp, peer.into()))
            .unwrap_or_else(|| panic!("{asked} {connected}: no flow from {peer}"));
        server.send_to(b"y", peer).unwrap();
        let (said, pid) = finish(child);
        let original = SocketAddr::new(asked.parse::<IpAddr>().unwrap(), 53);
        assert_eq!(flow.original, Destination::from(original));
        assert_eq!(flow.owner.tgid, pid);
        assert_eq!(said, format!("{asked} 53"), "connected: {connected:?}");
    }
    assert_eq!(firewall.events(), []);
    assert_eq!(lab.arrived(), []);
}

fn question<'a>(servers: &[&'a UdpSocket]) -> (&'a UdpSocket, SocketAddr) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        for server in servers {
            if let Ok((1, peer)) = server.recv_from(&mut [0; 9]) {
                return (server, peer);
            }
        }
        sleep(Duration::from_millis(1));
    }
    panic!("nobody asked")
}

#[test]
fn the_proxys_other_ports_are_closed() {
    let lab = Lab::new();
    let _listeners = [TRANSPARENT, 22].map(|port| listener(&lab, PROXY_V4, port));
    let mut firewall = Firewall::on(&lab, &endpoints());
    for port in ["15001", "22"] {
        let child = python(&lab, CLIENT, &[&PROXY_V4.to_string(), port, "", ""]);
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("Operation not permitted"), "{error}");
        let [event] = firewall.events()[..] else {
            panic!("one event")
        };
        assert_eq!(event.reason, Reason::NotAListener);
    }
}

/// Servers and clients of the workload's own, on every spelling of loopback; and socket options that everybody sets,
/// with values longer than the kernel shows its programs.
const LOOPBACK: &str = r#"
import socket
for bind, connect in [("127.0.0.1",) * 2, ("::1",) * 2, ("0.0.0.0", "0.0.0.0"), ("::", "::"), ("0.0.0.0", "127.8.8.8"),
                      ("::", "::ffff:127.0.0.1"), ("::", "127.0.0.1")]:
    server = socket.create_server((bind, 0), family=socket.AF_INET6 if ":" in bind else socket.AF_INET,
                                  dualstack_ipv6=bind == "::")
    port = server.getsockname()[1]
    client = socket.socket(socket.AF_INET6 if ":" in connect else socket.AF_INET)
    client.settimeout(2)
    client.connect((connect, port))
    far, _ = server.accept()
    client.sendall(b"x" * 100000); client.shutdown(1)
    size = 0
    while data := far.recv(65536): size += len(data)
    assert size == 100000
    far.sendall(b"yy"); far.close()
    assert client.recv(9) == b"yy"
for address in "127.0.0.1", "::1":
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server, client = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
    server.bind((address, 0))
    client.sendto(b"x", server.getsockname())
    data, peer = server.recvfrom(9)
    server.sendto(b"y", peer)
    client.settimeout(2)
    assert client.recvfrom(9)[1][:2] == server.getsockname()[:2]
options = [(1, 9), (6, 1), (41, 26)]  # SO_KEEPALIVE, TCP_NODELAY, IPV6_V6ONLY
for level, name in options:
    for size in 4, 8192:
        s = socket.socket(socket.AF_INET6)
        s.setsockopt(level, name, (1).to_bytes(4, "little") + bytes(size - 4))
        assert s.getsockopt(level, name) == 1, (level, name, size)
print("fine")
"#;

#[test]
fn the_workloads_own_loopback_and_options_are_left_alone() {
    let lab = Lab::new();
    let mut firewall = Firewall::on(&lab, &endpoints());
    assert_eq!(finish(python(&lab, LOOPBACK, &[])).0, "fine");
    assert_eq!(firewall.events(), []);
}

/// Listens everywhere, and says which port.
const SERVER: &str = r#"
import socket
server = socket.create_server(("::", 6001), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    far, _ = server.accept()
    far.sendall(b"x")
"#;

#[test]
fn nothing_from_outside_reaches_a_listener_of_the_workload() {
    let lab = Lab::new();
    let mut server = python(&lab, SERVER, &[]);
    server
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0; 6])
        .unwrap();
    let from_outside = |ip: IpAddr, limit: Duration| {
        lab.outside(move || {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, 6001), limit)?;
            stream.set_read_timeout(Some(limit))?;
            stream.read_exact(&mut [0])
        })
    };
    for host in [IpAddr::from(HOST_V4), HOST_V6.into()] {
        from_outside(host, Duration::from_secs(10)).unwrap();
    }
    let mut firewall = Firewall::on(&lab, &endpoints());
    lab.arrived();
    for (host, canary) in [
        (IpAddr::from(HOST_V4), IpAddr::from(CANARY_V4)),
        (HOST_V6.into(), CANARY_V6.into()),
    ] {
        from_outside(host, Duration::from_millis(300)).unwrap_err();
        let events = firewall.events();
        assert!(!events.is_empty());
        for event in events {
            assert_eq!(event.reason, Reason::Inbound);
            assert_eq!(IpAddr::from(event.destination.address), canary);
        }
        assert_eq!(lab.arrived(), [], "not even an answer");
    }
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn the_proxy_can_look_flows_up_without_any_privilege() {
    let lab = Lab::new();
    let gateway = listener(&lab, PROXY_V4, 10000);
    let firewall = Firewall::on(&lab, &endpoints());
    let child = python(&lab, CLIENT, &[&PROXY_V4.to_string(), "10000", "", ""]);
    let (_, mut stream, peer) = accept(&[&gateway]);
    let key = FlowKey::new(Transport::Tcp, peer.into()).to_bytes();
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut lookup: Command = lab.command(
        Where::Host,
        Who::User,
        &[env!("CARGO_BIN_EXE_lab-helper"), "lookup", &key],
    );
    lookup.stdin(firewall.attached.flows_fd().try_clone_to_owned().unwrap());
    let output = lab.on_host(move || lookup.output().unwrap());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let value: Vec<_> = output
        .stdout
        .chunks(2)
        .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
        .collect();
    let flow = firewall_common::FlowInfo::from_bytes(value[..].try_into().unwrap());
    assert_eq!(
        SocketAddr::from(flow.original),
        (Ipv4Addr::new(172, 30, 0, 30), 10000).into()
    );
    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    assert_eq!(stream.write(b"y").unwrap(), 1);
    finish(child);
}
