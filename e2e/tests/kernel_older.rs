// SPDX-License-Identifier: GPL-3.0-or-later
//! Sockets that are older than the firewall, or that a hook has missed: the packet hooks have the last word.
#![cfg(test)]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Stdio},
};

use e2e::lab::firewall::Firewall;
use e2e::lab::{Lab, Where, Who};
use firewall_common::{
    Hook,
    Reason::{PacketDestination, ProtocolNotAllowed, RoutingHeader},
};

const SCRIPT: &str = include_str!("../src/lab/older.py");

/// The script, and a conversation with it.
struct Older {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    /// The sockets that it has.
    names: Vec<String>,
}

impl Older {
    fn new(lab: &Lab) -> Self {
        let mut command = lab.command(Where::Workload, Who::User, &["python3", "-c", SCRIPT]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = lab.on_host(move || command.spawn().unwrap());
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut older = Self {
            child,
            output,
            names: Vec::new(),
        };
        let line = older.line();
        let names = line.strip_prefix("ready ").expect("sockets");
        older.names = names.split(' ').map(str::to_owned).collect();
        older
    }

    fn send(&mut self, name: &str, marker: &str) -> String {
        writeln!(self.child.stdin.as_ref().unwrap(), "{name} {marker}").unwrap();
        self.line()
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|it| it == name)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Older {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

#[test]
fn packets_of_sockets_that_no_hook_has_seen_do_not_leave() {
    let lab = Lab::new();
    let mut older = Older::new(&lab);
    // What they send to, and what the packet hook says of it. A stream is told nothing: its packets are sent again and
    // again, and dropped.
    let sockets = [
        ("udp", "EPERM", PacketDestination),
        ("lite", "EPERM", ProtocolNotAllowed),
        ("lite6", "EPERM", ProtocolNotAllowed),
        ("ping", "EPERM", ProtocolNotAllowed),
        ("route", "EPERM", RoutingHeader),
        ("tcp", "sent", PacketDestination),
        ("tcp6", "sent", PacketDestination),
    ];
    let mut sockets = Vec::from(sockets);
    // Newer kernels have no UDP-Lite.
    sockets.retain(|(name, _, _)| !name.starts_with("lite") || older.has(name));
    for &(name, _, _) in &sockets {
        let marker = format!("<before:{name}>");
        assert_eq!(older.send(name, &marker), "sent");
        assert!(
            lab.arrived().iter().any(|frame| frame.carries(&marker)),
            "{name}"
        );
    }

    let mut firewall = Firewall::on(&lab, &Lab::endpoints());
    for (name, result, reason) in sockets {
        firewall.events();
        assert_eq!(
            older.send(name, &format!("<after:{name}>")),
            result,
            "{name}"
        );
        let frames = lab.arrived();
        assert!(frames.is_empty(), "{name}: {}", frames[0].describe());
        let events = firewall.events();
        assert!(
            events
                .iter()
                .any(|event| event.reason == reason && event.hook == Hook::Egress),
            "{name}: {events:?}"
        );
        assert!(firewall.attached.counters().denials(reason).unwrap() > 0);
    }
    assert_eq!(firewall.attached.counters().lost().unwrap(), 0);
}
