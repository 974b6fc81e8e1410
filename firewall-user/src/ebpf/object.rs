// SPDX-License-Identifier: GPL-3.0-or-later
//! The compiled programs, embedded by `build.rs`, and the names in them.

use std::collections::HashMap;

use aya::include_bytes_aligned;
use aya_obj::{Object, ParseError};
use firewall_common::Endpoints;

use super::log;

/// An ELF object, aligned as aya parses it.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/keyward-ebpf.o"));

/// Tells this object from others; computed by `build.rs`.
pub(super) const HASH: &str = env!("KEYWARD_EBPF_HASH");

/// The global that holds the endpoints.
const ENDPOINTS: &str = "ENDPOINTS";

/// The ring buffer of denials.
pub(super) const EVENTS: &str = "EVENTS";
/// The per-CPU counters.
pub(super) const COUNTERS: &str = "COUNTERS";
/// The connections to the proxy.
pub(super) const FLOWS: &str = "FLOWS";

/// Parses the object and puts the endpoints into it, and how much the programs are to say.
pub(super) fn parse(endpoints: &Endpoints) -> Result<Object, ParseError> {
    let mut object = Object::parse(OBJECT)?;
    object.patch_map_data(HashMap::from([
        (ENDPOINTS, (&endpoints.to_bytes()[..], true)),
        (log::LEVEL, (&[log::level()][..], true)),
    ]))?;
    Ok(object)
}
