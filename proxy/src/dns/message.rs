// SPDX-License-Identifier: MIT OR Apache-2.0
//! DNS messages: what is asked, and the reply to it.

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{PTR, opt::EdnsOption},
    },
};

use super::{
    MAX_PAYLOAD, TTL,
    answer::{Answer, Records},
};

/// Length of a header (RFC 1035, section 4.1.1).
const HEADER: usize = 12;

/// Room for a reply over UDP without EDNS (RFC 1035, section 4.2.1).
const PLAIN: u16 = 512;

/// Option code of an extended error (RFC 8914, section 2).
const EXTENDED_ERROR: u16 = 15;

/// Records of messages, not of names (RFC 6891, section 6.1.1; RFC 8945, section 4.2).
const OF_MESSAGES: [RecordType; 2] = [RecordType::OPT, RecordType::TSIG];

/// Questions for everything that there is.
const WHOLE_ZONES: [RecordType; 2] = [RecordType::AXFR, RecordType::IXFR];

/// What came.
pub(super) enum Received {
    /// Nothing that wants a reply.
    Nothing,
    /// Something that is told by this reply that it is no plain question.
    Malformed(Vec<u8>),
    /// One question.
    Question(Box<Question>),
}

/// One question of class IN.
pub(super) struct Question {
    message: Message,
    name: Name,
    kind: RecordType,
}

/// Reads a message.
pub(super) fn read(bytes: &[u8]) -> Received {
    // The header must be there; the bit of replies must not be set.
    let Some(header) = bytes.first_chunk::<HEADER>().filter(|it| it[2] & 0x80 == 0) else {
        return Received::Nothing;
    };
    let id = u16::from_be_bytes([header[0], header[1]]);
    let Ok(message) = Message::from_vec(bytes) else {
        let reply = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec();
        return reply.map_or(Received::Nothing, Received::Malformed);
    };
    let code = match (message.metadata.op_code, message.queries.as_slice()) {
        (OpCode::Query, [question]) => {
            if message.edns.as_ref().is_some_and(|it| it.version() > 0) {
                ResponseCode::BADVERS
            } else if question.query_class() != DNSClass::IN {
                ResponseCode::Refused
            } else if OF_MESSAGES.contains(&question.query_type()) {
                ResponseCode::FormErr
            } else if WHOLE_ZONES.contains(&question.query_type()) {
                ResponseCode::Refused
            } else {
                let (name, kind) = (question.name().clone(), question.query_type());
                return Received::Question(Box::new(Question {
                    message,
                    name,
                    kind,
                }));
            }
        }
        // No question, or several: nobody agrees what that means.
        (OpCode::Query, _) => ResponseCode::FormErr,
        _ => ResponseCode::NotImp,
    };
    let reply = begin(message, code).to_vec();
    reply.map_or(Received::Nothing, Received::Malformed)
}

impl Question {
    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    pub(super) fn kind(&self) -> RecordType {
        self.kind
    }

    /// Longest reply that may go out as a datagram.
    pub(super) fn datagram(&self) -> u16 {
        let edns = self.message.edns.as_ref();
        edns.map_or(PLAIN, |it| it.max_payload().clamp(PLAIN, MAX_PAYLOAD))
    }

    /// The reply. What does not fit into `room` bytes is left out and marked so, and the client asks again over TCP.
    pub(super) fn reply(self, answer: &Answer, room: u16) -> Option<Vec<u8>> {
        let Self { message, name, .. } = self;
        let mut reply = begin(message, answer.code);
        match &answer.records {
            Records::None => {}
            Records::Addresses(addresses, ttl) => {
                let record = |it| Record::from_rdata(name.clone(), *ttl, RData::from(it));
                reply.answers = addresses.iter().copied().map(record).collect();
            }
            Records::Pointer(to) => {
                let to = RData::PTR(PTR(to.clone()));
                reply.answers = vec![Record::from_rdata(name, TTL, to)];
            }
        }
        if let (Some(edns), Some(error)) = (reply.edns.as_mut(), &answer.error) {
            let data = [&error.code.to_be_bytes(), error.text.as_bytes()].concat();
            let option = EdnsOption::Unknown(EXTENDED_ERROR, data);
            edns.options_mut().insert(option);
        }
        let bytes = reply.to_vec().ok()?;
        if bytes.len() <= usize::from(room) {
            return Some(bytes);
        }
        reply.metadata.truncation = true;
        reply.answers.clear();
        reply.to_vec().ok()
    }
}

/// A reply without records.
fn begin(query: Message, code: ResponseCode) -> Message {
    let mut reply = Message::new(
        query.metadata.id,
        MessageType::Response,
        query.metadata.op_code,
    );
    reply.metadata.response_code = code;
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.checking_disabled = query.metadata.checking_disabled;
    // As it was asked, letter case included: resolvers check that. Not where there are several: names that point at
    // another are short in a query and may be long in the reply, which points at the first few labels only.
    if query.queries.len() == 1 {
        reply.queries = query.queries;
    }
    if let Some(asked) = query.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_PAYLOAD).set_version(0);
        edns.set_rcode_high(code.high());
        // Copied, as RFC 3225 wants it; there are no signatures to go with it.
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        reply.edns = Some(edns);
    }
    reply
}
