// SPDX-License-Identifier: MIT OR Apache-2.0
//! Against real ClientHellos, and against what another reader reads in the same bytes.

use std::{io::Cursor, sync::Arc};

use proptest::prelude::*;
use rustls::{pki_types::ServerName, server::Acceptor};

use super::{BYTES_LIMIT, ClientHello, Fault, MESSAGE_LIMIT, Reader, is_ssl2};

/// `openssl s_client -servername allowed.test`, of OpenSSL 3.0.
const OPENSSL: &[u8] = include_bytes!("tests/openssl.bin");

/// `curl https://allowed.test`, with ALPN and padding.
const CURL: &[u8] = include_bytes!("tests/curl.bin");

/// Chromium 156, headless, with GREASE, a post-quantum key share and an order of its own; encrypted ClientHello switched
/// off by its policy `EncryptedClientHelloEnabled`.
const CHROMIUM: &[u8] = include_bytes!("tests/chromium.bin");

/// The same as it is out of the box. What is encrypted in it is nothing, made up because the host offers no key; nobody
/// but the host could tell.
const CHROMIUM_ECH: &[u8] = include_bytes!("tests/chromium_ech.bin");

fn read(bytes: &[u8]) -> Result<Option<ClientHello>, Fault> {
    Reader::default().read(bytes)
}

fn name(bytes: &[u8]) -> Option<String> {
    let name = read(bytes)
        .unwrap()
        .expect("a whole ClientHello")
        .server_name;
    name.map(|it| it.as_str().to_owned())
}

fn rustls_hello(server_name: &str, sni: bool) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.enable_sni = sni;
    let name = ServerName::try_from(server_name.to_owned()).unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// What the other reader reads: `None`, that it does not take it, or not yet.
fn read_by_rustls(bytes: &[u8]) -> Option<Option<String>> {
    let mut acceptor = Acceptor::default();
    let mut bytes = Cursor::new(bytes);
    while acceptor.read_tls(&mut bytes).ok()? > 0 {
        if let Some(accepted) = acceptor.accept().ok()? {
            let name = accepted.client_hello().server_name().map(str::to_owned);
            return Some(name);
        }
    }
    None
}

/// A ClientHello by hand: the extensions, type and data.
fn hello(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let mut list = Vec::new();
    for (kind, data) in extensions {
        list.extend(kind.to_be_bytes());
        list.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        list.extend(*data);
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
    body.extend(list);
    record(&message(1, &body))
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind, high, middle, low], body].concat()
}

fn record(message: &[u8]) -> Vec<u8> {
    records(message, 16 * 1024)
}

fn records(message: &[u8], most: usize) -> Vec<u8> {
    let parts = message.chunks(most).map(|part| {
        let [high, low] = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[22, 3, 1, high, low], part].concat()
    });
    parts.collect::<Vec<_>>().concat()
}

/// The data of a `server_name` extension: a list of entries.
fn names(entries: &[(u8, &[u8])]) -> Vec<u8> {
    let mut list = Vec::new();
    for (kind, name) in entries {
        list.push(*kind);
        list.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        list.extend(*name);
    }
    [&u16::try_from(list.len()).unwrap().to_be_bytes()[..], &list].concat()
}

fn named(name: &[u8]) -> Vec<u8> {
    hello(&[(0, &names(&[(0, name)]))])
}

#[test]
fn real_ones_are_read() {
    assert_eq!(name(OPENSSL).as_deref(), Some("allowed.test"));
    assert_eq!(name(CURL).as_deref(), Some("allowed.test"));
    assert_eq!(name(CHROMIUM).as_deref(), Some("allowed.test"));
    assert_eq!(read(CHROMIUM_ECH), Err(Fault::Encrypted));
    assert_eq!(
        name(&rustls_hello("a.test", true)).as_deref(),
        Some("a.test")
    );
    assert_eq!(name(&rustls_hello("a.test", false)), None);
    assert_eq!(name(&rustls_hello("192.0.2.1", true)), None);
    for bytes in [OPENSSL, CURL, CHROMIUM] {
        assert_eq!(read_by_rustls(bytes), Some(Some("allowed.test".to_owned())));
    }
}

#[test]
fn pieces_make_no_difference_and_a_part_is_never_a_whole() {
    for whole in [OPENSSL, CURL, CHROMIUM, &rustls_hello("a.test", true)] {
        let expected = read(whole);
        let mut reader = Reader::default();
        for (at, byte) in whole.iter().enumerate() {
            let found = reader.read(&[*byte]);
            if at + 1 < whole.len() {
                assert_eq!(found, Ok(None), "at {at}");
                assert_eq!(read(&whole[..=at]), Ok(None), "at {at}");
            } else {
                assert_eq!(found, expected);
            }
        }
        for most in [1, 2, 3, 4, 5, 60, 4096] {
            assert_eq!(
                read(&records(&whole[5..], most)),
                expected,
                "records of {most}"
            );
        }
        // What comes behind it is not its business.
        assert_eq!(read(&[whole, b"\x14\x03\x03\0\x01\x01"].concat()), expected);
    }
}

#[test]
fn extensions_of_tomorrow_and_made_up_ones_pass() {
    let sni = names(&[(0, b"a.test")]);
    for kind in [0x0a0a, 0xfafa, 0x7777, 21, 0xfe00] {
        assert_eq!(
            name(&hello(&[(kind, &[1, 2, 3]), (0, &sni)])).as_deref(),
            Some("a.test")
        );
    }
    // None at all, as in TLS 1.0.
    let mut body = vec![3, 1];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    assert_eq!(name(&record(&message(1, &body))), None);
}

#[test]
fn a_server_name_is_one_host_name() {
    assert_eq!(
        name(&named(b"Www.ExAmple.COM")).as_deref(),
        Some("www.example.com")
    );
    assert_eq!(
        name(&named(b"xn--bcher-kva.example")).as_deref(),
        Some("xn--bcher-kva.example")
    );
    let long = [&[b'a'; 63][..], b".test"].concat();
    assert!(name(&named(&long)).is_some());
    let too_long = [&[b'a'; 64][..], b".test"].concat();
    let wrong: [&[u8]; 16] = [
        b"",
        b".",
        b"a.test.",
        b".a.test",
        b"a..test",
        b"a.test\0",
        b"a.test\0.b.test",
        b"a.test ",
        b"a.test:443",
        b"user@a.test",
        b"192.0.2.1",
        b"0x7f.1",
        b"[::1]",
        "b\u{fc}cher.example".as_bytes(),
        b"\xff\xfe",
        &too_long,
    ];
    for text in wrong {
        assert_eq!(read(&named(text)), Err(Fault::ServerName), "{text:?}");
    }
    let two = names(&[(0, b"a.test"), (0, b"b.test")]);
    let other_kind = names(&[(1, b"a.test")]);
    for data in [two, other_kind] {
        assert_eq!(read(&hello(&[(0, &data)])), Err(Fault::ServerName));
    }
    let good = names(&[(0, b"a.test")]);
    assert!(name(&hello(&[(0, &good)])).is_some());
    for data in [
        &[][..],
        &[0],
        &[0, 0],
        &good[..good.len() - 1],
        &[&good[..], &[0]].concat(),
    ] {
        assert!(read(&hello(&[(0, data)])).is_err(), "{data:?}");
    }
}

#[test]
fn nothing_is_there_twice_and_nothing_is_hidden() {
    let sni = names(&[(0, b"a.test")]);
    assert_eq!(read(&hello(&[(0, &sni), (0, &sni)])), Err(Fault::Malformed));
    assert_eq!(
        read(&hello(&[(0, &sni), (43, &[]), (43, &[])])),
        Err(Fault::Malformed)
    );
    assert!(read(&hello(&[(0, &sni), (43, &[]), (44, &[])])).is_ok());
    for kind in [0xfe0d, 0xfe09, 0xffce] {
        assert_eq!(
            read(&hello(&[(0, &sni), (kind, &[])])),
            Err(Fault::Encrypted)
        );
        assert_eq!(read(&hello(&[(kind, &[])])), Err(Fault::Encrypted));
    }
}

#[test]
fn lengths_fit_exactly() {
    let good = named(b"a.test");
    assert!(read(&good).is_ok());
    // Behind the extensions, behind the message, behind the record's end.
    for (inside, at) in [(true, 9), (false, 5)] {
        let mut body = good[at..].to_vec();
        body.push(0);
        let bytes = if inside {
            record(&message(1, &body))
        } else {
            record(&body)
        };
        assert!(read(&bytes).is_err(), "{inside}");
    }
    // A second message in the same record, whole or begun.
    let two = [&good[5..], &good[5..]].concat();
    assert_eq!(read(&record(&two)), Err(Fault::Message));
    assert_eq!(
        read(&records(&two, good.len() - 5 + 1)),
        Err(Fault::Message)
    );
    for at in 0..5 {
        for byte in 0..=255 {
            let mut bytes = good.clone();
            if bytes[at] == byte {
                continue;
            }
            bytes[at] = byte;
            let same = at == 2 && (2..=3).contains(&byte);
            let more =
                at >= 3 && usize::from(u16::from_be_bytes([bytes[3], bytes[4]])) > good.len() - 5;
            let found = read(&bytes);
            assert!(
                same || found.is_err() || (more && found == Ok(None)),
                "{at} {byte} {found:?}"
            );
        }
    }
}

#[test]
fn sizes_have_limits() {
    let room = MESSAGE_LIMIT - (hello(&[(21, &[])]).len() - 5);
    let largest = hello(&[(21, &vec![0; room])]);
    assert!(matches!(read(&largest), Ok(Some(_))));
    assert_eq!(
        read(&hello(&[(21, &vec![0; room + 1])])),
        Err(Fault::TooLong)
    );
    // Said before it comes.
    assert_eq!(read(&[22, 3, 1, 0x40, 0, 1, 1, 0, 0]), Err(Fault::TooLong));
    let pieces = records(&largest[5..], 1);
    assert!(pieces.len() > BYTES_LIMIT);
    assert_eq!(read(&pieces), Err(Fault::TooLong));
    assert_eq!(read(&[22, 3, 1, 0, 0]), Err(Fault::Record));
    assert_eq!(read(&[22, 3, 1, 0x40, 1]), Err(Fault::Record));
}

#[test]
fn what_came_before_tls() {
    assert!(is_ssl2(b"\x80\x2e\x01\x00\x02\x00\x15"));
    assert!(is_ssl2(b"\x80\x2e\x01\x03\x01\x00\x15"));
    assert!(!is_ssl2(b"\x16\x03\x01\x02\x00\x01\x00"));
    assert!(!is_ssl2(b"\x80\x2e\x01"));
    assert_eq!(read(b"\x16\x03\x00\x00\x05"), Err(Fault::Record));
}

proptest! {
    /// Whatever is done to a ClientHello: what is read in it, the other reader reads, too, if it takes it at all.
    #[test]
    fn nobody_reads_another_name(
        which in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 0..6),
    ) {
        let sni = names(&[(0, b"a.test")]);
        let small = hello(&[
            (43, &[2, 3, 4]),
            (0, &sni),
            (13, &[0, 2, 4, 3]),
            (10, &[0, 2, 0, 29]),
            (0x0a0a, &[]),
        ]);
        let mut bytes = [OPENSSL, CURL, CHROMIUM, small.as_slice()][which].to_vec();
        for (at, what, byte) in changes {
            let at = at.index(bytes.len());
            match what {
                0 => bytes[at] = byte,
                1 => bytes[at] = bytes[at].wrapping_add(1),
                2 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        if let Ok(Some(found)) = read(&bytes)
            && let Some(other) = read_by_rustls(&bytes)
        {
            let found = found.server_name.map(|it| it.as_str().to_owned());
            prop_assert_eq!(found, other.map(|it| it.to_ascii_lowercase()));
        }
    }

    /// No bytes make it panic, and pieces make no difference.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>()) {
        let bytes = [&[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &bytes].concat();
        let at = at.index(bytes.len());
        let mut reader = Reader::default();
        let found = match reader.read(&bytes[..at]) {
            Ok(None) => reader.read(&bytes[at..]),
            done => done,
        };
        prop_assert_eq!(found, read(&bytes));
    }
}
