// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames of a WebSocket (RFC 6455, section 5.2), read in pieces of any size. No extension is ever agreed
//! on, so what carries a mark of one is wrong.

use crate::frame::{self, Header};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The next part of a message.
    Continuation,
    /// The first part of a text.
    Text,
    /// The first part of something else.
    Binary,
    Close,
    Ping,
    Pong,
}

impl Kind {
    const fn of(opcode: u8) -> Option<Self> {
        match opcode {
            0 => Some(Self::Continuation),
            1 => Some(Self::Text),
            2 => Some(Self::Binary),
            8 => Some(Self::Close),
            9 => Some(Self::Ping),
            10 => Some(Self::Pong),
            _ => None,
        }
    }

    pub(super) const fn opcode(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    pub(super) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Frames that are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadFrame;

/// A piece of a frame's payload, and whether it is the last: of the frame, and of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) kind: Kind,
    /// As it came: see [`Piece::unmask`].
    pub(super) payload: &'a [u8],
    /// Where in the frame it begins.
    at: u64,
    mask: [u8; 4],
    pub(super) ends_frame: bool,
    pub(super) ends_message: bool,
}

impl Piece<'_> {
    /// Undoes the mask, into `out`.
    pub(super) fn unmask(&self, out: &mut Vec<u8>) {
        let mut mask = self.mask;
        mask.rotate_left(usize::try_from(self.at % 4).unwrap_or_default());
        let bytes = self.payload.iter().zip(mask.iter().cycle());
        out.extend(bytes.map(|(byte, mask)| byte ^ mask));
    }
}

/// Writes a whole frame; what a client sends is masked.
pub(super) fn write(out: &mut Vec<u8>, kind: Kind, payload: &[u8], mask: Option<[u8; 4]>) {
    let marked = if mask.is_some() { 0x80 } else { 0 };
    out.push(0x80 | kind.opcode());
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => out.push(marked | length),
        (_, Ok(length)) => {
            out.push(marked | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        (_, Err(_long)) => {
            let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
            out.push(marked | 127);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    match mask {
        None => out.extend_from_slice(payload),
        Some(mask) => {
            out.extend_from_slice(&mask);
            let bytes = payload.iter().zip(mask.iter().cycle());
            out.extend(bytes.map(|(byte, mask)| byte ^ mask));
        }
    }
}

/// Reads one direction.
#[derive(Debug)]
pub(super) struct Frames {
    /// Whether frames have to be masked: a client's have to, a server's may not.
    masked: bool,
    header: frame::Reader,
    /// The current frame, once its header is whole.
    frame: Option<Frame>,
    /// Inside a message of several frames.
    in_message: bool,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: Kind,
    fin: bool,
    length: u64,
    at: u64,
    mask: [u8; 4],
}

impl Frames {
    /// What a client sends.
    pub(super) fn of_client() -> Self {
        Self::new(true)
    }

    /// What a server sends.
    pub(super) fn of_server() -> Self {
        Self::new(false)
    }

    fn new(masked: bool) -> Self {
        Self {
            masked,
            header: frame::Reader::default(),
            frame: None,
            in_message: false,
        }
    }

    /// Whether a frame may begin here.
    pub(super) const fn is_between(&self) -> bool {
        self.header.is_empty() && self.frame.is_none()
    }

    /// Takes the next piece of a payload from `bytes`. `None`: all of them were read.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Piece<'a>>, BadFrame> {
        let mut frame = loop {
            if let Some(frame) = self.frame {
                break frame;
            }
            let Some((first, rest)) = bytes.split_first() else {
                return Ok(None);
            };
            *bytes = rest;
            if let Some(header) = self.header.push(*first) {
                self.frame = Some(self.begin(header)?);
            }
        };
        if bytes.is_empty() && frame.at < frame.length {
            return Ok(None);
        }
        let left = usize::try_from(frame.length - frame.at).unwrap_or(usize::MAX);
        let (payload, rest) = bytes.split_at(left.min(bytes.len()));
        *bytes = rest;
        let at = frame.at;
        frame.at += u64::try_from(payload.len()).unwrap_or(u64::MAX);
        let ends_frame = frame.at == frame.length;
        self.frame = (!ends_frame).then_some(frame);
        Ok(Some(Piece {
            kind: frame.kind,
            payload,
            at,
            mask: frame.mask,
            ends_frame,
            ends_message: ends_frame && frame.fin && !frame.kind.is_control(),
        }))
    }

    /// The frame of this header, if it may have it.
    fn begin(&mut self, header: Header) -> Result<Frame, BadFrame> {
        let kind = Kind::of(header.opcode).ok_or(BadFrame)?;
        let is_wrong = header.reserved
            || !header.plain_length
            || header.mask.is_some() != self.masked
            || (kind.is_control() && (!header.fin || header.length > 125))
            || (!kind.is_control() && (kind == Kind::Continuation) != self.in_message);
        if is_wrong {
            return Err(BadFrame);
        }
        if !kind.is_control() {
            self.in_message = !header.fin;
        }
        Ok(Frame {
            kind,
            fin: header.fin,
            length: header.length,
            at: 0,
            mask: header.mask.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 250];

    fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Text, payload, mask);
        bytes[0] = first;
        bytes
    }

    /// Messages, with control frames between them, as (kind, payload).
    fn read(
        mut frames: Frames,
        bytes: &[u8],
        size: usize,
    ) -> Result<Vec<(Kind, Vec<u8>)>, BadFrame> {
        let (mut all, mut message, mut control) = (Vec::new(), Vec::new(), Vec::new());
        for mut chunk in bytes.chunks(size.max(1)) {
            while let Some(piece) = frames.next(&mut chunk)? {
                let to = if piece.kind.is_control() {
                    &mut control
                } else {
                    &mut message
                };
                piece.unmask(to);
                if piece.ends_message || piece.kind.is_control() && piece.ends_frame {
                    all.push((piece.kind, std::mem::take(to)));
                }
            }
        }
        assert!(frames.is_between());
        Ok(all)
    }

    #[test]
    fn messages_come_back_wherever_they_are_cut() {
        for length in [0, 1, 125, 126, 127, 65535, 65536, 70000] {
            for mask in [None, Some(MASK)] {
                let payload: Vec<u8> = (0..length).map(|it: u32| it.to_le_bytes()[0]).collect();
                let half = payload.len() / 2;
                let mut bytes = frame(0x81, &payload, mask);
                bytes.extend(frame(0x02, &payload[..half], mask));
                bytes.extend(frame(0x89, b"ping", mask));
                bytes.extend(frame(0x80, &payload[half..], mask));
                for size in [1, 2, 3, 7, 13, 1000, bytes.len()] {
                    let frames = Frames::new(mask.is_some());
                    let all = read(frames, &bytes, size).unwrap();
                    let expected = [
                        (Kind::Text, payload.clone()),
                        (Kind::Ping, b"ping".to_vec()),
                        (Kind::Continuation, payload.clone()),
                    ];
                    assert_eq!(all, expected, "{length}, {size}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let bad = |bytes: &[u8]| read(Frames::of_server(), bytes, 1) == Err(BadFrame);
        assert!(!bad(&frame(0x81, b"x", None)));
        for first in [0xc1, 0xa1, 0x91, 0x83, 0x8b, 0x80, 0x09, 0x00] {
            assert!(bad(&frame(first, b"x", None)), "{first:#x}");
        }
        assert!(bad(&frame(0x81, b"x", Some(MASK))));
        assert!(bad(&frame(0x89, &[0; 126], None)));
        assert!(bad(
            &[frame(0x01, b"x", None), frame(0x81, b"x", None)].concat()
        ));
        assert!(bad(&[0x81, 126, 0, 125]));
        assert!(bad(&[0x81, 127, 0, 0, 0, 0, 0, 0, 255, 255]));
        assert!(bad(&[0x81, 127, 128, 0, 0, 0, 0, 1, 0, 0]));
        let unmasked = read(Frames::of_client(), &frame(0x81, b"x", None), 1);
        assert_eq!(unmasked, Err(BadFrame));
    }
}
