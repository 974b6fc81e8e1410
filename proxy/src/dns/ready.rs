// SPDX-License-Identifier: MIT OR Apache-2.0
//! Replies to datagrams that were made a moment ago: who asks the same in the same words is told the same.
//!
//! Only what was allowed is kept, and only with addresses of the pool. What a query leaves behind besides its reply (a
//! line in the log, the pool's knowledge that an address is in use) is the business of the caller, and of the time for
//! which a reply may be used again.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use keyward_policy::{Name, Policy};

/// How long a reply is used again. The pool hears of an address in use so often, which is often for quarantines of half
/// an hour.
const FRESH: Duration = Duration::from_secs(1);

/// Most replies that are kept; then all are forgotten.
const MOST: usize = 1024;

/// Longest query whose reply is kept: the longest name, the rest of a question, and an ordinary EDNS record.
const LONGEST: usize = 320;

/// The replies under one policy.
#[derive(Debug, Default)]
pub(super) struct Ready {
    policy: Option<Arc<Policy>>,
    /// By the query, its id left out.
    replies: HashMap<Box<[u8]>, Given>,
}

/// A reply that was given.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) name: Name,
    pub(super) kind: u16,
    bytes: Vec<u8>,
    at: Instant,
}

impl Ready {
    /// What this query was replied to under this policy, if that was a moment ago.
    pub(super) fn find(&self, policy: &Arc<Policy>, query: &[u8], now: Instant) -> Option<&Given> {
        let same = self
            .policy
            .as_ref()
            .is_some_and(|it| Arc::ptr_eq(it, policy));
        let given = self.replies.get(query.get(2..)?)?;
        (same && now.saturating_duration_since(given.at) < FRESH).then_some(given)
    }

    /// Keeps a reply to a question for an allowed name.
    pub(super) fn keep(
        &mut self,
        policy: &Arc<Policy>,
        query: &[u8],
        (name, kind): (Name, u16),
        reply: &[u8],
        now: Instant,
    ) {
        let same = self
            .policy
            .as_ref()
            .is_some_and(|it| Arc::ptr_eq(it, policy));
        if !same || self.replies.len() >= MOST {
            self.replies.clear();
            self.policy = Some(Arc::clone(policy));
        }
        let Some(rest) = query.get(2..).filter(|it| it.len() <= LONGEST) else {
            return;
        };
        let given = Given {
            name,
            kind,
            bytes: reply.to_vec(),
            at: now,
        };
        self.replies.insert(rest.into(), given);
    }
}

impl Given {
    /// The reply to a query with this id.
    pub(super) fn reply(&self, query: &[u8]) -> Option<Vec<u8>> {
        let mut reply = self.bytes.clone();
        reply.get_mut(..2)?.copy_from_slice(query.get(..2)?);
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(ready: &mut Ready, policy: &Arc<Policy>, query: &[u8], now: Instant) {
        let name = "a.test".parse().unwrap();
        ready.keep(policy, query, (name, 1), b"ID and the rest", now);
    }

    #[test]
    fn the_same_words_get_the_same_reply_with_their_own_id() {
        let (policy, now) = (Arc::new(Policy::default()), Instant::now());
        let mut ready = Ready::default();
        kept(&mut ready, &policy, b"12a.test", now);
        let given = ready.find(&policy, b"34a.test", now).unwrap();
        assert_eq!(given.reply(b"34a.test").unwrap(), b"34 and the rest");
        assert!(ready.find(&policy, b"34A.test", now).is_none());
        assert!(ready.find(&policy, b"3", now).is_none());
    }

    #[test]
    fn not_for_long_and_not_under_another_policy() {
        let (policy, now) = (Arc::new(Policy::default()), Instant::now());
        let mut ready = Ready::default();
        kept(&mut ready, &policy, b"12a.test", now);
        assert!(ready.find(&policy, b"12a.test", now + FRESH / 2).is_some());
        assert!(ready.find(&policy, b"12a.test", now + FRESH).is_none());
        let other = Arc::new(Policy::default());
        assert!(ready.find(&other, b"12a.test", now).is_none());
        kept(&mut ready, &other, b"12b.test", now);
        assert!(
            ready.find(&other, b"12a.test", now).is_none(),
            "of the old policy"
        );
        assert!(ready.find(&other, b"12b.test", now).is_some());
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let (policy, now) = (Arc::new(Policy::default()), Instant::now());
        let mut ready = Ready::default();
        for number in 0..=MOST {
            kept(&mut ready, &policy, format!("12{number}").as_bytes(), now);
            assert!(ready.replies.len() <= MOST);
        }
        kept(&mut ready, &policy, &[b'x'; LONGEST + 3], now);
        assert!(ready.find(&policy, &[b'x'; LONGEST + 3], now).is_none());
    }
}
