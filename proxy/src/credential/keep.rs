// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keeps a provider's token fresh: fetched well before the last one ends, and again and again if that fails.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{Credential, fetch::Failure};
use crate::gateway::Current;

/// Shortest and longest wait after a failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Longest life that is believed. Nothing that lives longer needs to be fetched.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A fetched token.
pub(crate) struct Token {
    pub(crate) credential: Credential,
    /// From the moment at which it was asked for.
    pub(crate) life: Duration,
}

/// Where tokens come from.
pub(crate) trait Source: Send + 'static {
    /// The next one.
    fn fetch(&mut self) -> impl Future<Output = Result<Token, Failure>> + Send;
}

/// Never ends. `changed` is told when what tokens are fetched with is replaced.
pub(crate) async fn keep(
    provider: String,
    mut source: impl Source,
    current: Arc<Current>,
    mut changed: watch::Receiver<()>,
) {
    let mut failures = 0;
    loop {
        let asked = Instant::now();
        // What was replaced before this is what it is asked with.
        changed.mark_unchanged();
        let wait = match source.fetch().await {
            Ok(token) => {
                failures = 0;
                let life = token.life.min(MAX_LIFE);
                if !current.put(&token.credential, Some(asked + life)) {
                    tracing::error!(provider, "the token cannot be put into requests");
                }
                tracing::info!(provider, seconds = life.as_secs(), "token fetched");
                // Between 70 and 90 %: proxies that were started together do not ask together.
                life.mul_f64(0.7 + 0.2 * chance()).max(FIRST_RETRY)
            }
            Err(failure) => {
                let ready = current.is_ready();
                tracing::warn!(provider, %failure, ready, "no token fetched");
                let wait = FIRST_RETRY
                    .saturating_mul(1 << failures.min(6))
                    .min(LAST_RETRY);
                failures += 1;
                wait.mul_f64(0.5 + 0.5 * chance())
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            // An error means that nobody can replace anything any more.
            Ok(()) = changed.changed() => {}
        }
    }
}

/// From 0 to 1.
fn chance() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::provider::Providers;

    /// Says when it is asked, and answers what it was told to; then nothing but failures.
    struct Told {
        lives: VecDeque<Option<u64>>,
        asked: tokio::sync::mpsc::UnboundedSender<Instant>,
    }

    impl Source for Told {
        async fn fetch(&mut self) -> Result<Token, Failure> {
            self.asked.send(Instant::now()).unwrap();
            let life = self.lives.pop_front().flatten();
            let life = life.ok_or(Failure::Missing("token"))?;
            Ok(Token {
                credential: Credential::new(b"t".to_vec()).unwrap(),
                life: Duration::from_secs(life),
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_fetched_ahead_of_their_end_and_none_is_kept_behind_it() {
        let (asked, mut asks) = tokio::sync::mpsc::unbounded_channel();
        let source = Told {
            lives: [None, None, Some(1000)].into(),
            asked,
        };
        let provider = Arc::clone(Providers::builtin().get("openai").unwrap());
        let current = Arc::new(Current::new(provider, None));
        let (changed, receiver) = watch::channel(());
        let keeping = keep("openai".to_owned(), source, Arc::clone(&current), receiver);
        let keeping = tokio::spawn(keeping);
        let first = asks.recv().await.unwrap();
        assert!(!current.is_ready());
        let second = asks.recv().await.unwrap();
        let third = asks.recv().await.unwrap();
        let waits = (second - first, third - second);
        assert!(
            waits.0 >= FIRST_RETRY / 2 && waits.0 <= FIRST_RETRY * 2,
            "{waits:?}"
        );
        assert!(
            waits.1 >= FIRST_RETRY && waits.1 <= FIRST_RETRY * 3,
            "{waits:?}"
        );
        let fourth = asks.recv().await.unwrap();
        let ahead = (fourth - third).as_secs();
        assert!((699..=901).contains(&ahead), "{ahead}");
        assert!(current.is_ready());
        // Failures from here on: the token lasts to its end, and not longer.
        tokio::time::sleep_until(third + Duration::from_secs(999)).await;
        assert!(current.is_ready());
        tokio::time::sleep_until(third + Duration::from_secs(1001)).await;
        assert!(!current.is_ready());
        // It goes on asking, at most a minute apart, and at once when there is something new to ask with.
        while asks.try_recv().is_ok() {}
        let last = asks.recv().await.unwrap();
        let next = asks.recv().await.unwrap();
        assert!(next - last <= LAST_RETRY + Duration::from_secs(1));
        changed.send_replace(());
        assert!(asks.recv().await.unwrap() - next < Duration::from_secs(1));
        keeping.abort();
    }
}
