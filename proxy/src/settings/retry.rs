// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which answers of a provider are waited out here instead of by the workload.

use std::time::Duration;

use super::RawRetry;

/// Answers by which a provider says that it did nothing and that a later request may succeed: too many
/// requests, service unavailable, overloaded.
const STATUSES: [u16; 3] = [429, 503, 529];

/// When a request is sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retry {
    /// After which answers, if they say how long to wait. Empty: never, since clients have a patience
    /// of their own and know better what a request is worth.
    pub statuses: Vec<u16>,
    /// How often at most, the first time included.
    pub attempts: u32,
    /// How long a request waits at most, all its waits together.
    pub most: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            statuses: Vec::new(),
            attempts: 3,
            most: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// Checks what was set; what was not takes the default.
    pub(super) fn parse(raw: &RawRetry, faults: &mut Vec<String>) -> Self {
        let default = Self::default();
        for status in &raw.statuses {
            if !STATUSES.contains(status) {
                faults.push(format!(
                    "retry.statuses: {status} is not one of {STATUSES:?}"
                ));
            }
        }
        let attempts = raw.attempts.unwrap_or(default.attempts);
        if !(1..=10).contains(&attempts) {
            faults.push(format!(
                "retry.attempts: {attempts} is not between 1 and 10"
            ));
        }
        let most = match raw.most_seconds {
            None => default.most,
            Some(seconds) if (0.0..=3600.0).contains(&seconds) => Duration::from_secs_f64(seconds),
            Some(seconds) => {
                faults.push(format!(
                    "retry.most-seconds: {seconds} is not between 0 and 3600"
                ));
                default.most
            }
        };
        Self {
            statuses: raw.statuses.clone(),
            attempts,
            most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_checked_and_what_is_not_is_off() {
        let mut faults = Vec::new();
        assert_eq!(
            Retry::parse(&RawRetry::default(), &mut faults),
            Retry::default()
        );
        let raw: RawRetry =
            toml::from_str("statuses = [429, 503]\nattempts = 5\nmost-seconds = 7.5").unwrap();
        let retry = Retry::parse(&raw, &mut faults);
        assert_eq!(
            (retry.statuses, retry.attempts, retry.most),
            (vec![429, 503], 5, Duration::from_millis(7500))
        );
        assert!(faults.is_empty(), "{faults:?}");
        let raw: RawRetry =
            toml::from_str("statuses = [200, 500]\nattempts = 0\nmost-seconds = -1.0").unwrap();
        Retry::parse(&raw, &mut faults);
        let at: Vec<_> = faults
            .iter()
            .filter_map(|it| it.split(':').next())
            .collect();
        assert_eq!(
            at,
            [
                "retry.statuses",
                "retry.statuses",
                "retry.attempts",
                "retry.most-seconds"
            ]
        );
        assert!(toml::from_str::<RawRetry>("status = [429]").is_err());
    }
}
