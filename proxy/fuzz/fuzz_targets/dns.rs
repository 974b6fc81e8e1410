// SPDX-License-Identifier: MIT OR Apache-2.0
//! A DNS message: what is answered is an answer to it, and answers nothing.
#![no_main]

use keyward_proxy::dns::reply;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(reply) = reply(bytes) else { return };
    assert!(reply.bytes.len() >= 12);
    assert_eq!(reply.bytes[..2], bytes[..2]);
    assert_eq!(reply.bytes[2] & 0x80, 0x80, "it is a reply");
    // The number of BADVERS is 16: its upper bits are in the EDNS record, the only one there can be.
    let extended = reply.bytes[10..12] == [0, 1];
    assert!(reply.bytes[3] & 0x0f != 0 || extended, "it is no success");
    assert_eq!(reply.bytes[6..10], [0; 4], "it has no answers");
});
