// SPDX-License-Identifier: MIT OR Apache-2.0
//! AWS event streams (`application/vnd.amazon.eventstream`), written: two lengths and their checksum, headers, a
//! payload, and a checksum of all of it.

use bytes::Bytes;

/// One event with a JSON payload.
pub(crate) fn frame(name: &str, payload: &str) -> Bytes {
    let mut headers = Vec::new();
    for (header, value) in [
        (":event-type", name),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ] {
        // The seventh type of values is a string.
        headers.push(short(header.len()));
        headers.extend_from_slice(header.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&[0, short(value.len())]);
        headers.extend_from_slice(value.as_bytes());
    }
    let length = |it: usize| u32::try_from(it).unwrap_or(u32::MAX).to_be_bytes();
    let mut message = Vec::with_capacity(16 + headers.len() + payload.len());
    message.extend_from_slice(&length(16 + headers.len() + payload.len()));
    message.extend_from_slice(&length(headers.len()));
    message.extend_from_slice(&crc32(&message).to_be_bytes());
    message.extend_from_slice(&headers);
    message.extend_from_slice(payload.as_bytes());
    message.extend_from_slice(&crc32(&message).to_be_bytes());
    message.into()
}

/// A length of a name of ours.
fn short(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// CRC-32 of IEEE 802.3, bit by bit: the frames are few.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        // The check value of the catalogue of CRCs.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_frame_has_its_lengths() {
        let message = frame("messageStop", "{}");
        let at = |from: usize| u32::from_be_bytes(message[from..from + 4].try_into().unwrap());
        let headers = usize::try_from(at(4)).unwrap();
        assert_eq!(usize::try_from(at(0)), Ok(message.len()));
        assert_eq!(message.len(), 12 + headers + 2 + 4);
        assert_eq!(at(8), crc32(&message[..8]));
        assert_eq!(&message[12..24], b"\x0b:event-type");
    }
}
