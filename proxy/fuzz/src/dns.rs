// SPDX-License-Identifier: MIT OR Apache-2.0
//! A DNS message: what is answered is an answer to it, and there are addresses for allowed names only.

use std::sync::LazyLock;

use keyward_policy::{Entry, Policy, RawPolicy};
use keyward_proxy::dns::reply;

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let entry = |rule: &str| Entry {
        rule: rule.to_owned(),
        ..Entry::default()
    };
    let raw = RawPolicy {
        allow: vec![entry("example.com"), entry("a*.example.org")],
        block: vec![entry("blocked.example.com")],
        host_ports: vec![(5432, 5432)],
        ..RawPolicy::default()
    };
    Policy::new(&raw).expect("the rules are right")
});

/// What the names that are answered end in, as a message has it.
const ENDS: [&[u8]; 5] = [
    b"\x07example\x03com\0",
    b"\x07example\x03org\0",
    b"\x09localhost\0",
    b"\x04arpa\0",
    b"\x08internal\0",
];

/// One execution.
pub fn run(bytes: &[u8]) {
    let Some(reply) = reply(&POLICY, bytes) else {
        return;
    };
    assert!((12..=1232).contains(&reply.len()));
    assert_eq!(reply[..2], bytes[..2]);
    assert_eq!(reply[2] & 0x80, 0x80, "it is a reply");
    assert_eq!(reply[2] & 0x02, 0, "it is whole");
    assert_eq!(reply[3] & 0x20, 0, "it claims no authenticity");
    assert_eq!(reply[8..10], [0; 2], "it has no authorities");
    let [high, low] = [reply[6], reply[7]];
    match [high, low] {
        [0, 0] => {}
        [0, 1] => {
            assert_eq!(reply[3] & 0x0f, 0, "it is a success");
            let lower = reply.to_ascii_lowercase();
            let ends = |end: &&[u8]| lower.windows(end.len()).any(|it| it == *end);
            assert!(ENDS.iter().any(ends), "the name is allowed");
            let blocked = b"\x07blocked\x07example\x03com\0";
            assert!(!lower.windows(blocked.len()).any(|it| it == blocked));
        }
        _ => panic!("more than one answer"),
    }
}
