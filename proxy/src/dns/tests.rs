// SPDX-License-Identifier: MIT OR Apache-2.0

use std::net::IpAddr;

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RecordType, rdata::opt::EdnsOption},
};
use keyward_policy::{Entry, Mode, RawPolicy};
use proptest::prelude::*;

use super::*;

fn policy(allow: &[&str]) -> Policy {
    Policy::new(&RawPolicy {
        allow: allow.iter().map(|it| entry(it)).collect(),
        block: vec![entry("blocked.example.com")],
        host_ports: vec![(5432, 5432)],
        ..RawPolicy::default()
    })
    .unwrap()
}

fn entry(rule: &str) -> Entry {
    Entry {
        rule: rule.to_owned(),
        ..Entry::default()
    }
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.edns = Some(edns);
    message
}

fn ask(policy: &Policy, message: &Message) -> Message {
    let reply = reply(policy, &message.to_vec().unwrap()).unwrap();
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!(reply.metadata.id, 0x1234);
    assert_eq!(reply.metadata.message_type, MessageType::Response);
    assert!(!reply.metadata.authentic_data && !reply.metadata.truncation);
    assert!(reply.authorities.is_empty() && reply.additionals.is_empty());
    reply
}

fn code(message: &Message) -> ResponseCode {
    message.metadata.response_code
}

fn address(message: &Message) -> IpAddr {
    let [record] = &message.answers[..] else {
        panic!("{:?}", message.answers)
    };
    assert_eq!(record.ttl, TTL);
    record.data.ip_addr().unwrap()
}

#[test]
fn allowed_names_get_an_address_of_the_pool_and_the_question_comes_back_as_it_was() {
    let policy = policy(&["example.com"]);
    for name in ["example.com.", "WwW.eXample.COM.", "_x.example.com."] {
        for (kind, expected) in [
            (RecordType::A, "198.18.0.1"),
            (RecordType::AAAA, "fd6b:6579:7761:7265::c612:1"),
        ] {
            let answer = ask(&policy, &query(name, kind));
            assert_eq!(code(&answer), ResponseCode::NoError);
            assert_eq!(address(&answer), expected.parse::<IpAddr>().unwrap());
            assert_eq!(answer.queries[0].name().to_ascii(), name);
            assert_eq!(answer.answers[0].name.to_ascii(), name);
            assert!(answer.metadata.recursion_desired && answer.metadata.recursion_available);
            assert!(answer.edns.is_none());
        }
    }
}

#[test]
fn denied_names_do_not_exist_in_any_type() {
    let policy = policy(&["example.com"]);
    for name in [
        "example.org.",
        "example.com.org.",
        "notexample.com.",
        "blocked.example.com.",
        "x.blocked.example.com.",
        "com.",
        ".",
        "*.example.com.",
        "198.51.100.1.",
    ] {
        for kind in [
            RecordType::A,
            RecordType::AAAA,
            RecordType::TXT,
            RecordType::MX,
            RecordType::SRV,
            RecordType::NS,
            RecordType::HTTPS,
            RecordType::NULL,
            RecordType::ANY,
            RecordType::Unknown(65_280),
        ] {
            let answer = ask(&policy, &query(name, kind));
            assert_eq!(code(&answer), ResponseCode::NXDomain, "{name} {kind}");
            assert!(answer.answers.is_empty());
        }
    }
}

#[test]
fn odd_bytes_in_labels_make_no_other_name_of_it() {
    let policy = policy(&["example.com"]);
    let cases: &[&[&[u8]]] = &[
        &[b"x.example", b"com"],
        &[b"www.example.com"],
        &[b"www\\.example", b"com"],
        &[b"a\0", b"example", b"com"],
        &[b"\xff", b"example", b"com"],
        &["\u{2024}".as_bytes(), b"example", b"com"],
        &[b"a b", b"example", b"com"],
        &[b"example", b"com", b"*"],
    ];
    for labels in cases {
        let mut message = query(".", RecordType::A);
        let name = Name::from_labels(labels.iter().copied()).unwrap();
        message.queries[0].set_name(name.clone());
        let answer = ask(&policy, &message);
        assert_eq!(code(&answer), ResponseCode::NXDomain, "{name}");
        assert!(answer.queries[0].name().eq_case(&name));
    }
}

#[test]
fn other_types_of_allowed_names_are_empty() {
    let policy = policy(&["example.com"]);
    let names = Names::default();
    for (name, kind, denied) in [
        ("example.com.", RecordType::HTTPS, false),
        ("_8443._https.example.com.", RecordType::HTTPS, false),
        ("example.com.", RecordType::SVCB, false),
        ("_http._tcp.example.com.", RecordType::SRV, false),
        ("example.com.", RecordType::SOA, false),
        ("example.com.", RecordType::TXT, true),
        ("example.com.", RecordType::MX, true),
        ("example.com.", RecordType::NULL, true),
        ("example.com.", RecordType::ANY, true),
        ("example.com.", RecordType::Unknown(65_280), true),
    ] {
        let message = query(name, kind);
        let answer = ask(&policy, &message);
        assert_eq!(code(&answer), ResponseCode::NoError, "{name} {kind}");
        assert!(answer.answers.is_empty());
        let Received::Question(question) = message::read(&message.to_vec().unwrap()) else {
            panic!("{name}")
        };
        let verdict = judge(&policy, &names, &question).verdict;
        assert_eq!(verdict.is_some_and(|it| it.denied), denied, "{name} {kind}");
    }
}

#[test]
fn services_are_judged_by_their_host() {
    let policy = policy(&["a*.example.com"]);
    for (name, expected) in [
        ("_http._tcp.api.example.com.", ResponseCode::NoError),
        ("_http._tcp.example.com.", ResponseCode::NXDomain),
        ("_http._tcp.example.org.", ResponseCode::NXDomain),
        ("_tcp._x.www.example.com.", ResponseCode::NXDomain),
    ] {
        let answer = ask(&policy, &query(name, RecordType::SRV));
        assert_eq!(code(&answer), expected, "{name}");
    }
    // Only for services.
    let answer = ask(&policy, &query("_tcp.api.example.com.", RecordType::A));
    assert_eq!(code(&answer), ResponseCode::NXDomain);
}

#[test]
fn localhost_is_loopback_whatever_the_policy() {
    for name in ["localhost.", "LOCALHOST.", "a.b.localhost."] {
        let answer = ask(&policy(&[]), &query(name, RecordType::A));
        assert_eq!(address(&answer), "127.0.0.1".parse::<IpAddr>().unwrap());
        let answer = ask(&policy(&[]), &query(name, RecordType::AAAA));
        assert_eq!(address(&answer), "::1".parse::<IpAddr>().unwrap());
        let answer = ask(&policy(&[]), &query(name, RecordType::MX));
        assert_eq!(code(&answer), ResponseCode::NoError);
    }
}

#[test]
fn the_hosts_own_name_is_answered_if_a_port_is_open() {
    let open = policy(&[]);
    let closed = Policy::default();
    for name in ["host.docker.internal.", "host.keyward.internal."] {
        let answer = ask(&open, &query(name, RecordType::A));
        assert_eq!(address(&answer), "198.18.0.1".parse::<IpAddr>().unwrap());
        let answer = ask(&closed, &query(name, RecordType::A));
        assert_eq!(code(&answer), ResponseCode::NXDomain);
    }
}

#[test]
fn an_audit_answers_every_name() {
    let raw = RawPolicy {
        mode: Mode::Audit,
        ..RawPolicy::default()
    };
    let audit = Policy::new(&raw).unwrap();
    let message = query("example.org.", RecordType::A);
    address(&ask(&audit, &message));
    let Received::Question(question) = message::read(&message.to_vec().unwrap()) else {
        panic!()
    };
    let verdict = judge(&audit, &Names::default(), &question).verdict.unwrap();
    assert!(!verdict.denied && verdict.decision.outcome.is_err());
}

#[test]
fn pointers_lead_back_to_names() {
    let policy = policy(&["example.com"]);
    let names = Names::default();
    names.give(&"www.example.com".parse().unwrap()).unwrap();
    let pointer = |address: &str| {
        let message = query(&format!("{address}."), RecordType::PTR);
        let Received::Question(question) = message::read(&message.to_vec().unwrap()) else {
            panic!("{address}")
        };
        let judged = judge(&policy, &names, &question);
        let denied = judged.verdict.is_some();
        match judged.outcome {
            Outcome::Answer(answer) => match answer.records {
                answer::Records::Pointer(name) => (name.to_ascii(), denied),
                answer::Records::None | answer::Records::Addresses(..) => {
                    assert_eq!(answer.code, ResponseCode::NXDomain);
                    (String::new(), denied)
                }
            },
            Outcome::LookUp(name) => panic!("{name}"),
        }
    };
    let v6 = "1.0.0.0.2.1.6.c.0.0.0.0.0.0.0.0.5.6.2.7.1.6.7.7.9.7.5.6.b.6.d.f.ip6.arpa";
    for (address, expected) in [
        ("1.0.18.198.in-addr.arpa", ("www.example.com.", false)),
        (v6, ("www.example.com.", false)),
        ("1.0.0.127.in-addr.arpa", ("localhost.", false)),
        ("30.0.30.172.in-addr.arpa", ("", false)),
        ("2.0.18.198.in-addr.arpa", ("", false)),
        ("8.8.8.8.in-addr.arpa", ("", true)),
        ("0.18.198.in-addr.arpa", ("", true)),
        ("www.example.com", ("", true)),
    ] {
        let (name, denied) = pointer(address);
        assert_eq!((name.as_str(), denied), expected, "{address}");
    }
}

#[test]
fn edns_is_kept_and_says_why() {
    let policy = policy(&["example.com"]);
    let mut asked = with_edns(query("example.com.", RecordType::A), 4096);
    asked.edns.as_mut().unwrap().set_dnssec_ok(true);
    let answer = ask(&policy, &asked).edns.unwrap();
    assert_eq!(answer.max_payload(), MAX_PAYLOAD);
    assert!(answer.flags().dnssec_ok && answer.options().as_ref().is_empty());

    let asked = with_edns(query("Example.ORG.", RecordType::A), 512);
    let answer = ask(&policy, &asked).edns.unwrap();
    let Some(EdnsOption::Unknown(15, data)) = answer.option(15.into()) else {
        panic!("{answer:?}")
    };
    assert_eq!(data[..2], [0, 15]);
    assert_eq!(
        std::str::from_utf8(&data[2..]).unwrap(),
        "keyward: No rule allows this host. Add: example.org"
    );

    let mut asked = with_edns(query("example.com.", RecordType::A), 4096);
    asked.edns.as_mut().unwrap().set_version(1);
    let answer = ask(&policy, &asked);
    // The library reads 16 as BADSIG, which has the same number.
    assert_eq!(u16::from(code(&answer)), 16);
    assert!(answer.answers.is_empty());
}

#[test]
fn what_does_not_fit_is_asked_for_again() {
    let many: Vec<IpAddr> = (1..=100).map(|it| IpAddr::from([192, 0, 2, it])).collect();
    let answer = Answer::addresses(many, TTL);
    for (edns, room, fits) in [
        (None, 512, false),
        (Some(100), 512, false),
        (Some(4096), 1232, false),
        (None, u16::MAX, true),
    ] {
        let mut message = query("example.com.", RecordType::A);
        if let Some(payload) = edns {
            message = with_edns(message, payload);
        }
        let Received::Question(question) = message::read(&message.to_vec().unwrap()) else {
            panic!()
        };
        assert!(question.datagram() == room || fits);
        let reply = question.reply(&answer, room).unwrap();
        assert!(reply.len() <= room.into());
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!(reply.metadata.truncation, !fits);
        assert_eq!(reply.answers.len(), if fits { 100 } else { 0 });
        assert_eq!(reply.edns.is_some(), edns.is_some());
    }
}

#[test]
fn what_is_no_plain_question_is_not_treated_as_one() {
    let policy = policy(&["example.com"]);
    let good = query("example.com.", RecordType::A);
    let bytes = good.to_vec().unwrap();
    for end in 0..12 {
        assert_eq!(reply(&policy, &bytes[..end]), None, "cut at {end}");
    }
    for end in 12..bytes.len() {
        let answer = Message::from_vec(&reply(&policy, &bytes[..end]).unwrap()).unwrap();
        assert_eq!(code(&answer), ResponseCode::FormErr, "cut at {end}");
        assert_eq!(answer.metadata.id, 0x1234);
    }
    let mut response = good.clone();
    response.metadata.message_type = MessageType::Response;
    assert_eq!(reply(&policy, &response.to_vec().unwrap()), None);

    let mut two = good.clone();
    two.add_query(good.queries[0].clone());
    assert_eq!(code(&ask(&policy, &two)), ResponseCode::FormErr);
    let mut none = good.clone();
    none.queries.clear();
    assert_eq!(code(&ask(&policy, &none)), ResponseCode::FormErr);
    for class in [DNSClass::CH, DNSClass::ANY, DNSClass::Unknown(7)] {
        let mut other = good.clone();
        other.queries[0].set_query_class(class);
        assert_eq!(code(&ask(&policy, &other)), ResponseCode::Refused);
    }
    for kind in [RecordType::AXFR, RecordType::IXFR] {
        let answer = ask(&policy, &query("example.com.", kind));
        assert_eq!(code(&answer), ResponseCode::Refused);
    }
    for op in [OpCode::Update, OpCode::Notify, OpCode::Status] {
        let mut other = good.clone();
        other.metadata.op_code = op;
        let reply = reply(&policy, &other.to_vec().unwrap()).unwrap();
        assert_eq!(reply[3] & 0x0f, ResponseCode::NotImp.low());
    }
}

#[test]
fn many_questions_make_no_long_reply() {
    let policy = policy(&["example.com"]);
    let long = "x".repeat(60);
    let mut message = query(&"a.".repeat(64), RecordType::A);
    // Behind that many labels, the library points at none any more.
    let name = Name::from_ascii(format!("{long}.{long}.{long}.")).unwrap();
    message.add_query(Query::query(name, RecordType::A));
    let mut bytes = message.to_vec().unwrap();
    let second = u16::try_from(12 + 128 + 1 + 4).unwrap();
    for _ in 2..60 {
        bytes.extend((0xc000 | second).to_be_bytes());
        bytes.extend([0, 1, 0, 1]);
    }
    bytes[5] = 60;
    assert!(bytes.len() < 700);
    assert_eq!(Message::from_vec(&bytes).unwrap().queries.len(), 60);
    let reply = reply(&policy, &bytes).unwrap();
    assert_eq!(reply.len(), 12);
    assert_eq!(reply[3] & 0x0f, ResponseCode::FormErr.low());
}

proptest! {
    /// Whatever bytes come: no panic, a reply to them and not to others, and addresses for allowed names only.
    #[test]
    fn any_bytes_get_a_reply_of_their_own_or_none(
        edns in any::<bool>(),
        allowed in any::<bool>(),
        changes in prop::collection::vec((0_usize..60, any::<u8>()), 0..4),
        cut in 0_usize..60,
    ) {
        let name = if allowed { "www.example.com." } else { "www.example.org." };
        let mut message = query(name, RecordType::A);
        if edns {
            message = with_edns(message, 1232);
        }
        let mut bytes = message.to_vec().unwrap();
        for (at, byte) in changes {
            if let Some(changed) = bytes.get_mut(at) {
                *changed = byte;
            }
        }
        bytes.truncate(60 - cut.min(48));
        let Some(reply) = reply(&policy(&["example.com"]), &bytes) else {
            return Ok(());
        };
        prop_assert_eq!(&reply[..2], &bytes[..2]);
        prop_assert!(reply.len() <= MAX_PAYLOAD.into() && reply[2] & 0x80 != 0);
        let reply = Message::from_vec(&reply).unwrap();
        if !reply.answers.is_empty() {
            let asked = reply.queries[0].name().to_ascii().to_ascii_lowercase();
            let ours = asked.ends_with(".example.com.") || asked == "example.com.";
            prop_assert!(ours, "{}", asked);
        }
    }
}
