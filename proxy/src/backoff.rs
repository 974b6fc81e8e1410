// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chance in pauses, so that callers that failed together do not come back together.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

/// Some part of `whole`, at random.
pub(crate) fn part(whole: Duration) -> Duration {
    // The keys of a `RandomState` are random, which is random enough to keep callers apart.
    let random = RandomState::new().build_hasher().finish();
    let share = u32::try_from(random % 1024).unwrap_or_default();
    whole / 1024 * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_below_the_whole() {
        let whole = Duration::from_secs(8);
        let parts: Vec<_> = (0..64).map(|_| part(whole)).collect();
        assert!(parts.iter().all(|it| *it < whole));
        assert!(parts.iter().any(|it| *it != parts[0]));
    }
}
