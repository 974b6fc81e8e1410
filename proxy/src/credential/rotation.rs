// SPDX-License-Identifier: MIT OR Apache-2.0
//! Credentials that change while the proxy runs.

use std::{collections::BTreeMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{Client, Credential, Credentials, Fetcher, TELEMETRY, keep};
use crate::{
    binding::{Unbound, bound},
    gateway::Current,
    provider::{Provider, Providers},
    scan::Scanner,
};

/// Puts a new credential in the place of one that the proxy was started with. Requests that are under way keep
/// the one that they were sent with.
#[derive(Clone)]
pub struct Rotation(Arc<Slots>);

struct Slots {
    /// By provider: what is injected.
    currents: BTreeMap<String, Arc<Current>>,
    /// By slot: who fetches with it.
    fetchers: BTreeMap<String, Arc<watch::Sender<()>>>,
    /// What credentials are fetched with, and what a collector of telemetry is told.
    inputs: Arc<ArcSwap<Credentials>>,
    /// Told of each that is put there.
    scanner: Option<Scanner>,
}

/// Why a credential was not replaced: the one before stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReplaced {
    /// The proxy was started without this slot: it has no use for what would be in it.
    #[error("{0:?} is not a credential that this run was started with")]
    NoSuchSlot(String),
    /// It may not go where this provider's requests go.
    #[error(transparent)]
    Unbound(Unbound),
    /// It cannot be looked for in what the workload sends.
    #[error("{0}")]
    Unscanned(String),
}

impl Rotation {
    pub(crate) fn new(
        providers: &Providers,
        credentials: &Credentials,
        scanner: Option<Scanner>,
    ) -> Self {
        let (mut currents, mut fetchers) = (BTreeMap::new(), BTreeMap::new());
        let mut inputs = Credentials::new();
        for (slot, credential) in credentials.iter().filter(|it| it.0.starts_with(TELEMETRY)) {
            inputs.insert(slot, credential.clone());
        }
        for provider in providers.iter().filter(|it| credentials.serve(it)) {
            let current = Current::new(Arc::clone(provider), scanner.clone());
            if let Some(federation) = &provider.federation {
                let changed = Arc::new(watch::Sender::new(()));
                for part in federation.parts() {
                    let slot = format!("{}.{part}", provider.name);
                    if let Some(input) = credentials.get(&slot) {
                        inputs.insert(&slot, input.clone());
                    }
                    fetchers.insert(slot, Arc::clone(&changed));
                }
            } else {
                let there = credentials.get(&provider.name);
                // Checked settings always have a way to put a credential in.
                if !there.is_some_and(|it| current.put(it, None)) {
                    continue;
                }
            }
            currents.insert(provider.name.clone(), Arc::new(current));
        }
        Self(Arc::new(Slots {
            currents,
            fetchers,
            inputs: Arc::new(ArcSwap::from_pointee(inputs)),
            scanner,
        }))
    }

    /// Serves all later requests with `credential`, or fetches all later tokens with it.
    ///
    /// # Errors
    ///
    /// When the proxy was started without this slot, or what is put there may not go to its target.
    pub fn replace(&self, slot: &str, credential: &Credential) -> Result<(), NotReplaced> {
        if !self.has(slot) {
            return Err(NotReplaced::NoSuchSlot(slot.to_owned()));
        }
        let changed = self.0.fetchers.get(slot);
        if changed.is_some() || slot.starts_with(TELEMETRY) {
            let scanner = self.0.scanner.as_ref();
            scanner
                .map_or(Ok(()), |it| it.learn(slot, credential))
                .map_err(NotReplaced::Unscanned)?;
            self.0.inputs.rcu(|inputs| {
                let mut inputs = Credentials::clone(inputs);
                inputs.insert(slot, credential.clone());
                inputs
            });
            if let Some(changed) = changed {
                changed.send_replace(());
            }
            return Ok(());
        }
        let current = self.0.currents.get(slot);
        if let Some(current) = current {
            bound(current.provider(), credential).map_err(NotReplaced::Unbound)?;
        }
        match current.is_some_and(|it| it.put(credential, None)) {
            true => Ok(()),
            false => Err(NotReplaced::NoSuchSlot(slot.to_owned())),
        }
    }

    /// Does that for each; says how many there were. If one has no slot, none is replaced.
    ///
    /// # Errors
    ///
    /// As [`Self::replace`], for the first.
    pub fn replace_all(&self, credentials: &Credentials) -> Result<usize, NotReplaced> {
        if let Some((stray, _)) = credentials.iter().find(|(slot, _)| !self.has(slot)) {
            return Err(NotReplaced::NoSuchSlot(stray.to_owned()));
        }
        let replaced = credentials.iter().map(|(slot, it)| self.replace(slot, it));
        Ok(replaced.collect::<Result<Vec<()>, _>>()?.len())
    }

    /// Whether something can be put there. What is fetched is nobody else's to put.
    fn has(&self, slot: &str) -> bool {
        let fetched = |provider: &str| {
            let mut slots = self.0.fetchers.keys();
            slots.any(|it| it.rsplit_once('.').is_some_and(|it| it.0 == provider))
        };
        let told = slot.starts_with(TELEMETRY) && self.0.inputs.load().get(slot).is_some();
        told || self.0.fetchers.contains_key(slot)
            || (self.0.currents.contains_key(slot) && !fetched(slot))
    }

    /// What keeps a provider's token fresh, if its tokens are fetched.
    pub(crate) fn keeping(
        &self,
        provider: &Provider,
        client: Client,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let federation = provider.federation.clone()?;
        let current = self.current(&provider.name)?;
        let slot = format!("{}.{}", provider.name, federation.parts().first()?);
        let changed = self.0.fetchers.get(&slot)?.subscribe();
        let inputs = Arc::clone(&self.0.inputs);
        let fetcher = Fetcher::new(client, &provider.name, federation, inputs);
        Some(keep(provider.name.clone(), fetcher, current, changed))
    }

    /// What is used otherwise than by being injected.
    pub(crate) fn inputs(&self) -> Arc<ArcSwap<Credentials>> {
        Arc::clone(&self.0.inputs)
    }

    /// Names of the providers that can be served.
    pub(crate) fn configured(&self) -> impl Iterator<Item = &str> {
        self.0.currents.keys().map(String::as_str)
    }

    pub(crate) fn current(&self, provider: &str) -> Option<Arc<Current>> {
        self.0.currents.get(provider).map(Arc::clone)
    }
}

impl fmt::Debug for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.currents.keys()).finish()
    }
}
