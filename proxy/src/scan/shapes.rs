// SPDX-License-Identifier: MIT OR Apache-2.0
//! What well-known secrets look like: a file of data.

use serde::Deserialize;

/// Longest prefix. What is in front of one is remembered that far back.
pub(super) const LONGEST_PREFIX: usize = 60;

/// A kind of secret.
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) prefixes: Vec<String>,
    /// Which bytes can follow.
    pub(super) alphabet: [bool; 256],
    /// How many have to.
    pub(super) least: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShapes {
    shape: Vec<RawShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShape {
    name: String,
    prefixes: Vec<String>,
    alphabet: String,
    least: usize,
}

/// The shapes that come with keyward.
pub(super) fn builtin() -> Result<Vec<Shape>, String> {
    let raw: RawShapes = toml::from_str(include_str!("../../scan/shapes.toml"))
        .map_err(|error| format!("shapes: {error}"))?;
    raw.shape.into_iter().map(Shape::new).collect()
}

impl Shape {
    fn new(raw: RawShape) -> Result<Self, String> {
        let fits = |it: &String| (1..=LONGEST_PREFIX).contains(&it.len());
        if raw.prefixes.is_empty() || !raw.prefixes.iter().all(fits) {
            return Err(format!("shapes: {}: not a prefix", raw.name));
        }
        Ok(Self {
            alphabet: alphabet(raw.alphabet.as_bytes()),
            name: raw.name,
            prefixes: raw.prefixes,
            least: raw.least,
        })
    }
}

/// `a-z` is a range; everything else stands for itself.
fn alphabet(mut text: &[u8]) -> [bool; 256] {
    let mut all = [false; 256];
    let mut add = |from: u8, to: u8| {
        for byte in from..=to {
            if let Some(it) = all.get_mut(usize::from(byte)) {
                *it = true;
            }
        }
    };
    loop {
        text = match text {
            [from, b'-', to, rest @ ..] => {
                add(*from, *to);
                rest
            }
            [byte, rest @ ..] => {
                add(*byte, *byte);
                rest
            }
            [] => return all,
        };
    }
}
