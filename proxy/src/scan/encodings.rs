// SPDX-License-Identifier: MIT OR Apache-2.0
//! The forms in which a credential is looked for. Percent and backslash escapes are not among them: they are undone
//! (`escapes`).

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use zeroize::Zeroizing;

/// A secret that is shorter may stand in anything by chance.
pub(crate) const SHORTEST: usize = 8;

/// Bytes that are wiped.
pub(crate) type Secret = Zeroizing<Vec<u8>>;

/// As it is, and in Base64 and hexadecimal digits.
pub(crate) fn of(secret: &[u8]) -> Vec<Secret> {
    let mut forms = vec![Zeroizing::new(secret.to_vec())];
    for alignment in 0..3 {
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            forms.push(base64(secret, alignment, |it| engine.encode(it)));
        }
    }
    forms.push(hexadecimal(secret, b"0123456789abcdef"));
    forms.push(hexadecimal(secret, b"0123456789ABCDEF"));
    // The two alphabets are mostly the same.
    forms.sort_by(|one, other| one.as_slice().cmp(other.as_slice()));
    forms.dedup();
    forms
}

/// As in names, where letters have no case.
pub(super) fn in_names(secret: &[u8]) -> Vec<Secret> {
    let mut forms = vec![
        Zeroizing::new(secret.to_vec()),
        hexadecimal(secret, b"0123456789abcdef"),
    ];
    forms.extend((0..5).map(|alignment| base32(secret, alignment)));
    forms
}

/// The characters that `secret` alone decides when so many bytes (modulo 3) are in front of it.
fn base64(secret: &[u8], alignment: usize, encode: impl Fn(&[u8]) -> String) -> Secret {
    let mut bytes = Zeroizing::new(vec![0; alignment]);
    bytes.extend_from_slice(secret);
    let text = Zeroizing::new(encode(&bytes).into_bytes());
    cut(&text, alignment, secret.len(), 6)
}

fn base32(secret: &[u8], alignment: usize) -> Secret {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bytes = Zeroizing::new(vec![0; alignment]);
    bytes.extend_from_slice(secret);
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len() * 8 / 5 + 1));
    let (mut bits, mut count) = (0_u32, 0);
    for byte in bytes.iter() {
        bits = (bits & 0xff) << 8 | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            let index = usize::try_from(bits >> count & 31).unwrap_or_default();
            text.extend(ALPHABET.get(index));
        }
    }
    cut(&text, alignment, secret.len(), 5)
}

/// What no neighbour has a part in, of characters that stand for so many bits each.
fn cut(text: &[u8], alignment: usize, length: usize, bits: usize) -> Secret {
    let from = (alignment * 8).div_ceil(bits);
    let to = (alignment + length) * 8 / bits;
    Zeroizing::new(text.get(from..to).unwrap_or_default().to_vec())
}

fn hexadecimal(secret: &[u8], digits: &[u8; 16]) -> Secret {
    let digit = |it: u8| {
        digits
            .get(usize::from(it & 15))
            .copied()
            .unwrap_or_default()
    };
    let pairs = secret.iter().flat_map(|it| [digit(it >> 4), digit(*it)]);
    let mut text = Zeroizing::new(Vec::with_capacity(secret.len() * 2));
    text.extend(pairs);
    text
}
