// SPDX-License-Identifier: MIT OR Apache-2.0
//! What keyward's eBPF programs and its user space must agree on.
#![no_std]
#![forbid(unsafe_code)]

mod endpoints;

pub use endpoints::{Endpoints, GATEWAY_PORTS};
