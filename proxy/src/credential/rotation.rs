// SPDX-License-Identifier: MIT OR Apache-2.0
//! Credentials that change while the proxy runs.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{Credential, Credentials};
use crate::{gateway::Current, provider::Providers};

/// Puts a new credential in the place of one that the proxy was started with. Requests that are under way keep
/// the one that they were sent with.
#[derive(Clone)]
pub struct Rotation(Arc<BTreeMap<String, Arc<Current>>>);

/// The proxy was started without this slot: it has no use for what would be in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a credential that this run was started with")]
pub struct NoSuchSlot(pub String);

impl Rotation {
    pub(crate) fn new(providers: &Providers, credentials: &Credentials) -> Self {
        let mut slots = BTreeMap::new();
        for provider in providers.iter() {
            let Some(credential) = credentials.get(&provider.name) else {
                continue;
            };
            let current = Current::new(Arc::clone(provider));
            // Checked settings always have a way to put a credential in.
            if current.put(credential, None) {
                slots.insert(provider.name.clone(), Arc::new(current));
            }
        }
        Self(Arc::new(slots))
    }

    /// Serves all later requests with `credential`.
    ///
    /// # Errors
    ///
    /// When the proxy was started without this slot.
    pub fn replace(&self, slot: &str, credential: &Credential) -> Result<(), NoSuchSlot> {
        let current = self.0.get(slot);
        match current.is_some_and(|it| it.put(credential, None)) {
            true => Ok(()),
            false => Err(NoSuchSlot(slot.to_owned())),
        }
    }

    /// Does that for each; says how many there were. If one has no slot, none is replaced.
    ///
    /// # Errors
    ///
    /// As [`Self::replace`], for the first.
    pub fn replace_all(&self, credentials: &Credentials) -> Result<usize, NoSuchSlot> {
        let stray = credentials
            .iter()
            .find(|(slot, _)| !self.0.contains_key(*slot));
        if let Some((slot, _)) = stray {
            return Err(NoSuchSlot(slot.to_owned()));
        }
        let replaced = credentials.iter().map(|(slot, it)| self.replace(slot, it));
        Ok(replaced.collect::<Result<Vec<()>, _>>()?.len())
    }

    /// Names of the providers that can be served.
    pub(crate) fn configured(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn current(&self, provider: &str) -> Option<Arc<Current>> {
        self.0.get(provider).map(Arc::clone)
    }
}

impl fmt::Debug for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
