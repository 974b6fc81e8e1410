// SPDX-License-Identifier: MIT OR Apache-2.0
//! The DNS door: every query is answered with REFUSED, and written down.
//!
//! Nothing that the workload asks leaves the host. An answer at once, rather than silence, lets
//! programs say what is wrong instead of waiting for five seconds, twice.

mod door;

use std::net::SocketAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};

pub(crate) use self::door::{drain_udp, serve_tcp, serve_udp};

/// Answers longer than this are never made, whatever a client says it can take.
const MAX_PAYLOAD: u16 = 1232;

/// What to say to a query.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// The message to send back.
    pub bytes: Vec<u8>,
    /// The first question: name in presentation format, and type. `None` if there was none to read.
    pub question: Option<(String, String)>,
}

/// The reply to a message. `None`: there is nothing to reply to (too short for a header, or itself a
/// reply: answering those makes loops).
#[must_use]
pub fn reply(query: &[u8]) -> Option<Reply> {
    let id = u16::from_be_bytes(*query.first_chunk::<2>()?);
    // The header must be there; the bit of replies must not be set.
    if query.len() < 12 || query.get(2).is_none_or(|it| it & 0x80 != 0) {
        return None;
    }
    let Ok(message) = Message::from_vec(query) else {
        let bytes = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr)
            .to_vec()
            .ok()?;
        return Some(Reply {
            bytes,
            question: None,
        });
    };
    let code = match (message.metadata.op_code, message.queries.as_slice()) {
        (OpCode::Query, [_]) if message.edns.as_ref().is_some_and(|it| it.version() > 0) => {
            ResponseCode::BADVERS
        }
        (OpCode::Query, [_]) => ResponseCode::Refused,
        // No question, or several: nobody agrees what that means.
        (OpCode::Query, _) => ResponseCode::FormErr,
        _ => ResponseCode::NotImp,
    };
    let question = message.queries.first();
    let question = question.map(|it| (it.name().to_ascii(), it.query_type().to_string()));
    let mut answer = Message::error_msg(id, message.metadata.op_code, code);
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.recursion_desired = message.metadata.recursion_desired;
    answer.metadata.checking_disabled = message.metadata.checking_disabled;
    // As it was asked, letter case included: resolvers check that.
    answer.queries = message.queries;
    if message.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_PAYLOAD).set_version(0);
        edns.set_rcode_high(code.high());
        answer.edns = Some(edns);
    }
    Some(Reply {
        bytes: answer.to_vec().ok()?,
        question,
    })
}

/// Who asked, for the log.
#[derive(Clone, Copy, Debug)]
struct Asker {
    transport: firewall_common::Transport,
    address: SocketAddr,
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::Query,
        rr::{Name, RecordType},
    };

    use super::*;

    fn query(name: &str, kind: RecordType) -> Message {
        let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message
    }

    fn answered(message: &Message) -> (Message, Option<(String, String)>) {
        let reply = reply(&message.to_vec().unwrap()).unwrap();
        (Message::from_vec(&reply.bytes).unwrap(), reply.question)
    }

    #[test]
    fn every_type_is_refused_and_the_question_comes_back_as_it_was() {
        for kind in [
            RecordType::A,
            RecordType::AAAA,
            RecordType::TXT,
            RecordType::HTTPS,
            RecordType::ANY,
            RecordType::Unknown(65_280),
        ] {
            let asked = query("WwW.eXample.COM.", kind);
            let (answer, question) = answered(&asked);
            assert_eq!(answer.metadata.id, 0x1234);
            assert_eq!(answer.metadata.message_type, MessageType::Response);
            assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
            assert!(answer.metadata.recursion_desired && answer.answers.is_empty());
            assert_eq!(answer.queries[0].name().to_ascii(), "WwW.eXample.COM.");
            assert!(answer.edns.is_none());
            assert_eq!(
                question,
                Some(("WwW.eXample.COM.".to_owned(), kind.to_string()))
            );
        }
    }

    #[test]
    fn edns_is_kept() {
        let mut asked = query("example.com.", RecordType::A);
        let mut edns = Edns::new();
        edns.set_max_payload(4096);
        asked.edns = Some(edns.clone());
        let (answer, _) = answered(&asked);
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
        assert_eq!(answer.edns.unwrap().max_payload(), MAX_PAYLOAD);
        edns.set_version(1);
        asked.edns = Some(edns);
        // The library reads 16 as BADSIG, which has the same number.
        let (answer, _) = answered(&asked);
        assert_eq!(u16::from(answer.metadata.response_code), 16);
    }

    #[test]
    fn what_is_no_query_is_not_treated_as_one() {
        let good = query("example.com.", RecordType::A);
        let bytes = good.to_vec().unwrap();
        for end in 0..12 {
            assert_eq!(reply(&bytes[..end]), None, "cut at {end}");
        }
        for end in 12..bytes.len() {
            let answer = Message::from_vec(&reply(&bytes[..end]).unwrap().bytes).unwrap();
            assert_eq!(
                answer.metadata.response_code,
                ResponseCode::FormErr,
                "cut at {end}"
            );
            assert_eq!(answer.metadata.id, 0x1234);
        }
        let mut response = good.clone();
        response.metadata.message_type = MessageType::Response;
        assert_eq!(reply(&response.to_vec().unwrap()), None);

        let mut two = good.clone();
        two.add_query(Query::query(
            Name::from_ascii("b.test.").unwrap(),
            RecordType::A,
        ));
        assert_eq!(
            answered(&two).0.metadata.response_code,
            ResponseCode::FormErr
        );
        let mut update = good;
        update.metadata.op_code = OpCode::Update;
        let reply = reply(&update.to_vec().unwrap()).unwrap();
        assert_eq!(reply.bytes[3] & 0x0f, ResponseCode::NotImp.low());
    }
}
