// SPDX-License-Identifier: GPL-3.0-or-later
//! When the host's memory runs out, the workload is to be killed before keyward and its proxy: they are small, and without
//! them it has to end in any case.

use std::fs;

const SCORE: &str = "/proc/self/oom_score_adj";

/// What services are given that others depend on; -1000 would be never.
const LATE: i32 = -900;

/// How much sooner the command is killed where keyward cannot come later.
const SOONER: i32 = 300;

/// The most that there is.
const FIRST: i32 = 1000;

/// Has the kernel kill this process, and those that it starts, after most others. Returns the score for the command: the
/// one that this process had, or, where that may not be lowered (without `CAP_SYS_RESOURCE`), a higher one.
pub fn come_last() -> i32 {
    let before = fs::read_to_string(SCORE).ok();
    let before = before.and_then(|it| it.trim().parse().ok()).unwrap_or(0);
    match fs::write(SCORE, LATE.min(before).to_string()) {
        Ok(()) => before,
        Err(error) => {
            tracing::debug!("keyward cannot have itself killed later than others: {error}");
            FIRST.min(before + SOONER)
        }
    }
}
