// SPDX-License-Identifier: GPL-3.0-or-later
//! The compiled programs, embedded by `build.rs`. The names in them are in `programs.rs`.

use aya::include_bytes_aligned;

/// An ELF object, aligned as aya parses it.
pub(super) static OBJECT: &[u8] =
    include_bytes_aligned!(concat!(env!("OUT_DIR"), "/keyward-ebpf.o"));

/// The global that holds the endpoints.
pub(super) const ENDPOINTS: &str = "ENDPOINTS";
/// The ring buffer of denials.
pub(super) const EVENTS: &str = "EVENTS";
/// The per-CPU counters.
pub(super) const COUNTERS: &str = "COUNTERS";
/// The connections to the proxy.
pub(super) const FLOWS: &str = "FLOWS";
