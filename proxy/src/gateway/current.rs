// SPDX-License-Identifier: MIT OR Apache-2.0
//! The credential that a provider is served with at this moment: it can be replaced while requests run.

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};
use tokio::time::Instant;

use super::inject::Injector;
use crate::{binding::bound, credential::Credential, provider::Provider, scan::Scanner};

/// What is put into the requests of one provider, now.
pub(crate) struct Current {
    provider: Arc<Provider>,
    /// Told of each credential before it is used.
    scanner: Option<Scanner>,
    held: ArcSwapOption<InForce>,
}

/// A credential as headers, and its end.
pub(super) struct InForce {
    pub(super) injector: Injector,
    /// Looked at by each request rather than by a timer: whatever else fails, none is sent behind it.
    until: Option<Instant>,
}

impl Current {
    /// Nothing yet: every request is told to come again.
    pub(crate) fn new(provider: Arc<Provider>, scanner: Option<Scanner>) -> Self {
        Self {
            provider,
            scanner,
            held: ArcSwapOption::empty(),
        }
    }

    /// Whose it is.
    pub(crate) fn provider(&self) -> &Provider {
        &self.provider
    }

    /// Serves the next requests with `credential`; until then, if it has an end. Says whether it can be a header, may go
    /// to this provider's target, and can be looked for where that is asked.
    #[must_use]
    pub(crate) fn put(&self, credential: &Credential, until: Option<Instant>) -> bool {
        if bound(&self.provider, credential).is_err() {
            return false;
        }
        let Some(injector) = Injector::new(&self.provider, credential) else {
            return false;
        };
        let scanner = self.scanner.as_ref();
        if let Some(Err(error)) = scanner.map(|it| it.learn(&self.provider.name, credential)) {
            tracing::error!(%error, "a credential that cannot be looked for");
            return false;
        }
        self.held.store(Some(Arc::new(InForce { injector, until })));
        true
    }

    /// What a request that comes now is served with.
    pub(super) fn get(&self) -> Guard<Option<Arc<InForce>>> {
        let held = self.held.load();
        let is_over = |it: &Arc<InForce>| it.until.is_some_and(|until| Instant::now() >= until);
        match held.as_ref().is_some_and(is_over) {
            true => Guard::from_inner(None),
            false => held,
        }
    }

    /// Whether there is one.
    pub(crate) fn is_ready(&self) -> bool {
        self.get().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::provider::Providers;

    fn secret(text: &str) -> Credential {
        Credential::new(text.as_bytes().to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_an_end_is_not_served_behind_it() {
        let providers = Providers::builtin();
        let current = Current::new(Arc::clone(providers.get("openai").unwrap()), None);
        assert!(!current.is_ready());
        let soon = Instant::now() + Duration::from_secs(60);
        assert!(current.put(&secret("sk-1"), Some(soon)));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(current.is_ready());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!current.is_ready());
        assert!(current.put(&secret("sk-2"), None));
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert!(current.is_ready());
    }
}
