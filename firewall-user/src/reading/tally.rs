// SPDX-License-Identifier: GPL-3.0-or-later
//! What a run came to: each host once, with what was allowed and denied there, and whatever else was denied.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use firewall_common::{Listed, Reason};
use jiff::Timestamp;

use super::line::{Event, Line, Verdict};
use super::lines::Lines;
use super::names::Names;
use super::spans::Spans;
use super::timeline::Timeline;

/// Most hosts, and most other things, that are told apart; beyond that they are counted together. A workload can ask
/// for as many names as it likes, and what is said about them is to stay readable, and small in memory.
const MAX_APART: usize = 1000;

/// Most details that are remembered of one host: ports, commands, rules. Nobody reads more.
const MAX_DETAILS: usize = 16;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How the run began: its first line.
    pub start: Option<Box<Line>>,
    /// How it ended.
    pub end: Option<Box<Line>>,
    /// By host.
    pub hosts: BTreeMap<String, HostTally>,
    /// What was denied that was not on its way to a host by name: sockets, packets, connections to addresses.
    pub things: BTreeMap<Thing, ThingTally>,
    /// All together.
    pub totals: Totals,
    /// Denials and connections that there was no room to tell apart.
    pub beyond: u64,
    /// Lines that were lost before they were written.
    pub lost: u64,
    /// Lines that could not be read.
    pub unreadable: u64,
    /// The times of the first and the last line.
    pub first: Option<Timestamp>,
    /// See there.
    pub last: Option<Timestamp>,
    /// When decisions were made.
    pub timeline: Timeline,
    names: Names,
}

/// All hosts together.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Connections and requests that went through.
    pub allowed: u64,
    /// Names that were answered.
    pub looked_up: u64,
    /// Lines that say no.
    pub denied: u64,
    /// Lines that would say no outside audit mode.
    pub audited: u64,
    /// What was allowed but could not be reached.
    pub failed: u64,
    /// Bytes from the workload.
    pub bytes_up: u64,
    /// Bytes to the workload.
    pub bytes_down: u64,
}

/// One host.
#[derive(Clone, Debug, Default)]
pub struct HostTally {
    /// Where it was asked for.
    pub ports: BTreeSet<u16>,
    /// Connections and requests that went through.
    pub allowed: u64,
    /// How often its name was answered.
    pub looked_up: u64,
    /// What was denied.
    pub denied: Denials,
    /// What would have been denied outside audit mode.
    pub audited: Denials,
    /// What was allowed but could not be reached.
    pub failed: Denials,
    /// Bytes from the workload.
    pub bytes_up: u64,
    /// Bytes to the workload.
    pub bytes_down: u64,
    /// How long connections took.
    pub spans: Spans,
    /// The rules that allowed it, each with its place.
    pub rules: BTreeSet<(String, String)>,
    /// Who used it.
    pub comms: BTreeMap<String, u64>,
    /// When it was first asked for.
    pub first: Option<Timestamp>,
}

/// What was denied at one host, for whatever reasons.
#[derive(Clone, Debug, Default)]
pub struct Denials {
    /// By record type: one attempt of a program asks for two or three of them.
    lookups: BTreeMap<String, u64>,
    connections: u64,
    /// At which ports.
    pub ports: BTreeSet<u16>,
    /// By the reason's name.
    pub reasons: BTreeMap<String, ReasonTally>,
    /// Rules that would allow it, as connections had them.
    remedies: BTreeSet<String>,
    /// The same, as lookups had them: they know no port.
    lookup_remedies: BTreeSet<String>,
    /// Who asked.
    pub comms: BTreeMap<String, u64>,
}

/// One reason.
#[derive(Clone, Debug, Default)]
pub struct ReasonTally {
    /// How often.
    pub count: u64,
    /// A block rule that stands behind it, and where it stands.
    pub rule: Option<(String, String)>,
}

/// What was denied that has no host's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thing {
    /// `udp to`, `tcp from`, `raw socket`.
    words: String,
    /// The address, or the name that it was given for.
    pub host: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The reason's name.
    pub reason: String,
    /// A UDP socket was tied to an address of an allowed name, which sends nothing: the C library compares the addresses
    /// of a name in this way before it connects, and QUIC begins with it, on which TCP follows.
    pub is_probe: bool,
}

/// How often, and by whom.
#[derive(Clone, Debug, Default)]
pub struct ThingTally {
    /// How often.
    pub count: u64,
    /// Who tried.
    pub comms: BTreeMap<String, u64>,
    /// Rules that would allow it.
    pub remedies: BTreeSet<String>,
}

/// The sentence of a reason.
pub fn sentence(reason: &str) -> Option<&'static str> {
    Listed::find(reason).map(|it| it.sentence)
}

// === impl Tally ===

impl Tally {
    /// Of a whole log. A log that is not there has nothing in it.
    pub fn read(audit: &Path) -> io::Result<Self> {
        let mut tally = Self::default();
        if let Some(mut lines) = Lines::open(audit)? {
            lines.for_each(Line::parse, |line| tally.add(&line))?;
            tally.unreadable = lines.unreadable();
        }
        tally.finish();
        Ok(tally)
    }

    /// Adds a line.
    pub fn add(&mut self, line: &Line) {
        if line.time.is_some() {
            self.first = self.first.min(line.time).or(line.time);
            self.last = self.last.max(line.time);
        }
        match line.event {
            Event::Decision => self.add_decision(line),
            Event::Start => self.start = Some(Box::new(line.clone())),
            Event::End => self.end = Some(Box::new(line.clone())),
            Event::LinesLost => self.lost += line.lines,
            Event::Reload | Event::Process | Event::Other => {}
        }
    }

    fn add_decision(&mut self, line: &Line) {
        self.names.learn(line);
        self.timeline.add(line);
        self.totals.add(line);
        let denied = line.verdict == Verdict::Deny;
        match &line.host {
            // Of what the kernel denies, the host is an address: see `Thing`.
            Some(host) if line.door != "kernel" => {
                if self.hosts.len() < MAX_APART || self.hosts.contains_key(host) {
                    self.hosts.entry(host.clone()).or_default().add(line);
                } else {
                    self.beyond += 1;
                }
            }
            Some(_) | None if denied => {
                let thing = Thing::of(line);
                if self.things.len() < MAX_APART || self.things.contains_key(&thing) {
                    self.things.entry(thing).or_default().add(line);
                } else {
                    self.beyond += 1;
                }
            }
            Some(_) | None => {}
        }
    }

    /// Gives addresses the names that they were answered for. Last, because the kernel's lines and the proxy's come
    /// to the log on different ways: a name may stand behind what was done with it.
    fn finish(&mut self) {
        for (mut thing, tally) in std::mem::take(&mut self.things) {
            if let Some(name) = thing.host.as_deref().and_then(|host| self.names.of(host)) {
                thing.host = Some(name.to_owned());
            } else {
                thing.is_probe = false;
            }
            self.things.entry(thing).or_default().merge(&tally);
        }
    }

    /// The names behind addresses.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Hosts of which `which` has something, those with the most first.
    pub fn worst(&self, which: impl Fn(&HostTally) -> u64) -> Vec<(&str, &HostTally, u64)> {
        let mut hosts: Vec<_> = self
            .hosts
            .iter()
            .map(|(host, tally)| (host.as_str(), tally, which(tally)))
            .filter(|(_, _, count)| *count > 0)
            .collect();
        hosts.sort_by_key(|(host, _, count)| (std::cmp::Reverse(*count), *host));
        hosts
    }

    /// How often something else was denied that was more than a probe.
    pub fn things_attempted(&self) -> u64 {
        let things = self.things.iter().filter(|(thing, _)| !thing.is_probe);
        things.map(|(_, tally)| tally.count).sum()
    }

    /// What else was denied, the most frequent first.
    pub fn worst_things(&self) -> Vec<(&Thing, &ThingTally)> {
        let mut things: Vec<_> = self.things.iter().collect();
        things.sort_by_key(|(thing, tally)| (std::cmp::Reverse(tally.count), *thing));
        things
    }
}

// === impl Totals ===

impl Totals {
    fn add(&mut self, line: &Line) {
        self.bytes_up = self.bytes_up.saturating_add(line.bytes_up);
        self.bytes_down = self.bytes_down.saturating_add(line.bytes_down);
        match Outcome::of(line) {
            Some(Outcome::Allowed) if line.is_lookup() => self.looked_up += 1,
            Some(Outcome::Allowed) => self.allowed += 1,
            Some(Outcome::Audited) => {
                self.audited += 1;
                if line.is_lookup() {
                    self.looked_up += 1;
                } else {
                    self.allowed += 1;
                }
            }
            Some(Outcome::Denied) => self.denied += 1,
            Some(Outcome::Failed) => self.failed += 1,
            None => {}
        }
    }
}

/// What a decision came to.
enum Outcome {
    Allowed,
    Audited,
    Denied,
    Failed,
}

impl Outcome {
    fn of(line: &Line) -> Option<Self> {
        // Whatever the verdict: no rule stood against it.
        if line.reason.as_deref() == Some(Reason::Unreachable.name()) {
            return Some(Self::Failed);
        }
        match line.verdict {
            Verdict::Deny => Some(Self::Denied),
            Verdict::Allow if line.audited.is_some() => Some(Self::Audited),
            Verdict::Allow => Some(Self::Allowed),
            Verdict::Unknown => None,
        }
    }
}

// === impl HostTally ===

impl HostTally {
    fn add(&mut self, line: &Line) {
        if let Some(port) = line.port.filter(|_| !line.is_lookup())
            && self.ports.len() < MAX_DETAILS
        {
            self.ports.insert(port);
        }
        self.first = self.first.min(line.time).or(line.time);
        self.bytes_up = self.bytes_up.saturating_add(line.bytes_up);
        self.bytes_down = self.bytes_down.saturating_add(line.bytes_down);
        count(&mut self.comms, line.comm.as_deref());
        match Outcome::of(line) {
            Some(Outcome::Allowed) => self.add_allowed(line),
            Some(Outcome::Audited) => {
                self.audited.add(line);
                self.add_allowed(line);
            }
            Some(Outcome::Denied) => self.denied.add(line),
            Some(Outcome::Failed) => self.failed.add(line),
            None => {}
        }
    }

    fn add_allowed(&mut self, line: &Line) {
        if let Some(rule) = &line.rule
            && line.audited.is_none()
            && self.rules.len() < MAX_DETAILS
        {
            let place = line.rule_at.clone().unwrap_or_default();
            self.rules.insert((rule.clone(), place));
        }
        if line.is_lookup() {
            self.looked_up += 1;
        } else {
            self.allowed += 1;
            line.duration_ms
                .into_iter()
                .for_each(|it| self.spans.add(it));
        }
    }
}

// === impl Denials ===

impl Denials {
    fn add(&mut self, line: &Line) {
        let remedies = if line.is_lookup() {
            let record_type = line.record_type.as_deref().unwrap_or_default();
            count(&mut self.lookups, Some(record_type));
            &mut self.lookup_remedies
        } else {
            self.connections += 1;
            if let Some(port) = line.port
                && self.ports.len() < MAX_DETAILS
            {
                self.ports.insert(port);
            }
            &mut self.remedies
        };
        if let Some(remedy) = &line.remedy
            && remedies.len() < MAX_DETAILS
        {
            remedies.insert(remedy.clone());
        }
        count(&mut self.comms, line.comm.as_deref());
        let name = line.any_reason().unwrap_or("unknown");
        if self.reasons.len() < MAX_DETAILS || self.reasons.contains_key(name) {
            let reason = self.reasons.entry(name.to_owned()).or_default();
            reason.count += 1;
            if let Some(rule) = &line.rule {
                let place = line.rule_at.clone().unwrap_or_default();
                reason.rule.get_or_insert((rule.clone(), place));
            }
        }
    }

    /// How often somebody tried: once, when a name was asked for with all its record types.
    pub fn attempts(&self) -> u64 {
        self.asked() + self.connections
    }

    /// The same where names are answered, and the connection follows on the question.
    pub fn answered_attempts(&self) -> u64 {
        self.asked().max(self.connections)
    }

    fn asked(&self) -> u64 {
        self.lookups.values().copied().max().unwrap_or_default()
    }

    /// The most frequent reason's name, and what is known of it.
    pub fn main_reason(&self) -> Option<(&str, &ReasonTally)> {
        let by_count = |(_, tally): &(&String, &ReasonTally)| tally.count;
        // Of equals the first by name, so that the report is the same each time.
        let (name, tally) = self.reasons.iter().rev().max_by_key(by_count)?;
        Some((name, tally))
    }

    /// The rules that would allow it.
    pub fn remedies(&self) -> &BTreeSet<String> {
        if self.remedies.is_empty() {
            &self.lookup_remedies
        } else {
            &self.remedies
        }
    }
}

// === impl Thing ===

impl Thing {
    fn of(line: &Line) -> Self {
        let protocol = line.protocol.as_deref().or(line.scheme.as_deref());
        let protocol = protocol.unwrap_or(match line.door.as_str() {
            "dns" => "DNS",
            _ => "connection",
        });
        let host = line.host.as_deref().or(line.address.as_deref());
        let words = match (host, &line.what) {
            (Some(_), _) if line.hook == "ingress" => format!("{protocol} from"),
            (Some(_), _) => format!("{protocol} to"),
            (None, Some(what)) => what.clone(),
            (None, None) if line.hook == "sock_create" => format!("{protocol} socket"),
            (None, None) => format!("{protocol} message"),
        };
        Self {
            words,
            host: host.map(str::to_owned),
            port: line.port,
            reason: line.reason.clone().unwrap_or_default(),
            // As long as its address turns out to be a name's.
            is_probe: line.is_udp_connect(),
        }
    }

    /// What it was: `udp to 203.0.113.9:443`, `raw socket`.
    pub fn what(&self) -> String {
        match (&self.host, self.port) {
            (Some(host), Some(port)) => format!("{} {}", self.words, place(host, port)),
            (Some(host), None) => format!("{} {host}", self.words),
            (None, _) => self.words.clone(),
        }
    }
}

/// `host:port`, with an IPv6 address in brackets.
pub(super) fn place(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

impl ThingTally {
    fn add(&mut self, line: &Line) {
        self.count += 1;
        count(&mut self.comms, line.comm.as_deref());
        if let Some(remedy) = &line.remedy
            && self.remedies.len() < MAX_DETAILS
        {
            self.remedies.insert(remedy.clone());
        }
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        for (comm, number) in &other.comms {
            *self.comms.entry(comm.clone()).or_default() += number;
        }
        self.remedies.extend(other.remedies.iter().cloned());
    }
}

fn count(counts: &mut BTreeMap<String, u64>, what: Option<&str>) {
    let Some(what) = what else { return };
    if let Some(count) = counts.get_mut(what) {
        *count += 1;
    } else if counts.len() < MAX_DETAILS {
        counts.insert(what.to_owned(), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.add(&Line::parse(line.as_bytes()).unwrap());
        }
        tally.finish();
        tally
    }

    #[test]
    fn a_name_asked_for_with_all_its_types_is_one_attempt() {
        let line = |kind: &str| {
            format!(
                r#"{{"event":"decision","door":"dns","verdict":"deny","host":"a.example.com","type":"{kind}",
                "reason":"host_not_allowed","remedy":"a.example.com","comm":"npm"}}"#
            )
        };
        let lines = [
            line("A"),
            line("AAAA"),
            line("A"),
            line("AAAA"),
            line("HTTPS"),
        ];
        let tally = tally(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let host = &tally.hosts["a.example.com"];
        assert_eq!(host.denied.attempts(), 2);
        assert_eq!(tally.totals.denied, 5);
        assert_eq!(host.denied.main_reason().unwrap().0, "host_not_allowed");
    }

    #[test]
    fn an_address_gets_its_name_even_from_a_later_line() {
        let kernel = r#"{"event":"decision","door":"kernel","hook":"sendmsg4","verdict":"deny","protocol":"udp",
            "host":"198.18.0.7","port":443,"reason":"udp_not_allowed","comm":"curl"}"#;
        let dns = r#"{"event":"decision","door":"dns","verdict":"allow","host":"github.com","address":"198.18.0.7"}"#;
        let tally = tally(&[kernel, dns, kernel]);
        let [(thing, count)] = tally.worst_things()[..] else {
            panic!("{:?}", tally.things)
        };
        assert_eq!(
            (thing.what().as_str(), count.count),
            ("udp to github.com:443", 2)
        );
    }

    #[test]
    fn a_probe_of_a_names_address_is_told_from_an_attempt() {
        let udp = |hook: &str, host: &str| {
            format!(
                r#"{{"event":"decision","door":"kernel","hook":"{hook}","verdict":"deny","protocol":"udp",
                "host":"{host}","port":80,"reason":"udp_not_allowed"}}"#
            )
        };
        let dns = r#"{"event":"decision","door":"dns","verdict":"allow","host":"github.com","address":"198.18.0.7"}"#;
        let lines = [
            udp("connect4", "198.18.0.7"),
            udp("connect6", "fd6b:6579:7761:7265::c612:7"),
            udp("sendmsg4", "198.18.0.7"),
            udp("connect4", "203.0.113.9"),
            dns.to_owned(),
        ];
        let tally = tally(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let probes: Vec<_> = tally
            .things
            .iter()
            .filter(|(thing, _)| thing.is_probe)
            .collect();
        assert_eq!((probes.len(), probes[0].1.count), (1, 2));
        assert_eq!(probes[0].0.what(), "udp to github.com:80");
        assert_eq!(tally.things_attempted(), 2);
    }

    #[test]
    fn a_flood_of_hosts_takes_bounded_memory() {
        let mut tally = Tally::default();
        for number in 0..5000 {
            let dns = format!(
                r#"{{"event":"decision","door":"dns","verdict":"deny","host":"h{number}.test"}}"#
            );
            let kernel = format!(
                r#"{{"event":"decision","door":"kernel","verdict":"deny","what":"x{number}","comm":"c{number}"}}"#
            );
            tally.add(&Line::parse(dns.as_bytes()).unwrap());
            tally.add(&Line::parse(kernel.as_bytes()).unwrap());
        }
        assert_eq!(
            (tally.hosts.len(), tally.things.len()),
            (MAX_APART, MAX_APART)
        );
        assert_eq!(tally.beyond, 8000);
        assert_eq!(tally.totals.denied, 10_000);
    }

    #[test]
    fn what_could_not_be_reached_was_not_denied() {
        let line = r#"{"event":"decision","door":"transparent","verdict":"deny","host":"db.lan","port":5432,
            "reason":"unreachable"}"#;
        let tally = tally(&[line]);
        let host = &tally.hosts["db.lan"];
        assert_eq!((host.denied.attempts(), host.failed.attempts()), (0, 1));
        assert_eq!((tally.totals.denied, tally.totals.failed), (0, 1));
    }
}
