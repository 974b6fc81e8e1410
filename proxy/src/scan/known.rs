// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is looked for at this moment: the credentials of the start, and each that took the place of one since.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::{encodings::SHORTEST, patterns::Patterns};
use crate::{
    credential::{Credential, Credentials},
    provider::Providers,
};

/// How many credentials of a slot are looked for, the newest first: what was replaced may be good for a while yet, and
/// tokens that are fetched come every few minutes.
const REMEMBERED: usize = 4;

/// Patterns that can be added to.
pub(super) struct Known {
    patterns: ArcSwap<Patterns>,
    /// By slot, in the order in which they came.
    credentials: Mutex<Vec<(String, Credential)>>,
    allow: Vec<String>,
    providers: Providers,
}

impl Known {
    pub(super) fn new(
        allow: &[String],
        credentials: &Credentials,
        providers: &Providers,
    ) -> Result<Self, String> {
        let known: Vec<_> = credentials
            .iter()
            .filter(|(slot, it)| is_long_enough(slot, it))
            .map(|(slot, it)| (slot.to_owned(), it.clone()))
            .collect();
        let patterns = Patterns::new(allow, &known, providers)?;
        Ok(Self {
            patterns: ArcSwap::from_pointee(patterns),
            credentials: Mutex::new(known),
            allow: allow.to_vec(),
            providers: providers.clone(),
        })
    }

    pub(super) fn patterns(&self) -> Guard<Arc<Patterns>> {
        self.patterns.load()
    }

    /// Looks for this one, too, from the next piece of any stream on.
    pub(super) fn learn(&self, slot: &str, credential: &Credential) -> Result<(), String> {
        let mut known = self
            .credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_known = known.iter().any(|(at, it)| at == slot && it == credential);
        if is_known || !is_long_enough(slot, credential) {
            return Ok(());
        }
        let mut next = known.clone();
        next.push((slot.to_owned(), credential.clone()));
        if next.iter().filter(|it| it.0 == slot).count() > REMEMBERED
            && let Some(oldest) = next.iter().position(|it| it.0 == slot)
        {
            next.remove(oldest);
        }
        let patterns = Patterns::new(&self.allow, &next, &self.providers)?;
        self.patterns.store(Arc::new(patterns));
        *known = next;
        Ok(())
    }
}

fn is_long_enough(slot: &str, credential: &Credential) -> bool {
    let enough = |secret: &[u8]| secret.len() >= SHORTEST;
    if !credential.secrets().all(enough) {
        tracing::warn!(
            slot,
            "too short to be looked for in what the workload sends"
        );
    }
    credential.secrets().any(enough)
}
