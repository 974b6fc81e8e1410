// SPDX-License-Identifier: MIT OR Apache-2.0
//! What became of each exchange, as each side saw it.
//!
//! An exchange is a request with its one answer, or a tunnel with several. What the nth answer of an exchange costs follows
//! from both numbers, so nobody has to be told, and an account of another's answer is another number.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// What a worker saw of its exchange's end.
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
    /// A tunnel, closed as it should be.
    Closed,
    /// A tunnel that the worker or the upstream broke off.
    Broken,
    /// The gateway gave up waiting, on a machine that had no time.
    Late,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    end: End,
    /// Answers that the upstream wrote the end of.
    written: u8,
    /// Answers that the worker read to their end.
    read: u8,
    /// Accounts in the gateway's log.
    accounts: u8,
    /// Tokens of all of them.
    logged: u32,
}

pub(super) struct Ledger {
    next: AtomicUsize,
    entries: Mutex<Vec<Entry>>,
}

/// What all of it comes to.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) exchanges: usize,
    /// Answers that were read to their end.
    pub(super) answers: u64,
    pub(super) upstream_tokens: u64,
    pub(super) gateway_tokens: u64,
    pub(super) outcomes: String,
}

/// Tokens read and written for the nth answer of an exchange.
pub(super) fn cost(id: usize, nth: usize) -> (u64, u64) {
    let mixed = u64::try_from(id * 31 + nth * 7).unwrap();
    (1 + mixed % 997, 1 + mixed % 787)
}

/// Tokens of the first answers of an exchange.
fn total(id: usize, answers: u8) -> u64 {
    let costs = (0..usize::from(answers)).map(|nth| cost(id, nth));
    costs.map(|(input, output)| input + output).sum()
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

    /// The upstream is about to write the end of an answer.
    pub(super) fn written(&self, id: usize) {
        self.change(id, |it| it.written += 1);
    }

    /// The worker has an answer with all that is in it.
    pub(super) fn read(&self, id: usize) {
        self.change(id, |it| it.read += 1);
    }

    pub(super) fn logged(&self, id: usize, tokens: u64) {
        self.change(id, |it| {
            it.accounts += 1;
            it.logged += u32::try_from(tokens).unwrap();
        });
    }

    /// Exact for each answer that its worker read to the end: one account, of what the upstream wrote. Of an answer that
    /// broke off there is one account at most, and it does not count for the sums.
    pub(super) fn check(&self) -> Counts {
        let exchanges = self.next.load(Ordering::Relaxed);
        let mut counts = Counts {
            exchanges,
            ..Counts::default()
        };
        let mut ends: BTreeMap<End, u64> = BTreeMap::new();
        let entries = self.entries.lock().unwrap();
        for (id, entry) in entries.iter().enumerate().take(exchanges) {
            *ends.entry(entry.end).or_default() += 1;
            let Entry {
                written,
                read,
                accounts,
                ..
            } = *entry;
            match entry.end {
                End::Open => panic!("{id} has no end"),
                End::Whole | End::Closed => {
                    assert_eq!(
                        written, read,
                        "{id} has an answer that nobody wrote, or read"
                    );
                    assert_eq!(accounts, read, "accounts of {id}");
                    assert_eq!(u64::from(entry.logged), total(id, read), "tokens of {id}");
                    counts.answers += u64::from(read);
                    counts.upstream_tokens += total(id, written);
                    counts.gateway_tokens += u64::from(entry.logged);
                }
                // In order, each of an answer that the upstream wrote, and of each that the worker has.
                End::Broken => {
                    assert!(accounts <= written, "accounts of {id}: one too many");
                    assert!(accounts >= read, "accounts of {id}: one is missing");
                    assert_eq!(
                        u64::from(entry.logged),
                        total(id, accounts),
                        "tokens of {id}"
                    );
                    counts.answers += u64::from(accounts);
                    counts.upstream_tokens += total(id, accounts);
                    counts.gateway_tokens += u64::from(entry.logged);
                }
                End::Refused | End::HalfSent | End::Late => {
                    assert_eq!(accounts, 0, "{id} cost nothing");
                }
                End::Cut | End::Left => {
                    assert!(accounts <= 1, "{id} was counted twice");
                }
            }
        }
        counts.outcomes = format!("{ends:?}");
        counts
    }
}

/// A ledger with one exchange that wrote and read so many answers, and these accounts of it.
fn with(end: End, written: usize, read: usize, accounts: &[u64]) -> Ledger {
    let ledger = Ledger::new(1);
    let id = ledger.begin();
    for _ in 0..written {
        ledger.written(id);
    }
    for _ in 0..read {
        ledger.read(id);
    }
    ledger.end(id, end);
    for tokens in accounts {
        ledger.logged(id, *tokens);
    }
    ledger
}

/// What the first two answers of the first exchange cost.
const FIRST: u64 = 2;
const SECOND: u64 = 16;

#[test]
fn exact_accounts_pass() {
    let counts = with(End::Whole, 1, 1, &[FIRST]).check();
    assert_eq!((counts.answers, counts.gateway_tokens), (1, FIRST));
    let counts = with(End::Closed, 2, 2, &[FIRST, SECOND]).check();
    assert_eq!((counts.answers, counts.gateway_tokens), (2, FIRST + SECOND));
    // What was on its way when it broke may be counted or not.
    for accounts in [&[FIRST][..], &[FIRST, SECOND]] {
        with(End::Broken, 2, 1, accounts).check();
    }
}

#[test]
#[should_panic(expected = "accounts of 0")]
fn two_accounts_of_one_answer_do_not() {
    with(End::Whole, 1, 1, &[FIRST, FIRST]).check();
}

#[test]
#[should_panic(expected = "accounts of 0")]
fn none_does_not() {
    with(End::Whole, 1, 1, &[]).check();
}

#[test]
#[should_panic(expected = "tokens of 0")]
fn another_number_does_not() {
    with(End::Whole, 1, 1, &[FIRST + 1]).check();
}

#[test]
#[should_panic(expected = "one is missing")]
fn an_answer_that_was_read_before_the_break_is_not_forgotten() {
    with(End::Broken, 2, 2, &[FIRST]).check();
}

#[test]
#[should_panic(expected = "one too many")]
fn an_answer_that_nobody_wrote_is_not_counted() {
    with(End::Broken, 1, 1, &[FIRST, SECOND]).check();
}

#[test]
#[should_panic(expected = "tokens of 0")]
fn accounts_out_of_order_do_not_pass() {
    with(End::Broken, 2, 0, &[SECOND]).check();
}
