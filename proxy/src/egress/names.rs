// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which name stands behind which address that our DNS gave out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use keyward_policy::Name;

/// The addresses that were given out.
#[derive(Debug, Default)]
pub(crate) struct Names {}

/// What stands behind an address that a connection was going to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// The one name that it was given to.
    Name(Name),
    /// Real answers: the names that were answered with it, newest first.
    Names(Vec<Name>),
    /// It is of the pool, and no name has it (any more).
    Stale,
    /// Nothing: it is not ours.
    Nothing,
}

impl Names {
    /// The addresses that stand for this name, given out now if they were not before.
    pub(crate) fn give(&self, _name: &Name) -> (Ipv4Addr, Ipv6Addr) {
        (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED)
    }

    /// The IPv4 address that this name was given, if it was.
    pub(crate) fn given(&self, _name: &Name) -> Option<Ipv4Addr> {
        None
    }

    /// What stands behind an address.
    pub(crate) fn behind(&self, _address: IpAddr) -> Behind {
        Behind::Nothing
    }
}
