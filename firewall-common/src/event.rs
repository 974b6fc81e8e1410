// SPDX-License-Identifier: MIT OR Apache-2.0
//! One denial, as the kernel reports it through the ring buffer.

use crate::{
    Destination, Owner, Reason,
    flow::{array, destination},
};

/// The hook that denied.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// `cgroup/sock_create`.
    SockCreate = 1,
    /// `cgroup/connect4`.
    Connect4 = 2,
    /// `cgroup/connect6`.
    Connect6 = 3,
    /// `cgroup/sendmsg4`.
    Sendmsg4 = 4,
    /// `cgroup/sendmsg6`.
    Sendmsg6 = 5,
    /// `cgroup/setsockopt`.
    Setsockopt = 6,
    /// `cgroup_skb/egress`.
    Egress = 7,
    /// `cgroup_skb/ingress`.
    Ingress = 8,
}

impl Hook {
    /// Every hook that can deny.
    pub const ALL: &[Self] = &[
        Self::SockCreate,
        Self::Connect4,
        Self::Connect6,
        Self::Sendmsg4,
        Self::Sendmsg6,
        Self::Setsockopt,
        Self::Egress,
        Self::Ingress,
    ];

    /// The name, as the kernel's attach types have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SockCreate => "sock_create",
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
            Self::Sendmsg4 => "sendmsg4",
            Self::Sendmsg6 => "sendmsg6",
            Self::Setsockopt => "setsockopt",
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }

    /// The number, as events have it.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::SockCreate => 1,
            Self::Connect4 => 2,
            Self::Connect6 => 3,
            Self::Sendmsg4 => 4,
            Self::Sendmsg6 => 5,
            Self::Setsockopt => 6,
            Self::Egress => 7,
            Self::Ingress => 8,
        }
    }
}

/// One denial.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When: nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Who: the current process, or the one that made the socket for packets.
    pub owner: Owner,
    /// Where to, before any rewrite; the peer, for [`Reason::Inbound`]. Zero when there is none yet.
    pub destination: Destination,
    /// Why.
    pub reason: Reason,
    /// IP protocol; level of the option for [`Hook::Setsockopt`].
    pub protocol: u16,
    /// Type of the socket for [`Hook::SockCreate`], name of the option for [`Hook::Setsockopt`].
    pub detail: u32,
    /// Address family of the socket or packet: 2 for IPv4, 10 for IPv6, or what was asked for.
    pub family: u8,
    /// Which hook.
    pub hook: Hook,
    /// Keeps the size a multiple of the alignment.
    pub reserved: u16,
}

/// The bytes are not an event of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedEvent;

impl core::fmt::Display for MalformedEvent {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the kernel sent bytes that are not an event of this version")
    }
}

impl core::error::Error for MalformedEvent {}

impl Event {
    /// Size in bytes, as the ring buffer has it.
    pub const SIZE: usize = 80;

    /// From the bytes of the ring buffer.
    ///
    /// # Errors
    ///
    /// The length, the reason or the hook is none that this version knows.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedEvent> {
        let bytes: &[u8; Self::SIZE] = bytes.try_into().map_err(|_source| MalformedEvent)?;
        let reason = Reason::from_number(u16::from_ne_bytes(array(bytes, 68)));
        let hook = Hook::ALL.iter().find(|hook| hook.number() == bytes[77]);
        Ok(Self {
            time: u64::from_ne_bytes(array(bytes, 0)),
            owner: Owner::from_bytes(&array(bytes, 8)),
            destination: destination(bytes, 48),
            reason: reason.ok_or(MalformedEvent)?,
            detail: u32::from_ne_bytes(array(bytes, 72)),
            protocol: u16::from_ne_bytes(array(bytes, 70)),
            family: bytes[76],
            hook: *hook.ok_or(MalformedEvent)?,
            reserved: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;
    use crate::Address;

    const ADDRESS: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7];

    #[test]
    fn layout() {
        assert_eq!((size_of::<Event>(), align_of::<Event>()), (Event::SIZE, 8));
        assert_eq!(offset_of!(Event, time), 0);
        assert_eq!(offset_of!(Event, owner), 8);
        assert_eq!(offset_of!(Event, destination), 48);
        assert_eq!(offset_of!(Event, reason), 68);
        assert_eq!(offset_of!(Event, detail), 72);
        assert_eq!(offset_of!(Event, protocol), 70);
        assert_eq!(offset_of!(Event, family), 76);
        assert_eq!(offset_of!(Event, hook), 77);
        assert_eq!(offset_of!(Event, reserved), 78);
    }

    fn bytes() -> [u8; Event::SIZE] {
        let mut bytes = [0; Event::SIZE];
        bytes[..8].copy_from_slice(&7_u64.to_ne_bytes());
        bytes[16..20].copy_from_slice(&41_u32.to_ne_bytes());
        bytes[20..24].copy_from_slice(&42_u32.to_ne_bytes());
        bytes[48..64].copy_from_slice(&ADDRESS);
        bytes[64..66].copy_from_slice(&443_u16.to_ne_bytes());
        bytes[68..70].copy_from_slice(&Reason::TcpNotAllowed.number().to_ne_bytes());
        bytes[72..76].copy_from_slice(&9_u32.to_ne_bytes());
        bytes[70..72].copy_from_slice(&6_u16.to_ne_bytes());
        bytes[76] = 2;
        bytes[77] = Hook::Connect4.number();
        bytes
    }

    #[test]
    fn from_bytes_reads_every_field() {
        let event = Event::from_bytes(&bytes()).unwrap();
        assert_eq!((event.time, event.owner.pid, event.owner.tgid), (7, 41, 42));
        assert_eq!(event.destination.address, Address::from_bytes(ADDRESS));
        assert_eq!(
            (event.destination.port, event.protocol, event.family),
            (443, 6, 2)
        );
        assert_eq!(
            (event.reason, event.hook, event.detail),
            (Reason::TcpNotAllowed, Hook::Connect4, 9)
        );
    }

    #[test]
    fn what_is_not_an_event_is_refused() {
        let good = bytes();
        for length in 0..Event::SIZE {
            assert_eq!(Event::from_bytes(&good[..length]), Err(MalformedEvent));
        }
        let (mut no_reason, mut no_hook) = (good, good);
        no_reason[68..70].fill(0xff);
        no_hook[77] = 0;
        assert_eq!(Event::from_bytes(&no_reason), Err(MalformedEvent));
        assert_eq!(Event::from_bytes(&no_hook), Err(MalformedEvent));
    }

    #[test]
    fn hooks_are_numbered_once() {
        for (at, hook) in Hook::ALL.iter().enumerate() {
            assert!(
                Hook::ALL[at + 1..]
                    .iter()
                    .all(|other| other.number() != hook.number())
            );
        }
    }
}
