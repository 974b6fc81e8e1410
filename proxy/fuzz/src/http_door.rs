// SPDX-License-Identifier: MIT OR Apache-2.0
//! A connection to a door, as the guard delimits it: its first head read whole and byte by byte, and whom it is for read as
//! the library behind it reads it.

use http::Uri;
use keyward_proxy::gateway::guard::{
    authority::split,
    head::{Accepts, Scanner},
    transcript::transcript_of,
};

const LIMIT: usize = 16 * 1024;

/// One execution.
pub fn run(bytes: &[u8]) {
    for accepts in [Accepts::Server, Accepts::Proxy] {
        let all = transcript_of(bytes, LIMIT, accepts);
        let Some(first) = all.requests.first() else {
            continue;
        };
        let mut scanner = Scanner::new(accepts);
        let found =
            (1..=bytes.len()).find_map(|end| scanner.scan(&bytes[..end], LIMIT).transpose());
        assert_eq!(
            found.map(|it| it.map(|head| head.length)),
            Some(Ok(first.head.len()))
        );

        let line = first.head.split(|it| *it == b'\r').next().unwrap();
        let line = std::str::from_utf8(line).unwrap();
        let [method, target, _version] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let uri: Uri = target.parse().unwrap();
        let authority = target
            .split_once("://")
            .map_or("", |it| it.1)
            .split('/')
            .next()
            .unwrap();
        let authority = if method == "CONNECT" {
            target
        } else {
            authority
        };
        if target.starts_with('/') || target == "*" {
            assert!(uri.authority().is_none());
            assert_eq!(uri.path_and_query().unwrap().as_str(), target);
        } else {
            let (host, port) = split(authority.as_bytes()).unwrap();
            assert_eq!((uri.host(), uri.port_u16()), (Some(host), port));
            assert!(!authority.contains('@'));
        }
    }
}
