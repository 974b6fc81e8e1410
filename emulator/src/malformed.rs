// SPDX-License-Identifier: MIT OR Apache-2.0
//! Answers that no server should give, as a table: `malformed.toml`, which says what its keys mean.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};
use serde::Deserialize;

use crate::Cut;
use crate::reply::Reply;

/// All of them, by name.
static TABLE: LazyLock<BTreeMap<String, Malformed>> = LazyLock::new(|| {
    toml::from_str(include_str!("../malformed.toml")).expect("the table is the emulator's own")
});

/// One such answer.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Malformed {
    #[serde(default)]
    head: BTreeMap<String, String>,
    body: Option<String>,
    #[serde(default)]
    bytes: Vec<String>,
    #[serde(default)]
    frames: Vec<Frame>,
    #[serde(default)]
    forever: bool,
    #[serde(default)]
    open: bool,
    #[serde(default = "in_order")]
    cut: Cut,
}

fn in_order() -> Cut {
    Cut::Close
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Frame {
    kind: u8,
    #[serde(default)]
    flags: u8,
    stream: Option<u32>,
    length: Option<u32>,
    payload: String,
}

/// What is written in an answer's place.
#[derive(Debug)]
pub(crate) struct Replacement {
    /// Written once.
    pub(crate) bytes: Bytes,
    /// Written from then on, over and over.
    pub(crate) forever: Option<Bytes>,
    /// How the connection ends thereafter; `None`: it stays.
    pub(crate) end: Option<Cut>,
}

/// The answer of that name.
pub(crate) fn find(name: &str) -> Option<&'static Malformed> {
    TABLE.get(name)
}

impl Malformed {
    /// The names of all.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLE.keys().map(String::as_str)
    }

    /// As a response, if HTTP's library can send it.
    pub(crate) fn response(&self) -> Option<Response<Reply>> {
        let body = Bytes::copy_from_slice(self.body.as_ref()?.as_bytes());
        let mut response = Response::new(Reply::whole(body));
        for (name, value) in &self.head {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("the table's own");
            let value = HeaderValue::from_str(value).expect("the table's own");
            response.headers_mut().insert(name, value);
        }
        Some(response)
    }

    /// As bytes, if it cannot; `stream` is the request's, if it came over HTTP/2.
    pub(crate) fn replacement(&self, stream: u32) -> Option<Replacement> {
        let frames = self.frames.iter().map(|it| it.bytes(stream));
        let pieces: Vec<Vec<u8>> = frames
            .chain(self.bytes.iter().map(|it| it.clone().into_bytes()))
            .collect();
        let last = pieces.last()?.clone();
        Some(Replacement {
            bytes: pieces.concat().into(),
            // Many in one write, as a server in a hurry would.
            forever: self.forever.then(|| last.repeat(100).into()),
            end: (!self.open).then_some(self.cut),
        })
    }
}

impl Frame {
    fn bytes(&self, stream: u32) -> Vec<u8> {
        let payload = self.payload.as_bytes();
        let length = self
            .length
            .unwrap_or_else(|| u32::try_from(payload.len()).expect("a short payload"));
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.unwrap_or(stream).to_be_bytes());
        bytes.extend(payload);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_one_thing() {
        for name in Malformed::names() {
            let it = find(name).unwrap();
            let kinds = [
                it.body.is_some(),
                !it.bytes.is_empty(),
                !it.frames.is_empty(),
            ];
            assert_eq!(kinds.iter().filter(|it| **it).count(), 1, "{name}");
            assert_eq!(it.response().is_some(), it.replacement(1).is_none());
        }
    }

    #[test]
    fn a_frame_has_its_head() {
        let bytes = find("data-on-stream-0").unwrap().replacement(7).unwrap();
        assert_eq!(&bytes.bytes[..], b"\0\0\x01\0\0\0\0\0\0x");
        let bytes = find("frame-too-large").unwrap().replacement(7).unwrap();
        assert_eq!(&bytes.bytes[..], b"\xf4\x24\0\0\0\0\0\0\x07only this");
    }
}
