// SPDX-License-Identifier: GPL-3.0-or-later
//! Work on a thread of its own, beside the main thread's.

use std::thread::{self, JoinHandle};

use anyhow::{Result, anyhow};

/// Work that goes on. Dropping it waits for its end: no thread outlives whoever began it, and a process with threads
/// cannot be cloned.
#[derive(Debug)]
pub struct Beside<T>(Option<JoinHandle<Result<T>>>);

impl<T: Send + 'static> Beside<T> {
    /// Begins.
    pub fn begin(act: impl FnOnce() -> Result<T> + Send + 'static) -> Self {
        Self(Some(thread::spawn(act)))
    }

    /// Waits for it.
    pub fn finish(mut self) -> Result<T> {
        let thread = self.0.take();
        let done = thread.map(JoinHandle::join);
        done.and_then(Result::ok)
            .unwrap_or_else(|| Err(anyhow!("internal error: a thread panicked")))
    }
}

impl<T> Drop for Beside<T> {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_waited_for_whatever_becomes_of_it() {
        assert_eq!(Beside::begin(|| Ok(7)).finish().unwrap(), 7);
        let failed = Beside::begin(|| Err::<(), _>(anyhow!("why"))).finish();
        assert_eq!(failed.unwrap_err().to_string(), "why");
        let done = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&done);
        drop(Beside::begin(move || {
            thread::sleep(Duration::from_millis(20));
            theirs.store(true, Ordering::SeqCst);
            Ok(())
        }));
        assert!(done.load(Ordering::SeqCst));
    }
}
