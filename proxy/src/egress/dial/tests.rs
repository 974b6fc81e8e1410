// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use firewall_common::Reason;
use hickory_proto::{
    op::{Message, MessageType, OpCode},
    rr::{RData, Record, RecordType},
};
use keyward_policy::{Answers, Entry, Policy, RawPolicy, Scheme};
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::{
    egress::{Door, Egress, Names, Question},
    peers::Peers,
    request_log::RequestLog,
    settings::{Limits, RawSettings, Settings},
    upstream::tls::Tls,
};

/// A name server that knows these names, on loopback.
async fn name_server(names: &[(&'static str, &[&str])]) -> SocketAddr {
    let names: HashMap<String, Vec<IpAddr>> = names
        .iter()
        .map(|(name, to)| {
            let to = to.iter().map(|it| it.parse().unwrap()).collect();
            (format!("{name}."), to)
        })
        .collect();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (count, from) = socket.recv_from(&mut buffer).await.unwrap();
            let query = Message::from_vec(&buffer[..count]).unwrap();
            let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
            let name = query.queries[0].name().clone();
            let kind = query.queries[0].query_type();
            for address in names.get(&name.to_ascii()).into_iter().flatten() {
                if (kind == RecordType::A) == address.is_ipv4() {
                    answer.add_answer(Record::from_rdata(name.clone(), 9, RData::from(*address)));
                }
            }
            answer.queries = query.queries;
            let answer = answer.to_vec().unwrap();
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

fn egress(server: SocketAddr, allow: &[String]) -> Egress {
    let raw = toml::from_str::<RawSettings>(&format!("dns.servers = ['{server}']")).unwrap();
    let settings = Settings::try_from(raw).unwrap();
    let (tls, _loader) = Tls::new(&settings.upstream);
    let resolver = Resolver::new(&settings.dns, tls);
    let entry = |rule: &String| Entry {
        rule: rule.clone(),
        ..Entry::default()
    };
    let policy = Policy::new(&RawPolicy {
        allow: allow.iter().map(entry).collect(),
        ..RawPolicy::default()
    });
    let upstream = Arc::new(settings.upstream.clone());
    Egress::new(
        None,
        Limits::default(),
        Arc::new(Peers::unknown()),
        RequestLog::none(),
        Names::new(Answers::Synthetic),
        Dialler::new(upstream, resolver, None, Duration::from_secs(5)),
        policy.unwrap(),
    )
}

async fn dial(egress: &Egress, name: &str, port: u16) -> Result<Dialled, Reason> {
    let question = Question {
        door: Door::Transparent,
        host: name.parse().unwrap(),
        port,
        scheme: Scheme::Tcp,
        request: None,
        peer: None,
    };
    let permit = egress.judge(question).unwrap();
    let dialled = egress.dialler.dial(&permit).await;
    dialled.map_err(|it| it.reason())
}

#[tokio::test]
async fn a_name_does_not_lead_to_a_private_address_unless_a_rule_names_that_network() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let names: [(&str, &[&str]); 6] = [
        ("loopback.test", &["127.0.0.1"]),
        ("mapped.test", &["::ffff:127.0.0.1"]),
        ("six.test", &["::1"]),
        ("lan.test", &["10.0.0.1"]),
        ("cloud.test", &["169.254.169.254"]),
        (
            "all.test",
            &[
                "127.0.0.1",
                "10.0.0.1",
                "169.254.169.254",
                "fd00::1",
                "fe80::1",
                "0.0.0.0",
            ],
        ),
    ];
    let server = name_server(&names).await;
    let mut rules: Vec<String> = names.iter().map(|it| format!("{}:{port}", it.0)).collect();
    let strict = egress(server, &rules);
    for (name, _) in names {
        let refused = dial(&strict, name, port).await.err();
        assert_eq!(refused, Some(Reason::PrivateAddress), "{name}");
    }
    // The same names reach the listener once a rule lists where it is.
    rules.push(format!("127.0.0.0/8:{port}"));
    let open = egress(server, &rules);
    for name in ["loopback.test", "mapped.test", "all.test"] {
        let dialled = dial(&open, name, port).await.unwrap();
        assert_eq!(dialled.address, listener.local_addr().unwrap(), "{name}");
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(
            peer,
            dialled.stream.tcp().local_addr().unwrap(),
            "nothing came before"
        );
    }
    for name in ["six.test", "lan.test", "cloud.test"] {
        let refused = dial(&open, name, port).await.err();
        assert_eq!(refused, Some(Reason::PrivateAddress), "{name}");
    }
    // And nothing but what was meant to arrived.
    assert!(timeout(Duration::ZERO, listener.accept()).await.is_err());
}
