// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the one thing that a TLS connection says about whom it is for: the server name in its ClientHello.
//!
//! What leaves the host is decided by what is read here, and the server that gets the same bytes must not read another
//! name in them. So nothing is guessed: every length must fit exactly, nothing may occur twice, and what this reader
//! does not take is refused, not passed on (RFC 8446, section 4.1.2; RFC 6066, section 3). It is not a TLS
//! implementation: of everything else only the shape is checked, so that values made up to keep servers tolerant (GREASE,
//! RFC 8701) and extensions of tomorrow pass.

mod cursor;
mod message;
mod records;
#[cfg(test)]
mod tests;

use keyward_policy::Name;

pub use self::records::Reader;

/// Longest ClientHello, its own header included. The largest in use, with two post-quantum key shares, has 3 KiB.
pub const MESSAGE_LIMIT: usize = 16 * 1024;

/// Most bytes that are read before there is a whole ClientHello. Twice its length: small records, each with its header,
/// are allowed, but not to any extent.
pub const BYTES_LIMIT: usize = 2 * MESSAGE_LIMIT;

/// What a ClientHello says about whom it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientHello {
    /// The name of the server, if it says one.
    pub server_name: Option<Name>,
}

/// Why a ClientHello is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not TLS records of a version that is in use, or something else between them.
    #[error("it does not begin with TLS handshake records")]
    Record,
    /// Longer than [`MESSAGE_LIMIT`], or in more pieces than [`BYTES_LIMIT`] allows.
    #[error("the ClientHello is too long")]
    TooLong,
    /// Something else than a ClientHello, or something behind it in its record.
    #[error("the first message is not a ClientHello alone")]
    Message,
    /// Lengths that do not fit, versions that are not in use, an extension that is there twice.
    #[error("the ClientHello is malformed")]
    Malformed,
    /// Not one valid host name.
    #[error("the server name is not one host name")]
    ServerName,
    /// The name is encrypted (ECH, or ESNI before it).
    #[error("the ClientHello is encrypted")]
    Encrypted,
}

/// Whether bytes begin like a ClientHello of SSL 2, which has nothing else in common with later ones.
#[must_use]
pub fn is_ssl2(bytes: &[u8]) -> bool {
    matches!(bytes, [first, _, 1, 0, 2, ..] | [first, _, 1, 3, 0..=4, ..] if first & 0x80 != 0)
}
