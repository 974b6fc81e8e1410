// SPDX-License-Identifier: MIT OR Apache-2.0
//! At which ports a rule holds, and for what is spoken there.

use crate::Scheme;

/// Ports and protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Nothing was said. In an allow list: plain HTTP at 80, TLS at 443.
    Web,
    /// Nothing was said. In a block list: everything.
    All,
    /// A range of ports.
    Ports {
        /// What may be spoken there; anything, if there is nothing.
        scheme: Option<Scheme>,
        first: u16,
        last: u16,
    },
}

impl Reach {
    /// Whether it holds at a port, for something that may be spoken there.
    pub(crate) fn has_port(self, port: u16) -> bool {
        match self {
            Self::Web => matches!(port, 80 | 443),
            Self::All => true,
            Self::Ports { first, last, .. } => (first..=last).contains(&port),
        }
    }

    /// Whether it holds for what is spoken at a port.
    pub(crate) fn has(self, port: u16, asked: Scheme) -> bool {
        match self {
            Self::Web => matches!((port, asked), (80, Scheme::Http) | (443, Scheme::Tls)),
            Self::All => true,
            Self::Ports { scheme, .. } => {
                self.has_port(port) && scheme.is_none_or(|scheme| scheme == asked)
            }
        }
    }

    /// Whether a block rule for something is about a port at which nobody looks at what is spoken: it could be that.
    ///
    /// About the ports that it names, or else the one that is mostly used for it: plain HTTP that is blocked at every port
    /// is no word against SSH at 22.
    pub(crate) fn may_pass_unseen(self, port: u16) -> bool {
        match self {
            Self::Web | Self::All => false,
            // What `http://` and `https://` alone are in a block list.
            Self::Ports {
                scheme: Some(scheme),
                first: 0,
                last: u16::MAX,
            } => matches!((port, scheme), (80, Scheme::Http) | (443, Scheme::Tls)),
            Self::Ports { scheme, .. } => scheme.is_some() && self.has_port(port),
        }
    }

    /// Whether a rule that lists a network lists it at this port. One that says nothing of ports leaves them to the
    /// rule of the name that leads there.
    pub(crate) fn lists_port(self, port: u16) -> bool {
        match self {
            Self::Web | Self::All => true,
            Self::Ports { .. } => self.has_port(port),
        }
    }
}
