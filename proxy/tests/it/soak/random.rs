// SPDX-License-Identifier: MIT OR Apache-2.0
//! Choices that can be made again.

/// splitmix64: the same numbers from the same seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (it ^ (it >> 31)) % limit
    }

    /// Once in so many times.
    pub(super) const fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}
