// SPDX-License-Identifier: GPL-3.0-or-later
//! The rules as a value: which packets a workload may send and receive.
//!
//! Everything is denied, then exactly this is allowed, by the loopback device only: the proxy's listeners and their
//! replies, the workload's own loopback traffic, and the messages that make a refused connection fail at once.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use firewall_common::Endpoints;

use super::TABLE;
use super::rule::{Protocol, Rule, Side};

/// Both directions of loopback traffic, judged by the same rules.
const LOCAL: &str = "local";
/// The end of what the workload sends and may not.
const DENIED: &str = "denied";

/// A table's worth of chains, in the order in which they are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    chains: Vec<Chain>,
}

/// Rules that are tried in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    name: &'static str,
    hook: Option<Hook>,
    rules: Vec<Rule>,
}

/// Where the kernel calls a base chain. All of keyward's have the priority `filter` and the policy `drop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Packets for a socket of this namespace.
    Input,
    /// Packets that this namespace would pass on.
    Forward,
    /// Packets from a socket of this namespace.
    Output,
}

/// One listener of the proxy, as a packet sees it.
struct Door {
    protocol: Protocol,
    ports: RangeInclusive<u16>,
}

impl Ruleset {
    /// The rules for a workload whose proxy listens at `endpoints`, in a network namespace that nothing else uses.
    #[must_use]
    pub fn for_workload(endpoints: &Endpoints) -> Self {
        Self {
            // A chain must exist before a rule jumps to it: the two without a hook come first.
            chains: vec![
                Chain {
                    name: LOCAL,
                    hook: None,
                    rules: local(endpoints),
                },
                Chain {
                    name: DENIED,
                    hook: None,
                    rules: denied(),
                },
                Chain {
                    name: "input",
                    hook: Some(Hook::Input),
                    rules: input(),
                },
                Chain {
                    name: "forward",
                    hook: Some(Hook::Forward),
                    rules: forward(),
                },
                Chain {
                    name: "output",
                    hook: Some(Hook::Output),
                    rules: output(),
                },
            ],
        }
    }

    pub(super) fn chains(&self) -> &[Chain] {
        &self.chains
    }
}

impl Chain {
    /// The chain's name in the table.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// `None` for a chain that only other chains call.
    #[must_use]
    pub fn hook(&self) -> Option<Hook> {
        self.hook
    }

    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

fn input() -> Vec<Rule> {
    vec![
        // iif "lo" jump local
        Rule::new().in_by_loopback().jump(LOCAL),
        // Nothing from outside the namespace is answered, not even with a refusal.
        // counter drop
        Rule::new().count().drop(),
    ]
}

fn forward() -> Vec<Rule> {
    // counter drop
    vec![Rule::new().count().drop()]
}

fn output() -> Vec<Rule> {
    vec![
        // oif "lo" jump local
        Rule::new().out_by_loopback().jump(LOCAL),
        // goto denied
        Rule::new().goto(DENIED),
    ]
}

/// The workload learns at once that a packet was refused: a dropped connection attempt would hang for two minutes.
fn denied() -> Vec<Rule> {
    vec![
        // meta l4proto tcp counter reject with tcp reset
        Rule::new()
            .protocol(Protocol::Tcp)
            .count()
            .reject_with_reset(),
        // counter reject with icmpx admin-prohibited
        Rule::new().count().reject_as_prohibited(),
    ]
}

fn local(endpoints: &Endpoints) -> Vec<Rule> {
    let mut rules = vec![
        // These two stay in front: what they turn away has headers that change where a packet goes or what its
        // transport is, so that no later rule may trust an address or a port of it.
        //
        // ip hdrlength != 5 return
        Rule::new().has_ip_options().leave(),
        // Any extension header: routing, hop-by-hop, destination options, fragments. By the base header's own field;
        // `meta l4proto` would look past them.
        // ip6 nexthdr != tcp ip6 nexthdr != udp ip6 nexthdr != ipv6-icmp return
        Rule::new().has_ip6_extension_header().leave(),
    ];
    let v4 = IpAddr::from(Ipv4Addr::from(endpoints.v4));
    let v6 = IpAddr::from(Ipv6Addr::from(endpoints.v6));
    for address in [v4, v6] {
        for door in doors(endpoints) {
            rules.extend(through(address, &door));
        }
    }
    let own_v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        // ip daddr 127.0.0.0/8 meta l4proto tcp accept
        rules.push(
            Rule::new()
                .loopback_destination()
                .protocol(protocol)
                .accept(),
        );
        // ip6 daddr ::1 meta l4proto tcp accept
        rules.push(
            Rule::new()
                .address(Side::Destination, own_v6)
                .protocol(protocol)
                .accept(),
        );
    }
    rules.extend([
        // The refusals of the chain `denied` are packets too: to the workload, by the loopback device, from the
        // address that it may not reach. So is the kernel's own answer for a loopback port that nobody listens on.
        //
        // tcp flags rst accept
        Rule::new().tcp_reset().accept(),
        // icmp type destination-unreachable accept
        Rule::new().icmp_unreachable().accept(),
        // icmpv6 type destination-unreachable accept
        Rule::new().icmp6_unreachable().accept(),
    ]);
    rules
}

/// A door and what comes back out of it.
fn through(address: IpAddr, door: &Door) -> [Rule; 2] {
    [
        // ip daddr 172.30.0.30 tcp dport 10000-10004 accept
        Rule::new()
            .address(Side::Destination, address)
            .port(Side::Destination, door.protocol, &door.ports)
            .accept(),
        // A reply goes to the proxy's address as well, which the kernel picks as the source of what is sent to it.
        // ip saddr 172.30.0.30 ip daddr 172.30.0.30 tcp sport 10000-10004 accept
        Rule::new()
            .address(Side::Source, address)
            .address(Side::Destination, address)
            .port(Side::Source, door.protocol, &door.ports)
            .accept(),
    ]
}

/// The listeners that are open, the busiest first.
fn doors(endpoints: &Endpoints) -> impl Iterator<Item = Door> {
    let one = |port| port..=port;
    [
        (
            Protocol::Tcp,
            endpoints.gateway_first..=endpoints.gateway_last,
        ),
        (Protocol::Tcp, one(endpoints.transparent)),
        (Protocol::Tcp, one(endpoints.explicit)),
        (Protocol::Udp, one(endpoints.dns)),
        (Protocol::Tcp, one(endpoints.dns)),
    ]
    .into_iter()
    // Port 0 means that the door is closed.
    .filter(|(_, ports)| *ports.start() != 0 && !ports.is_empty())
    .map(|(protocol, ports)| Door { protocol, ports })
}

/// As `nft --stateless list table inet keyward` prints it.
impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {TABLE} {{")?;
        for (index, chain) in self.chains.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            writeln!(f, "\tchain {} {{", chain.name)?;
            if let Some(hook) = chain.hook {
                writeln!(
                    f,
                    "\t\ttype filter hook {hook} priority filter; policy drop;"
                )?;
            }
            for rule in &chain.rules {
                writeln!(f, "\t\t{rule}")?;
            }
            writeln!(f, "\t}}")?;
        }
        writeln!(f, "}}")
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints() -> Endpoints {
        Endpoints {
            v6: "fd00:6b77::30".parse::<Ipv6Addr>().unwrap().octets(),
            v4: [172, 30, 0, 30],
            gateway_first: 10000,
            gateway_last: 10004,
            transparent: 15001,
            explicit: 3128,
            dns: 53,
            reserved: 0,
        }
    }

    #[test]
    fn every_door_open() {
        insta::assert_snapshot!(Ruleset::for_workload(&endpoints()));
    }

    #[test]
    fn only_the_gateway_open() {
        let closed = Endpoints {
            transparent: 0,
            explicit: 0,
            dns: 0,
            ..endpoints()
        };
        insta::assert_snapshot!(Ruleset::for_workload(&closed));
    }

    #[test]
    fn a_range_that_ends_before_it_begins_opens_nothing() {
        let broken = Endpoints {
            gateway_first: 10004,
            gateway_last: 10000,
            ..endpoints()
        };
        let text = Ruleset::for_workload(&broken).to_string();
        assert!(!text.contains("1000"), "{text}");
        assert!(text.contains("tcp dport 15001 accept"), "{text}");
    }

    #[test]
    fn every_base_chain_denies_by_policy() {
        let text = Ruleset::for_workload(&endpoints()).to_string();
        assert_eq!(text.matches("type filter hook").count(), 3);
        assert_eq!(text.matches("policy drop;").count(), 3);
    }

    #[test]
    fn nothing_is_accepted_outside_the_loopback_chain() {
        for chain in Ruleset::for_workload(&endpoints()).chains() {
            let accepts = chain
                .rules()
                .iter()
                .any(|rule| rule.to_string().ends_with("accept"));
            assert_eq!(accepts, chain.name() == LOCAL, "{}", chain.name());
        }
    }
}
