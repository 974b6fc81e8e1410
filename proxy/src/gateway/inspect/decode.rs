// SPDX-License-Identifier: MIT OR Apache-2.0
//! A request's body without its content encoding, as far as the limit for bodies goes.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use http::{HeaderMap, header};

use super::{Stop, unreadable};
use crate::{coding::Decoder, refusal::Refusal};

/// Decodes what is encoded in one of the ways that are known, once.
pub(in crate::gateway) fn decoded<'a>(
    headers: &HeaderMap,
    body: &'a [u8],
    most: u64,
) -> Result<Cow<'a, [u8]>, Stop> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let encoding = match (encodings.next(), encodings.next()) {
        (None, _) => return Ok(Cow::Borrowed(body)),
        (Some(one), None) => one.to_str().unwrap_or("not a name"),
        (Some(_), Some(_)) => return Err(unreadable("the body is encoded more than once")),
    };
    let mut out = Bounded {
        bytes: Vec::new(),
        most: usize::try_from(most).unwrap_or(usize::MAX),
        is_full: false,
    };
    let mut decoder = match Decoder::new(encoding, &mut out) {
        Some(Decoder::Identity(_)) => return Ok(Cow::Borrowed(body)),
        Some(decoder) => decoder,
        None => {
            return Err(unreadable(
                "the body is in an encoding that is not known here",
            ));
        }
    };
    let read = decoder.push(body).and_then(|()| decoder.finish());
    drop(decoder);
    match read {
        Ok(()) => Ok(Cow::Owned(out.bytes)),
        Err(_full) if out.is_full => Err(Refusal::BodyTooLarge.into()),
        Err(_error) => Err(unreadable(
            "the body is not in the encoding that it names, from its beginning to its end",
        )),
    }
}

/// Takes no more than so much.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.is_full |= bytes.len() > self.most - self.bytes.len();
        if self.is_full {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coding::{
        self,
        tests::{CODINGS, name_of},
    };

    fn decode(encoding: &str, body: &[u8], most: u64) -> Result<Vec<u8>, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        match decoded(&headers, body, most) {
            Ok(out) => Ok(out.into_owned()),
            Err(Stop::Fault(fault)) => Err(fault.name()),
            Err(Stop::Denied(denied)) => Err(denied.refusal.name()),
        }
    }

    fn encoded(coding: &str, text: &[u8]) -> Vec<u8> {
        coding::tests::encoded(coding, &[], text).0
    }

    #[test]
    fn known_encodings_are_decoded() {
        let text = b"{\"model\":\"gpt-5\"}";
        for coding in CODINGS {
            let body = encoded(coding, text);
            assert_eq!(decode(name_of(coding), &body, 100).unwrap(), text);
        }
        assert_eq!(
            decode("X-GZIP ", &encoded("gzip", text), 100).unwrap(),
            text
        );
    }

    #[test]
    fn what_is_not_exactly_one_known_encoding_is_refused() {
        let text = b"{}";
        let more = |mut all: Vec<u8>| {
            all.extend_from_slice(&all.clone());
            all
        };
        for (encoding, body) in [
            ("gzip, gzip", encoded("gzip", text)),
            ("compress", encoded("gzip", text)),
            ("gzip", text.to_vec()),
            ("gzip", more(encoded("gzip", text))),
            ("deflate", more(encoded("deflate", text))),
            ("br", more(encoded("br", text))),
            ("zstd", more(encoded("zstd", text))),
            ("zstd", text.to_vec()),
            ("gzip", encoded("gzip", text)[..8].to_vec()),
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
        for encoding in ["gzip", "deflate", "br", "zstd"] {
            let body = encoded(encoding, &bomb);
            assert_eq!(
                decode(encoding, &body, 1000),
                Err("body_too_large"),
                "{encoding}"
            );
            assert_eq!(decode(encoding, &body, 1 << 20).unwrap().len(), 1 << 20);
        }
    }
}
