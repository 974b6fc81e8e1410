// SPDX-License-Identifier: MIT OR Apache-2.0
//! WebSocket, as far as a client needs it whose messages come back: a handshake, and messages of one frame.

use anyhow::{Context, Result, bail};
use rustix::net::sockopt::set_socket_send_buffer_size;

use super::{Answer, Connection, Request, Target};

/// Most bytes of the answer to a handshake.
const MAX_HEAD: usize = 4 << 10;

/// A message has to fit into it, so that writing one never blocks.
const SEND_BUFFER: usize = 256 << 10;

impl Request {
    /// A binary message of so many bytes, whose answer is the same message.
    pub(crate) fn message(bytes: u16) -> Self {
        let length = u64::from(bytes);
        // A client's frames are masked (RFC 6455, section 5.3); with zeros, which changes nothing.
        let (mut frame, head) = match bytes {
            0..=125 => (vec![0x82, 0x80 | bytes.to_be_bytes()[1]], 2),
            _ => ([&[0x82, 0x80 | 126][..], &bytes.to_be_bytes()].concat(), 4),
        };
        frame.extend_from_slice(&[0; 4]);
        frame.extend((0..bytes).map(|_| b'.'));
        Self {
            bytes: frame,
            answer: Answer::Sized(head + length),
        }
    }
}

impl Connection {
    /// Opens a WebSocket. `wish` is the emulator's behaviour.
    pub(crate) fn open_websocket(
        target: &Target,
        path: &str,
        credential: &str,
        wish: &str,
    ) -> Result<Self> {
        let mut connection = Self::open(target)?;
        set_socket_send_buffer_size(connection.socket(), SEND_BUFFER).context("SO_SNDBUF")?;
        let head = format!(
            "GET {path} HTTP/1.1\r\n\
             Host: api.openai.com\r\n\
             User-Agent: keyward-bench\r\n\
             Authorization: Bearer {credential}\r\n\
             Connection: Upgrade\r\n\
             Upgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             X-Emulator: {wish}\r\n\r\n",
        );
        connection.write(head.as_bytes())?;
        let (mut answer, mut buffer) = (Vec::new(), [0; MAX_HEAD]);
        // The server says nothing of its own behind it.
        while !answer.ends_with(b"\r\n\r\n") {
            let length = connection.receive(&mut buffer)?;
            let length = length.context("no answer to a handshake in time")?;
            answer.extend_from_slice(&buffer[..length]);
            if answer.len() > MAX_HEAD {
                bail!("the answer to a handshake does not end");
            }
        }
        if !answer.starts_with(b"HTTP/1.1 101 ") {
            bail!("not upgraded: {}", String::from_utf8_lossy(&answer));
        }
        Ok(connection)
    }
}
