// SPDX-License-Identifier: MIT OR Apache-2.0
//! Covers the credential in a body that comes in pieces. Only what could be its beginning waits for the next piece.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{Mask, coded::Coded};

/// The credential stands in a body where it cannot be covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Repeated;

/// One body.
pub(in crate::gateway) struct Masked {
    mask: Arc<Mask>,
    way: Way,
    covered: bool,
}

enum Way {
    /// It is read as it is. What waits could be the beginning of the credential.
    Plain { waiting: Vec<u8> },
    /// Boxed: a decoder has a window.
    Coded(Box<Coded>),
    /// The coding is one that no provider is asked for, and cannot be undone here.
    Unknown,
}

impl Masked {
    pub(super) fn new(mask: Arc<Mask>, coding: &str) -> Self {
        let way = match coding.trim() {
            "" | "identity" => Way::Plain {
                waiting: Vec::new(),
            },
            coding => Coded::new(coding, &mask).map_or(Way::Unknown, |it| Way::Coded(Box::new(it))),
        };
        Self {
            mask,
            way,
            covered: false,
        }
    }

    /// For bytes that are in no coding.
    pub(in crate::gateway) fn plain(mask: Arc<Mask>) -> Self {
        Self::new(mask, "")
    }

    /// What of it and of what waited can go on.
    ///
    /// # Errors
    ///
    /// It must not.
    pub(in crate::gateway) fn pass(&mut self, piece: Bytes) -> Result<Bytes, Repeated> {
        match &mut self.way {
            Way::Plain { waiting } => {
                let all = match waiting.is_empty() {
                    true => piece,
                    false => {
                        waiting.extend_from_slice(&piece);
                        Bytes::from(std::mem::take(waiting))
                    }
                };
                let mut all = match self.mask.is_in(&all) {
                    false => all,
                    true => {
                        self.covered = true;
                        let mut all = BytesMut::from(all);
                        self.mask.cover(&mut all);
                        all.freeze()
                    }
                };
                let begun = self.mask.begun(&all);
                if begun > 0 {
                    // Copied: the piece may be a part of something large.
                    *waiting = all.split_off(all.len() - begun).to_vec();
                }
                Ok(all)
            }
            Way::Coded(coded) => match coded.holds(&piece) {
                true => Err(Repeated),
                false => Ok(piece),
            },
            Way::Unknown => Ok(piece),
        }
    }

    /// Whether this piece can go on as it is, and nothing waits for it.
    pub(in crate::gateway) fn passes(&self, piece: &[u8]) -> bool {
        match &self.way {
            Way::Plain { waiting } => {
                waiting.is_empty() && !self.mask.is_in(piece) && self.mask.begun(piece) == 0
            }
            Way::Coded(_) => false,
            Way::Unknown => true,
        }
    }

    /// What waited, at the body's end.
    pub(in crate::gateway) fn finish(&mut self) -> Bytes {
        match &mut self.way {
            Way::Plain { waiting } => Bytes::from(std::mem::take(waiting)),
            Way::Coded(_) | Way::Unknown => Bytes::new(),
        }
    }

    /// Whether nothing waits.
    pub(in crate::gateway) fn is_empty(&self) -> bool {
        match &self.way {
            Way::Plain { waiting } => waiting.is_empty(),
            Way::Coded(_) | Way::Unknown => true,
        }
    }

    /// Whether something was covered.
    pub(in crate::gateway) fn has_covered(&self) -> bool {
        self.covered
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::{
        super::tests::{KEY, mask},
        *,
    };

    fn pieces(text: &[u8], sizes: &[usize]) -> Vec<Bytes> {
        let mut sizes = sizes.iter().copied().cycle();
        let mut rest = Bytes::copy_from_slice(text);
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(1).clamp(1, rest.len());
            pieces.push(rest.split_to(size));
        }
        pieces
    }

    fn passed(masked: &mut Masked, pieces: Vec<Bytes>) -> Result<Vec<u8>, Repeated> {
        let mut out = Vec::new();
        for piece in pieces {
            out.extend(masked.pass(piece)?);
        }
        out.extend(masked.finish());
        Ok(out)
    }

    proptest! {
        #[test]
        fn where_it_is_cut_does_not_matter(
            texts in prop::collection::vec("[sk/+ -]{0,9}", 1..4),
            sizes in prop::collection::vec(1..9_usize, 1..9),
        ) {
            let text = texts.join(KEY);
            let mut masked = Masked::plain(mask());
            let out = passed(&mut masked, pieces(text.as_bytes(), &sizes)).unwrap();
            let expected = text.replace(KEY, &"*".repeat(KEY.len()));
            prop_assert_eq!(out, expected.as_bytes());
            prop_assert_eq!(masked.has_covered(), texts.len() > 1);
            prop_assert!(masked.is_empty());
        }
    }

    #[test]
    fn only_a_beginning_waits() {
        let mut masked = Masked::plain(mask());
        assert_eq!(
            masked.pass(Bytes::from("data: x\n\n")),
            Ok(Bytes::from("data: x\n\n"))
        );
        assert_eq!(
            masked.pass(Bytes::from("data: sk-r")),
            Ok(Bytes::from("data: "))
        );
        assert!(!masked.is_empty());
        assert_eq!(
            masked.pass(Bytes::from("ound")),
            Ok(Bytes::from("sk-round"))
        );
        assert!(!masked.has_covered());
    }

    #[test]
    fn inside_a_coding_it_ends_the_answer() {
        let zipped = |text: &str| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let filler = "0123456789abcdef".repeat(4000);
        for size in [1, 7, 100_000] {
            let mut masked = Masked::new(mask(), "gzip");
            let text = zipped(&format!("{filler}{KEY}{filler}"));
            assert_eq!(passed(&mut masked, pieces(&text, &[size])), Err(Repeated));
            let mut masked = Masked::new(mask(), "gzip");
            let text = zipped(&format!("{filler}{filler}"));
            assert_eq!(passed(&mut masked, pieces(&text, &[size])), Ok(text));
        }
    }
}
