// SPDX-License-Identifier: MIT OR Apache-2.0
//! JSON read as it passes: the few values that say what an answer cost, found by where they are, and
//! everything else skipped.
//!
//! A place that nothing is read from is left by counting brackets, so that neither a long text nor a
//! deep nesting costs memory. What is read is checked no more than that takes: this only observes.

use memchr::memchr2;

use super::fields::Fields;

/// Longest key or name of a model that is read.
const LONGEST: usize = 128;

/// Containers that something is read from, inside each other: a list, a document, a wrapper around
/// it, the usage, its details.
const DEEPEST: usize = 5;

/// Where a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Around documents: some streams are one long array.
    List,
    /// The document itself.
    Root,
    /// An envelope around what the document is about.
    Wrapper,
    /// What it cost.
    Usage,
    /// How the input came about.
    InputDetails,
    /// How the output came about.
    OutputDetails,
}

impl Place {
    /// What an object at `key` in here is. `None`: nothing is read from it.
    fn inner(self, key: &[u8]) -> Option<Self> {
        match (self, key) {
            (Self::List, _) => Some(Self::Root),
            (Self::Root, b"response" | b"message") => Some(Self::Wrapper),
            (
                Self::Root | Self::Wrapper,
                b"usage" | b"usageMetadata" | b"amazon-bedrock-invocationMetrics",
            ) => Some(Self::Usage),
            (
                Self::Usage,
                b"input_tokens_details" | b"input_token_details" | b"prompt_tokens_details",
            ) => Some(Self::InputDetails),
            (
                Self::Usage,
                b"output_tokens_details" | b"output_token_details" | b"completion_tokens_details",
            ) => Some(Self::OutputDetails),
            _ => None,
        }
    }
}

/// What comes next in the container that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A document, at the outermost.
    Start,
    /// A key, or the end of the object.
    Key,
    /// Inside a key.
    InKey,
    /// The colon behind a key.
    Colon,
    /// A value.
    Value,
    /// Inside a string that may be of interest.
    InString,
    /// Inside a string that is a document in Base64.
    InBase64,
    /// Inside a number, or a word.
    InBare,
    /// A comma, or the end of the container.
    After,
    /// Inside a value that nothing is read from.
    Skipped,
    /// Inside a string of such a value, or one that is of no interest.
    SkippedString,
    /// Not JSON: nothing more is read until a new document begins.
    Lost,
}

/// Reads documents, one after the other, in pieces of any size.
#[derive(Debug)]
pub(super) struct Json {
    state: State,
    places: [Place; DEEPEST],
    depth: usize,
    /// Open brackets of a value that nothing is read from.
    skipped: u64,
    /// Whether the last byte of a string was a backslash.
    escaped: bool,
    /// Whether the text has an escape in it, or is too long: then it is not compared.
    spoilt: bool,
    key: Text,
    text: Text,
    /// For documents in Base64, where there can be some.
    wrapped: Option<Box<Wrapped>>,
}

/// A document in Base64.
#[derive(Debug)]
struct Wrapped {
    json: Json,
    bits: u32,
    count: u8,
}

impl Wrapped {
    /// Reads characters; `false`: one of them is none of Base64.
    fn push(&mut self, text: &[u8], fields: &mut Fields) -> bool {
        for character in text {
            let value = match character {
                b'A'..=b'Z' => character - b'A',
                b'a'..=b'z' => character - b'a' + 26,
                b'0'..=b'9' => character - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                // Padding; and JSON may escape a slash.
                b'=' | b'\\' => continue,
                _ => return false,
            };
            self.bits = self.bits << 6 | u32::from(value);
            self.count += 6;
            if self.count >= 8 {
                self.count -= 8;
                let [.., byte] = (self.bits >> self.count).to_be_bytes();
                self.json.push(&[byte], fields);
            }
        }
        true
    }

    /// For the next document.
    fn restart(&mut self) {
        self.json.restart();
        (self.bits, self.count) = (0, 0);
    }
}

/// A short text.
#[derive(Debug)]
struct Text {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Text {
    const fn new() -> Self {
        Self {
            bytes: [0; LONGEST],
            length: 0,
        }
    }

    /// Says whether there was room.
    fn push(&mut self, byte: u8) -> bool {
        match self.bytes.get_mut(self.length) {
            Some(place) => {
                *place = byte;
                self.length += 1;
                true
            }
            None => false,
        }
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Json {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Start,
            places: [Place::List; DEEPEST],
            depth: 0,
            skipped: 0,
            escaped: false,
            spoilt: false,
            key: Text::new(),
            text: Text::new(),
            wrapped: None,
        }
    }

    /// For documents that may have another one in them, in Base64 at the key `bytes`: Bedrock's chunks are such.
    pub(super) fn wrapping() -> Self {
        let wrapped = Wrapped {
            json: Self::new(),
            bits: 0,
            count: 0,
        };
        Self {
            wrapped: Some(Box::new(wrapped)),
            ..Self::new()
        }
    }

    /// Forgets a document that is not at its end: another begins.
    pub(super) fn restart(&mut self) {
        self.state = State::Start;
        self.depth = 0;
        if let Some(wrapped) = &mut self.wrapped {
            wrapped.restart();
        }
    }

    /// Whether nothing more can be read from this document.
    pub(super) fn is_lost(&self) -> bool {
        self.state == State::Lost
    }

    /// Reads a piece.
    pub(super) fn push(&mut self, mut bytes: &[u8], fields: &mut Fields) {
        while let Some((first, rest)) = bytes.split_first() {
            match self.state {
                State::Skipped => bytes = self.skip(bytes),
                State::SkippedString => bytes = self.skip_string(bytes),
                State::InBase64 => bytes = self.unwrap(bytes, fields),
                State::Lost => return,
                State::Start
                | State::Key
                | State::InKey
                | State::Colon
                | State::Value
                | State::InString
                | State::InBare
                | State::After => {
                    // A bare word ends with what is behind it, which is then read.
                    if self.step(*first, fields) {
                        bytes = rest;
                    }
                }
            }
        }
    }

    /// One byte. `false`: it was not used up.
    fn step(&mut self, byte: u8, fields: &mut Fields) -> bool {
        let is_space = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match (self.state, byte) {
            (State::InKey, _) => {
                if self.in_string(byte, true) {
                    self.state = State::Colon;
                }
            }
            (State::InString, _) => {
                if self.in_string(byte, false) {
                    self.string(fields);
                    self.state = State::After;
                }
            }
            (State::InBare, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') => {
                self.spoilt |= !self.text.push(byte);
            }
            (State::InBare, _) => {
                self.number(fields);
                self.state = State::After;
                return false;
            }
            _ if is_space => {}
            (State::Start, b'{') => self.open(Place::Root, State::Key, fields),
            (State::Start, b'[') => self.open(Place::List, State::Value, fields),
            (State::Key, b'"') => {
                (self.key.length, self.spoilt, self.escaped) = (0, false, false);
                self.state = State::InKey;
            }
            (State::Key, b'}') | (State::After, b'}' | b']') | (State::Value, b']') => self.close(),
            (State::Colon, b':') => self.state = State::Value,
            (State::After, b',') => {
                self.state = match self.place() {
                    Some(Place::List) => State::Value,
                    _ => State::Key,
                };
            }
            (State::Value, b'{') => match self.place().and_then(|it| it.inner(self.key())) {
                Some(place) => self.open(place, State::Key, fields),
                None => self.begin_skip(),
            },
            (State::Value, b'[') => self.begin_skip(),
            (State::Value, b'"') => {
                (self.text.length, self.spoilt, self.escaped) = (0, false, false);
                self.state = match self.place() {
                    Some(Place::Root) if self.key() == b"bytes" && self.wrapped.is_some() => {
                        State::InBase64
                    }
                    Some(Place::Root | Place::Wrapper) if is_model(self.key()) => State::InString,
                    _ => State::SkippedString,
                };
            }
            (State::Value, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                (self.text.length, self.spoilt) = (0, false);
                self.state = State::InBare;
                return false;
            }
            _ => self.state = State::Lost,
        }
        true
    }

    /// A byte of a string; whether it ends it.
    fn in_string(&mut self, byte: u8, is_key: bool) -> bool {
        if self.escaped {
            self.escaped = false;
            return false;
        }
        match byte {
            b'"' => return true,
            b'\\' => {
                self.escaped = true;
                self.spoilt = true;
            }
            _ => {
                let text = if is_key {
                    &mut self.key
                } else {
                    &mut self.text
                };
                self.spoilt |= !text.push(byte);
            }
        }
        if is_key && self.spoilt {
            // No key that is of interest.
            self.key.length = 0;
        }
        false
    }

    fn place(&self) -> Option<Place> {
        self.places.get(self.depth.checked_sub(1)?).copied()
    }

    fn key(&self) -> &[u8] {
        self.key.get()
    }

    fn open(&mut self, place: Place, state: State, fields: &mut Fields) {
        let Some(slot) = self.places.get_mut(self.depth) else {
            self.state = State::Lost;
            return;
        };
        *slot = place;
        if place == Place::Usage {
            fields.begin(self.key.get());
        }
        self.depth += 1;
        self.state = state;
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.state = match self.depth {
            0 => State::Start,
            _ => State::After,
        };
    }

    fn begin_skip(&mut self) {
        self.skipped = 1;
        self.state = State::Skipped;
    }

    /// Passes over a value that nothing is read from; returns what is behind it.
    fn skip<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'{' | b'[' => self.skipped += 1,
                b'}' | b']' => self.skipped -= 1,
                b'"' => {
                    self.escaped = false;
                    self.state = State::SkippedString;
                }
                _ => continue,
            }
            if self.skipped == 0 {
                self.state = State::After;
            }
            if self.state != State::Skipped {
                return bytes.get(at + 1..).unwrap_or_default();
            }
        }
        &[]
    }

    /// Passes over a string; returns what is behind it.
    fn skip_string<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        if std::mem::take(&mut self.escaped) {
            bytes = bytes.get(1..).unwrap_or_default();
        }
        while let Some(at) = memchr2(b'\\', b'"', bytes) {
            if bytes.get(at) == Some(&b'"') {
                self.state = match self.skipped {
                    0 => State::After,
                    _ => State::Skipped,
                };
                return bytes.get(at + 1..).unwrap_or_default();
            }
            // What follows a backslash may come later.
            self.escaped = bytes.len() == at + 1;
            bytes = bytes.get(at + 2..).unwrap_or_default();
        }
        &[]
    }

    /// Reads a document in Base64; returns what is behind it.
    fn unwrap<'a>(&mut self, bytes: &'a [u8], fields: &mut Fields) -> &'a [u8] {
        let end = bytes.iter().position(|it| *it == b'"');
        let (inside, behind) = bytes.split_at(end.unwrap_or(bytes.len()));
        let read = self.wrapped.as_mut().is_some_and(|wrapped| {
            let read = wrapped.push(inside, fields);
            if end.is_some() || !read {
                wrapped.restart();
            }
            read
        });
        match (read, end) {
            (true, None) => {}
            (true, Some(_)) => self.state = State::After,
            (false, _) => self.state = State::Lost,
        }
        behind.get(1..).unwrap_or_default()
    }

    /// A string at a key that is read.
    fn string(&self, fields: &mut Fields) {
        if let Ok(text) = std::str::from_utf8(self.text.get())
            && !self.spoilt
            && !text.is_empty()
        {
            fields.set_model(text);
        }
    }

    /// A bare value at a key that may be read.
    fn number(&self, fields: &mut Fields) {
        let (false, Ok(text)) = (self.spoilt, std::str::from_utf8(self.text.get())) else {
            return;
        };
        let Ok(number) = text.parse() else { return };
        match self.place() {
            Some(Place::Usage) => fields.set(self.key(), number),
            Some(Place::InputDetails) => fields.set_input_detail(self.key(), number),
            Some(Place::OutputDetails) => fields.set_output_detail(self.key(), number),
            Some(Place::List | Place::Root | Place::Wrapper) | None => {}
        }
    }
}

fn is_model(key: &[u8]) -> bool {
    matches!(key, b"model" | b"modelVersion")
}
