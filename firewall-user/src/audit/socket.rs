// SPDX-License-Identifier: GPL-3.0-or-later
//! A socket that seccomp refused, in words.

use firewall_common::{Owner, Reason};

use super::describe::protocol_name;

/// A refused `socket(2)`.
#[derive(Clone, Copy, Debug)]
pub struct RefusedSocket {
    /// Who asked for it.
    pub owner: Owner,
    family: i32,
    kind: i32,
    protocol: i32,
}

/// Flags that share the argument with the type.
const FLAGS: i32 = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;

impl RefusedSocket {
    /// From the arguments of the system call.
    pub fn new(owner: Owner, arguments: [u64; 6]) -> Self {
        // An int is in the lower half of its register; the kernel does not look at the rest.
        let int = |argument: u64| {
            let bytes = argument.to_le_bytes();
            i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        };
        Self {
            owner,
            family: int(arguments[0]),
            kind: int(arguments[1]) & !FLAGS,
            protocol: int(arguments[2]),
        }
    }

    fn is_ip(&self) -> bool {
        matches!(self.family, libc::AF_INET | libc::AF_INET6)
    }

    /// Why it was refused.
    pub fn reason(&self) -> Reason {
        if self.is_ip() {
            Reason::SocketNotAllowed
        } else {
            Reason::FamilyNotAllowed
        }
    }

    /// The family's name, or its number.
    pub fn family(&self) -> String {
        family_name(self.family)
    }

    /// The type's name, or its number.
    pub fn kind(&self) -> String {
        kind_name(self.kind)
    }

    /// The protocol's name, if it is one of IP; the numbers of other families have meanings of their own.
    pub fn protocol(&self) -> String {
        match u16::try_from(self.protocol) {
            Ok(number) if self.is_ip() => protocol_name(number),
            Ok(_) | Err(_) => format!("protocol {}", self.protocol),
        }
    }

    /// What was refused, in a few words.
    pub(super) fn what(&self) -> String {
        if self.is_ip() && matches!(self.kind, libc::SOCK_STREAM | libc::SOCK_DGRAM) {
            format!("{} socket", self.protocol())
        } else if self.is_ip() {
            format!("{} socket", self.kind())
        } else {
            format!("{} socket", self.family())
        }
    }
}

/// The families that somebody may meet, as socket(2) names them.
pub(super) fn family_name(family: i32) -> String {
    let name = match family {
        libc::AF_UNSPEC => "AF_UNSPEC",
        libc::AF_UNIX => "AF_UNIX",
        libc::AF_INET => "AF_INET",
        libc::AF_AX25 => "AF_AX25",
        libc::AF_IPX => "AF_IPX",
        libc::AF_APPLETALK => "AF_APPLETALK",
        libc::AF_X25 => "AF_X25",
        libc::AF_INET6 => "AF_INET6",
        libc::AF_KEY => "AF_KEY",
        libc::AF_NETLINK => "AF_NETLINK",
        libc::AF_PACKET => "AF_PACKET",
        libc::AF_RDS => "AF_RDS",
        libc::AF_PPPOX => "AF_PPPOX",
        libc::AF_LLC => "AF_LLC",
        libc::AF_IB => "AF_IB",
        libc::AF_MPLS => "AF_MPLS",
        libc::AF_CAN => "AF_CAN",
        libc::AF_TIPC => "AF_TIPC",
        libc::AF_BLUETOOTH => "AF_BLUETOOTH",
        libc::AF_RXRPC => "AF_RXRPC",
        libc::AF_ALG => "AF_ALG",
        libc::AF_NFC => "AF_NFC",
        libc::AF_VSOCK => "AF_VSOCK",
        KCM => "AF_KCM",
        QIPCRTR => "AF_QIPCRTR",
        SMC => "AF_SMC",
        libc::AF_XDP => "AF_XDP",
        number => return format!("family {number}"),
    };
    name.to_owned()
}

/// Not in the libc crate: include/linux/socket.h.
const KCM: i32 = 41;
const QIPCRTR: i32 = 42;
const SMC: i32 = 43;

/// The types, in words.
pub(super) fn kind_name(kind: i32) -> String {
    let name = match kind {
        libc::SOCK_STREAM => "stream",
        libc::SOCK_DGRAM => "datagram",
        libc::SOCK_RAW => "raw",
        libc::SOCK_RDM => "rdm",
        libc::SOCK_SEQPACKET => "seqpacket",
        PACKET => "packet",
        number => return format!("type {number}"),
    };
    name.to_owned()
}

/// Not in the libc crate; see socket(2).
const PACKET: i32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(family: i32, kind: i32, protocol: i32) -> RefusedSocket {
        // As the kernel may have them: with anything in the upper halves.
        let argument = |value: i32| u64::from(value.cast_unsigned()) | 0xdead_beef << 32;
        let arguments = [family, kind, protocol, 0, 0, 0].map(argument);
        RefusedSocket::new(Owner::UNKNOWN, arguments)
    }

    #[test]
    fn says_what_was_asked_for() {
        for (family, kind, protocol, words, reason) in [
            (
                libc::AF_INET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::IPPROTO_ICMP,
                ["raw socket", "AF_INET", "raw", "icmp"],
                Reason::SocketNotAllowed,
            ),
            (
                libc::AF_INET6,
                libc::SOCK_RAW,
                255,
                ["raw socket", "AF_INET6", "raw", "raw"],
                Reason::SocketNotAllowed,
            ),
            (
                libc::AF_INET,
                10,
                0x300,
                ["packet socket", "AF_INET", "packet", "ip protocol 768"],
                Reason::SocketNotAllowed,
            ),
            (
                libc::AF_INET6,
                libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
                libc::IPPROTO_ICMPV6,
                ["icmpv6 socket", "AF_INET6", "datagram", "icmpv6"],
                Reason::SocketNotAllowed,
            ),
            (
                libc::AF_VSOCK,
                libc::SOCK_STREAM | libc::SOCK_NONBLOCK,
                0,
                ["AF_VSOCK socket", "AF_VSOCK", "stream", "protocol 0"],
                Reason::FamilyNotAllowed,
            ),
            (
                -1,
                -1,
                -1,
                [
                    "family -1 socket",
                    "family -1",
                    "type -526337",
                    "protocol -1",
                ],
                Reason::FamilyNotAllowed,
            ),
        ] {
            let it = refused(family, kind, protocol);
            assert_eq!([it.what(), it.family(), it.kind(), it.protocol()], words);
            assert_eq!(it.reason(), reason);
        }
    }
}
