// SPDX-License-Identifier: GPL-3.0-or-later
//! The programs and their maps, wherever they are on their way: loaded, attached, spare.

use std::os::fd::OwnedFd;

use super::{Counters, Events, Flows};

/// Programs and maps. Dropping it removes those that are neither attached nor pinned.
#[derive(Debug)]
pub(super) struct Set {
    /// See [`super::spare::key`].
    pub(super) key: String,
    /// In the order of [`super::programs::PROGRAMS`].
    pub(super) programs: Vec<OwnedFd>,
    pub(super) events: Events,
    pub(super) counters: Counters,
    pub(super) flows: Flows,
    /// Whether programs and maps are pinned beside the links of the run that has them.
    pub(super) pinned: bool,
}
