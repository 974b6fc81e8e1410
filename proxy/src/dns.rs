// SPDX-License-Identifier: MIT OR Apache-2.0
//! The DNS door: names that the policy allows are answered, everything else is refused, and both are written down.
//!
//! With synthetic answers, which are the default, nothing that the workload asks leaves the host: an allowed name is
//! answered with an address of a pool that stands for this name alone, without a question to anybody. With real
//! answers an allowed name, and no other, is looked up as an upstream's would be.
//!
//! - A and AAAA of an allowed name: its address, for a minute.
//! - HTTPS and SVCB: no records, so that neither encrypted ClientHello nor HTTP/3 is offered. Nor any of the other
//!   types that ordinary programs ask for besides addresses (SRV, NS, SOA, CNAME, CAA, DS …).
//! - Every other type, TXT, MX and ANY among them: no records, and it counts as a denial.
//! - PTR: the name behind an address of the pool.
//! - `localhost` and what is below it: loopback (RFC 6761).
//! - A denied name: NXDOMAIN, whatever the type, with an extended error (RFC 8914) that says what to add to the policy.
//!
//! Why NXDOMAIN and not REFUSED, which would be the plainer word: C libraries take REFUSED for a server that does not
//! work. glibc asks the next one and ends with "Temporary failure in name resolution", which programs try again; musl
//! does not count it as an answer at all, and waits. NXDOMAIN ends the matter at once with every resolver that is in
//! use. No SOA comes with it, so that nobody keeps it (RFC 2308, section 5): a rule that is added works at once.

mod answer;
mod door;
mod message;
mod ready;
mod real;
mod recent;

use keyward_policy::Policy;

pub(crate) use self::door::{drain_udp, serve_tcp, serve_udp};
use self::{
    answer::{Answer, Outcome, judge},
    message::Received,
};
use crate::egress::Names;

/// How long an answer may be kept, in seconds. The address stays the name's for as long as the run, so it is not about
/// changes: a name that is in use is asked for again, and by that its address is known to be in use.
const TTL: u32 = 60;

/// Answers over UDP longer than this are never made, whatever a client says it can take: what fits into one packet on
/// every path (DNS flag day 2020).
const MAX_PAYLOAD: u16 = 1232;

/// The reply to a message over UDP under a policy, with synthetic addresses. `None`: there is nothing to reply to (too
/// short for a header, or itself a reply: answering those makes loops).
#[must_use]
pub fn reply(policy: &Policy, query: &[u8]) -> Option<Vec<u8>> {
    let names = Names::default();
    match message::read(query) {
        Received::Nothing => None,
        Received::Malformed(reply) => Some(reply),
        Received::Question(question) => {
            let room = question.datagram();
            let answer = match judge(policy, &names, &question).outcome {
                Outcome::Answer(answer) => answer,
                // Not with synthetic addresses.
                Outcome::LookUp(_) => Answer::failed(),
            };
            question.reply(&answer, room)
        }
    }
}

#[cfg(test)]
mod tests;
