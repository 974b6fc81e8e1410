// SPDX-License-Identifier: MIT OR Apache-2.0
//! Percent-encoding (RFC 3986, section 2.1).

/// Most characters that a byte becomes.
pub(crate) const LONGEST: usize = 3;

/// Everything but the unreserved characters as `%XX`.
///
/// What is encoded may be secret: `to` is to have room, so that nothing is copied and left behind.
pub(crate) fn encode(value: &[u8], to: &mut String) {
    for byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            to.push(char::from(*byte));
        } else {
            to.push('%');
            to.extend([byte >> 4, byte & 15].map(digit));
        }
    }
}

fn digit(value: u8) -> char {
    char::from_digit(value.into(), 16)
        .unwrap_or_default()
        .to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_unreserved_is_encoded() {
        let mut text = String::new();
        encode(b"aZ09-._~ /+\n\xff", &mut text);
        assert_eq!(text, "aZ09-._~%20%2F%2B%0A%FF");
    }
}
