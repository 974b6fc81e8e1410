// SPDX-License-Identifier: GPL-3.0-or-later
//! What a run needed, and the rules that give it.

use std::collections::{BTreeMap, BTreeSet};

use firewall_common::Reason;
use jiff::Timestamp;
use keyward_policy::{Asked, Entry, Host, Policy, RawPolicy, Scheme};

use crate::reading::{Event, Line, Names, Verdict};

/// Most hosts that are told apart. Nobody reviews a longer policy, and each rule is tried on each of them.
const MAX_APART: usize = 1000;

/// Most commands that are named behind a rule.
const MAX_COMMS: usize = 4;

/// What a run needed.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Connections that would have to be allowed.
    wanted: BTreeMap<Want, Use>,
    /// Names that were asked for and denied: nobody knows for which port.
    asked: BTreeMap<String, Use>,
    /// Names that were answered in audit mode only.
    answered: BTreeMap<String, Use>,
    /// Ports of the host's own loopback.
    host_ports: BTreeMap<u16, Use>,
    /// What no rule would allow just like that.
    notes: BTreeMap<Note, Use>,
    beyond: u64,
    names: Names,
    program: Option<String>,
    mode: Option<String>,
}

/// A connection that somebody made or tried to make.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Want {
    host: String,
    port: u16,
    scheme: Kind,
}

/// [`Scheme`], with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Tls,
    Http,
    Tcp,
}

/// What is left to say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Note {
    /// `tcp to 203.0.113.9:25`.
    pub(super) what: String,
    /// Why it is not in the policy.
    pub(super) why: String,
}

/// How often, by whom, since when.
#[derive(Clone, Debug, Default)]
pub(super) struct Use {
    pub(super) count: u64,
    pub(super) comms: BTreeSet<String>,
    pub(super) first: Option<Timestamp>,
}

/// A policy, with what is known of each rule.
#[derive(Debug)]
pub(super) struct Suggested {
    pub(super) rules: Vec<(String, Use)>,
    pub(super) host_ports: BTreeMap<u16, Use>,
    pub(super) notes: BTreeMap<Note, Use>,
    pub(super) beyond: u64,
    pub(super) program: Option<String>,
    pub(super) mode: Option<String>,
}

/// What a line says about its host.
enum Standing {
    /// It is allowed, or would have to be.
    Needed,
    /// It is a port of the host itself.
    HostPort,
    /// No rule would allow it just like that.
    Refused(&'static str),
}

// === impl Needs ===

impl Needs {
    /// Adds a line.
    pub(super) fn add(&mut self, line: &Line) {
        match line.event {
            Event::Decision => {}
            Event::Start => {
                (self.program, self.mode) = (line.program.clone(), line.mode.clone());
                return;
            }
            Event::End | Event::Reload | Event::Process | Event::LinesLost | Event::Other => return,
        }
        self.names.learn(line);
        if self.is_full() {
            self.beyond += 1;
            return;
        }
        let Some(host) = line.host.as_deref().filter(|_| line.door != "kernel") else {
            self.add_thing(line);
            return;
        };
        match standing(line, host) {
            Some(Standing::Needed) if line.is_lookup() => {
                let place = match (line.verdict, &line.audited) {
                    (Verdict::Deny, _) => &mut self.asked,
                    (_, Some(_)) => &mut self.answered,
                    // Allowed as it is: only what is done with the name says what is needed.
                    (_, None) => return,
                };
                place.entry(host.to_owned()).or_default().add(line);
            }
            Some(Standing::Needed) => {
                let want = Want {
                    host: host.to_owned(),
                    port: line.port.unwrap_or_default(),
                    scheme: Kind::of(line),
                };
                self.wanted.entry(want).or_default().add(line);
            }
            Some(Standing::HostPort) => {
                let ports = &mut self.host_ports;
                ports
                    .entry(line.port.unwrap_or_default())
                    .or_default()
                    .add(line);
            }
            Some(Standing::Refused(why)) => self.note(what(line, host), why, line),
            None => {}
        }
    }

    fn is_full(&self) -> bool {
        self.wanted.len() + self.asked.len() + self.answered.len() + self.notes.len() >= MAX_APART
    }

    fn add_thing(&mut self, line: &Line) {
        if line.verdict != Verdict::Deny {
            return;
        }
        let reason = line.reason.as_deref().unwrap_or_default();
        match &line.host {
            Some(address) => self.note(what(line, address), reason, line),
            None => {
                let what = line.what.as_deref().or(line.address.as_deref());
                self.note(what.unwrap_or("a connection").to_owned(), reason, line);
            }
        }
    }

    fn note(&mut self, what: String, why: &str, line: &Line) {
        let note = Note {
            what,
            why: why.to_owned(),
        };
        self.notes.entry(note).or_default().add(line);
    }

    /// The policy.
    pub(super) fn suggest(mut self) -> Suggested {
        let connected: BTreeSet<_> = self.wanted.keys().map(|want| want.host.clone()).collect();
        for (host, used) in std::mem::take(&mut self.asked) {
            if !connected.contains(&host) {
                // What nearly everybody means who asks for a name.
                let want = Want {
                    host,
                    port: 443,
                    scheme: Kind::Tls,
                };
                self.wanted.entry(want).or_default().merge(&used);
            }
        }
        for (host, used) in std::mem::take(&mut self.answered) {
            if !connected.contains(&host) {
                let why = "looked up, and never connected to".to_owned();
                self.notes.insert(Note { what: host, why }, used);
            }
        }
        let mut wants = Vec::new();
        for (want, used) in std::mem::take(&mut self.wanted) {
            match want.host.parse::<Host>() {
                Ok(host) => wants.push((host, want.port, want.scheme.scheme(), used)),
                Err(error) => {
                    let note = Note {
                        what: want.host,
                        why: format!("no rule can name it: {error}"),
                    };
                    self.notes.insert(note, used);
                }
            }
        }
        let asked_for = wants
            .iter()
            .map(|(host, port, scheme, _)| (host.clone(), *port, *scheme));
        let mut rules: Vec<_> = keyward_policy::suggest(asked_for)
            .rules
            .into_iter()
            .filter_map(|rule| Some((policy_of(&rule)?, rule, Use::default())))
            .collect();
        for (host, port, scheme, used) in wants {
            let asked = asked(&host, port, scheme);
            let covers = |policy: &Policy| policy.decide(&asked).outcome.is_ok();
            match rules.iter_mut().find(|(policy, _, _)| covers(policy)) {
                Some((_, _, of_rule)) => of_rule.merge(&used),
                None => {
                    let why = "no rule would allow it".to_owned();
                    self.notes.insert(
                        Note {
                            what: format!("{host}:{port}"),
                            why,
                        },
                        used,
                    );
                }
            }
        }
        Suggested {
            rules: rules
                .into_iter()
                .map(|(_, rule, used)| (rule, used))
                .collect(),
            host_ports: self.host_ports,
            notes: with_names(self.notes, &self.names),
            beyond: self.beyond,
            program: self.program,
            mode: self.mode,
        }
    }
}

fn policy_of(rule: &str) -> Option<Policy> {
    let entry = Entry {
        rule: rule.to_owned(),
        ..Entry::default()
    };
    let raw = RawPolicy {
        allow: vec![entry],
        ..RawPolicy::default()
    };
    Policy::new(&raw).ok()
}

fn asked(host: &Host, port: u16, scheme: Scheme) -> Asked<'_> {
    Asked {
        host,
        port,
        scheme,
        request: None,
    }
}

/// Addresses in notes with the names that they were given for.
fn with_names(notes: BTreeMap<Note, Use>, names: &Names) -> BTreeMap<Note, Use> {
    let mut named: BTreeMap<Note, Use> = BTreeMap::new();
    for (mut note, used) in notes {
        let behind = note.what.split_whitespace().last().and_then(|place| {
            let address = place.rsplit_once(':').map_or(place, |(address, _)| address);
            names.of(address.trim_matches(['[', ']']))
        });
        if let Some(name) = behind {
            // What was done with the name over TCP says what is needed.
            if note.what.starts_with("udp ") {
                continue;
            }
            note.what = format!("{} ({name})", note.what);
        }
        named.entry(note).or_default().merge(&used);
    }
    named
}

fn standing(line: &Line, host: &str) -> Option<Standing> {
    let is_host = host
        .parse()
        .is_ok_and(|host| Policy::default().is_host_service(&host));
    if is_host {
        return (!line.is_lookup()).then_some(Standing::HostPort);
    }
    let reason = match (line.verdict, line.audited.as_deref()) {
        (Verdict::Allow, None) => return Some(Standing::Needed),
        (Verdict::Allow, Some(reason)) => reason,
        (Verdict::Deny, _) => line.reason.as_deref().unwrap_or_default(),
        (Verdict::Unknown, _) => return None,
    };
    let known = Reason::ALL.iter().find(|it| it.name() == reason);
    Some(match known {
        Some(
            Reason::HostNotAllowed
            | Reason::PortNotAllowed
            | Reason::SchemeNotAllowed
            | Reason::RequestNotAllowed
            | Reason::AddressNotAllowed
            // It was allowed all the same.
            | Reason::PolicyChanged
            | Reason::Unreachable
            | Reason::TooManyConnections,
        ) => Standing::Needed,
        Some(Reason::HostPortNotAllowed) => Standing::HostPort,
        Some(Reason::HostBlocked) => Standing::Refused("a block rule stands against it"),
        Some(Reason::PrivateAddress) => {
            Standing::Refused("its name leads to a private address: allow that network if it may")
        }
        Some(other) => Standing::Refused(other.sentence()),
        None => Standing::Refused("denied for a reason that this version does not know"),
    })
}

/// `udp to 203.0.113.9:443`, `github.com:22`, `github.com MX`.
fn what(line: &Line, host: &str) -> String {
    let place = match line.port {
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    match (line.door.as_str(), &line.protocol, &line.record_type) {
        ("kernel", Some(protocol), _) => format!("{protocol} to {place}"),
        ("dns", _, Some(record_type)) => format!("{place} {record_type}"),
        _ => place,
    }
}

impl Kind {
    fn of(line: &Line) -> Self {
        match line.scheme.as_deref() {
            Some("tls") => Self::Tls,
            Some("http") => Self::Http,
            Some(_) | None => Self::Tcp,
        }
    }

    fn scheme(self) -> Scheme {
        match self {
            Self::Tls => Scheme::Tls,
            Self::Http => Scheme::Http,
            Self::Tcp => Scheme::Tcp,
        }
    }
}

// === impl Use ===

impl Use {
    fn add(&mut self, line: &Line) {
        self.count += 1;
        self.first = self.first.min(line.time).or(line.time);
        if let Some(comm) = line.comm.as_ref().filter(|comm| !comm.is_empty())
            && self.comms.len() < MAX_COMMS
        {
            self.comms.insert(comm.clone());
        }
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.first = self.first.min(other.first).or(self.first).or(other.first);
        let room = MAX_COMMS.saturating_sub(self.comms.len());
        self.comms.extend(other.comms.iter().take(room).cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggested(lines: &str) -> Suggested {
        let mut needs = Needs::default();
        for line in lines.lines() {
            needs.add(&Line::parse(line.as_bytes()).unwrap());
        }
        needs.suggest()
    }

    fn rules(suggested: &Suggested) -> Vec<&str> {
        suggested
            .rules
            .iter()
            .map(|(rule, _)| rule.as_str())
            .collect()
    }

    #[test]
    fn an_audited_run_gets_what_it_used_and_no_more() {
        let it = suggested(include_str!("../../reading/samples/audit.jsonl"));
        assert_eq!(
            rules(&it),
            [
                "cdn.example.com",
                "db.example.net:5432",
                "github.com",
                "plain.example.org",
                "registry.example.com"
            ]
        );
        let notes: Vec<_> = it.notes.keys().map(|note| note.what.as_str()).collect();
        assert_eq!(
            notes,
            [
                "ads.example.org:443",
                "tcp to 203.0.113.9:25",
                "unused.example.net"
            ]
        );
    }

    #[test]
    fn what_it_suggests_lets_the_run_through() {
        for sample in [
            include_str!("../../reading/samples/audit.jsonl"),
            include_str!("../../reading/samples/enforce.jsonl"),
        ] {
            let it = suggested(sample);
            let entry = |rule: &&str| Entry {
                rule: (*rule).to_owned(),
                ..Entry::default()
            };
            let raw = RawPolicy {
                allow: rules(&it).iter().map(entry).collect(),
                host_ports: it.host_ports.keys().map(|port| (*port, *port)).collect(),
                ..RawPolicy::default()
            };
            let policy = Policy::new(&raw).unwrap();
            let mut tried = 0;
            for line in sample.lines() {
                let line = Line::parse(line.as_bytes()).unwrap();
                let (Some(host), Some(port), false) =
                    (&line.host, line.port, line.door == "kernel")
                else {
                    continue;
                };
                if line.any_reason() == Some("host_blocked") {
                    continue;
                }
                let host: Host = host.parse().unwrap();
                let asked = asked(&host, port, Kind::of(&line).scheme());
                assert!(policy.decide(&asked).outcome.is_ok(), "{line:?}");
                tried += 1;
            }
            assert!(tried > 5);
            // The control: it is the policy that allows it.
            let nobodys: Host = "elsewhere.test".parse().unwrap();
            assert!(
                policy
                    .decide(&asked(&nobodys, 443, Scheme::Tls))
                    .outcome
                    .is_err()
            );
        }
    }

    #[test]
    fn an_enforced_run_gets_what_it_was_denied_too() {
        let it = suggested(include_str!("../../reading/samples/enforce.jsonl"));
        assert_eq!(
            rules(&it),
            [
                "db.example.com:5432",
                "github.com",
                "github.com:22",
                "registry.example.com",
                "203.0.113.80:8443"
            ]
        );
        assert_eq!(it.host_ports.keys().copied().collect::<Vec<_>>(), [6379]);
        // api.github.com is below github.com.
        assert_eq!(it.rules[1].1.count, 5);
    }
}
