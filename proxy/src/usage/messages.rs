// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of a WebSocket: each is a document, and each that has an account in it is an answer's end.

use super::{Usage, fields::Fields, json::Json};

/// Reads messages, in pieces.
#[derive(Debug)]
pub(crate) struct Messages {
    json: Json,
    fields: Fields,
}

impl Messages {
    pub(crate) fn new() -> Self {
        Self {
            json: Json::new(),
            fields: Fields::default(),
        }
    }

    /// A piece of a message.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.json.push(bytes, &mut self.fields);
    }

    /// The end of a message; what it said. The model may have been named in an earlier one.
    pub(crate) fn end(&mut self) -> Option<Usage> {
        self.json.restart();
        let usage = self.fields.usage()?;
        let model = self.fields.model().map(str::to_owned);
        self.fields = Fields::default();
        if let Some(model) = model {
            self.fields.set_model(&model);
        }
        Some(usage)
    }
}
