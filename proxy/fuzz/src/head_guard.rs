// SPDX-License-Identifier: MIT OR Apache-2.0
//! A workload's connection, as the guard delimits it: whole and in pieces it is the same.

use keyward_proxy::gateway::guard::{chunks::Chunks, head::Scanner, transcript::transcript};

const LIMIT: usize = 16 * 1024;

/// One execution.
pub fn run(bytes: &[u8]) {
    let all = transcript(bytes, LIMIT);
    let Some(first) = all.requests.first() else {
        return;
    };
    assert!(first.head.ends_with(b"\r\n\r\n"));
    assert!(!first.head.contains(&0));

    // The first head, byte by byte.
    let mut scanner = Scanner::default();
    let found = (1..=bytes.len()).find_map(|end| scanner.scan(&bytes[..end], LIMIT).transpose());
    assert_eq!(
        found.map(|it| it.map(|head| head.length)),
        Some(Ok(first.head.len()))
    );

    // What follows it, as chunks: whole and byte by byte.
    let rest = &bytes[first.head.len()..];
    let mut whole = Chunks::default();
    let taken = whole.scan(rest);
    let mut pieces = Chunks::default();
    let mut count = 0;
    let mut failed = None;
    for byte in rest {
        match pieces.scan(&[*byte]) {
            Ok(1) => count += 1,
            Ok(_) => break,
            Err(refusal) => {
                failed = Some(refusal);
                break;
            }
        }
    }
    match taken {
        Ok(taken) => assert_eq!((taken, None), (count, failed)),
        Err(refusal) => assert_eq!(Some(refusal), failed),
    }
}
