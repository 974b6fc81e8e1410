// SPDX-License-Identifier: GPL-3.0-or-later
//! What the answers of a run cost so far, by provider and model.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use keyward_proxy::spend::{Picodollars, Prices};
use keyward_proxy::usage::Tokens;
use serde::Deserialize;

/// Most pairs of provider and model that are told apart; all others are one.
const MAX_APART: usize = 100;

static PRICES: LazyLock<Prices> = LazyLock::new(Prices::builtin);

/// One line of the log: an answer that said what it cost.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Account {
    event: String,
    provider: String,
    model: String,
    input_tokens: u64,
    output_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    reasoning_tokens: u64,
}

/// The answers of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// How many said what they cost.
    pub answers: u64,
    /// All of their tokens.
    pub tokens: Tokens,
}

/// Everything that was spent.
#[derive(Clone, Debug, Default)]
pub struct AllSpent(BTreeMap<(String, String), Spent>);

impl Account {
    /// `None`: it is something else, or cannot be read.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let account: Self = serde_json::from_slice(line).ok()?;
        (account.event == "token_usage").then_some(account)
    }
}

impl AllSpent {
    /// Adds an answer.
    pub fn add(&mut self, account: Account) {
        let mut key = (account.provider, account.model);
        if self.0.len() >= MAX_APART && !self.0.contains_key(&key) {
            key = (String::new(), "…".to_owned());
        }
        let spent = self.0.entry(key).or_default();
        spent.answers += 1;
        spent.tokens += Tokens {
            input: account.input_tokens,
            output: account.output_tokens,
            cache_read: account.cache_read_tokens,
            cache_write: account.cache_write_tokens,
            reasoning: account.reasoning_tokens,
        };
    }

    /// Provider, model, and what was spent on it: the most tokens first.
    pub fn rows(&self) -> Vec<(&str, &str, Spent)> {
        let rows = self.0.iter();
        let mut rows: Vec<_> = rows
            .map(|((of, model), it)| (&**of, &**model, *it))
            .collect();
        rows.sort_by_key(|it| std::cmp::Reverse(it.2.read().saturating_add(it.2.written())));
        rows
    }

    /// Whether no answer said what it cost.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Spent {
    /// All that was read, from a cache or not.
    pub fn read(&self) -> u64 {
        let anew = self.tokens.input.saturating_add(self.tokens.cache_write);
        anew.saturating_add(self.tokens.cache_read)
    }

    /// All that was written, shown or not.
    pub fn written(&self) -> u64 {
        self.tokens.output.saturating_add(self.tokens.reasoning)
    }

    /// In dollars, by the prices that come with keyward. `None`: the model has no known one.
    pub fn dollars(&self, model: &str) -> Option<f64> {
        let Picodollars(cost) = PRICES.of(model)?.of(&self.tokens);
        // It is shown to the cent.
        Some(cost as f64 / 1e12)
    }
}

/// `$0.12`; what is less than a cent but not nothing, says so.
pub fn money(dollars: Option<f64>) -> String {
    match dollars {
        None => "-".to_owned(),
        Some(it) if it > 0.0 && it < 0.01 => "<$0.01".to_owned(),
        Some(it) => format!("${it:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(provider: &str, model: &str, input: u64) -> Vec<u8> {
        format!(
            r#"{{"timestamp":"x","event":"token_usage","provider":"{provider}","model":"{model}","input_tokens":{input},"output_tokens":3,"cache_read_tokens":5,"cache_write_tokens":1,"reasoning_tokens":2,"new":null}}"#
        )
        .into_bytes()
    }

    #[test]
    fn accounts_add_up_by_model() {
        let mut all = AllSpent::default();
        for (model, input) in [("small", 10), ("large", 1_000_000), ("small", 20)] {
            all.add(Account::parse(&line("openai", model, input)).unwrap());
        }
        let rows = all.rows();
        let found = rows
            .iter()
            .map(|it| (it.1, it.2.answers, it.2.read(), it.2.written()));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [("large", 1, 1_000_006, 5), ("small", 2, 42, 10)]
        );
        for other in [
            &b"{"[..],
            b"{\"event\":\"lines_lost\"}",
            b"{\"event\":\"token_usage\",\"model\":1}",
        ] {
            assert!(Account::parse(other).is_none());
        }
        for at in 0..1000 {
            all.add(Account::parse(&line("x", &at.to_string(), 1)).unwrap());
        }
        assert_eq!(all.rows().len(), MAX_APART + 1);
    }

    #[test]
    fn cost_is_of_known_models_only() {
        let spent = Spent {
            answers: 1,
            tokens: Tokens {
                input: 1_000_000,
                ..Tokens::default()
            },
        };
        assert_eq!(spent.dollars("nobody-knows"), None);
        assert!(spent.dollars("gpt-5").is_some_and(|it| it > 0.1));
        let shown = [None, Some(0.0), Some(0.004), Some(1.5)].map(money);
        assert_eq!(shown, ["-", "$0.00", "<$0.01", "$1.50"]);
    }
}
