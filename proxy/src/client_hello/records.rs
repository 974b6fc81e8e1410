// SPDX-License-Identifier: MIT OR Apache-2.0
//! TLS records, in whatever pieces they come, to one handshake message.

use super::{BYTES_LIMIT, ClientHello, Fault, MESSAGE_LIMIT, message};

/// Length of a record's header: type, version, length.
const RECORD_HEADER: usize = 5;

/// Length of a handshake message's header: type, length in three bytes.
const MESSAGE_HEADER: usize = 4;

/// Record type of handshake messages.
const HANDSHAKE: u8 = 22;

/// Message type.
const CLIENT_HELLO: u8 = 1;

/// Most bytes in a record.
const RECORD_LIMIT: usize = 16 * 1024;

/// Reads bytes as they come. It is done with the first `Ok(Some)` or `Err`.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    /// How many bytes came.
    count: usize,
    header: [u8; RECORD_HEADER],
    /// How much of `header` is there.
    have: usize,
    /// How much of the record is still to come.
    left: usize,
    /// The message, with its header.
    message: Vec<u8>,
}

impl Reader {
    /// Takes more bytes. `None`: there is more to come.
    ///
    /// What follows the record in which the ClientHello ends is not looked at: it can be early data.
    ///
    /// # Errors
    ///
    /// As soon as it is clear that it is no ClientHello that may pass.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<Option<ClientHello>, Fault> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let missing = RECORD_HEADER - self.have;
                let (part, rest) = bytes.split_at(missing.min(bytes.len()));
                self.count += part.len();
                for byte in part {
                    if let Some(place) = self.header.get_mut(self.have) {
                        *place = *byte;
                    }
                    self.have += 1;
                }
                bytes = rest;
                self.check_header()?;
            } else {
                let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.count += part.len();
                self.left -= part.len();
                self.message.extend_from_slice(part);
                bytes = rest;
                if let Some(hello) = self.check_message()? {
                    return Ok(Some(hello));
                }
            }
            if self.count >= BYTES_LIMIT {
                return Err(Fault::TooLong);
            }
        }
        Ok(None)
    }

    /// As far as it is there: a handshake record of TLS 1.0 to 1.2 (1.3 keeps to these), not empty.
    fn check_header(&mut self) -> Result<(), Fault> {
        let here = self.header.get(..self.have).unwrap_or_default();
        match *here {
            []
            | [HANDSHAKE]
            | [HANDSHAKE, 3]
            | [HANDSHAKE, 3, 1..=3]
            | [HANDSHAKE, 3, 1..=3, _] => Ok(()),
            [HANDSHAKE, 3, 1..=3, high, low] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                if length == 0 || length > RECORD_LIMIT {
                    return Err(Fault::Record);
                }
                self.left = length;
                self.have = 0;
                Ok(())
            }
            _ => Err(Fault::Record),
        }
    }

    /// As far as it is there: a ClientHello of an acceptable length, and nothing behind it in its record.
    fn check_message(&mut self) -> Result<Option<ClientHello>, Fault> {
        let Some((header, body)) = self.message.split_first_chunk::<MESSAGE_HEADER>() else {
            return match self.message.first() {
                Some(&CLIENT_HELLO) | None => Ok(None),
                Some(_) => Err(Fault::Message),
            };
        };
        let [kind, high, middle, low] = *header;
        if kind != CLIENT_HELLO {
            return Err(Fault::Message);
        }
        let length = u32::from_be_bytes([0, high, middle, low]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MESSAGE_LIMIT - MESSAGE_HEADER {
            return Err(Fault::TooLong);
        }
        if body.len() > length || (body.len() == length && self.left > 0) {
            return Err(Fault::Message);
        }
        if body.len() < length {
            return Ok(None);
        }
        message::read(body).map(Some)
    }
}
