// SPDX-License-Identifier: MIT OR Apache-2.0
//! The decision.

use std::net::IpAddr;

use firewall_common::Reason;

use crate::{
    Entry, Host, Mode, Name, Origin, RawPolicy, host,
    index::Index,
    rule::{List, Reach, Spec, parse},
    special::{Kind, embedded, kind},
};

/// What a connection was seen to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// TLS: a ClientHello was read.
    Tls,
    /// Plain HTTP.
    Http,
    /// Anything else over TCP.
    Tcp,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Whom it is for.
    pub host: &'a Host,
    /// At which port.
    pub port: u16,
    /// How.
    pub scheme: Scheme,
    /// Plain HTTP: method, and path with its query. `None` before the first request is read, when a rule for some
    /// methods or paths counts as allowing.
    pub request: Option<(&'a str, &'a str)>,
}

/// One rule of a policy.
#[derive(Clone, Debug)]
pub struct Rule {
    text: String,
    origin: Origin,
    private: bool,
}

impl Rule {
    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it stands.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether its names may lead to private addresses.
    #[must_use]
    pub fn private(&self) -> bool {
        self.private
    }
}

/// The answer, the same in both modes.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'p> {
    /// `Ok`: allowed.
    pub outcome: Result<(), Reason>,
    /// The rule that decided. For a denial the one that blocks, or the one that came nearest to allowing it; `None` if
    /// no rule is about the host.
    pub rule: Option<&'p Rule>,
}

impl<'p> Decision<'p> {
    fn allow(rule: Option<&'p Rule>) -> Self {
        let outcome = Ok(());
        Self { outcome, rule }
    }

    fn deny(reason: Reason, rule: Option<&'p Rule>) -> Self {
        let outcome = Err(reason);
        Self { outcome, rule }
    }
}

/// Every fault of a policy, each with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(|(origin, why)| format!("{origin}: {why}")).collect::<Vec<_>>().join("\n"))]
pub struct PolicyError(pub Vec<(Origin, String)>);

/// A policy, checked and ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    mode: Mode,
    allow: Index,
    block: Index,
    host_ports: Vec<(u16, u16)>,
}

impl Policy {
    /// Checks every rule.
    ///
    /// # Errors
    ///
    /// All faults at once.
    pub fn new(raw: &RawPolicy) -> Result<Self, PolicyError> {
        let mut faults = Vec::new();
        let mut read = |entries: &[Entry], list| {
            let mut index = Index::default();
            for entry in entries {
                match parse(entry, list) {
                    Ok(spec) => index.add(entry.into(), spec),
                    Err(wrong) => faults.push((wrong.origin(entry), wrong.to_string())),
                }
            }
            index
        };
        let allow = read(&raw.allow, List::Allow);
        let block = read(&raw.block, List::Block);
        for (first, last) in &raw.host_ports {
            if *first == 0 || first > last {
                let why = format!("`{first}-{last}` is not a range of ports");
                faults.push((Origin::default(), why));
            }
        }
        if !faults.is_empty() {
            return Err(PolicyError(faults));
        }
        Ok(Self {
            mode: raw.mode,
            allow,
            block,
            host_ports: raw.host_ports.clone(),
        })
    }

    /// Whether denials are carried out.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What is allowed, in the order in which it was written.
    pub fn allowed(&self) -> impl Iterator<Item = &Rule> {
        self.allow.rules()
    }

    /// What is blocked, in the order in which it was written.
    pub fn blocked(&self) -> impl Iterator<Item = &Rule> {
        self.block.rules()
    }

    /// Whether a connection is allowed.
    #[must_use]
    pub fn decide(&self, asked: &Asked<'_>) -> Decision<'_> {
        // Before anything that allows: block wins.
        if let Some(rule) = self.blocking(asked) {
            return Decision::deny(Reason::HostBlocked, Some(rule));
        }
        let rules = self.about(asked.host, List::Allow);
        match asked.host {
            Host::Name(name) if host::is_host_service(name) => self.host_service(asked.port),
            Host::Name(_) => best(asked, rules, Reason::HostNotAllowed),
            Host::Address(_) => best(asked, rules, Reason::AddressNotAllowed),
        }
    }

    /// Whether some connection to this name could be allowed, so that its name may be answered.
    #[must_use]
    pub fn resolves(&self, name: &Name) -> Decision<'_> {
        let whole = |spec: &Spec| spec.reach == Reach::All && spec.requests.is_none();
        if let Some((rule, _)) = self.block.about(name).find(|it| whole(it.1)) {
            return Decision::deny(Reason::HostBlocked, Some(rule));
        }
        if host::is_host_service(name) {
            return if self.host_ports.is_empty() {
                Decision::deny(Reason::HostPortNotAllowed, None)
            } else {
                Decision::allow(None)
            };
        }
        // As in a decision: trusted rules first.
        let trusted = self.allow.about(name).find(|it| it.0.private);
        match trusted.or_else(|| self.allow.about(name).next()) {
            Some((rule, _)) => Decision::allow(Some(rule)),
            None => Decision::deny(Reason::HostNotAllowed, None),
        }
    }

    /// Whether an address that a name resolved to may be dialled. `rule` is the one that allowed the name.
    ///
    /// # Errors
    ///
    /// [`Reason::HostBlocked`] for every address that a block rule lists. [`Reason::PrivateAddress`] for private,
    /// loopback, link-local and other special addresses, unless the rule is trusted with them or an allow rule lists
    /// the network; those at which clouds hand out credentials must be listed one by one.
    pub fn may_dial(&self, rule: Option<&Rule>, address: IpAddr, port: u16) -> Result<(), Reason> {
        let asked = Host::Address(address);
        let mut blocks = self.about(&asked, List::Block);
        if blocks.any(|it| it.1.reach.has_port(port)) {
            return Err(Reason::HostBlocked);
        }
        let mut listing = self.allow.listing(address);
        let mut listed = |exactly: bool| {
            listing.any(|(network, _, spec)| {
                spec.reach.lists_port(port) && (network.is_single() || !exactly)
            })
        };
        let trusted = rule.is_some_and(Rule::private);
        let fine = match kind(address) {
            Kind::Global => true,
            Kind::Local => trusted || listed(false),
            Kind::Nobody => listed(false),
            Kind::Metadata => listed(true),
        };
        if fine {
            Ok(())
        } else {
            Err(Reason::PrivateAddress)
        }
    }

    /// Whether an address that a name resolved to may be dialled at some port, so that it may be answered. `rule` is the
    /// one that allowed the name. Block rules are left to [`Self::may_dial`], which knows the port.
    #[must_use]
    pub fn may_answer(&self, rule: Option<&Rule>, address: IpAddr) -> bool {
        let mut listing = self.allow.listing(address);
        let trusted = rule.is_some_and(Rule::private);
        match kind(address) {
            Kind::Global => true,
            Kind::Local => trusted || listing.next().is_some(),
            Kind::Nobody => listing.next().is_some(),
            Kind::Metadata => listing.any(|(network, ..)| network.is_single()),
        }
    }

    /// Whether this is a name of the host itself (`host.docker.internal`, `host.keyward.internal`).
    #[must_use]
    pub fn is_host_service(&self, host: &Host) -> bool {
        match host {
            Host::Name(name) => host::is_host_service(name),
            Host::Address(_) => false,
        }
    }

    fn host_service(&self, port: u16) -> Decision<'_> {
        let mut open = self.host_ports.iter();
        if open.any(|(first, last)| (*first..=*last).contains(&port)) {
            Decision::allow(None)
        } else {
            Decision::deny(Reason::HostPortNotAllowed, None)
        }
    }

    /// The block rule that is about this, if there is one.
    fn blocking(&self, asked: &Asked<'_>) -> Option<&Rule> {
        let mut rules = self.about(asked.host, List::Block);
        rules
            .find(|it| Miss::of(asked, it.1, List::Block).is_none())
            .map(|it| it.0)
    }

    /// Rules of a list that are about a host. For an address: those of an allow list that list it, exactly if clouds hand
    /// out credentials there; those of a block list that list it or what it leads to by way of a translator.
    pub(crate) fn about<'a, 'h>(
        &'a self,
        host: &'h Host,
        list: List,
    ) -> impl Iterator<Item = (&'a Rule, &'a Spec)> + use<'a, 'h> {
        let index = match list {
            List::Allow => &self.allow,
            List::Block => &self.block,
        };
        let (name, address) = match host {
            Host::Name(name) => (Some(name), None),
            Host::Address(address) => (None, Some(*address)),
        };
        let exact = list == List::Allow && address.is_some_and(|it| kind(it) == Kind::Metadata);
        let inner = address.filter(|_| list == List::Block).map(embedded);
        let inner = inner.into_iter().flatten().map(IpAddr::from);
        let listing = address
            .into_iter()
            .chain(inner)
            .flat_map(|it| index.listing(it))
            .filter(move |(network, ..)| network.is_single() || !exact)
            .map(|(_, rule, spec)| (rule, spec));
        let names = name.into_iter().flat_map(|it| index.about(it));
        names.chain(listing)
    }
}

/// The decision of the rules that are about a host: allowed if one of them allows it. Of several, the first that may lead
/// to private addresses, else the first; of none, the one that came nearest.
fn best<'p>(
    asked: &Asked<'_>,
    rules: impl Iterator<Item = (&'p Rule, &'p Spec)>,
    nothing: Reason,
) -> Decision<'p> {
    let mut allowing: Option<&Rule> = None;
    let mut nearest: Option<(Miss, &Rule)> = None;
    for (rule, spec) in rules {
        match Miss::of(asked, spec, List::Allow) {
            None if rule.private => return Decision::allow(Some(rule)),
            None => allowing = allowing.or(Some(rule)),
            Some(miss) if nearest.is_none_or(|it| miss > it.0) => nearest = Some((miss, rule)),
            Some(_) => {}
        }
    }
    match (allowing, nearest) {
        (Some(rule), _) => Decision::allow(Some(rule)),
        (None, Some((miss, rule))) => Decision::deny(miss.reason(), Some(rule)),
        (None, None) => Decision::deny(nothing, None),
    }
}

/// By what a rule that is about the host misses the rest, the nearest last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Miss {
    Port,
    Scheme,
    Request,
}

impl Miss {
    /// By what a rule of a list that is about the host misses the rest; `None` if it applies.
    pub(crate) fn of(asked: &Asked<'_>, spec: &Spec, list: List) -> Option<Self> {
        if !spec.reach.has_port(asked.port) {
            return Some(Self::Port);
        }
        // Block wins also where nobody would see what it blocks.
        let unseen = list == List::Block && asked.scheme == Scheme::Tcp;
        if unseen && spec.reach.may_pass_unseen(asked.port) {
            return None;
        }
        if !spec.reach.has(asked.port, asked.scheme) {
            return Some(Self::Scheme);
        }
        let applies = match (&spec.requests, asked.request, list) {
            (None, ..) => true,
            (Some(requests), Some((method, path)), List::Allow) => requests.allow(method, path),
            (Some(requests), Some((method, path)), List::Block) => requests.block(method, path),
            // Before the first request is read: nothing is held against the connection yet.
            (Some(_), None, List::Allow) => true,
            (Some(_), None, List::Block) => false,
        };
        (!applies).then_some(Self::Request)
    }

    fn reason(self) -> Reason {
        match self {
            Self::Port => Reason::PortNotAllowed,
            Self::Scheme => Reason::SchemeNotAllowed,
            Self::Request => Reason::RequestNotAllowed,
        }
    }
}

impl From<&Entry> for Rule {
    fn from(entry: &Entry) -> Self {
        Self {
            text: entry.rule.clone(),
            origin: entry.origin.clone(),
            private: entry.private,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(rules: &[&str]) -> Vec<Entry> {
        let entry = |rule: &&str| Entry {
            rule: (*rule).to_owned(),
            ..Entry::default()
        };
        rules.iter().map(entry).collect()
    }

    fn policy(allow: &[&str], block: &[&str]) -> Policy {
        Policy::new(&RawPolicy {
            allow: entries(allow),
            block: entries(block),
            host_ports: vec![(5432, 5432), (6379, 6380)],
            ..RawPolicy::default()
        })
        .unwrap()
    }

    fn ask(policy: &Policy, host: &str, port: u16, scheme: Scheme) -> Result<(), Reason> {
        let asked = Asked {
            host: &host.parse().unwrap(),
            port,
            scheme,
            request: None,
        };
        policy.decide(&asked).outcome
    }

    #[test]
    fn nothing_is_allowed_unless_a_rule_does() {
        assert_eq!(
            ask(&Policy::default(), "example.com", 443, Scheme::Tls),
            Err(Reason::HostNotAllowed)
        );
        let policy = policy(
            &["example.com", "tcp://db.lan:5432-5440"],
            &["bad.example.com"],
        );
        for (host, port, scheme, outcome) in [
            ("example.com", 443, Scheme::Tls, Ok(())),
            ("www.example.com", 80, Scheme::Http, Ok(())),
            (
                "example.com",
                443,
                Scheme::Http,
                Err(Reason::SchemeNotAllowed),
            ),
            ("example.com", 22, Scheme::Tcp, Err(Reason::PortNotAllowed)),
            (
                "x.bad.example.com",
                443,
                Scheme::Tls,
                Err(Reason::HostBlocked),
            ),
            ("db.lan", 5440, Scheme::Tcp, Ok(())),
            (
                "192.0.2.1",
                443,
                Scheme::Tls,
                Err(Reason::AddressNotAllowed),
            ),
        ] {
            assert_eq!(ask(&policy, host, port, scheme), outcome, "{host}:{port}");
        }
    }

    #[test]
    fn of_several_rules_the_one_that_is_trusted_with_private_addresses_counts() {
        let mut allow = entries(&["git.corp.example", "corp.example"]);
        allow[1].private = true;
        let raw = RawPolicy {
            allow,
            ..RawPolicy::default()
        };
        let policy = Policy::new(&raw).unwrap();
        let decision = policy.resolves(&"git.corp.example".parse().unwrap());
        assert!(decision.outcome.is_ok());
        let asked = Asked {
            host: &"git.corp.example".parse().unwrap(),
            port: 443,
            scheme: Scheme::Tls,
            request: None,
        };
        let rule = policy.decide(&asked).rule;
        assert_eq!(rule.map(Rule::text), Some("corp.example"));
        assert_eq!(
            policy.may_dial(rule, "10.0.0.1".parse().unwrap(), 443),
            Ok(())
        );
        let metadata = "169.254.169.254".parse().unwrap();
        assert_eq!(
            policy.may_dial(rule, metadata, 443),
            Err(Reason::PrivateAddress)
        );
    }

    #[test]
    fn host_services_have_their_ports_and_nothing_below() {
        let policy = policy(&["internal"], &[]);
        for (host, port, outcome) in [
            ("host.docker.internal", 5432, Ok(())),
            ("HOST.keyward.internal.", 6380, Ok(())),
            ("host.docker.internal", 443, Err(Reason::HostPortNotAllowed)),
            ("x.host.docker.internal", 5432, Err(Reason::HostNotAllowed)),
        ] {
            assert_eq!(
                ask(&policy, host, port, Scheme::Tcp),
                outcome,
                "{host}:{port}"
            );
        }
    }

    #[test]
    fn a_private_address_is_dialled_where_its_network_is_listed() {
        let policy = policy(
            &[
                "example.com",
                "10.0.0.0/8",
                "192.168.1.5:5432",
                "169.254.0.0/16",
                "100.100.100.200",
            ],
            &["10.9.0.0/16", "203.0.113.0/24:25"],
        );
        for (address, port, outcome) in [
            ("93.184.216.34", 443, Ok(())),
            ("10.1.2.3", 443, Ok(())),
            ("10.1.2.3", 9999, Ok(())),
            ("64:ff9b::a01:203", 443, Err(Reason::PrivateAddress)),
            ("10.9.2.3", 443, Err(Reason::HostBlocked)),
            ("::ffff:10.9.2.3", 443, Err(Reason::HostBlocked)),
            ("64:ff9b::a09:203", 443, Err(Reason::HostBlocked)),
            ("203.0.113.7", 25, Err(Reason::HostBlocked)),
            ("203.0.113.7", 26, Ok(())),
            ("192.168.1.5", 5432, Ok(())),
            ("192.168.1.5", 443, Err(Reason::PrivateAddress)),
            ("192.168.1.6", 5432, Err(Reason::PrivateAddress)),
            ("169.254.1.1", 80, Ok(())),
            ("169.254.169.254", 80, Err(Reason::PrivateAddress)),
            ("100.100.100.200", 80, Ok(())),
            ("127.0.0.1", 80, Err(Reason::PrivateAddress)),
            ("0.0.0.0", 80, Err(Reason::PrivateAddress)),
        ] {
            let found = policy.may_dial(None, address.parse().unwrap(), port);
            assert_eq!(found, outcome, "{address} {port}");
        }
    }

    #[test]
    fn faults_have_their_place() {
        let mut raw = RawPolicy {
            allow: entries(&["example.com:0", "group:x"]),
            ..RawPolicy::default()
        };
        raw.allow[0].origin = Origin {
            source: "keyward.toml".to_owned(),
            line: 3,
            column: 10,
            group: None,
        };
        let error = Policy::new(&raw).unwrap_err();
        assert_eq!(error.0[0].0.column, 22);
        assert_eq!(error.0.len(), 2);
    }
}
