// SPDX-License-Identifier: MIT OR Apache-2.0
//! One admitted request: what it holds while it runs, and what it spent when it ends.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{Denied, Spend, book::Asked};
use crate::{
    gateway::inspect::message,
    refusal::Refusal,
    usage::{Tokens, Usage},
};

/// Bytes that stand for a token where an answer did not say how many there were. On the dear side: text has about
/// four, and a stream of events wraps each token in many more.
const BYTES_A_TOKEN: u64 = 4;

/// Why a response in the background is refused where its cost counts.
pub(crate) const BACKGROUND: &str =
    "a response in the background says nowhere what it cost, which is limited here";

/// An admitted request. Gives back its place and commits what was used when it is dropped.
#[derive(Debug)]
pub struct Ticket {
    spend: Arc<Spend>,
    talk: Arc<Talk>,
    usage: Option<Usage>,
    request_bytes: u64,
    response_bytes: u64,
    /// Bytes of answers that said what they cost.
    accounted: u64,
    /// Nothing is owed: it was refused upstream, or never sent.
    free: bool,
    socket: bool,
}

/// Judges a message that the workload sends on a WebSocket: `None` lets it through as it is, `Some` replaces it.
pub type Judge = Arc<dyn Fn(&[u8]) -> Result<Option<Vec<u8>>, Refusal> + Send + Sync>;

/// What messages are judged by, which may outlive the place that the ticket holds.
#[derive(Debug)]
struct Talk {
    spend: Arc<Spend>,
    /// What was asked for last.
    model: Mutex<Option<String>>,
    /// The handshake was a request; the first message behind it is the same one.
    prepaid: AtomicBool,
    /// Messages that asked for an answer which has not said what it cost.
    open: AtomicU64,
}

impl Ticket {
    pub(super) fn new(spend: Arc<Spend>, model: Option<String>, socket: bool) -> Self {
        Self {
            talk: Arc::new(Talk {
                spend: Arc::clone(&spend),
                model: Mutex::new(model),
                prepaid: AtomicBool::new(socket),
                open: AtomicU64::new(0),
            }),
            spend,
            usage: None,
            request_bytes: 0,
            response_bytes: 0,
            accounted: 0,
            free: false,
            socket,
        }
    }

    /// What the answer says it used. Committed when the ticket is dropped; several are added up.
    pub fn used(&mut self, usage: Usage) {
        let Some(sum) = &mut self.usage else {
            self.usage = Some(usage);
            return;
        };
        sum.tokens += usage.tokens;
        sum.model = usage.model.or(sum.model.take());
    }

    /// What an answer said that broke off. Some say at the beginning what they read, and at the end what they wrote: who
    /// hangs up before that has had it all the same.
    pub fn used_in_part(&mut self, mut usage: Usage) {
        let least = self.response_bytes.div_ceil(BYTES_A_TOKEN);
        usage.tokens.output = usage.tokens.output.max(least);
        self.used(usage);
    }

    /// Nothing is owed for this request: the provider refused it, or it never got there.
    pub fn free(&mut self) {
        self.free = true;
    }

    /// Bytes of the request's body went upstream.
    pub fn received(&mut self, bytes: u64) {
        self.request_bytes = self.request_bytes.saturating_add(bytes);
        self.spend.bytes(bytes);
    }

    /// Bytes of the answer went to the workload.
    pub fn sent(&mut self, bytes: u64) {
        self.response_bytes = self.response_bytes.saturating_add(bytes);
        self.spend.bytes(bytes);
    }

    /// Judges a whole text message of the workload's on a WebSocket, before it is sent on. `Some`: this is sent in its
    /// place. A message that asks for an answer counts as a run, and, from the second on, as a request.
    ///
    /// # Errors
    ///
    /// Why it must not be sent. [`Denied::json`] is for the client.
    pub fn message(&self, text: &[u8]) -> Result<Option<Vec<u8>>, Box<Denied>> {
        self.talk.message(text)
    }

    /// [`message`](Self::message) for whoever carries the messages; `None` if no limit and no rule needs to read any.
    #[must_use]
    pub fn judge(&self) -> Option<Judge> {
        let talk = Arc::clone(&self.talk);
        self.spend
            .judges_messages()
            .then(|| -> Judge { Arc::new(move |text| talk.message(text).map_err(|it| it.refusal)) })
    }

    /// Commits at once what one of several answers used, as on a WebSocket; it was `bytes` long.
    pub fn answered(&mut self, usage: &Usage, bytes: u64) {
        self.accounted = self.accounted.saturating_add(bytes);
        let less = |it: u64| it.checked_sub(1);
        // More answers than questions: a provider may say twice what it cost.
        self.talk
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .ok();
        self.commit(usage);
    }

    fn commit(&self, usage: &Usage) {
        self.spend.commit(self.talk.model().as_deref(), usage);
    }

    /// What is owed if the answer did not say.
    fn estimate(&self) -> Usage {
        let unaccounted = self.response_bytes.saturating_sub(self.accounted);
        let tokens = Tokens {
            input: self.request_bytes.div_ceil(BYTES_A_TOKEN),
            output: unaccounted.div_ceil(BYTES_A_TOKEN),
            ..Tokens::default()
        };
        Usage {
            model: None,
            tokens,
        }
    }
}

impl Talk {
    fn message(&self, text: &[u8]) -> Result<Option<Vec<u8>>, Box<Denied>> {
        if !self.spend.judges_messages() {
            return Ok(None);
        }
        let rules = &self.spend.models;
        let named = message(text)
            .map_err(|why| Box::new(Denied::model(Refusal::ModelUnreadable, why, None)))?;
        // Without a model of its own it is the connection's.
        let known = self.model();
        let mut last = known.clone();
        for (name, _) in &named.models {
            last = Some(self.spend.judge(name)?);
        }
        if named.asks {
            if last.is_none() && self.spend.needs_model() {
                let what = "the message names no model";
                return Err(Box::new(Denied::model(
                    Refusal::ModelUnreadable,
                    what,
                    None,
                )));
            }
            let rate = !self.prepaid.swap(false, Ordering::Relaxed);
            if named.background && self.spend.limits_use() {
                return Err(Box::new(Denied::model(
                    Refusal::ModelUnreadable,
                    BACKGROUND,
                    None,
                )));
            }
            self.spend.admit_again(Asked {
                rate,
                run: true,
                held: false,
            })?;
            self.open.fetch_add(1, Ordering::Relaxed);
        }
        *self.model.lock().unwrap_or_else(PoisonError::into_inner) = last;
        let changes = named.models.iter();
        let changes = changes.filter_map(|(name, at)| Some((at.clone(), rules.alias(name)?)));
        Ok(crate::gateway::inspect::replaced(text, changes))
    }

    fn model(&self) -> Option<String> {
        self.model
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // A workload that hangs up before the answer says what it cost is not to have it for nothing. On a WebSocket,
        // each answer is committed by itself, and what is owed is for the ones that were asked for and cut off.
        let owed = match self.usage.take() {
            Some(usage) => Some(usage),
            None if self.free => None,
            None if self.socket && self.talk.open.load(Ordering::Relaxed) == 0 => None,
            None => Some(self.estimate()),
        };
        if let Some(usage) = owed {
            self.commit(&usage);
        }
        self.spend.release();
    }
}
