// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run may spend, and which models it may use.
//!
//! A request is judged and counted in one step under one lock, so that of any number that come at once exactly as many
//! pass as are left. It gets a [`Ticket`], which holds its place for as long as its answer lasts and commits what it
//! used when it ends. What a request will use is not known before: a budget is compared with what is committed, and can
//! be overrun by what was in flight when it was reached, and by no more.

mod book;
mod denied;
mod limits;
mod models;
mod prices;
mod ticket;
mod window;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde_json::Value;

use self::book::{Asked, Book};
pub(crate) use self::ticket::BACKGROUND;
pub use self::{
    denied::Denied,
    limits::{SpendLimits, UnknownModel, Weights},
    models::ModelRules,
    prices::{Picodollars, Price, Prices, RawPrice},
    ticket::{Judge, Ticket},
};
use crate::{refusal::Refusal, usage::Usage};

/// The limits of a run, and its books.
#[derive(Debug)]
pub struct Spend {
    limits: SpendLimits,
    models: ModelRules,
    book: Mutex<Book>,
    started: Instant,
}

impl Spend {
    /// Nothing spent yet.
    #[must_use]
    pub fn new(limits: SpendLimits, models: ModelRules) -> Self {
        let book = Mutex::new(Book::new());
        Self {
            limits,
            models,
            book,
            started: Instant::now(),
        }
    }

    /// Whether nothing is limited and every model allowed: then nothing is counted, and no body read.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.limits.is_empty() && self.models.is_empty()
    }

    /// Whether a request's model has to be known.
    #[must_use]
    pub fn needs_model(&self) -> bool {
        !self.models.is_empty() || self.limits.dollars.is_some()
    }

    /// Whether it counts what an answer costs.
    #[must_use]
    pub fn limits_use(&self) -> bool {
        self.limits.tokens.is_some() || self.limits.dollars.is_some()
    }

    /// Whether the messages of a WebSocket have to be read.
    fn judges_messages(&self) -> bool {
        let limits = &self.limits;
        self.needs_model()
            || limits.runs.is_some()
            || limits.tokens.is_some()
            || limits.requests_per_minute.is_some()
            || limits.requests_per_hour.is_some()
            || limits.bytes_per_minute.is_some()
    }

    /// What `model` is an alias of.
    #[must_use]
    pub fn alias(&self, model: &str) -> Option<&str> {
        self.models.alias(model)
    }

    /// Whether `model` may be used. Returns what it is an alias of, or itself.
    ///
    /// # Errors
    ///
    /// It may not, or has no price where one is needed.
    pub fn judge(&self, model: &str) -> Result<String, Box<Denied>> {
        let name = self.models.alias(model).unwrap_or(model);
        let refuse = |refusal, what| Err(Box::new(Denied::model(refusal, what, Some(model))));
        if !self.models.allows(name) {
            return refuse(
                Refusal::ModelNotAllowed,
                "the policy does not allow this model",
            );
        }
        if self.limits.dollars.is_some()
            && self.limits.unknown_model == UnknownModel::Refuse
            && self.limits.prices.of(name).is_none()
        {
            let what = "this model has no known price, and the run has a limit in dollars";
            return refuse(Refusal::ModelNotPriced, what);
        }
        Ok(name.to_owned())
    }

    /// Admits an inference request whose model, where it has to be known, was judged; `socket`: a handshake, which is
    /// no run before a message on it is.
    ///
    /// # Errors
    ///
    /// The first limit that is reached; then nothing is counted.
    pub fn admit(
        self: &Arc<Self>,
        model: Option<String>,
        socket: bool,
    ) -> Result<Ticket, Box<Denied>> {
        self.admit_again(Asked {
            rate: true,
            run: !socket,
            held: true,
        })?;
        Ok(Ticket::new(Arc::clone(self), model, socket))
    }

    fn admit_again(&self, asked: Asked) -> Result<(), Box<Denied>> {
        let now = self.now();
        self.book()
            .admit(&self.limits, asked, now)
            .map_err(Box::new)
    }

    /// Adds what an answer used. `model` is what was asked for; what answered is in `usage`, and wins if it has a
    /// price.
    pub fn commit(&self, model: Option<&str>, usage: &Usage) {
        if self.limits.tokens.is_none() && self.limits.dollars.is_none() {
            return;
        }
        let prices = &self.limits.prices;
        let price = || {
            let answered = usage.model.as_deref().and_then(|it| prices.of(it));
            let asked = || model.and_then(|it| prices.of(it));
            answered.or_else(asked).unwrap_or_else(|| prices.dearest())
        };
        let cost = match self.limits.dollars {
            Some(_) => price().of(&usage.tokens),
            None => Picodollars(0),
        };
        self.book()
            .commit(self.limits.weights.of(&usage.tokens), cost);
    }

    /// For the health answer: what is limited, and how much of it is left.
    #[must_use]
    pub fn shown(&self) -> Value {
        let now = self.now();
        self.book().shown(&self.limits, now)
    }

    fn bytes(&self, count: u64) {
        if self.limits.bytes_per_minute.is_some() {
            let now = self.now();
            self.book().bytes(now, count);
        }
    }

    fn release(&self) {
        self.book().release();
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
