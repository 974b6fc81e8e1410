// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was spent so far: judged and counted in one step, under one lock that `Spend` holds. Pure but for that.

use serde_json::{Value, json};

use super::{Denied, Picodollars, SpendLimits, denied::Rate, window::Window};
use crate::refusal::Refusal;

/// Seconds after which someone asks again whether another request has ended.
const SOON: u64 = 1;

/// The books of a run.
#[derive(Debug)]
pub(super) struct Book {
    minute: Window,
    hour: Window,
    bytes: Window,
    runs: u64,
    /// Thousandths.
    tokens: u128,
    cost: u128,
    in_flight: u64,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Counts against the rates.
    pub(super) rate: bool,
    /// Counts as a run.
    pub(super) run: bool,
    /// Stays in flight until it is released.
    pub(super) held: bool,
}

impl Book {
    pub(super) fn new() -> Self {
        Self {
            minute: Window::new(60),
            hour: Window::new(3600),
            bytes: Window::new(60),
            runs: 0,
            tokens: 0,
            cost: 0,
            in_flight: 0,
        }
    }

    /// Counts what is asked for, or says why not; then nothing is counted. What lasts is judged first: there is no
    /// use in coming again.
    pub(super) fn admit(
        &mut self,
        limits: &SpendLimits,
        asked: Asked,
        now: u64,
    ) -> Result<(), Denied> {
        if let Some(cap) = limits.runs
            && self.runs >= cap
        {
            let message = format!(
                "this run's limit of {cap} inference requests is reached: {} used, {} of them in flight",
                self.runs, self.in_flight
            );
            let more = vec![
                ("max_runs", cap.into()),
                ("invocation_count", self.runs.into()),
            ];
            return Err(Denied {
                more,
                ..Denied::new(Refusal::RunsExhausted, message)
            });
        }
        if let Some(cap) = limits.tokens
            && self.tokens >= u128::from(cap) * 1000
        {
            let used = whole(self.tokens);
            let message = format!(
                "this run's limit of {cap} tokens is reached: {used} used, {} requests in flight",
                self.in_flight
            );
            let more = vec![
                ("max_effective_tokens", cap.into()),
                ("total_effective_tokens", used.into()),
                ("in_flight", self.in_flight.into()),
            ];
            return Err(Denied {
                more,
                ..Denied::new(Refusal::TokensExhausted, message)
            });
        }
        if let Some(Picodollars(cap)) = limits.dollars
            && self.cost >= cap
        {
            let (most, used) = (dollars(cap), dollars(self.cost));
            let message = format!(
                "this run's limit of {most} US dollars is reached: {used} used, {} requests in flight",
                self.in_flight
            );
            let more = vec![
                ("max_dollars", most.into()),
                ("total_dollars", used.into()),
                ("in_flight", self.in_flight.into()),
            ];
            return Err(Denied {
                more,
                ..Denied::new(Refusal::DollarsExhausted, message)
            });
        }
        if let Some(limit) = limits.concurrent_requests
            && asked.held
            && self.in_flight >= limit
        {
            let rate = Rate {
                limit,
                window: "concurrent",
                retry_after: SOON,
            };
            let message =
                format!("{limit} requests are in flight already, which is the most at a time");
            return Err(Denied {
                rate: Some(rate),
                ..Denied::new(Refusal::TooManyAtOnce, message)
            });
        }
        let windows = [
            (
                limits.requests_per_minute.filter(|_| asked.rate),
                &mut self.minute,
                "per_minute",
                "requests",
            ),
            (
                limits.requests_per_hour.filter(|_| asked.rate),
                &mut self.hour,
                "per_hour",
                "requests",
            ),
            (
                limits.bytes_per_minute,
                &mut self.bytes,
                "per_minute_bytes",
                "bytes",
            ),
        ];
        for (limit, window, name, of) in windows {
            let Some(limit) = limit else { continue };
            if window.total(now) < limit {
                continue;
            }
            let retry_after = window.wait(now, limit);
            let span = if name == "per_hour" {
                "an hour"
            } else {
                "a minute"
            };
            let message = format!(
                "this run's limit of {limit} {of} {span} is reached; there is room again in {retry_after} seconds"
            );
            let rate = Rate {
                limit,
                window: name,
                retry_after,
            };
            return Err(Denied {
                rate: Some(rate),
                ..Denied::new(Refusal::RateLimited, message)
            });
        }
        if asked.rate {
            if limits.requests_per_minute.is_some() {
                self.minute.add(now, 1);
            }
            if limits.requests_per_hour.is_some() {
                self.hour.add(now, 1);
            }
        }
        self.runs += u64::from(asked.run);
        self.in_flight += u64::from(asked.held);
        Ok(())
    }

    pub(super) fn release(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub(super) fn bytes(&mut self, now: u64, count: u64) {
        self.bytes.add(now, count);
    }

    pub(super) fn commit(&mut self, tokens: u128, cost: Picodollars) {
        self.tokens = self.tokens.saturating_add(tokens);
        self.cost = self.cost.saturating_add(cost.0);
    }

    /// What is limited, and how much of it is left.
    pub(super) fn shown(&mut self, limits: &SpendLimits, now: u64) -> Value {
        let mut all = serde_json::Map::new();
        let mut add = |name: &str, limit: Option<u64>, used: u64| {
            if let Some(limit) = limit {
                let left = limit.saturating_sub(used);
                let entry = json!({ "limit": limit, "used": used, "remaining": left });
                all.insert(name.to_owned(), entry);
            }
        };
        add(
            "requests_per_minute",
            limits.requests_per_minute,
            self.minute.total(now),
        );
        add(
            "requests_per_hour",
            limits.requests_per_hour,
            self.hour.total(now),
        );
        add(
            "bytes_per_minute",
            limits.bytes_per_minute,
            self.bytes.total(now),
        );
        add("runs", limits.runs, self.runs);
        add("tokens", limits.tokens, whole(self.tokens));
        add(
            "concurrent_requests",
            limits.concurrent_requests,
            self.in_flight,
        );
        if let Some(Picodollars(cap)) = limits.dollars {
            let left = dollars(cap.saturating_sub(self.cost));
            let entry =
                json!({ "limit": dollars(cap), "used": dollars(self.cost), "remaining": left });
            all.insert("dollars".to_owned(), entry);
        }
        all.into()
    }

    #[cfg(test)]
    pub(super) fn spent(&self) -> (u64, Picodollars, u64) {
        (whole(self.tokens), Picodollars(self.cost), self.in_flight)
    }
}

/// Whole tokens, rounded up.
fn whole(thousandths: u128) -> u64 {
    u64::try_from(thousandths.div_ceil(1000)).unwrap_or(u64::MAX)
}

/// With four digits behind the point, as text: a sum of money is no floating-point number.
fn dollars(pico: u128) -> String {
    let tenths_of_mills = pico.div_ceil(100_000_000);
    format!(
        "{}.{:04}",
        tenths_of_mills / 10_000,
        tenths_of_mills % 10_000
    )
}
