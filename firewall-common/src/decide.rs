// SPDX-License-Identifier: MIT OR Apache-2.0
//! The decision on a destination: what `connect(2)`, `sendto(2)` and their kin are answered.
//!
//! Pure: no clock, no map, no log. What comes before (is this kind of socket allowed at all) is
//! [`crate::decide_socket`]; what comes after (where does the packet really go) is
//! [`crate::decide_egress`].

use crate::{Destination, Listeners, Reason};

/// The port of DNS, UDP and TCP (RFC 1035, 4.2).
const DNS_PORT: u16 = 53;

/// The transports that a workload may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// From an IP protocol number; `None` for everything that a workload may not speak.
    #[inline(always)]
    #[must_use]
    pub const fn from_protocol(protocol: u32) -> Option<Self> {
        match protocol {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }

    /// The IP protocol number.
    #[inline(always)]
    #[must_use]
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// What a workload is about to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// TCP or UDP.
    pub transport: Transport,
    /// Where to, as the workload asked.
    pub destination: Destination,
}

/// The listeners of the proxy that destinations are rewritten to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The transparent listener, which looks the original destination up.
    Transparent,
    /// The DNS listener.
    Dns,
}

/// What becomes of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes where it was going.
    Proceed,
    /// It goes to a listener of the proxy instead.
    Redirect(Door),
    /// It fails.
    Deny(Reason),
}

/// Decides on one flow. The order of the rules is the rule.
#[inline(always)]
#[must_use]
pub const fn decide(listeners: &Listeners, flow: &Flow) -> Verdict {
    let Flow {
        transport,
        destination: Destination { address, port, .. },
    } = *flow;

    // Before the port rules: the workload's own servers on loopback may have any port, 53 too.
    if address.is_loopback() {
        return Verdict::Proceed;
    }
    let at_proxy = listeners.is_proxy(address);
    if at_proxy && listeners.is_public_port(transport, port) {
        return Verdict::Proceed;
    }
    // Before the transparent listener: whichever server is asked, our own resolver answers.
    if port == DNS_PORT {
        return if listeners.dns != 0 {
            Verdict::Redirect(Door::Dns)
        } else {
            Verdict::Deny(Reason::DnsNotAllowed)
        };
    }
    // Before the redirect: the proxy must not be asked to dial itself.
    if at_proxy {
        return Verdict::Deny(Reason::NotAListener);
    }
    match transport {
        Transport::Tcp if listeners.transparent != 0 => Verdict::Redirect(Door::Transparent),
        Transport::Tcp => Verdict::Deny(Reason::TcpNotAllowed),
        Transport::Udp => Verdict::Deny(Reason::UdpNotAllowed),
    }
}

#[cfg(test)]
mod tests;
