// SPDX-License-Identifier: GPL-3.0-or-later
//! Asks the kernel for all objects of a kind, and takes its answer apart: netlink messages, then attributes.
//!
//! Read-only, and strict: what does not parse is an error, since a verification that skips what it cannot read
//! verifies nothing.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;

use rustables::ProtocolFamily;
use rustables::sys::{
    NFNL_SUBSYS_NFTABLES, NLA_TYPE_MASK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use super::error::NftError;

/// `struct nlmsghdr` and `struct nfgenmsg`.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
/// A dump is sent in pieces of at most 32 KiB, whatever the reader's buffer.
///
/// <https://github.com/torvalds/linux/blob/v6.12/net/netlink/af_netlink.c#L2285>
const PIECE: usize = 32 * 1024;

/// A kind of object: the message that asks for all of them, and the one that each answer is.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) get: u32,
    pub(super) new: u32,
}

/// Reads the rules of one network namespace: that of the thread that opened it, whichever thread reads.
#[derive(Debug)]
pub struct Reader(OwnedFd);

impl Reader {
    /// Opens it in the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// The kernel has no socket for this.
    pub fn open() -> Result<Self, NftError> {
        rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::NETFILTER),
        )
        .map(Self)
        .map_err(|error| NftError::Read(error.into()))
    }

    /// All objects of this kind in the family `inet`, oldest first, each read by `read` from its attributes.
    ///
    /// After an error the rest of the answer is still to come: nothing more is to be asked then.
    pub(super) fn dump<T>(
        &self,
        kind: Kind,
        read: impl Fn(Attributes<'_>) -> Result<T, NftError>,
    ) -> Result<Vec<T>, NftError> {
        rustix::net::send(&self.0, &request(kind), SendFlags::empty())
            .map_err(|error| NftError::Read(error.into()))?;
        let mut objects = Vec::new();
        // Not zeroed: most answers touch a page of it.
        let mut buffer = Vec::with_capacity(PIECE);
        loop {
            buffer.clear();
            // With TRUNC, the kernel tells the piece's full length, beside what fitted.
            let space = rustix::buffer::spare_capacity(&mut buffer);
            let (received, full) = rustix::net::recv(&self.0, space, RecvFlags::TRUNC)
                .map_err(|error| NftError::Read(error.into()))?;
            if full > received {
                return Err(malformed("a piece of the answer is too large"));
            }
            if read_piece(&buffer, kind, &mut |attributes| {
                objects.push(read(attributes)?);
                Ok(())
            })?
            .is_break()
            {
                return Ok(objects);
            }
        }
    }
}

fn request(kind: Kind) -> Vec<u8> {
    let length = u32::try_from(HEADER + FAMILY_HEADER).unwrap_or(u32::MAX);
    let flags = u16::try_from(NLM_F_REQUEST | NLM_F_DUMP).unwrap_or(u16::MAX);
    let mut message = Vec::with_capacity(HEADER + FAMILY_HEADER);
    message.extend(length.to_ne_bytes());
    message.extend(message_type(kind.get).to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence number and port: this socket asks once, and the kernel knows who asked.
    message.extend([0; 8]);
    // Family, version, resource.
    message.extend([family(), 0, 0, 0]);
    message
}

fn family() -> u8 {
    u8::try_from(ProtocolFamily::Inet as i32).unwrap_or(u8::MAX)
}

/// The subsystem in the high byte, the operation in the low one.
fn message_type(operation: u32) -> u16 {
    u16::try_from((NFNL_SUBSYS_NFTABLES << 8) | operation).unwrap_or(u16::MAX)
}

/// Reads the messages of one piece; breaks at the end of the dump.
fn read_piece(
    mut piece: &[u8],
    kind: Kind,
    object: &mut dyn FnMut(Attributes<'_>) -> Result<(), NftError>,
) -> Result<ControlFlow<()>, NftError> {
    while !piece.is_empty() {
        let header = piece
            .first_chunk::<HEADER>()
            .ok_or_else(|| malformed("a cut header"))?;
        let [l0, l1, l2, l3, t0, t1, f0, f1, ..] = *header;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3]))
            .ok()
            .filter(|length| *length >= HEADER)
            .ok_or_else(|| malformed("a message of impossible length"))?;
        let body = piece
            .get(HEADER..length)
            .ok_or_else(|| malformed("a cut message"))?;
        let flags = u32::from(u16::from_ne_bytes([f0, f1]));
        if flags & NLM_F_DUMP_INTR != 0 {
            return Err(malformed("the rules changed while they were read"));
        }
        let found = u16::from_ne_bytes([t0, t1]);
        if u32::from(found) == NLMSG_DONE {
            return Ok(ControlFlow::Break(()));
        }
        if u32::from(found) == NLMSG_ERROR {
            return Err(kernel_error(body));
        }
        if found != message_type(kind.new) {
            return Err(malformed("a message of another kind"));
        }
        let attributes = body
            .get(FAMILY_HEADER..)
            .ok_or_else(|| malformed("a cut message"))?;
        if body.first() == Some(&family()) {
            object(Attributes(attributes))?;
        }
        piece = piece.get(aligned(length)..).unwrap_or_default();
    }
    Ok(ControlFlow::Continue(()))
}

fn kernel_error(body: &[u8]) -> NftError {
    match body.first_chunk::<4>() {
        Some(code) => NftError::Read(io::Error::from_raw_os_error(
            i32::from_ne_bytes(*code).wrapping_neg(),
        )),
        None => malformed("a cut error"),
    }
}

/// `struct nlattr` and what follows it, one after the other.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), NftError>;

    fn next(&mut self) -> Option<Self::Item> {
        const HEADER: usize = 4;
        if self.0.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.0);
        let Some(&[l0, l1, k0, k1]) = rest.first_chunk::<HEADER>() else {
            return Some(Err(malformed("a cut attribute")));
        };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let Some(value) = rest.get(HEADER..length) else {
            return Some(Err(malformed("a cut attribute")));
        };
        self.0 = rest.get(aligned(length)..).unwrap_or_default();
        let mask = u16::try_from(NLA_TYPE_MASK & 0xffff).unwrap_or(u16::MAX);
        Some(Ok((u16::from_ne_bytes([k0, k1]) & mask, value)))
    }
}

/// Netlink pads everything to four bytes.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// A string with its terminating zero byte.
pub(super) fn text(value: &[u8]) -> Result<String, NftError> {
    let text = value.strip_suffix(&[0]).unwrap_or(value);
    str::from_utf8(text)
        .map(str::to_owned)
        .map_err(|error| malformed(&format!("a name: {error}")))
}

/// A number in network order.
pub(super) fn number(value: &[u8]) -> Result<u32, NftError> {
    match value.as_array() {
        Some(bytes) => Ok(u32::from_be_bytes(*bytes)),
        None => Err(malformed("a number of the wrong size")),
    }
}

/// The same, of eight bytes.
pub(super) fn long_number(value: &[u8]) -> Result<u64, NftError> {
    match value.as_array() {
        Some(bytes) => Ok(u64::from_be_bytes(*bytes)),
        None => Err(malformed("a number of the wrong size")),
    }
}

fn malformed(what: &str) -> NftError {
    NftError::Answer(what.to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const KIND: Kind = Kind { get: 1, new: 0 };

    /// One attribute, padded.
    pub(in super::super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len())
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(HEADER + body.len())
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(body);
        bytes
    }

    fn object(family: u8) -> Vec<u8> {
        let mut body = vec![family, 0, 0, 0];
        body.extend(attribute(1, b"keyward\0"));
        message(message_type(KIND.new), 0, &body)
    }

    fn names(piece: &[u8]) -> Result<(Vec<String>, bool), NftError> {
        let mut names = Vec::new();
        let end = read_piece(piece, KIND, &mut |mut attributes| {
            names.extend(
                attributes
                    .next()
                    .transpose()?
                    .map(|(_, value)| text(value))
                    .transpose()?,
            );
            Ok(())
        })?;
        Ok((names, end.is_break()))
    }

    #[test]
    fn a_piece_may_end_before_the_dump_does() {
        let done = message(u16::try_from(NLMSG_DONE).unwrap(), 0, &[0; 4]);
        assert_eq!(
            names(&object(family())).unwrap(),
            (vec!["keyward".to_owned()], false)
        );
        let whole = [object(family()), done].concat();
        assert_eq!(names(&whole).unwrap(), (vec!["keyward".to_owned()], true));
    }

    #[test]
    fn another_family_is_not_ours() {
        let ipv4 = u8::try_from(ProtocolFamily::Ipv4 as i32).unwrap();
        assert_eq!(names(&object(ipv4)).unwrap(), (vec![], false));
    }

    #[test]
    fn a_cut_piece_is_an_error() {
        let whole = object(family());
        for end in 1..whole.len() {
            assert!(names(&whole[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn a_message_of_no_length_ends_the_reading() {
        assert!(names(&[0; HEADER]).is_err());
    }

    #[test]
    fn a_change_during_the_dump_is_an_error() {
        let flags = u16::try_from(NLM_F_DUMP_INTR).unwrap();
        let interrupted = message(message_type(KIND.new), flags, &[family(), 0, 0, 0]);
        assert!(
            names(&interrupted)
                .unwrap_err()
                .to_string()
                .contains("changed")
        );
    }

    #[test]
    fn the_kernels_refusal_keeps_its_number() {
        let refusal = message(
            u16::try_from(NLMSG_ERROR).unwrap(),
            0,
            &(-1i32).to_ne_bytes(),
        );
        assert!(
            names(&refusal)
                .unwrap_err()
                .to_string()
                .contains("CAP_NET_ADMIN")
        );
    }
}
