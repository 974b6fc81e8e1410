// SPDX-License-Identifier: MIT OR Apache-2.0
//! The property on which everything else rests: what the guard accepts, hyper reads in the same way,
//! with the guard in front of it and without.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::{
    Guarded, Verdicts,
    head::Accepts,
    transcript::{Transcript, transcript_of},
};
use crate::{refusal::Refusal, settings::Limits};

/// A request as hyper read it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    line: String,
    headers: Vec<(String, Vec<u8>)>,
    /// `None`: it broke off.
    body: Option<Vec<u8>>,
}

/// What hyper read, how many requests it was given, and what the verdict on the last one was.
#[derive(Default)]
struct Served {
    read: Vec<Read>,
    requests: u64,
    refusal: Option<Refusal>,
}

/// Lets hyper serve `io` and says what it read. With verdicts, the request that was refused is left
/// out, and says why.
async fn serve<S>(io: S, verdicts: Option<Arc<Verdicts>>) -> (Vec<Read>, Option<Refusal>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let all: Arc<Mutex<Served>> = Arc::default();
    let record = Arc::clone(&all);
    let service = service_fn(move |request: Request<Incoming>| {
        let (record, verdicts) = (Arc::clone(&record), verdicts.clone());
        async move {
            let index = {
                let mut record = record.lock().unwrap();
                record.requests += 1;
                record.requests - 1
            };
            if let Some(refusal) = verdicts.and_then(|it| it.refused(index)) {
                record.lock().unwrap().refusal = Some(refusal);
                return Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()));
            }
            let (head, body) = request.into_parts();
            // Noted before the body: a body that never ends leaves its head behind.
            let headers = head.headers.iter();
            let headers = headers
                .map(|it| (it.0.to_string(), it.1.as_bytes().to_vec()))
                .collect();
            let line = format!("{} {} {:?}", head.method, head.uri, head.version);
            record.lock().unwrap().read.push(Read {
                line,
                headers,
                body: None,
            });
            let body = body.collect().await.ok().map(|it| it.to_bytes().to_vec());
            if let Some(last) = record.lock().unwrap().read.last_mut() {
                last.body = body;
            }
            Ok(Response::new(Empty::new()))
        }
    });
    let served = http1::Builder::new()
        .header_read_timeout(None)
        .half_close(true)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    drop(tokio::time::timeout(std::time::Duration::from_millis(200), served).await);
    let all = all.lock().unwrap();
    (all.read.clone(), all.refusal)
}

/// The same, from what the guard makes of the bytes.
fn expected(bytes: &[u8], accepts: Accepts) -> (Vec<Read>, Transcript) {
    let all = transcript_of(bytes, 16 * 1024, accepts);
    let requests = all.requests.iter().map(|request| {
        // Latin-1: one character a byte, so that nothing is lost.
        let head: String = request.head.iter().copied().map(char::from).collect();
        let mut lines = head.split("\r\n").take_while(|it| !it.is_empty());
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        // A URL without a path is shown with one.
        let uri = target
            .parse::<Uri>()
            .map_or(target.to_owned(), |it| it.to_string());
        let line = format!("{method} {uri} {}", words.next().unwrap_or(""));
        let headers = lines
            .filter_map(|it| it.split_once(':'))
            .map(|(name, value)| {
                let value = value.trim_matches([' ', '\t']);
                let value = value
                    .chars()
                    .filter_map(|it| u8::try_from(u32::from(it)).ok());
                (name.to_ascii_lowercase(), value.collect())
            });
        let body = request.whole.then(|| request.body.clone());
        Read {
            line,
            headers: headers.collect(),
            body,
        }
    });
    (requests.collect(), all)
}

/// hyper keeps values of one name together; the order between names says nothing.
fn sorted(mut requests: Vec<Read>) -> Vec<Read> {
    for request in &mut requests {
        request.headers.sort();
    }
    requests
}

async fn through(
    bytes: &[u8],
    pieces: usize,
    guarded: Option<Accepts>,
) -> (Vec<Read>, Option<Refusal>) {
    let (mut ours, theirs) = tokio::io::duplex(64 * 1024);
    let feed = async {
        for piece in bytes.chunks(pieces.max(1)) {
            drop(ours.write_all(piece).await);
            tokio::task::yield_now().await;
        }
        drop(ours.shutdown().await);
        // What hyper answers is not looked at, but has to go somewhere.
        drop(tokio::io::copy(&mut ours, &mut tokio::io::sink()).await);
    };
    let served = async {
        if let Some(accepts) = guarded {
            let verdicts = Arc::new(Verdicts::default());
            let (read, limits) = (BytesMut::new(), Limits::default());
            let guard = Guarded::accepting(accepts, theirs, read, Arc::clone(&verdicts), limits);
            serve(guard, Some(verdicts)).await
        } else {
            serve(theirs, None).await
        }
    };
    let feed = async {
        feed.await;
        std::future::pending().await
    };
    tokio::select! {
        served = served => served,
        served = feed => served,
    }
}

fn header() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[A-Za-z-]{1,8}: ?[ -~]{0,12}".prop_map(|it| it + "\r\n"),
        1 => Just("Transfer-Encoding: chunked\r\n".to_owned()),
        1 => Just("transfer-encoding: identity\r\n".to_owned()),
        1 => (0_u8..12).prop_map(|it| format!("Content-Length: {it}\r\n")),
        1 => Just("Content-Length: +3\r\n".to_owned()),
        1 => Just("Expect: 100-continue\r\n".to_owned()),
        1 => Just("Connection: close\r\n".to_owned()),
        1 => Just("Upgrade: h2c\r\n".to_owned()),
        1 => Just("Upgrade: websocket\r\n".to_owned()),
        1 => Just(" folded\r\n".to_owned()),
        1 => Just("a: b\n".to_owned()),
        1 => Just("a : b\r\n".to_owned()),
        1 => Just("é: b\r\n".to_owned()),
        1 => Just("a: é\r\n".to_owned()),
    ]
}

fn body() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(String::new()),
        3 => "[a-z]{0,12}",
        3 => "[a-z]{1,9}".prop_map(|it| format!("{:x}\r\n{it}\r\n0\r\n\r\n", it.len())),
        1 => "[a-z]{1,9}".prop_map(|it| format!("0{:X}\r\n{it}\r\n0\r\nT: x\r\n\r\n", it.len())),
        1 => "[a-z]{1,9}".prop_map(|it| format!("{:x};e=1\r\n{it}\r\n0\r\n\r\n", it.len())),
        1 => "[a-z]{1,9}".prop_map(|it| format!("{:x}\n{it}\r\n0\r\n\r\n", it.len())),
    ]
}

/// A request that is mostly well-formed.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        8 => "(GET|POST|DELETE) /[a-z0-9/?=%.]{0,12} HTTP/1.1",
        1 => "(GET|PRI|get|CONNECT) (/|\\*|x:1|//x) HTTP/(1.0|1.1|2.0)",
        2 => "(GET|OPTIONS) [hH]ttp://[a-z\\[\\]:.0-9]{1,8}(/[a-z0-9/?=|^{}.]{0,8})? HTTP/1.1",
        1 => "CONNECT (x|\\[::1\\]|a\\.b):[0-9]{1,5} HTTP/1.[01]",
        1 => "OPTIONS \\* HTTP/1.1",
    ];
    let framing = prop_oneof![
        2 => Just(String::new()),
        2 => Just("Transfer-Encoding: chunked\r\n".to_owned()),
        2 => (0_u8..12).prop_map(|it| format!("Content-Length: {it}\r\n")),
    ];
    (
        line,
        framing,
        proptest::collection::vec(header(), 0..3),
        body(),
    )
        .prop_map(|(line, framing, headers, body)| {
            format!(
                "{line}\r\nHost: x\r\n{framing}{}\r\n{body}",
                headers.concat()
            )
            .into_bytes()
        })
}

/// A connection: a few requests, some bytes changed.
fn connection() -> impl Strategy<Value = Vec<u8>> {
    let changes =
        proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 0..3);
    (proptest::collection::vec(request(), 1..4), changes).prop_map(|(requests, changes)| {
        let mut bytes = requests.concat();
        for (at, byte, what) in changes {
            let at = at.index(bytes.len().max(1));
            match what {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at.min(bytes.len()), byte),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn hyper_reads_what_the_guard_accepts(bytes in connection(), pieces in 1_usize..80) {
        agree(&bytes, pieces, Accepts::Paths)?;
    }

    #[test]
    fn the_same_for_a_server(bytes in connection(), pieces in 1_usize..80) {
        agree(&bytes, pieces, Accepts::Server)?;
    }

    #[test]
    fn the_same_for_a_proxy(bytes in connection(), pieces in 1_usize..80) {
        agree(&bytes, pieces, Accepts::Proxy)?;
    }
}

fn agree(bytes: &[u8], pieces: usize, accepts: Accepts) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    let (guarded, bare) = runtime.unwrap().block_on(async {
        (
            through(bytes, pieces, Some(accepts)).await,
            through(bytes, usize::MAX, None).await,
        )
    });
    let (expected, all) = expected(bytes, accepts);
    // A connection may end before its last request is read: after `Connection: close`.
    let closes = |it: &Read| {
        it.headers.iter().any(|(name, value)| {
            name == "connection"
                && value
                    .to_ascii_lowercase()
                    .windows(5)
                    .any(|it| it == b"close")
        })
    };
    let served = expected
        .iter()
        .position(closes)
        .map_or(expected.len(), |at| at + 1);
    let ended = served < expected.len();
    // A body that does not end, or is broken, ends the connection as well.
    let broken = expected.iter().position(|it| it.body.is_none());
    let served = broken.map_or(served, |at| served.min(at + 1));
    let expected = sorted(expected.into_iter().take(served).collect());
    // A body that is found broken before its request is handed over is refused together with its head.
    let refused_whole = broken.is_some() && guarded.1.is_some();
    let heard = expected.len() - usize::from(refused_whole);
    prop_assert_eq!(&sorted(guarded.0)[..], &expected[..heard]);
    if all.refusal.is_some() && !ended && broken.is_none() && !expected.iter().any(closes) {
        prop_assert_eq!(guarded.1, all.refusal);
    }
    if all.refusal.is_none() && !all.upgrade && !all.held {
        prop_assert_eq!(&sorted(bare.0), &expected);
    }
    Ok(())
}
