// SPDX-License-Identifier: MIT OR Apache-2.0
//! The workload's direction of a tunnel in which messages are judged: each is held until it is whole, and
//! then goes on as one frame, in its own words or in others, or ends the tunnel.

use aws_lc_rs::rand;

use super::super::frames::{self, Frames, Kind};
use crate::{refusal::Refusal, spend::Judge};

/// Holds messages.
pub(super) struct Held {
    judge: Judge,
    frames: Frames,
    message: Vec<u8>,
    /// What the first frame of the message said that it is.
    kind: Kind,
    /// A control frame: it may come between the frames of a message, and does not wait for it.
    control: Vec<u8>,
    /// Longest message.
    most: u64,
}

impl Held {
    pub(super) fn new(judge: Judge, most: u64) -> Self {
        Self {
            judge,
            frames: Frames::of_client(),
            message: Vec::new(),
            kind: Kind::Text,
            control: Vec::new(),
            most,
        }
    }

    /// Takes the next bytes of the workload's; what may go on is put into `out`.
    pub(super) fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        loop {
            let piece = match self.frames.next(&mut bytes) {
                Ok(Some(piece)) => piece,
                Ok(None) => return Ok(()),
                Err(_bad) => return Err(Refusal::BadFrame),
            };
            if piece.kind.is_control() {
                piece.unmask(&mut self.control);
                if piece.ends_frame {
                    frames::write(out, piece.kind, &self.control, Some(mask()?));
                    self.control.clear();
                }
                continue;
            }
            if piece.kind != Kind::Continuation {
                self.kind = piece.kind;
            }
            let length = self.message.len() + piece.payload.len();
            if u64::try_from(length).unwrap_or(u64::MAX) > self.most {
                return Err(Refusal::BodyTooLarge);
            }
            piece.unmask(&mut self.message);
            if piece.ends_message {
                // A message that says that it is no text is judged, too: who reads it may not care.
                let other = (self.judge)(&self.message)?;
                let message = other.as_deref().unwrap_or(&self.message);
                frames::write(out, self.kind, message, Some(mask()?));
                self.message.clear();
                self.message.shrink_to(64 * 1024);
            }
        }
    }
}

/// The last frame for a side: why the tunnel ends.
pub(super) fn farewell(refusal: Refusal, masked: bool) -> Vec<u8> {
    let code: u16 = if refusal == Refusal::BadFrame {
        1002
    } else if refusal == Refusal::BodyTooLarge {
        1009
    } else {
        1008
    };
    let payload = [&code.to_be_bytes()[..], refusal.name().as_bytes()].concat();
    let mut out = Vec::new();
    // Without randomness the upstream gets no farewell, and sees the connection go.
    match masked.then(mask).transpose() {
        Ok(mask) => frames::write(&mut out, Kind::Close, &payload, mask),
        Err(_refusal) => {}
    }
    out
}

/// A mask that nobody can guess (RFC 6455, section 5.3).
fn mask() -> Result<[u8; 4], Refusal> {
    let mut mask = [0; 4];
    rand::fill(&mut mask).map_err(|_cause| Refusal::BadFrame)?;
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frames::write(&mut bytes, Kind::Text, payload, Some([7, 8, 9, 10]));
        bytes[0] = first;
        bytes
    }

    fn held() -> Held {
        let judge: Judge = Arc::new(|message| match message {
            b"bad" => Err(Refusal::PathNotAllowed),
            b"old" => Ok(Some(b"new and longer".to_vec())),
            _ => Ok(None),
        });
        Held::new(judge, 100)
    }

    fn pass(bytes: &[u8], size: usize) -> Result<Vec<(Kind, Vec<u8>)>, Refusal> {
        let (mut held, mut out) = (held(), Vec::new());
        for chunk in bytes.chunks(size) {
            held.push(chunk, &mut out)?;
        }
        let (mut frames, mut rest, mut all) = (Frames::of_client(), &out[..], Vec::new());
        while let Some(piece) = frames.next(&mut rest).unwrap() {
            let mut payload = Vec::new();
            piece.unmask(&mut payload);
            all.push((piece.kind, payload));
        }
        Ok(all)
    }

    #[test]
    fn messages_are_whole_before_they_go_on() {
        let all = [
            frame(0x01, b"o"),
            frame(0x89, b"p"),
            frame(0x00, b"l"),
            frame(0x80, b"d"),
            frame(0x82, b"same"),
            frame(0x88, b"\x03\xe8"),
        ]
        .concat();
        for size in 1..=all.len() {
            let expected = [
                (Kind::Ping, b"p".to_vec()),
                (Kind::Text, b"new and longer".to_vec()),
                (Kind::Binary, b"same".to_vec()),
                (Kind::Close, b"\x03\xe8".to_vec()),
            ];
            assert_eq!(pass(&all, size).unwrap(), expected, "{size}");
        }
        let (mut held, mut out) = (held(), Vec::new());
        held.push(&frame(0x01, b"o"), &mut out).unwrap();
        assert!(out.is_empty());
    }

    #[test]
    fn what_is_refused_does_not_go_on() {
        let bad = [frame(0x01, b"ba"), frame(0x80, b"d")].concat();
        assert_eq!(pass(&bad, 3), Err(Refusal::PathNotAllowed));
        assert_eq!(pass(&frame(0x81, &[0; 100]), 9).unwrap().len(), 1);
        let long = [frame(0x01, &[0; 100]), frame(0x80, b"x")].concat();
        assert_eq!(pass(&long, 9), Err(Refusal::BodyTooLarge));
        assert_eq!(pass(&frame(0xc1, b"x"), 1), Err(Refusal::BadFrame));
        let close = farewell(Refusal::PathNotAllowed, false);
        assert_eq!(close[..4], [0x88, 18, 0x03, 0xf0]);
    }
}
