// SPDX-License-Identifier: GPL-3.0-or-later
//! The eBPF layer alone, on a real kernel, against everything that is known to get past a connect hook: no nftables, and
//! a network namespace with a way out.
#![cfg(test)]

use std::time::Duration;

use e2e::lab::firewall::{self, Firewall};
use e2e::lab::{Lab, Where, Who};
use firewall_common::Reason::{
    self, DnsNotAllowed, SocketNotAllowed, SocketOption, TcpNotAllowed, UdpNotAllowed,
};

/// A refusal has to reach the workload within this time.
const AT_ONCE: Duration = Duration::from_millis(100);

/// What the firewall makes of each probe.
const VERDICTS: &[(&str, Reason)] = &[
    ("tcp", TcpNotAllowed),
    ("tcp-v6", TcpNotAllowed),
    ("tcp-mapped", TcpNotAllowed),
    ("tcp-nonblocking", TcpNotAllowed),
    ("tcp-fast-open", TcpNotAllowed),
    ("tcp-fast-open-v6", TcpNotAllowed),
    ("tcp-fast-open-connect", TcpNotAllowed),
    ("tcp-fast-open-no-cookie", SocketOption),
    ("mptcp", SocketNotAllowed),
    ("mptcp-v6", SocketNotAllowed),
    ("udp", UdpNotAllowed),
    ("udp-v6", UdpNotAllowed),
    ("udp-mapped", UdpNotAllowed),
    ("udp-connected", UdpNotAllowed),
    ("udp-connected-v6", UdpNotAllowed),
    ("udp-connected-mapped", UdpNotAllowed),
    ("udp-connected-then-elsewhere", UdpNotAllowed),
    ("udp-reconnected", UdpNotAllowed),
    ("udp-sendmmsg", UdpNotAllowed),
    ("udp-broadcast", UdpNotAllowed),
    ("udp-multicast", UdpNotAllowed),
    ("udp-multicast-v6", UdpNotAllowed),
    ("udp-gateway-port", UdpNotAllowed),
    ("address-form", SocketOption),
    ("join-group", SocketOption),
    ("dns", DnsNotAllowed),
    ("dns-v6", DnsNotAllowed),
    ("dns-tcp", DnsNotAllowed),
    ("udp-lite", SocketNotAllowed),
    ("udp-lite-v6", SocketNotAllowed),
    ("udp-lite-connected", SocketNotAllowed),
    ("udp-lite-connected-v6", SocketNotAllowed),
    ("ping", SocketNotAllowed),
    ("ping-v6", SocketNotAllowed),
    ("bind-to-device", SocketOption),
    ("bind-to-ifindex", SocketOption),
    ("unicast-if", SocketOption),
    ("routing-header", SocketOption),
    ("routing-header-tcp", SocketOption),
    ("routing-header-fast-open", SocketOption),
    ("raw-icmp", SocketNotAllowed),
    ("raw-icmp-v6", SocketNotAllowed),
    ("raw-unknown", SocketNotAllowed),
    ("raw-unknown-v6", SocketNotAllowed),
    ("raw-header", SocketNotAllowed),
    ("raw-fragment", SocketNotAllowed),
    ("source-route", SocketOption),
    ("source-route-ancillary", UdpNotAllowed),
    ("destination-options", SocketOption),
    ("mark", SocketOption),
];

/// Probes whose first packet carries nothing of the workload's own, and gets no answer.
const WITHOUT_MARKER: &[&str] = &["join-group", "routing-header-tcp"];

#[test]
fn every_probe_gets_out_without_the_firewall_and_none_with_it() {
    let lab = Lab::new();
    let mut wrong = Vec::new();
    let probes = Lab::probes();
    // Newer kernels have no UDP-Lite.
    let is_there = |name: &str| probes.iter().any(|(it, _)| it == name);
    let verdicts: Vec<_> = VERDICTS
        .iter()
        .filter(|(name, _)| !name.starts_with("udp-lite") || is_there(name))
        .collect();
    assert_eq!(
        probes
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>(),
        verdicts.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        "every probe has a verdict here"
    );

    // The positive control, in the same cgroup.
    for (name, who) in &probes {
        let marker = marker(name, "off");
        let outcome = lab.probe(Where::Workload, *who, name, &marker);
        let frames = lab.arrived();
        let needs_marker = !WITHOUT_MARKER.contains(&name.as_str());
        if !frames
            .iter()
            .any(|frame| !needs_marker || frame.carries(&marker))
        {
            let seen: Vec<_> = frames.iter().map(e2e::lab::Frame::describe).collect();
            wrong.push(format!(
                "{name}: does not get out without the firewall: {outcome:?} {seen:?}"
            ));
        }
    }

    let mut firewall = Firewall::on(&lab, &Lab::endpoints());
    for ((name, who), (_, reason)) in probes.iter().zip(&verdicts) {
        let marker = marker(name, "on");
        let outcome = lab.probe(Where::Workload, *who, name, &marker);
        for frame in lab.arrived() {
            wrong.push(format!(
                "{name}: got out: {} ({outcome:?})",
                frame.describe()
            ));
        }
        if outcome.result != "EPERM" {
            wrong.push(format!("{name}: not refused: {outcome:?}"));
        }
        if outcome.took > AT_ONCE {
            wrong.push(format!("{name}: not told at once: {outcome:?}"));
        }
        let events = firewall.events();
        let told = |event: &firewall_common::Event| {
            event.reason == *reason
                && event.owner.tgid == outcome.pid
                && event.owner.uid == if *who == Who::Root { 0 } else { 54321 }
                && event.owner.command() == b"python3"
                && event.owner.cgroup == firewall::cgroup_id(lab.cgroup_path())
        };
        if !events.iter().any(told) {
            wrong.push(format!(
                "{name}: no event of {reason} from {}: {events:?}",
                outcome.pid
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));

    // What is not in the cgroup is not the firewall's business.
    let outcome = lab.probe(Where::Host, Who::User, "udp", "bystander");
    assert_eq!(outcome.result, "sent");
    assert!(lab.arrived().iter().any(|frame| frame.carries("bystander")));
}

/// Bytes that no other probe sends.
fn marker(name: &str, phase: &str) -> String {
    format!("<{phase}:{name}>")
}
