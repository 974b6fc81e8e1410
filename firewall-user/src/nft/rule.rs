// SPDX-License-Identifier: GPL-3.0-or-later
//! One rule, built from small verbs: each adds the words of nft's syntax and the expressions that the kernel runs.
//!
//! The words and the expressions stand side by side, so that a reviewer sees one with the other; a kernel test lets
//! `nft` translate the expressions back and compares.
//!
//! Some expressions are written out where rustables has a ready-made verb: its `iiface_id` compares the interface index
//! in network order (the kernel keeps it in host order), and it has no ranges, no header fields such as `hdrlength`
//! and no `reject` verb.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use rustables::expr::{
    Bitwise, Cmp, CmpOp, Counter, HighLevelPayload, IPv4HeaderField, IPv6HeaderField, IcmpCode,
    Immediate, Meta, MetaType, NetworkHeaderField, Payload, RawExpression, Register, Reject,
    RejectType, VerdictKind,
};
use rustables::sys::{NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER};

/// The loopback device has this index in every network namespace.
///
/// <https://github.com/torvalds/linux/blob/v6.12/include/net/net_namespace.h#L50>
const LOOPBACK_IFINDEX: u32 = 1;

/// Address families as `meta nfproto` knows them: `NFPROTO_IPV4`, `NFPROTO_IPV6` of `linux/netfilter.h`.
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

/// IANA protocol numbers.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;

/// A rule: what nft would call it, and what the kernel runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    words: Vec<String>,
    expressions: Vec<RawExpression>,
    family: Option<u8>,
    transport: Option<u8>,
}

/// The two transports that a workload may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// Which end of a packet's journey an address or a port names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

impl Rule {
    pub(super) fn new() -> Self {
        Self {
            words: Vec::new(),
            expressions: Vec::new(),
            family: None,
            transport: None,
        }
    }

    pub(super) fn expressions(&self) -> &[RawExpression] {
        &self.expressions
    }

    // === matches ===

    /// `iif "lo"`
    pub(super) fn in_by_loopback(self) -> Self {
        self.word("iif \"lo\"")
            .meta(MetaType::Iif)
            .equals(LOOPBACK_IFINDEX.to_ne_bytes())
    }

    /// `oif "lo"`
    pub(super) fn out_by_loopback(self) -> Self {
        self.word("oif \"lo\"")
            .meta(MetaType::Oif)
            .equals(LOOPBACK_IFINDEX.to_ne_bytes())
    }

    /// `ip hdrlength != 5`: an IPv4 header longer than 5 words holds options.
    pub(super) fn has_ip_options(self) -> Self {
        self.word("ip hdrlength != 5")
            .family(NFPROTO_IPV4)
            .network_byte(0)
            .masked(0x0f)
            .differs_from([5])
    }

    /// `ip6 nexthdr != tcp ip6 nexthdr != udp ip6 nexthdr != ipv6-icmp`
    pub(super) fn has_ip6_extension_header(self) -> Self {
        let next_header = NetworkHeaderField::IPv6(IPv6HeaderField::NextHeader);
        [("tcp", TCP), ("udp", UDP), ("ipv6-icmp", ICMP6)]
            .into_iter()
            .fold(self.family(NFPROTO_IPV6), |rule, (name, number)| {
                rule.word(format!("ip6 nexthdr != {name}"))
                    .network(next_header)
                    .differs_from([number])
            })
    }

    /// `ip daddr 127.0.0.0/8`, as nft has it: the address's first byte.
    pub(super) fn loopback_destination(self) -> Self {
        const DESTINATION_OFFSET: u32 = 16;
        self.word("ip daddr 127.0.0.0/8")
            .family(NFPROTO_IPV4)
            .network_byte(DESTINATION_OFFSET)
            .equals([127])
    }

    /// `ip daddr 172.30.0.30`, `ip6 saddr fd00::30`
    pub(super) fn address(self, side: Side, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self
                .word(format!("ip {side}addr {v4}"))
                .family(NFPROTO_IPV4)
                .network(NetworkHeaderField::IPv4(match side {
                    Side::Source => IPv4HeaderField::Saddr,
                    Side::Destination => IPv4HeaderField::Daddr,
                }))
                .equals(v4.octets()),
            IpAddr::V6(v6) => self
                .word(format!("ip6 {side}addr {v6}"))
                .family(NFPROTO_IPV6)
                .network(NetworkHeaderField::IPv6(match side {
                    Side::Source => IPv6HeaderField::Saddr,
                    Side::Destination => IPv6HeaderField::Daddr,
                }))
                .equals(v6.octets()),
        }
    }

    /// `meta l4proto tcp`
    pub(super) fn protocol(self, protocol: Protocol) -> Self {
        self.word(format!("meta l4proto {protocol}"))
            .transport(protocol.number())
    }

    /// `tcp dport 53`, `tcp sport 10000-10004`
    pub(super) fn port(self, side: Side, protocol: Protocol, ports: &RangeInclusive<u16>) -> Self {
        let (first, last) = (*ports.start(), *ports.end());
        // TCP and UDP both begin with the source port, then the destination port.
        let offset = match side {
            Side::Source => 0,
            Side::Destination => 2,
        };
        let rule = self.transport(protocol.number()).transport_bytes(offset, 2);
        if first == last {
            rule.word(format!("{protocol} {side}port {first}"))
                .equals(first.to_be_bytes())
        } else {
            rule.word(format!("{protocol} {side}port {first}-{last}"))
                .compare(CmpOp::Gte, first.to_be_bytes())
                .compare(CmpOp::Lte, last.to_be_bytes())
        }
    }

    /// `tcp flags rst`
    pub(super) fn tcp_reset(self) -> Self {
        const FLAGS_OFFSET: u32 = 13;
        const RST: u8 = 0x04;
        self.word("tcp flags rst")
            .transport(TCP)
            .transport_bytes(FLAGS_OFFSET, 1)
            .masked(RST)
            .differs_from([0])
    }

    /// `icmp type destination-unreachable`
    pub(super) fn icmp_unreachable(self) -> Self {
        const DESTINATION_UNREACHABLE: u8 = 3;
        self.word("icmp type destination-unreachable")
            .family(NFPROTO_IPV4)
            .transport(ICMP)
            .transport_bytes(0, 1)
            .equals([DESTINATION_UNREACHABLE])
    }

    /// `icmpv6 type destination-unreachable`
    pub(super) fn icmp6_unreachable(self) -> Self {
        const DESTINATION_UNREACHABLE: u8 = 1;
        self.word("icmpv6 type destination-unreachable")
            .family(NFPROTO_IPV6)
            .transport(ICMP6)
            .transport_bytes(0, 1)
            .equals([DESTINATION_UNREACHABLE])
    }

    // === statements ===

    /// `counter`
    pub(super) fn count(self) -> Self {
        let zero = Counter::default().with_nb_packets(0u64).with_nb_bytes(0u64);
        self.word("counter").push(zero)
    }

    /// `accept`
    pub(super) fn accept(self) -> Self {
        self.word("accept").verdict(VerdictKind::Accept)
    }

    /// `drop`
    pub(super) fn drop(self) -> Self {
        self.word("drop").verdict(VerdictKind::Drop)
    }

    /// `return`: back to the rule after the jump.
    pub(super) fn leave(self) -> Self {
        self.word("return").verdict(VerdictKind::Return)
    }

    /// `jump CHAIN`
    pub(super) fn jump(self, chain: &str) -> Self {
        self.word(format!("jump {chain}"))
            .verdict(VerdictKind::Jump {
                chain: chain.to_owned(),
            })
    }

    /// `goto CHAIN`
    pub(super) fn goto(self, chain: &str) -> Self {
        self.word(format!("goto {chain}"))
            .verdict(VerdictKind::Goto {
                chain: chain.to_owned(),
            })
    }

    /// `reject with tcp reset`
    pub(super) fn reject_with_reset(self) -> Self {
        self.word("reject with tcp reset")
            .push(Reject::default().with_type(RejectType::TcpRst))
    }

    /// `reject with icmpx admin-prohibited`
    pub(super) fn reject_as_prohibited(self) -> Self {
        self.word("reject with icmpx admin-prohibited").push(
            Reject::default()
                .with_type(RejectType::IcmpxUnreach)
                .with_icmp_code(IcmpCode::AdminProhibited),
        )
    }

    // === expressions ===

    fn word(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    fn push(mut self, expression: impl Into<RawExpression>) -> Self {
        self.expressions.push(expression.into());
        self
    }

    fn meta(self, key: MetaType) -> Self {
        self.push(Meta::new(key))
    }

    /// A network header may only be read once it is known whose it is: the table serves both families.
    fn family(mut self, family: u8) -> Self {
        if self.family == Some(family) {
            return self;
        }
        self.family = Some(family);
        self.meta(MetaType::NfProto).equals([family])
    }

    /// As [`Self::family`], for the transport header.
    fn transport(mut self, protocol: u8) -> Self {
        if self.transport == Some(protocol) {
            return self;
        }
        self.transport = Some(protocol);
        self.meta(MetaType::L4Proto).equals([protocol])
    }

    fn network(self, field: NetworkHeaderField) -> Self {
        self.push(HighLevelPayload::Network(field).build())
    }

    fn network_byte(self, offset: u32) -> Self {
        self.push(payload(NFT_PAYLOAD_NETWORK_HEADER, offset, 1))
    }

    fn transport_bytes(self, offset: u32, len: u32) -> Self {
        self.push(payload(NFT_PAYLOAD_TRANSPORT_HEADER, offset, len))
    }

    fn masked(self, mask: u8) -> Self {
        let bitwise = Bitwise::new([mask], [0]).expect("a mask and a xor of one byte each");
        self.push(bitwise)
    }

    fn compare(self, op: CmpOp, value: impl Into<Vec<u8>>) -> Self {
        self.push(Cmp::new(op, value))
    }

    fn equals(self, value: impl Into<Vec<u8>>) -> Self {
        self.compare(CmpOp::Eq, value)
    }

    fn differs_from(self, value: impl Into<Vec<u8>>) -> Self {
        self.compare(CmpOp::Neq, value)
    }

    fn verdict(self, kind: VerdictKind) -> Self {
        self.push(Immediate::new_verdict(kind))
    }
}

fn payload(base: u32, offset: u32, len: u32) -> Payload {
    Payload::default()
        .with_base(base)
        .with_offset(offset)
        .with_len(len)
        .with_dreg(Register::Reg1)
}

impl Protocol {
    fn number(self) -> u8 {
        match self {
            Self::Tcp => TCP,
            Self::Udp => UDP,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// nft's prefix: `saddr`, `dport`.
impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "s",
            Self::Destination => "d",
        })
    }
}
