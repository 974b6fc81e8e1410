// SPDX-License-Identifier: MIT OR Apache-2.0
//! A request's body without its content encoding, as far as the limit for bodies goes.

use std::{borrow::Cow, io::Read};

use http::{HeaderMap, header};

use super::{Stop, unreadable};
use crate::refusal::Refusal;

/// Largest window of a Zstandard frame: what RFC 9659 allows for this use.
const ZSTD_WINDOW: u64 = 8 << 20;

/// Decodes what is encoded in one of the ways that are known, once.
pub(in crate::gateway) fn decoded<'a>(
    headers: &HeaderMap,
    body: &'a [u8],
    most: u64,
) -> Result<Cow<'a, [u8]>, Stop> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let encoding = match (encodings.next(), encodings.next()) {
        (None, _) => return Ok(Cow::Borrowed(body)),
        (Some(one), None) => one.as_bytes().trim_ascii().to_ascii_lowercase(),
        (Some(_), Some(_)) => return Err(unreadable("the body is encoded more than once")),
    };
    // What is left behind the end could be read by another reader as more of it.
    let mut rest = body;
    let out = match encoding.as_slice() {
        b"" | b"identity" => return Ok(Cow::Borrowed(body)),
        b"gzip" | b"x-gzip" => read(flate2::bufread::GzDecoder::new(&mut rest), most)?,
        b"deflate" => read(flate2::bufread::ZlibDecoder::new(&mut rest), most)?,
        b"br" => {
            // It takes its input in pieces, and does not say how much of the last one it used; nobody reads on behind
            // the end of a Brotli stream.
            let out = read(
                brotli_decompressor::Decompressor::new(&mut rest, 4096),
                most,
            )?;
            rest = &[];
            out
        }
        b"zstd" => {
            if zstd_window(body).is_none_or(|it| it > ZSTD_WINDOW.max(most)) {
                return Err(unreadable("the body is not in the encoding that it names"));
            }
            let decoder = ruzstd::decoding::StreamingDecoder::new(&mut rest);
            let decoder = decoder
                .map_err(|_error| unreadable("the body is not in the encoding that it names"))?;
            read(decoder, most)?
        }
        _ => {
            return Err(unreadable(
                "the body is in an encoding that is not known here",
            ));
        }
    };
    match rest {
        [] => Ok(Cow::Owned(out)),
        _ => Err(unreadable(
            "there is more behind the end of the encoded body",
        )),
    }
}

fn read(decoder: impl Read, most: u64) -> Result<Vec<u8>, Stop> {
    let mut out = Vec::new();
    let read = decoder.take(most.saturating_add(1)).read_to_end(&mut out);
    read.map_err(|_error| unreadable("the body is not in the encoding that it names"))?;
    match u64::try_from(out.len()).is_ok_and(|it| it <= most) {
        true => Ok(out),
        false => Err(Refusal::BodyTooLarge.into()),
    }
}

/// The window that a Zstandard frame asks for (RFC 8878, section 3.1.1.1). `None`: it is no such frame.
fn zstd_window(frame: &[u8]) -> Option<u64> {
    let rest = frame.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd])?;
    let (descriptor, rest) = rest.split_first()?;
    if descriptor & 0x20 == 0 {
        let window = rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + (base / 8) * u64::from(window & 7));
    }
    // A single segment: the window is the content, whose size stands behind the dictionary's identifier.
    let skipped = [0, 1, 2, 4].get(usize::from(descriptor & 3))?;
    let length = [1, 2, 4, 8].get(usize::from(descriptor >> 6))?;
    let size = rest.get(*skipped..skipped + length)?;
    let value = size
        .iter()
        .rev()
        .fold(0_u64, |sum, it| (sum << 8) | u64::from(*it));
    Some(if *length == 2 { value + 256 } else { value })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn decode(encoding: &str, body: &[u8], most: u64) -> Result<Vec<u8>, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        match decoded(&headers, body, most) {
            Ok(out) => Ok(out.into_owned()),
            Err(Stop::Fault(fault)) => Err(fault.name()),
            Err(Stop::Denied(denied)) => Err(denied.refusal.name()),
        }
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
    }

    /// `hello`, by the `brotli` program.
    const BROTLI: &[u8] = &[0x0b, 0x02, 0x80, b'h', b'e', b'l', b'l', b'o', 0x03];

    #[test]
    fn known_encodings_are_decoded() {
        let text = b"{\"model\":\"gpt-5\"}";
        assert_eq!(decode("gzip", &gzip(text), 100).unwrap(), text);
        assert_eq!(decode("X-GZIP ", &gzip(text), 100).unwrap(), text);
        assert_eq!(decode("deflate", &zlib(text), 100).unwrap(), text);
        assert_eq!(decode("zstd", &zstd(text), 100).unwrap(), text);
        assert_eq!(decode("br", BROTLI, 100).unwrap(), b"hello");
        assert_eq!(decode("identity", text, 100).unwrap(), text);
    }

    #[test]
    fn what_is_not_exactly_one_known_encoding_is_refused() {
        let text = b"{}";
        let more = |mut all: Vec<u8>| {
            all.extend_from_slice(&all.clone());
            all
        };
        for (encoding, body) in [
            ("gzip, gzip", gzip(text)),
            ("compress", gzip(text)),
            ("gzip", text.to_vec()),
            ("gzip", more(gzip(text))),
            ("deflate", more(zlib(text))),
            ("zstd", more(zstd(text))),
            ("zstd", text.to_vec()),
            ("zstd", vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0xff]),
            ("br", b"\xff\xff\xff".to_vec()),
            ("gzip", gzip(text)[..8].to_vec()),
        ] {
            assert_eq!(
                decode(encoding, &body, 100),
                Err("model_not_readable"),
                "{encoding} {body:?}"
            );
        }
    }

    #[test]
    fn a_bomb_goes_no_further_than_the_limit() {
        let bomb = vec![b'x'; 1 << 20];
        for (encoding, body) in [
            ("gzip", gzip(&bomb)),
            ("deflate", zlib(&bomb)),
            ("zstd", zstd(&bomb)),
        ] {
            assert_eq!(
                decode(encoding, &body, 1000),
                Err("body_too_large"),
                "{encoding}"
            );
            assert_eq!(decode(encoding, &body, 1 << 20).unwrap().len(), 1 << 20);
        }
    }
}
