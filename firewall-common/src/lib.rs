// SPDX-License-Identifier: MIT OR Apache-2.0
//! What keyward's eBPF programs and its user space must agree on.
//!
//! The path of a connection through this crate: a hook reads a [`Flow`] from the kernel, [`decide`]
//! turns it into a [`Verdict`], a denial leaves as an [`Event`] with a [`Reason`], and a connection
//! to the proxy is remembered as a [`FlowInfo`] under its [`FlowKey`]. Nothing here touches a map, a
//! clock or a socket, so that the hooks, the nftables builder's tests, the proxy and `keyward
//! explain` can all call the same functions.
//!
//! Everything that lies in a BPF map is `#[repr(C)]` without padding, so that its bytes are the same
//! on both sides and nothing uninitialised crosses from the kernel.
#![no_std]
#![forbid(unsafe_code)]

mod address;
mod decide;
mod endpoints;
mod event;
mod flow;
mod packet;
mod reason;
mod socket;
mod sockopt;

pub use address::{Address, Destination};
pub use decide::{Door, Flow, Transport, Verdict, decide};
pub use endpoints::{Endpoints, Listeners, NAMES_V4, NAMES_V6};
pub use event::{Event, Hook, MalformedEvent};
pub use flow::{COMM_LEN, FlowInfo, FlowKey, Owner};
pub use packet::{Headers, decide_egress, decide_ingress};
pub use reason::{COUNTERS, LOST_EVENTS, Lack, Listed, Reason, Refusal, UpstreamFault};
pub use socket::decide_socket;
pub use sockopt::{REFUSED, decide_sockopt, is_v6only};
