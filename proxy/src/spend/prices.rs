// SPDX-License-Identifier: MIT OR Apache-2.0
//! What models cost: `prices.toml`, and what the settings add. Data; nothing here acts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::models::normal;
use crate::usage::Tokens;

/// The table that comes with keyward, as build.rs has made it of `prices.toml`.
const BUILTIN: &str = include_str!(concat!(env!("OUT_DIR"), "/prices.json"));

/// An amount of money: 10⁻¹² US dollars, which is what a token costs at a dollar a million, a millionth of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Picodollars(pub u128);

/// US dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawPrice {
    /// Of a token read.
    pub input: f64,
    /// Of a token written or thought.
    pub output: f64,
    /// Of a token read from the cache; as `input` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<f64>,
    /// Of a token written to the cache; as `input` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
}

/// Picodollars per token, of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
}

/// Every known price, by the model's normal name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices(BTreeMap<String, Price>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    list: Vec<List>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "for those who read the file; required, so that no list goes without"
)]
struct List {
    provider: String,
    source: String,
    date: String,
    models: BTreeMap<String, RawPrice>,
}

impl Price {
    /// `None`: not a price.
    fn new(raw: &RawPrice) -> Option<Self> {
        // A dollar a million tokens is 10⁶ picodollars a token.
        let fixed = |value: f64| {
            let scaled = value * 1e6;
            (0.0..=1e12)
                .contains(&scaled)
                .then(|| format!("{scaled:.0}").parse().ok())?
        };
        Some(Self {
            input: fixed(raw.input)?,
            output: fixed(raw.output)?,
            cache_read: fixed(raw.cache_read.unwrap_or(raw.input))?,
            cache_write: fixed(raw.cache_write.unwrap_or(raw.input))?,
        })
    }

    /// What `tokens` cost. What is thought is billed as what is written.
    #[must_use]
    pub fn of(&self, tokens: &Tokens) -> Picodollars {
        let cost = |count: u64, each: u64| u128::from(count) * u128::from(each);
        Picodollars(
            cost(tokens.input, self.input)
                + cost(tokens.output, self.output)
                + cost(tokens.reasoning, self.output)
                + cost(tokens.cache_read, self.cache_read)
                + cost(tokens.cache_write, self.cache_write),
        )
    }

    fn dearer(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write: self.cache_write.max(other.cache_write),
        }
    }
}

impl Prices {
    /// Those that come with keyward.
    #[must_use]
    pub fn builtin() -> Self {
        Self::new(&BTreeMap::new(), &mut Vec::new())
    }

    /// The built-in prices, and `more`, which win.
    pub(crate) fn new(more: &BTreeMap<String, RawPrice>, faults: &mut Vec<String>) -> Self {
        let mut all = BTreeMap::new();
        match serde_json::from_str::<Table>(BUILTIN) {
            Ok(table) => {
                let models = table.list.iter().flat_map(|it| &it.models);
                all.extend(models.filter_map(|(name, it)| Some((normal(name), Price::new(it)?))));
            }
            Err(error) => faults.push(format!("prices.toml: {error}")),
        }
        for (name, raw) in more {
            match Price::new(raw) {
                Some(price) => {
                    all.insert(normal(name), price);
                }
                None => faults.push(format!("spend.prices.{name}: not a price")),
            }
        }
        Self(all)
    }

    /// The price of a model, by its name or by its name without the date or version at its end.
    #[must_use]
    pub fn of(&self, model: &str) -> Option<Price> {
        let name = normal(model);
        let mut name = name.as_str();
        loop {
            if let Some(price) = self.0.get(name) {
                return Some(*price);
            }
            name = without_suffix(name)?;
        }
    }

    /// The highest price of each kind of token.
    #[must_use]
    pub fn dearest(&self) -> Price {
        self.0
            .values()
            .copied()
            .fold(Price::default(), Price::dearer)
    }
}

/// A name without what says only of which day it is: `-20251101`, `@20251101`, `-2025-11-01`, `-latest`, `-v1:0`,
/// `-v1`, `:0`. `None` if there is nothing of the kind.
fn without_suffix(name: &str) -> Option<&str> {
    let digits = |text: &str, count: usize| {
        text.len() == count && text.bytes().all(|it| it.is_ascii_digit())
    };
    let (front, tail) = name.rsplit_once(['-', '@', ':'])?;
    let version = tail.strip_prefix('v').unwrap_or_default();
    if tail == "latest" || digits(tail, 8) || digits(version, 1) {
        return Some(front);
    }
    if name.as_bytes().get(front.len()) == Some(&b':') && digits(tail, 1) {
        return Some(front);
    }
    // Year, month, day.
    let (front, month) = front.rsplit_once('-').filter(|_| digits(tail, 2))?;
    let (front, year) = front.rsplit_once('-').filter(|_| digits(month, 2))?;
    digits(year, 4).then_some(front)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices() -> Prices {
        let mut faults = Vec::new();
        let prices = Prices::new(&BTreeMap::new(), &mut faults);
        assert_eq!(faults, [""; 0]);
        prices
    }

    #[test]
    fn a_dated_name_costs_the_same_and_a_new_one_is_unknown() {
        let prices = prices();
        for (name, other) in [
            ("gpt-5", "gpt-5-2025-08-07"),
            ("GPT-5", "openai/gpt-5"),
            ("claude-opus-4-5", "claude-opus-4-5-20251101"),
            ("claude-opus-4-5", "claude-opus-4-5@20251101"),
            (
                "claude-sonnet-4-5",
                "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            ),
            ("gemini-2.5-pro", "models/gemini-2.5-pro"),
            ("gpt-5-chat", "gpt-5-chat-latest"),
        ] {
            assert_eq!(
                prices.of(name).unwrap(),
                prices.of(other).unwrap(),
                "{other}"
            );
        }
        for name in [
            "gpt-5-next",
            "gpt-9",
            "gpt-5-20",
            "",
            "evil/gpt-5",
            "gpt-5-pro-max",
            "-",
        ] {
            assert_eq!(prices.of(name), None, "{name}");
        }
        assert_ne!(prices.of("gpt-5"), prices.of("gpt-5-mini"));
    }

    #[test]
    fn money_is_exact() {
        let tokens = Tokens {
            input: 1_000_000,
            output: 500_000,
            cache_read: 1_000_000,
            cache_write: 0,
            reasoning: 500_000,
        };
        // 1.25 + 5 + 0.125 + 5 dollars.
        let cost = prices().of("gpt-5").unwrap().of(&tokens);
        assert_eq!(cost, Picodollars(11_375_000_000_000));
    }

    #[test]
    fn settings_add_prices_and_the_dearest_is_the_highest_of_each() {
        let mut faults = Vec::new();
        let mine = RawPrice {
            input: 1000.0,
            output: 0.0,
            ..RawPrice::default()
        };
        let more = BTreeMap::from([("My-Deployment".to_owned(), mine)]);
        let prices = Prices::new(&more, &mut faults);
        assert!(prices.of("my-deployment").is_some() && prices.dearest().input == 1_000_000_000);
        assert_eq!(prices.dearest().output, 180_000_000);
        let wrong = RawPrice {
            input: -1.0,
            ..mine
        };
        Prices::new(&BTreeMap::from([("x".to_owned(), wrong)]), &mut faults);
        assert_eq!(faults, ["spend.prices.x: not a price"]);
    }
}
