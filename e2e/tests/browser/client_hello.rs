// SPDX-License-Identifier: GPL-3.0-or-later
//! Which extensions a ClientHello has: as little of RFC 8446, section 4.1.2, as that takes.

/// `encrypted_client_hello`.
pub(crate) const ENCRYPTED: u16 = 0xfe0d;

/// The numbers of the extensions, if these bytes begin with a whole ClientHello in one record.
pub(crate) fn extensions(bytes: &[u8]) -> Option<Vec<u16>> {
    let mut rest = bytes.strip_prefix(&[22, 3])?;
    // The record's version and length; type and length of the message; version and random.
    take(&mut rest, 1 + 2 + 4 + 2 + 32)?;
    for length_of_length in [1, 2, 1] {
        // The session's identity, the ciphers, the compressions.
        vector(&mut rest, length_of_length)?;
    }
    let mut list = vector(&mut rest, 2)?;
    let mut found = Vec::new();
    while !list.is_empty() {
        let number = take(&mut list, 2)?;
        found.push(u16::from_be_bytes([number[0], number[1]]));
        vector(&mut list, 2)?;
    }
    Some(found)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn vector<'a>(rest: &mut &'a [u8], length_of_length: usize) -> Option<&'a [u8]> {
    let length = take(rest, length_of_length)?;
    let length = length.iter().fold(0, |sum, it| sum << 8 | usize::from(*it));
    take(rest, length)
}
