// SPDX-License-Identifier: GPL-3.0-or-later
//! The nftables layer alone, on a real kernel: no eBPF programs, no missing route to help it.
//!
//! Each test has a network namespace of its own, on a thread of its own. `nft` from the distribution is the second
//! reader: what it makes of the kernel's expressions must be what our rules claim to be.
#![cfg(test)]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::host::eventually;
use e2e::lab::{HOST_V4, HOST_V6, Lab, PROXY_V4, Where, Who};
use firewall_common::Endpoints;
use firewall_user::nft::{self, Difference, NftError, Ruleset};
use nix::sched::{CloneFlags, unshare};

/// A refusal has to reach the workload within this time.
const AT_ONCE: Duration = Duration::from_millis(100);

/// The one probe that is not told at once. The reset comes from where the packet was going, which is not the address
/// that the socket connects to, so the socket does not believe it. (The eBPF hook on setsockopt refuses the header.)
const HANGS: &str = "routing-header-tcp";

/// Probes that are not told at all: the kernel drops the error, or sends the packet after the system call.
const SILENT: [&str; 3] = ["join-group", "ping-v6", "routing-header-fast-open"];

/// Probes that the kernel may refuse by itself, in which case they prove nothing.
const MAY_BE_REFUSED: [&str; 1] = ["destination-options"];

fn endpoints() -> Endpoints {
    Endpoints {
        v6: Ipv6Addr::new(0xfd00, 0x6b77, 0, 0, 0, 0, 0, 0x30).octets(),
        v4: [172, 30, 0, 30],
        gateway_first: 10000,
        gateway_last: 10004,
        transparent: 15001,
        explicit: 3128,
        dns: 53,
        reserved: 0,
    }
}

fn denied_packets() -> Result<u64, NftError> {
    nft::Reader::open()?.denied_packets()
}

fn ruleset() -> Ruleset {
    Ruleset::for_workload(&endpoints())
}

/// The proxy's addresses.
fn proxy() -> [IpAddr; 2] {
    [endpoints().v4.into(), endpoints().v6.into()]
}

/// Runs `test` in a fresh network namespace that has the addresses of a workload's.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)
            .expect("a network namespace takes root: cargo xtask test");
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["address", "add", "172.30.0.30/32", "dev", "lo"]);
        run(
            "ip",
            &["address", "add", "fd00:6b77::30/128", "dev", "lo", "nodad"],
        );
        // With `nodad` the kernel may make its route a moment later.
        eventually("the address has its route", || {
            let mut route = Command::new("ip");
            route.args(["-6", "route", "get", "fd00:6b77::30"]);
            route.output().expect("ip").status.success()
        });
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect(program);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {}: {error}",
        args.join(" ")
    );
    String::from_utf8(output.stdout).unwrap()
}

fn nft(command: &str) -> String {
    run("nft", &["--stateless", command])
}

fn difference(error: NftError) -> Difference {
    let NftError::Differs(difference) = error else {
        panic!("not a difference: {error}")
    };
    difference
}

/// Applies the rules, has `tamper` done to them by nft, and returns what verification then finds.
fn difference_after(tamper: &'static str) -> Difference {
    let (sender, receiver) = std::sync::mpsc::channel();
    in_namespace(move || {
        let _enforced = nft::apply(&ruleset()).unwrap();
        nft(tamper);
        sender
            .send(difference(nft::verify(&ruleset()).unwrap_err()))
            .unwrap();
    });
    receiver.recv().unwrap()
}

#[test]
fn nft_reads_the_rules_as_we_print_them() {
    in_namespace(|| {
        let _enforced = nft::apply(&ruleset()).unwrap();
        assert_eq!(nft("list table inet keyward"), ruleset().to_string());
    });
}

#[test]
fn the_printed_rules_loaded_by_nft_are_the_same_rules() {
    in_namespace(|| {
        let mut child = Command::new("nft")
            .args(["--file", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("nft");
        child
            .stdin
            .take()
            .unwrap()
            .write_all(ruleset().to_string().as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success());
        let _enforced = nft::verify(&ruleset()).unwrap();
    });
}

#[test]
fn applying_twice_leaves_one_table() {
    in_namespace(|| {
        let _first = nft::apply(&ruleset()).unwrap();
        let once = nft("list ruleset");
        let _second = nft::apply(&ruleset()).unwrap();
        assert_eq!(nft("list ruleset"), once);
    });
}

#[test]
fn applying_replaces_what_a_former_table_held() {
    in_namespace(|| {
        nft("add table inet keyward; add chain inet keyward old; add rule inet keyward old accept");
        let _enforced = nft::apply(&ruleset()).unwrap();
        assert_eq!(nft("list ruleset"), ruleset().to_string());
    });
}

#[test]
fn a_table_of_somebody_else_stays() {
    in_namespace(|| {
        nft("add table inet other; add chain inet other keep; add rule inet other keep accept");
        let other = nft("list table inet other");
        let _enforced = nft::apply(&ruleset()).unwrap();
        nft::remove().unwrap();
        nft::remove().unwrap();
        assert_eq!(nft("list ruleset"), other);
    });
}

#[test]
fn no_table_is_noticed() {
    in_namespace(|| {
        assert_eq!(
            difference(nft::verify(&ruleset()).unwrap_err()),
            Difference::NoTable
        );
    });
}

#[test]
fn a_dormant_table_is_noticed() {
    let found = difference_after("add table inet keyward { flags dormant; }");
    assert!(
        matches!(found, Difference::TableFlags { flags: 1 }),
        "{found}"
    );
}

#[test]
fn a_policy_of_accept_is_noticed() {
    let found = difference_after("add chain inet keyward output { policy accept; }");
    insta::assert_snapshot!(found, @"chain output is `type filter hook 3 priority 0 policy accept flags 1`, not `type filter hook 3 priority 0 policy drop flags 1`");
}

#[test]
fn another_chain_is_noticed() {
    let found = difference_after("add chain inet keyward more");
    insta::assert_snapshot!(found, @"the chains are local, denied, input, forward, output, more, not local, denied, input, forward, output");
}

#[test]
fn a_flushed_chain_is_noticed() {
    let found = difference_after("flush chain inet keyward input");
    insta::assert_snapshot!(found, @r#"rule 1 of chain input is not `iif "lo" jump local`"#);
}

#[test]
fn a_rule_in_front_is_noticed() {
    let found = difference_after("insert rule inet keyward output accept");
    insta::assert_snapshot!(found, @r#"rule 1 of chain output is not `oif "lo" jump local`"#);
}

#[test]
fn a_rule_at_the_end_is_noticed() {
    let found = difference_after("add rule inet keyward local accept");
    insta::assert_snapshot!(found, @"chain local has 30 rules, not 29");
}

#[test]
fn every_single_rule_is_missed() {
    in_namespace(|| {
        let chains = ["local", "denied", "input", "forward", "output"];
        let mut missed = 0;
        for chain in chains {
            for position in 0.. {
                let _enforced = nft::apply(&ruleset()).unwrap();
                let listing = run(
                    "nft",
                    &["--handle", "list", "chain", "inet", "keyward", chain],
                );
                let handles: Vec<&str> = listing
                    .lines()
                    .filter(|line| !line.contains("chain "))
                    .filter_map(|line| Some(line.split_once(" # handle ")?.1))
                    .collect();
                let Some(handle) = handles.get(position) else {
                    break;
                };
                nft(&format!("delete rule inet keyward {chain} handle {handle}"));
                let found = difference(nft::verify(&ruleset()).unwrap_err());
                assert!(matches!(found, Difference::Rule { .. }), "{found}");
                missed += 1;
            }
        }
        assert_eq!(missed, 29 + 2 + 2 + 1 + 2);
    });
}

/// Connects, sends a byte and reads it back.
fn echoes_tcp(listener: &TcpListener) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    let mut near = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    let (mut far, _) = listener.accept()?;
    near.write_all(b"x")?;
    let mut byte = [0];
    far.read_exact(&mut byte)?;
    far.write_all(&byte)?;
    near.read_exact(&mut byte)
}

/// Sends a datagram and reads the answer.
fn echoes_udp(server: &UdpSocket) -> std::io::Result<()> {
    let address = server.local_addr()?;
    let any: SocketAddr = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    }
    .parse()
    .unwrap();
    let client = UdpSocket::bind(any)?;
    client.connect(address)?;
    for socket in [server, &client] {
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    }
    client.send(b"x")?;
    let mut byte = [0];
    let (_, from) = server.recv_from(&mut byte)?;
    server.send_to(&byte, from)?;
    client.recv(&mut byte).map(drop)
}

#[test]
fn the_workloads_own_loopback_traffic_passes() {
    in_namespace(|| {
        let _enforced = nft::apply(&ruleset()).unwrap();
        for address in ["127.0.0.1:0", "127.5.6.7:0", "[::1]:0"] {
            echoes_tcp(&TcpListener::bind(address).unwrap()).expect(address);
            echoes_udp(&UdpSocket::bind(address).unwrap()).expect(address);
        }
        assert_eq!(denied_packets().unwrap(), 0);
    });
}

#[test]
fn every_door_of_the_proxy_is_open() {
    in_namespace(|| {
        let _enforced = nft::apply(&ruleset()).unwrap();
        for address in proxy() {
            for port in [10000, 10001, 10002, 10003, 10004, 15001, 3128, 53] {
                let door = TcpListener::bind((address, port)).unwrap();
                echoes_tcp(&door).unwrap_or_else(|error| panic!("{address} {port}: {error}"));
            }
            echoes_udp(&UdpSocket::bind((address, 53)).unwrap()).expect("DNS");
        }
        assert_eq!(denied_packets().unwrap(), 0);
    });
}

#[test]
fn other_ports_of_the_proxys_address_are_closed() {
    in_namespace(|| {
        for address in proxy() {
            for port in [9999, 10005, 22, 54] {
                let listener = TcpListener::bind((address, port)).unwrap();
                nft::remove().unwrap();
                echoes_tcp(&listener).expect("reachable without the rules");
                let _enforced = nft::apply(&ruleset()).unwrap();
                let start = Instant::now();
                let error = echoes_tcp(&listener).unwrap_err();
                assert_eq!(
                    error.kind(),
                    ErrorKind::ConnectionRefused,
                    "{address} {port}"
                );
                assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
                assert_eq!(denied_packets().unwrap(), 1);

                let server = UdpSocket::bind((address, port)).unwrap();
                assert!(echoes_udp(&server).is_err(), "{address} {port}");
                nft::remove().unwrap();
                echoes_udp(&server).expect("reachable without the rules");
            }
        }
    });
}

#[test]
fn a_loopback_port_that_nobody_listens_on_says_so_at_once() {
    in_namespace(|| {
        let _enforced = nft::apply(&ruleset()).unwrap();
        for address in ["127.0.0.1:9", "[::1]:9"] {
            let address: SocketAddr = address.parse().unwrap();
            let start = Instant::now();
            let error = TcpStream::connect_timeout(&address, Duration::from_secs(2)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            let any = if address.is_ipv4() {
                "127.0.0.1:0"
            } else {
                "[::1]:0"
            };
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect(address).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(2)))
                .unwrap();
            socket.send(b"x").unwrap();
            let error = socket.recv(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
        }
    });
}

/// The lab's proxy has only its gateway open.
fn lab_rules() -> Ruleset {
    Ruleset::for_workload(&Lab::endpoints())
}

/// Puts the rules on the lab's host.
fn protect(lab: &Lab) {
    lab.on_host(|| nft::apply(&lab_rules()).map(drop)).unwrap();
}

/// As root, who may do the most. AF_PACKET is not among the probes: it goes past the family `inet`.
#[test]
fn every_probe_leaves_without_the_rules_and_none_with_them() {
    let lab = Lab::new();
    let probe = |name: &str, marker: &str| lab.probe(Where::Host, Who::Root, name, marker);
    let mut wrong = Vec::new();
    for (name, _) in Lab::probes() {
        lab.on_host(nft::remove).unwrap();
        drop(lab.arrived());
        let without = probe(&name, "without");
        let can_leave = !lab.arrived().is_empty();
        protect(&lab);
        let with = probe(&name, "with");
        println!("{name}: {} after {:?}", with.result, with.took);
        for frame in lab.arrived() {
            wrong.push(format!(
                "{name}: left in spite of the rules: {}",
                frame.describe()
            ));
        }
        if !can_leave && !MAY_BE_REFUSED.contains(&&*name) {
            wrong.push(format!(
                "{name}: left without the rules: {can_leave} ({})",
                without.result
            ));
        }
        if can_leave && lab.on_host(denied_packets).unwrap() == 0 {
            wrong.push(format!("{name}: was not counted"));
        }
        if with.result == "sent" && !SILENT.contains(&&*name) {
            wrong.push(format!("{name}: was not told"));
        }
        if with.took > AT_ONCE && name != HANGS && !SILENT.contains(&&*name) {
            wrong.push(format!(
                "{name}: was told after {:?}: {}",
                with.took, with.result
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nobody_outside_reaches_a_listener_of_the_workload() {
    let lab = Lab::new();
    let listeners: [(IpAddr, u16); 3] = [
        (HOST_V4.into(), 8080),
        (HOST_V6.into(), 8080),
        (PROXY_V4.into(), 10000),
    ];
    for address in listeners.map(SocketAddr::from) {
        lab.outside(|| {
            run(
                "ip",
                &["route", "replace", "172.30.0.30", "via", "192.0.2.2"],
            )
        });
        let _listener = lab.on_host(move || TcpListener::bind(address)).unwrap();
        let knock =
            move || TcpStream::connect_timeout(&address, Duration::from_millis(300)).map(drop);
        lab.outside(knock).expect("reachable without the rules");
        protect(&lab);
        drop(lab.arrived());
        assert_eq!(
            lab.outside(knock).unwrap_err().kind(),
            ErrorKind::TimedOut,
            "{address}"
        );
        assert_eq!(lab.arrived(), [], "not even an answer may leave");
        assert!(lab.on_host(denied_packets).unwrap() > 0);
        lab.on_host(nft::remove).unwrap();
    }
}

#[test]
fn nothing_is_forwarded() {
    let lab = Lab::new();
    lab.on_host(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        // The counter stands behind the forwarding.
        nft("add table inet watch");
        nft("add chain inet watch out { type filter hook postrouting priority 0; }");
        nft("add rule inet watch out ip daddr 198.51.100.1 counter");
    });
    // An address behind the host, which sends what it gets for it back out by its default route.
    lab.outside(|| run("ip", &["route", "add", "198.51.100.1", "via", "192.0.2.2"]));
    let passed_on = || {
        let send = || UdpSocket::bind("192.0.2.1:0")?.send_to(b"x", "198.51.100.1:9");
        lab.outside(send).unwrap();
        std::thread::sleep(Duration::from_millis(60));
        lab.on_host(|| run("nft", &["list", "table", "inet", "watch"]))
    };
    let without = passed_on();
    assert!(
        without.contains("packets 1 "),
        "forwarded without the rules: {without}"
    );
    protect(&lab);
    let with = passed_on();
    assert!(with.contains("packets 1 "), "{with}");
    assert!(lab.on_host(denied_packets).unwrap() > 0);
}

/// Not an assertion about speed, which depends on the machine; the numbers are for who reads the log.
#[test]
fn how_long_it_takes() {
    const TURNS: usize = 11;
    let (sender, receiver) = std::sync::mpsc::channel();
    for _ in 0..TURNS {
        let sender = sender.clone();
        in_namespace(move || {
            let ruleset = ruleset();
            let start = Instant::now();
            let _enforced = nft::apply(&ruleset).unwrap();
            let apply = start.elapsed();
            let start = Instant::now();
            let _enforced = nft::verify(&ruleset).unwrap();
            let verify = start.elapsed();
            let start = Instant::now();
            let _enforced = nft::apply(&ruleset).unwrap();
            sender.send([apply, verify, start.elapsed()]).unwrap();
        });
    }
    let turns: Vec<[Duration; 3]> = receiver.iter().take(TURNS).collect();
    for (index, what) in ["apply and verify", "verify", "apply again"]
        .into_iter()
        .enumerate()
    {
        let mut times: Vec<Duration> = turns.iter().map(|turn| turn[index]).collect();
        times.sort_unstable();
        println!(
            "{what}: median {:?}, worst {:?}",
            times[TURNS / 2],
            times[TURNS - 1]
        );
    }
}
