// SPDX-License-Identifier: MIT OR Apache-2.0
use base64::{Engine as _, engine::general_purpose as engines};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::credential::Credential;

const KEY: &str = "sk-real/key+0123456789?>~tail";

/// An AWS access key's secret, and its token.
const SIGNS: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfi";
const TOKEN: &str = "token/0123456789+abc==";

fn scanner(mode: ScanMode, allow: &[&str]) -> Scanner {
    let mut credentials = Credentials::new();
    credentials.insert("openai", credential(KEY));
    credentials.insert("short", credential("abc"));
    let json = format!(
        r#"{{"AccessKeyId":"KEYID-0123456789","SecretAccessKey":"{SIGNS}","SessionToken":"{TOKEN}"}}"#
    );
    credentials.insert("bedrock", credential(&json));
    let allow = allow.iter().map(ToString::to_string).collect();
    let settings = ScanSettings { mode, allow };
    Scanner::new(&settings, &credentials, &Providers::builtin())
        .unwrap()
        .unwrap()
}

fn find(text: impl AsRef<[u8]>) -> Option<String> {
    scanner(ScanMode::Warn, &[])
        .find(text.as_ref())
        .map(|it| it.to_string())
}

#[test]
fn the_secret_parts_of_an_access_key_are_found() {
    for secret in [SIGNS, TOKEN] {
        let found = Some("credential.bedrock".to_owned());
        assert_eq!(find(format!("x={secret}&")), found);
        assert_eq!(find(engines::STANDARD.encode(secret)), found);
    }
    assert_eq!(find("KEYID-0123456789"), None, "the id is no secret");
}

#[test]
fn a_credential_is_found_in_every_form() {
    let found = Some("credential.openai".to_owned());
    for before in ["", "a", "ab", "abc", "Bearer ", "%", "\\", "sk-real"] {
        for after in ["", "z", "zz", "\n", "%"] {
            let text = format!("{before}{KEY}{after}");
            let everything: String = text.bytes().map(|it| format!("%{it:02x}")).collect();
            let some: String = text
                .bytes()
                .enumerate()
                .map(|(at, it)| match at % 3 {
                    0 => format!("%{it:02X}"),
                    1 => format!("\\u00{it:02x}"),
                    _ => char::from(it).to_string(),
                })
                .collect();
            for form in [
                text.clone(),
                engines::STANDARD.encode(&text),
                engines::STANDARD_NO_PAD.encode(&text),
                engines::URL_SAFE.encode(&text),
                engines::URL_SAFE_NO_PAD.encode(&text),
                everything,
                some,
            ] {
                assert_eq!(find(&form), found, "{form}");
            }
        }
    }
    let hexadecimal: String = KEY.bytes().map(|it| format!("{it:02X}")).collect();
    assert_eq!(find(hexadecimal), found);
    assert_eq!(find("sk-real/key+0123456789?>~tai"), None);
    assert_eq!(find("abc"), None);
}

#[test]
fn shapes_are_found_and_what_only_begins_like_them_is_not() {
    let long = "aB3".repeat(30);
    for (text, name) in [
        (format!("x ghp_{long}"), "github-token"),
        (format!("https://x:gho_{long}@github.com"), "github-token"),
        (format!("key=\\nsk-proj-{long}"), "openai-key"),
        (format!("key=\\\\nsk-ant-api03-{long}"), "anthropic-key"),
        (format!("%20AIza{long}"), "google-api-key"),
        ("AKIAABCDEFGHIJKLMNOP".to_owned(), "aws-access-key"),
        ("xoxb-1234567890-1234567890-x".to_owned(), "slack-token"),
        (format!("glpat-{long}"), "gitlab-token"),
        (format!("hf_{long}"), "hugging-face-token"),
        (format!("npm_{long}"), "npm-token"),
        (format!("pypi-AgE{long}"), "pypi-token"),
        (format!("sk_live_{long}"), "stripe-key"),
        (format!("sk-{long}"), "sk-key"),
        (
            format!("eyJhbGciOiJIUzI1NiJ9.eyJ{long}.x"),
            "json-web-token",
        ),
        (
            format!("-----BEGIN RSA PRIVATE KEY-----\\n{long}"),
            "private-key",
        ),
        (
            format!("-----BEGIN PRIVATE KEY-----\n{long}"),
            "private-key",
        ),
    ] {
        assert_eq!(find(&text).as_deref(), Some(name), "{text}");
    }
    for text in [
        format!("xghp_{long}"),
        "ghp_short".to_owned(),
        "task-management-system-that-is-rather-long-and-goes-on".to_owned(),
        "sk-learn-contrib-something-that-is-rather-long-and-goes-on".to_owned(),
        "if text.contains(\"-----BEGIN PRIVATE KEY-----\")".to_owned(),
        format!("{long}AKIA{long}"),
    ] {
        assert_eq!(find(&text), None, "{text}");
    }
}

#[test]
fn placeholders_and_what_is_allowed_are_no_findings() {
    for provider in Providers::builtin().iter() {
        let text = format!("a {} b", provider.placeholder);
        assert_eq!(find(text), None, "{}", provider.name);
        assert_eq!(find(&provider.placeholder), None, "{}", provider.name);
    }
    let long = "aB3".repeat(30);
    let scanner = scanner(ScanMode::Block, &["ghp_aB3aB3"]);
    let token = format!("ghp_{long}");
    assert_eq!(scanner.find(token.as_bytes()), None);
    assert_eq!(find(&token).as_deref(), Some("github-token"));
    // The placeholder's beginning is none.
    let other = format!("ghu_{}b", "a".repeat(35));
    assert_eq!(find(other).as_deref(), Some("github-token"));
}

#[test]
fn names_have_no_case_and_dots_anywhere() {
    let scanner = scanner(ScanMode::Block, &[]);
    let hexadecimal: String = KEY.bytes().map(|it| format!("{it:02x}")).collect();
    let (first, second) = hexadecimal.split_at(31);
    let name = format!("{}.{second}.evil.test", first.to_uppercase());
    let found = scanner.find_in_name(&name).map(|it| it.to_string());
    assert_eq!(found.as_deref(), Some("credential.openai"));
    assert_eq!(scanner.find_in_name("api.openai.com"), None);
    for alignment in 0..5 {
        let mut bits = String::new();
        let text = "x".repeat(alignment) + KEY + "yy";
        for byte in text.bytes() {
            bits.push_str(&format!("{byte:08b}"));
        }
        let name: String = bits
            .as_bytes()
            .chunks_exact(5)
            .map(|it| {
                let index = it
                    .iter()
                    .fold(0, |all, bit| all * 2 + usize::from(bit - b'0'));
                char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[index])
            })
            .collect();
        assert!(scanner.find_in_name(&name).is_some(), "{alignment}");
    }
}

/// Everything that got through, and whether it was stopped.
fn through(scanner: &Scanner, pieces: &[&[u8]]) -> (Vec<u8>, Option<String>) {
    let mut filter = scanner.filter();
    let mut out = Vec::new();
    for piece in pieces {
        match filter.pass(Bytes::copy_from_slice(piece)) {
            Ok(piece) => out.extend_from_slice(&piece),
            Err(Stop) => return (out, filter.found().map(ToString::to_string)),
        }
    }
    match filter.finish() {
        Ok(piece) => out.extend_from_slice(&piece),
        Err(Stop) => return (out, filter.found().map(ToString::to_string)),
    }
    (out, None)
}

#[test]
fn byte_by_byte_nothing_telling_leaves() {
    let scanner = scanner(ScanMode::Block, &[]);
    let escaped: String = KEY.bytes().map(|it| format!("%{it:02x}")).collect();
    for text in [KEY, &escaped, &engines::STANDARD.encode(KEY)] {
        let whole = format!("hello {text} world");
        let pieces: Vec<&[u8]> = whole.as_bytes().chunks(1).collect();
        let (out, found) = through(&scanner, &pieces);
        assert_eq!(found.as_deref(), Some("credential.openai"));
        let left = String::from_utf8(out).unwrap();
        assert!(left.starts_with("hello "));
        assert!(left.len() <= "hello ".len() + 3 * 3, "{left}");
    }
    let harmless = b"sk-real/key+012 and ghp_no more, 100% \\ sure";
    let pieces: Vec<&[u8]> = harmless.chunks(1).collect();
    assert_eq!(through(&scanner, &pieces), (harmless.to_vec(), None));
}

#[test]
fn a_secret_is_found_behind_a_mask_and_between_frames() {
    let frame = |first: u8, payload: &[u8]| {
        let mask = [1, 2, 3, 4];
        let mut out = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
        out.extend(mask);
        out.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(it, mask)| it ^ mask),
        );
        out
    };
    let scanner = scanner(ScanMode::Block, &[]);
    let (first, second) = KEY.split_at(14);
    let mut bytes = frame(0x01, format!("{{\"key\":\"{first}").as_bytes());
    bytes.extend(frame(0x89, b"ping"));
    let before = bytes.len();
    bytes.extend(frame(0x80, second.as_bytes()));
    let mut frames = frames::Frames::new(&scanner);
    let mut out = 0;
    let mut found = None;
    for byte in &bytes {
        match frames.pass(Bytes::copy_from_slice(&[*byte])) {
            Ok(piece) => out += piece.len(),
            Err(Stop) => {
                found = frames.found().map(ToString::to_string);
                break;
            }
        }
    }
    assert_eq!(found.as_deref(), Some("credential.openai"));
    assert!(out <= before - 14, "{out}");

    // And what holds none passes unchanged.
    let mut bytes = frame(0x81, b"hello sk-real");
    bytes.extend(frame(0x82, &[7; 100]));
    let mut frames = frames::Frames::new(&scanner);
    let mut out = Vec::new();
    for piece in bytes.chunks(3) {
        out.extend_from_slice(&frames.pass(Bytes::copy_from_slice(piece)).unwrap());
    }
    out.extend_from_slice(&frames.finish().unwrap());
    assert_eq!(out, bytes);
}

fn text() -> impl Strategy<Value = String> {
    let escaped: String = KEY.bytes().map(|it| format!("%{it:02x}")).collect();
    let part = prop_oneof![
        Just(KEY.to_owned()),
        Just(escaped),
        Just(engines::STANDARD.encode(KEY)),
        Just(format!("ghp_{}", "aB3".repeat(12))),
        Just(format!("ghu_{}", "a".repeat(36))),
        Just(format!(
            "-----BEGIN PRIVATE KEY-----\\n{}",
            "aB3".repeat(25)
        )),
        "[a-zA-Z0-9 %\\\\_.-]{0,12}",
        (0..KEY.len()).prop_map(|it| KEY[..it].to_owned()),
        Just("ghp_".to_owned()),
        Just("\\u00".to_owned()),
    ];
    proptest::collection::vec(part, 0..5).prop_map(|it| it.concat())
}

proptest! {
    #[test]
    fn where_it_is_cut_does_not_matter(text in text(), cuts in proptest::collection::vec(1..20_usize, 0..40)) {
        let mut rest = text.as_bytes();
        let mut pieces = Vec::new();
        for cut in cuts {
            let (piece, behind) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces.push(rest);
        for mode in [ScanMode::Warn, ScanMode::Block] {
            let scanner = scanner(mode, &[]);
            let (whole, at_once) = through(&scanner, &[text.as_bytes()]);
            let (parts, in_pieces) = through(&scanner, &pieces);
            prop_assert_eq!(&at_once, &in_pieces);
            if at_once.is_none() {
                prop_assert_eq!(&whole, text.as_bytes());
                prop_assert_eq!(&parts, text.as_bytes());
            } else {
                prop_assert!(text.as_bytes().starts_with(&parts));
            }
        }
    }
}

fn credential(text: &str) -> Credential {
    Credential::new(text.as_bytes().to_vec()).unwrap()
}

#[test]
fn a_credential_that_is_new_is_looked_for_and_the_one_before_it_still_is() {
    let scanner = scanner(ScanMode::Warn, &[]);
    let next = "sk-next/key+9876543210?>~tail";
    assert_eq!(scanner.find(next.as_bytes()), None);
    scanner.learn("openai", &credential(next)).unwrap();
    let hexadecimal: String = next.bytes().map(|it| format!("{it:02x}")).collect();
    let percent: String = next.bytes().map(|it| format!("%{it:02X}")).collect();
    for form in [
        next.to_owned(),
        engines::STANDARD.encode(next),
        hexadecimal.clone(),
        percent,
        KEY.to_owned(),
    ] {
        let found = scanner.find(form.as_bytes()).map(|it| it.to_string());
        assert_eq!(found.as_deref(), Some("credential.openai"), "{form}");
    }
    let name = format!("{}.{}.test", &hexadecimal[..30], &hexadecimal[30..]);
    assert!(scanner.find_in_name(&name).is_some());
    // In the end there are the last four.
    let later = |at: u32| credential(&format!("sk-later-number-{at}"));
    (0..4).for_each(|at| scanner.learn("openai", &later(at)).unwrap());
    assert_eq!(scanner.find(KEY.as_bytes()), None);
    assert_eq!(scanner.find(next.as_bytes()), None);
    for at in 0..4 {
        // Not new, so nothing is pushed out.
        scanner.learn("openai", &later(at)).unwrap();
        assert!(scanner.find(later(at).expose()).is_some());
    }
    scanner.learn("other", &later(9)).unwrap();
    assert!(scanner.find(later(0).expose()).is_some());
}

#[test]
fn a_stream_that_is_under_way_is_looked_through_for_what_is_learnt_meanwhile() {
    let next = "sk-next/key+9876543210?>~tail";
    // What began before is found behind it, and what is new at once; in block mode before it has left.
    for (before, behind) in [(&KEY[..14], &KEY[14..]), ("sk-re", next), ("%73%6b", next)] {
        let scanner = scanner(ScanMode::Block, &[]);
        let mut filter = scanner.filter();
        let first = filter.pass(Bytes::copy_from_slice(before.as_bytes()));
        let first = first.unwrap().len();
        scanner.learn("openai", &credential(next)).unwrap();
        let mut out = first;
        let mut stopped = false;
        for byte in behind.bytes() {
            match filter.pass(Bytes::copy_from_slice(&[byte])) {
                Ok(piece) => out += piece.len(),
                Err(Stop) => {
                    stopped = true;
                    break;
                }
            }
        }
        assert!(stopped, "{before}{behind}");
        // Three bytes tell nothing, and are not kept back.
        assert!(out <= before.len() + 3, "{before}{behind}: {out}");
    }
}
