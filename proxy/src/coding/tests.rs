// SPDX-License-Identifier: MIT OR Apache-2.0
//! Codings as others make them, cut everywhere, broken off, and made to harm.

use std::io::Write as _;

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use proptest::prelude::*;

use super::Decoder;

/// `raw` is `deflate` as some servers have it.
pub(crate) const CODINGS: [&str; 6] = ["identity", "gzip", "deflate", "raw", "br", "zstd"];

pub(crate) fn name_of(coding: &str) -> &str {
    if coding == "raw" { "deflate" } else { coding }
}

/// What a server would send, and how much of it is there when it has sent the first part.
pub(crate) fn encoded(coding: &str, first: &[u8], rest: &[u8]) -> (Vec<u8>, usize) {
    macro_rules! through {
        ($encoder:expr, $length:expr, $end:expr) => {{
            let mut encoder = $encoder;
            encoder.write_all(first).unwrap();
            encoder.flush().unwrap();
            let length = $length(&encoder);
            encoder.write_all(rest).unwrap();
            ($end(encoder), length)
        }};
    }
    let level = Compression::default();
    match coding {
        "gzip" => through!(
            GzEncoder::new(Vec::new(), level),
            |it: &GzEncoder<Vec<u8>>| it.get_ref().len(),
            |it: GzEncoder<Vec<u8>>| it.finish().unwrap()
        ),
        "deflate" => through!(
            ZlibEncoder::new(Vec::new(), level),
            |it: &ZlibEncoder<Vec<u8>>| it.get_ref().len(),
            |it: ZlibEncoder<Vec<u8>>| it.finish().unwrap()
        ),
        "raw" => through!(
            DeflateEncoder::new(Vec::new(), level),
            |it: &DeflateEncoder<Vec<u8>>| it.get_ref().len(),
            |it: DeflateEncoder<Vec<u8>>| it.finish().unwrap()
        ),
        "br" => through!(
            brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22),
            |it: &brotli::CompressorWriter<Vec<u8>>| it.get_ref().len(),
            brotli::CompressorWriter::into_inner
        ),
        "zstd" => through!(
            {
                let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
                encoder.include_checksum(true).unwrap();
                encoder
            },
            |it: &zstd::Encoder<'_, Vec<u8>>| it.get_ref().len(),
            |it: zstd::Encoder<'_, Vec<u8>>| it.finish().unwrap()
        ),
        _ => ([first, rest].concat(), first.len()),
    }
}

/// All of it, if it is exactly one stream.
fn decoded<'a>(coding: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new(name_of(coding), Vec::new()).unwrap();
    for piece in pieces {
        decoder.push(piece).ok()?;
    }
    decoder.finish().ok()?;
    Some(decoder.sink().clone())
}

#[test]
fn every_coding_is_undone_wherever_it_is_cut() {
    let text = b"{\"model\":\"gpt-5\",\"input\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}".repeat(3);
    for coding in CODINGS {
        let (bytes, _) = encoded(coding, &text[..40], &text[40..]);
        for at in 0..=bytes.len() {
            let (before, behind) = bytes.split_at(at);
            let found = decoded(coding, [before, behind]);
            assert_eq!(found.as_ref(), Some(&text), "{coding}, cut at {at}");
            // All but identity have an end.
            if coding != "identity" && at < bytes.len() {
                assert_eq!(
                    decoded(coding, [before]),
                    None,
                    "{coding}, without what follows {at}"
                );
            }
        }
        assert_eq!(
            decoded(coding, bytes.chunks(1)).as_ref(),
            Some(&text),
            "{coding}"
        );
        if coding != "identity" {
            for more in [b"\0".as_slice(), &bytes] {
                let whole = [&bytes, more].concat();
                assert_eq!(decoded(coding, [whole.as_slice()]), None, "{coding}");
                assert_eq!(decoded(coding, [&bytes, more]), None, "{coding}");
            }
        }
    }
}

#[test]
fn what_broke_off_has_said_what_was_flushed() {
    for coding in CODINGS {
        let (bytes, flushed) = encoded(coding, b"first", b"second");
        // With a part of what comes then, or without.
        for more in 0..3 {
            let mut decoder = Decoder::new(name_of(coding), Vec::new()).unwrap();
            decoder.push(&bytes[..flushed + more]).unwrap();
            decoder.flush().unwrap();
            assert!(decoder.sink().starts_with(b"first"), "{coding}");
        }
    }
}

#[test]
fn large_bodies_and_small_pieces_come_out_the_same() {
    // More than a window and many blocks, of what cannot be compressed and what can.
    let mut text = Vec::new();
    let mut state = 1_u32;
    for at in 0..3_u32 << 20 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push(if at >> 18 & 1 == 0 {
            b'x'
        } else {
            state.to_be_bytes()[0]
        });
    }
    for coding in CODINGS {
        let (bytes, _) = encoded(coding, &text[..100], &text[100..]);
        let found = decoded(coding, bytes.chunks(1449));
        assert!(found.is_some_and(|it| it == text), "{coding}");
    }
}

/// Magic number, a window of 8 MiB, and what `descriptor` says besides.
fn frame(descriptor: u8, rest: &[&[u8]]) -> Vec<u8> {
    [
        &[0x28, 0xb5, 0x2f, 0xfd, descriptor, 13 << 3],
        rest.concat().as_slice(),
    ]
    .concat()
}

fn block(is_last: bool, kind: u32, size: usize, content: &[u8]) -> Vec<u8> {
    let header = u32::from(is_last) | kind << 1 | u32::try_from(size).unwrap() << 3;
    [&header.to_le_bytes()[..3], content].concat()
}

#[test]
fn a_block_of_zstandard_yields_no_more_than_a_block_may() {
    let seed = block(false, 0, 8, b"abcdefgh");
    let plain = frame(0, &[&seed, &block(true, 0, 1, b"!")]);
    assert_eq!(decoded("zstd", [plain.as_slice()]).unwrap(), b"abcdefgh!");
    // No literals; so many sequences, each of which repeats the most that one can: 65539 + 65535 bytes, from a code, an
    // offset and a length that take two bytes.
    let sequences = |count: u16| {
        let number = count - 0x7f00;
        let head = [&[0_u8, 0xff][..], &number.to_le_bytes(), &[0x54, 0, 0, 52]].concat();
        let bits = [vec![0xff; 2 * usize::from(count)], vec![1]].concat();
        [head, bits].concat()
    };
    let content = sequences(0x7f00 + 10);
    let bomb = frame(0, &[&seed, &block(true, 2, content.len(), &content)]);
    assert!(bomb.len() < 70_000);
    let mut decoder = Decoder::new("zstd", Vec::new()).unwrap();
    assert!(decoder.push(&bomb).is_err());
    assert!(decoder.sink().len() < 1 << 20);
}

#[test]
fn what_a_frame_of_zstandard_says_of_itself_holds() {
    let block = block(true, 0, 1, b"x");
    let good = frame(0, &[&block]);
    assert_eq!(decoded("zstd", [good.as_slice()]).unwrap(), b"x");
    let with_checksum = |sum: &[u8]| decoded("zstd", [frame(4, &[&block, sum]).as_slice()]);
    assert_eq!(with_checksum(&[1, 2, 3, 4]), None);
    let (bytes, _) = encoded("zstd", b"x", b"");
    let sum = &bytes[bytes.len() - 4..];
    assert_eq!(with_checksum(sum).unwrap(), b"x");
    let large = [&good[..5], &[14 << 3], &good[6..]].concat();
    assert_eq!(
        decoded("zstd", [large.as_slice()]),
        None,
        "a window of 16 MiB"
    );
    let reserved = frame(0, &[&[7, 0, 0]]);
    assert_eq!(
        decoded("zstd", [reserved.as_slice()]),
        None,
        "a reserved kind of block"
    );
    let dictionary = frame(1, &[&[7], &block]);
    assert_eq!(
        decoded("zstd", [dictionary.as_slice()]),
        None,
        "a dictionary"
    );
    assert_eq!(decoded("zstd", [b"{\"model\":1}".as_slice()]), None);
}

proptest! {
    #[test]
    fn nothing_makes_a_decoder_panic(
        coding in 0..CODINGS.len(),
        at in any::<prop::sample::Index>(),
        with in any::<[u8; 3]>(),
        size in 1_usize..40,
    ) {
        let (mut bytes, _) = encoded(CODINGS[coding], b"hello hello hello", b"{\"usage\":{}}");
        let at = at.index(bytes.len());
        bytes.splice(at..(at + 3).min(bytes.len()), with);
        let mut decoder = Decoder::new(name_of(CODINGS[coding]), Vec::new()).unwrap();
        let read: Result<Vec<()>, _> = bytes.chunks(size).map(|it| decoder.push(it)).collect();
        if read.is_err() || decoder.finish().is_err() {
            // Whatever it is, it is said without a panic.
            drop(decoder.flush());
        }
    }
}
