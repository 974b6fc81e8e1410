// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why something was denied: one list for the whole product.
//!
//! The kernel's events, the proxy's answers, the log, the metrics and `keyward explain` all name a
//! denial by the same word. Names and numbers are stable: a reason is added at the end of its part
//! of the list and never renamed.

/// Slots of the kernel's counters: one for each reason that fits, and [`LOST_EVENTS`].
pub const COUNTERS: u32 = 64;

/// The counter of denials that found the ring buffer full. No reason has the number 0.
pub const LOST_EVENTS: u32 = 0;

/// Declares the list once: number, name, and one sentence for people.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $sentence:literal;)+) => {
        /// Why something was denied.
        #[repr(u16)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $variant = $number,)+
        }

        impl Reason {
            /// Every reason, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The stable name, in `snake_case`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence in plain words.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)+ }
            }

            /// The number, as events and counters have it.
            #[inline(always)]
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// The reason with this number.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

// 1 to 63 are the kernel's: they index its counters. The proxy's begin at 64.
reasons! {
    /// TCP to an address that is not the proxy's, with no transparent listener to take it.
    TcpNotAllowed = 1, "tcp_not_allowed",
        "TCP connections may go to the proxy only.";
    /// UDP to anywhere but loopback and the DNS listener.
    UdpNotAllowed = 2, "udp_not_allowed",
        "UDP may not leave: only TCP can pass through the proxy.";
    /// Port 53, with no DNS listener to take it.
    DnsNotAllowed = 3, "dns_not_allowed",
        "DNS queries may not leave: the proxy looks names up itself.";
    /// A port of the proxy's address that is none of its listeners.
    NotAListener = 4, "not_a_listener",
        "The proxy does not listen on this port.";
    /// A socket that is neither TCP nor UDP over IP.
    SocketNotAllowed = 5, "socket_not_allowed",
        "Only plain TCP and UDP sockets may be made: no raw, ping, SCTP, UDP-Lite or MPTCP ones.";
    /// A packet that is neither TCP nor UDP.
    ProtocolNotAllowed = 6, "protocol_not_allowed",
        "Only TCP and UDP packets may leave.";
    /// A socket option that could bend a packet's way.
    SocketOption = 7, "socket_option",
        "This socket option could send packets another way and is refused.";
    /// IPv6 routing header.
    RoutingHeader = 8, "routing_header",
        "The packet has an IPv6 routing header, which would send it somewhere else first.";
    /// Any other IPv6 extension header.
    ExtensionHeader = 9, "extension_header",
        "The packet has an IPv6 extension header, which no allowed connection needs.";
    /// IPv4 options, source routes among them.
    IpOptions = 10, "ip_options",
        "The packet has IPv4 options, which could send it somewhere else first.";
    /// A fragment: what it carries cannot be judged.
    Fragment = 11, "fragment",
        "The packet is a fragment made by hand, which cannot be judged.";
    /// A packet that is too short to read or contradicts itself.
    PacketMalformed = 12, "packet_malformed",
        "The packet could not be read.";
    /// A packet whose real destination is neither loopback nor a listener of the proxy.
    PacketDestination = 13, "packet_destination",
        "The packet was about to go somewhere else than to the proxy.";
    /// A packet from outside to a socket of the workload.
    Inbound = 14, "inbound",
        "Nothing from outside may reach the workload.";
    /// A hook could not read what it judges, or could not write down where a connection goes.
    InternalError = 15, "internal_error",
        "The firewall could not decide, and so refused.";
    /// A socket of a family that no hook of the network layer sees.
    FamilyNotAllowed = 16, "family_not_allowed",
        "Sockets of this family may not be made: only IPv4, IPv6, Unix and netlink ones.";
    /// A host that no allow rule names.
    HostNotAllowed = 64, "host_not_allowed",
        "No rule allows this host.";
    /// A host that a block rule names.
    HostBlocked = 65, "host_blocked",
        "A rule blocks this host.";
    /// An allowed host, at a port that no rule allows.
    PortNotAllowed = 66, "port_not_allowed",
        "The host is allowed, but not at this port.";
    /// An allowed host and port, with another protocol than the rule's.
    SchemeNotAllowed = 67, "scheme_not_allowed",
        "The host is allowed at this port, but not with what the connection speaks.";
    /// An allowed host, with a method or a path that the rule does not have.
    RequestNotAllowed = 68, "request_not_allowed",
        "The host is allowed, but not this method or path.";
    /// An address that no rule lists.
    AddressNotAllowed = 69, "address_not_allowed",
        "Addresses are reached by name, or if a rule lists the address itself.";
    /// A name that leads to a private, loopback or link-local address.
    PrivateAddress = 70, "private_address",
        "The name leads to a private or local address, and no rule lists that network.";
    /// TLS, HTTP, DNS and CONNECT do not name the same host.
    NameMismatch = 71, "name_mismatch",
        "The connection names another host than the one that it was made to.";
    /// Encrypted ClientHello.
    EncryptedClientHello = 72, "encrypted_client_hello",
        "The TLS handshake hides the host's name (encrypted ClientHello).";
    /// A ClientHello that cannot be read.
    BadClientHello = 73, "bad_client_hello",
        "The TLS handshake cannot be read: malformed, or larger than 16 KiB.";
    /// The first bytes did not come in time.
    FirstBytesTimedOut = 74, "first_bytes_timed_out",
        "The connection did not say in time whom it is for.";
    /// An address of the synthetic pool that stands for no name.
    StaleAddress = 75, "stale_address",
        "No name was given this address: it is not from our DNS, or too old.";
    /// A record type that is not answered.
    QueryNotAnswered = 76, "query_not_answered",
        "Only addresses are looked up (A, AAAA, and PTR for what we answered).";
    /// A DNS message that is not a plain question.
    BadQuery = 77, "bad_query",
        "The DNS message is not one well-formed question.";
    /// An open connection that a new policy does not allow.
    PolicyChanged = 78, "policy_changed",
        "The policy was changed and does not allow this connection any more.";
    /// A port of the host that is not opened.
    HostPortNotAllowed = 79, "host_port_not_allowed",
        "This port of the host is not opened.";
    /// A connection that the kernel side did not write down.
    UnknownPeer = 80, "unknown_peer",
        "The connection is not one that the workload was seen to make.";
    /// An HTTP message at a door that is refused for its form.
    BadRequest = 81, "bad_request",
        "The HTTP request is malformed, ambiguous or too large.";
    /// HTTP/2 without TLS.
    Http2Plaintext = 82, "http2_plaintext",
        "HTTP/2 without TLS is not carried: its requests could not be judged one by one.";
    /// More connections than there may be.
    TooManyConnections = 83, "too_many_connections",
        "There are as many open connections as there may be.";
    /// The name or address that is allowed could not be reached.
    Unreachable = 84, "unreachable",
        "It is allowed, but could not be reached.";
    /// What was sent holds a secret.
    SecretLeak = 95, "secret_leak",
        "What was sent holds a secret.";
}

impl Reason {
    /// Index into the kernel's counters. Only the kernel's own reasons have one.
    #[inline(always)]
    #[must_use]
    pub fn counter(self) -> Option<u32> {
        let number = u32::from(self.number());
        if number < COUNTERS {
            Some(number)
        } else {
            None
        }
    }
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_go_both_ways() {
        for (at, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_number(reason.number()), Some(*reason));
            assert_ne!(u32::from(reason.number()), LOST_EVENTS);
            for other in &Reason::ALL[at + 1..] {
                assert_ne!(reason.number(), other.number());
                assert_ne!(reason.name(), other.name());
            }
        }
    }

    #[test]
    fn names_are_snake_case_and_sentences_are_sentences() {
        for reason in Reason::ALL {
            let name = reason.name();
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()),
                "{name}"
            );
            assert!(reason.sentence().ends_with('.'), "{name}");
            assert!(
                reason
                    .sentence()
                    .starts_with(|c: char| c.is_ascii_uppercase()),
                "{name}"
            );
        }
    }

    #[test]
    fn counters_are_the_numbers_of_the_kernels_reasons() {
        for reason in Reason::ALL {
            let number = u32::from(reason.number());
            assert_eq!(reason.counter(), (number < COUNTERS).then_some(number));
        }
    }
}
