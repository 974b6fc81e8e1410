// SPDX-License-Identifier: MIT OR Apache-2.0
//! Undoes escapes of URLs and of JSON, one layer, byte by byte.

/// What is read of an escape that is not complete.
#[derive(Clone, Default)]
pub(super) struct Escapes {
    begun: [u8; 6],
    length: usize,
}

impl Escapes {
    /// Whether an escape begins with this byte.
    pub(super) fn begins(byte: u8) -> bool {
        matches!(byte, b'%' | b'\\')
    }

    /// How many bytes are kept.
    pub(super) fn kept(&self) -> usize {
        self.length
    }

    /// Reads a byte; gives `out` what it stands for, each with how many bytes stood for it.
    pub(super) fn step(&mut self, byte: u8, mut out: impl FnMut(u8, usize)) {
        if self.length == 0 && !Self::begins(byte) {
            out(byte, 1);
            return;
        }
        if !self.goes_on(byte) {
            self.finish(&mut out);
            if !Self::begins(byte) {
                out(byte, 1);
                return;
            }
        }
        if let Some(slot) = self.begun.get_mut(self.length) {
            *slot = byte;
            self.length += 1;
        }
        let read = self.begun.get(..self.length).unwrap_or_default();
        let whole = match read {
            [b'%', high, low] => Some(digit(*high) << 4 | digit(*low)),
            [b'\\', b'n'] => Some(b'\n'),
            [b'\\', b'r'] => Some(b'\r'),
            [b'\\', b't'] => Some(b'\t'),
            [b'\\', b'b' | b'f'] => Some(b' '),
            [b'\\', b'u'] => None,
            [b'\\', other] => Some(*other),
            [b'\\', b'u', b'0', b'0', high, low] => Some(digit(*high) << 4 | digit(*low)),
            // Nothing that a secret is made of.
            [b'\\', b'u', _, _, _, _] => Some(0xff),
            _ => None,
        };
        if let Some(whole) = whole {
            out(whole, self.length);
            self.length = 0;
        }
    }

    /// What is no escape after all stands for itself.
    pub(super) fn finish(&mut self, mut out: impl FnMut(u8, usize)) {
        for byte in self.begun.iter().take(self.length) {
            out(*byte, 1);
        }
        self.length = 0;
    }

    fn goes_on(&self, byte: u8) -> bool {
        match self.begun.get(..self.length).unwrap_or_default() {
            [] => true,
            [b'%', ..] => byte.is_ascii_hexdigit(),
            [b'\\'] => matches!(
                byte,
                b'n' | b'r' | b't' | b'b' | b'f' | b'u' | b'"' | b'\\' | b'/'
            ),
            _ => byte.is_ascii_hexdigit(),
        }
    }
}

fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => 0,
    }
}
