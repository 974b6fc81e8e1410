// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header of a WebSocket's frame (RFC 6455, section 5.2), read byte by byte. Which headers are right is not judged
//! here: the gateway, which agrees on no extension, is strict, and what only looks for secrets reads whatever passes.

/// Most bytes of a header: two, a length of eight, a mask of four.
const MOST: usize = 14;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The frame is a message's last.
    pub(crate) fin: bool,
    /// Bits that only extensions may set.
    pub(crate) reserved: bool,
    pub(crate) opcode: u8,
    /// `None`: it is not masked.
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) length: u64,
    /// The length could not be written shorter, and is not larger than there can be.
    pub(crate) plain_length: bool,
}

/// The part of a header that is there.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    bytes: [u8; MOST],
    have: usize,
}

impl Reader {
    /// Nothing of a header is there.
    pub(crate) const fn is_empty(&self) -> bool {
        self.have == 0
    }

    /// Takes the next byte. `Some`: it was the header's last.
    pub(crate) fn push(&mut self, byte: u8) -> Option<Header> {
        // A header is whole before there is no room.
        *self.bytes.get_mut(self.have)? = byte;
        self.have += 1;
        let header = self.header()?;
        self.have = 0;
        Some(header)
    }

    fn header(&self) -> Option<Header> {
        let [first, second, rest @ ..] = self.bytes.get(..self.have)? else {
            return None;
        };
        let short = second & 0x7f;
        let extension = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let (extended, rest) = rest.split_at_checked(extension)?;
        let mask = match second & 0x80 {
            0 => None,
            _ => Some(*rest.first_chunk()?),
        };
        let extended = extended
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let (length, plain_length) = match short {
            126 => (extended, extended > 125),
            127 => (extended, extended > 0xffff && extended >> 63 == 0),
            short => (u64::from(short), true),
        };
        Some(Header {
            fin: first & 0x80 != 0,
            reserved: first & 0x70 != 0,
            opcode: first & 0x0f,
            mask,
            length,
            plain_length,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Option<Header> {
        let mut reader = Reader::default();
        let (last, before) = bytes.split_last().unwrap();
        for byte in before {
            assert_eq!(reader.push(*byte), None, "{bytes:?}");
            assert!(!reader.is_empty());
        }
        let header = reader.push(*last);
        assert_eq!(reader.is_empty(), header.is_some());
        header
    }

    #[test]
    fn headers_end_where_they_should() {
        let text = Header {
            fin: true,
            reserved: false,
            opcode: 1,
            mask: None,
            length: 5,
            plain_length: true,
        };
        let masked = Some([1, 2, 3, 4]);
        assert_eq!(read(&[0x81, 5]), Some(text));
        let mask = Header {
            mask: masked,
            ..text
        };
        assert_eq!(read(&[0x81, 0x85, 1, 2, 3, 4]), Some(mask));
        let length = 0x0102;
        assert_eq!(read(&[0x81, 126, 1, 2]), Some(Header { length, ..text }));
        let length = 0x0001_0000;
        let mask = Header { length, ..mask };
        let bytes = [0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4];
        assert_eq!(read(&bytes), Some(mask));
        assert_eq!(read(&bytes[..13]), None);
        let ping = Header {
            fin: false,
            reserved: true,
            opcode: 9,
            length: 0,
            ..text
        };
        assert_eq!(read(&[0x49, 0]), Some(ping));
    }

    #[test]
    fn lengths_that_could_be_shorter_or_never_end_are_told_apart() {
        for (bytes, plain) in [
            (&[0x82, 126, 0, 125][..], false),
            (&[0x82, 126, 0, 126], true),
            (&[0x82, 127, 0, 0, 0, 0, 0, 0, 255, 255], false),
            (&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], true),
            (&[0x82, 127, 128, 0, 0, 0, 0, 1, 0, 0], false),
        ] {
            assert_eq!(read(bytes).unwrap().plain_length, plain, "{bytes:?}");
        }
    }
}
