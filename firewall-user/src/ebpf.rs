// SPDX-License-Identifier: GPL-3.0-or-later
//! The eBPF layer, seen from the supervisor: load the programs, attach them to a cgroup, prove that
//! they are attached, read what they deny, take them away.
//!
//! What the programs do is in `firewall-ebpf`; what they decide is in `firewall-common`. The order
//! here is [`load`], which needs no cgroup and may run while other things are set up, then
//! [`Loaded::attach`], after which nothing that joins the cgroup gets past the proxy. [`Attached`]
//! exists only after the kernel confirmed every link. Links are pinned: they outlive this process,
//! however it ends, until [`unpin`] removes them. [`spare`] keeps the programs of a run that is over for the next one.
//!
//! Needs Linux 6.1 or later, and CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN.

mod attach;
mod bpffs;
mod error;
mod events;
mod flows;
mod load;
mod log;
mod object;
mod programs;
mod set;
pub mod spare;
mod verify;

pub use attach::{Attached, unpin};
pub use bpffs::{BPFFS, ensure_bpffs, is_bpffs};
pub use error::EbpfError;
pub use events::{Counters, Events};
use flows::Flows;
pub use load::{Loaded, load};
pub use log::Log;
use set::Set;
pub use spare::Spare;
pub use verify::{Hooks, look_up};
