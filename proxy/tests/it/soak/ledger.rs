// SPDX-License-Identifier: MIT OR Apache-2.0
//! What became of each request, as each side saw it.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// What a worker saw of its request's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// Not yet.
    #[default]
    Open = 1,
    /// Read to its end, 200, with its own tag.
    Whole,
    /// Read to its end: the upstream's 500 or 429, with its own tag.
    Refused,
    /// The upstream's answer broke off.
    Cut,
    /// The worker went away in the middle of the answer.
    Left,
    /// The worker went away in the middle of its own body.
    HalfSent,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    end: End,
    /// Whether the upstream wrote all of its answer.
    written: bool,
    /// Accounts in the gateway's log.
    accounts: u8,
    /// Tokens of the upstream's answer.
    sent: u32,
    /// Tokens of the gateway's account.
    logged: u32,
}

pub(super) struct Ledger {
    next: AtomicUsize,
    entries: Mutex<Vec<Entry>>,
}

/// What all of it comes to.
pub(super) struct Counts {
    pub(super) requests: usize,
    pub(super) complete: u64,
    pub(super) upstream_tokens: u64,
    pub(super) gateway_tokens: u64,
    pub(super) outcomes: String,
}

impl Ledger {
    /// With room for so many; more are taken, and are then seen as memory.
    pub(super) fn new(count: u64) -> Self {
        Self {
            next: AtomicUsize::new(0),
            // `Open` is not 0, so the memory is written to.
            entries: Mutex::new(vec![Entry::default(); usize::try_from(count).unwrap()]),
        }
    }

    pub(super) fn begin(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn change(&self, id: usize, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.entries.lock().unwrap();
        if entries.len() <= id {
            entries.resize(id + 1, Entry::default());
        }
        change(&mut entries[id]);
    }

    pub(super) fn end(&self, id: usize, end: End) {
        self.change(id, |it| it.end = end);
    }

    pub(super) fn written(&self, id: usize, tokens: u64) {
        self.change(id, |it| {
            it.written = true;
            it.sent = u32::try_from(tokens).unwrap();
        });
    }

    pub(super) fn logged(&self, id: usize, tokens: u64) {
        self.change(id, |it| {
            it.accounts += 1;
            it.logged = u32::try_from(tokens).unwrap();
        });
    }

    /// Exact for each answer that its worker read to the end: one account, of what the upstream wrote. What broke
    /// off has one account at most, and none counts for the sums.
    pub(super) fn check(&self) -> Counts {
        let requests = self.next.load(Ordering::Relaxed);
        let mut counts = Counts {
            requests,
            complete: 0,
            upstream_tokens: 0,
            gateway_tokens: 0,
            outcomes: String::new(),
        };
        let mut ends: BTreeMap<End, u64> = BTreeMap::new();
        let entries = self.entries.lock().unwrap();
        for (id, entry) in entries.iter().enumerate().take(requests) {
            *ends.entry(entry.end).or_default() += 1;
            assert!(entry.accounts <= 1, "{id} was counted twice");
            match entry.end {
                End::Open => panic!("{id} has no end"),
                End::Whole => {
                    assert!(entry.written, "{id} has an answer that nobody wrote");
                    assert_eq!(entry.accounts, 1, "accounts of {id}");
                    assert_eq!(entry.sent, entry.logged, "tokens of {id}");
                    counts.complete += 1;
                    counts.upstream_tokens += u64::from(entry.sent);
                    counts.gateway_tokens += u64::from(entry.logged);
                }
                End::Refused | End::HalfSent => {
                    assert_eq!(entry.accounts, 0, "{id} cost nothing");
                }
                End::Cut | End::Left => {}
            }
        }
        counts.outcomes = format!("{ends:?}");
        counts
    }
}

/// A ledger with one request that was read to its end, and these accounts of it.
fn with_accounts(accounts: &[u64]) -> Ledger {
    let ledger = Ledger::new(1);
    let id = ledger.begin();
    ledger.written(id, 7);
    ledger.end(id, End::Whole);
    for tokens in accounts {
        ledger.logged(id, *tokens);
    }
    ledger
}

#[test]
fn one_exact_account_passes() {
    let counts = with_accounts(&[7]).check();
    assert_eq!((counts.complete, counts.gateway_tokens), (1, 7));
}

#[test]
#[should_panic(expected = "counted twice")]
fn two_accounts_do_not() {
    with_accounts(&[7, 7]).check();
}

#[test]
#[should_panic(expected = "accounts of 0")]
fn none_does_not() {
    with_accounts(&[]).check();
}

#[test]
#[should_panic(expected = "tokens of 0")]
fn another_number_does_not() {
    with_accounts(&[8]).check();
}
