// SPDX-License-Identifier: GPL-3.0-or-later
//! nftables: the layer behind the eBPF programs, in the workload's own network namespace.
//!
//! A [`Ruleset`] is a value, computed from the proxy's [`Endpoints`](firewall_common::Endpoints) and nothing else, and
//! printed in nft's own syntax. [`apply`] sends it as one transaction that replaces keyward's table whole, reads it
//! back from the kernel and compares: a rule set that was only sent is not yet one that holds. The proof of it is
//! [`Enforced`].
//!
//! This layer judges packets by what they are, not by who made the socket: addresses, ports and headers on the wire.
//! It knows nothing of processes and control groups (rustables has no `socket` expression), so it belongs into a
//! namespace that the workload does not share. It tells no reasons either: a denial here is a count, and means that a
//! layer in front of it failed to deny with a better message.
//!
//! Every function acts on the network namespace of the **calling thread**; a [`Reader`] stays with the one that it was opened in.

mod batch;
mod changes;
mod dump;
mod error;
mod found;
mod rule;
mod ruleset;
mod verify;

pub use changes::Changes;
pub use dump::Reader;
pub use error::{Difference, NftError};
pub use ruleset::{Chain, Hook, Ruleset};
pub use verify::{Enforced, verify};

/// The table that keyward owns, of family `inet`.
pub const TABLE: &str = "keyward";

/// Replaces keyward's table by `ruleset`, in one transaction, then reads it back and compares.
///
/// Applying the same rule set again is harmless: there is no moment without rules, and counters begin at 0.
///
/// # Errors
///
/// The kernel refuses the transaction, in which case the table is as it was before; or what is read back is not what
/// was sent. A caller that gets an error must not start the workload.
pub fn apply(ruleset: &Ruleset) -> Result<Enforced, NftError> {
    batch::replace(ruleset)?;
    verify(ruleset)
}

/// As [`apply`]; later changes are heard of. None is missed: what comes between the two halves of this is read back.
///
/// # Errors
///
/// As [`apply`], and if the kernel has nobody listen.
pub fn apply_and_listen(ruleset: &Ruleset) -> Result<(Enforced, Changes), NftError> {
    batch::replace(ruleset)?;
    let changes = Changes::listen().map_err(NftError::Read)?;
    Ok((verify(ruleset)?, changes))
}

/// Removes keyward's table; no table is no error.
///
/// # Errors
///
/// The kernel refuses the transaction.
pub fn remove() -> Result<(), NftError> {
    batch::remove()
}
