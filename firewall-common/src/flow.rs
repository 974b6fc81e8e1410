// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who a connection to the proxy belongs to, and where it was going.
//!
//! The eBPF side writes these before the first packet of the connection leaves; the proxy reads them
//! when it accepts. A connection that has no entry is none of the workload's and is refused.

use crate::{Address, Destination, Transport};

/// Length of a command name, with its NUL (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;

/// What the proxy knows of a peer when it accepts: the key of the FLOWS map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Source address, IPv4 as IPv4-mapped.
    pub address: Address,
    /// Source port, in host order.
    pub port: u16,
    /// IP protocol number: 6 or 17.
    pub protocol: u16,
}

impl FlowKey {
    /// Size in bytes, as the map has it.
    pub const SIZE: usize = 20;

    /// The key of the flow that comes from `peer`.
    #[inline(always)]
    #[must_use]
    pub const fn new(transport: Transport, peer: Destination) -> Self {
        let protocol = match transport {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        };
        Self {
            address: peer.address,
            port: peer.port,
            protocol,
        }
    }

    /// The key as the map has it.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..16].copy_from_slice(&self.address.to_bytes());
        bytes[16..18].copy_from_slice(&self.port.to_ne_bytes());
        bytes[18..].copy_from_slice(&self.protocol.to_ne_bytes());
        bytes
    }
}

/// The process that a socket belongs to, as the host's initial namespaces number it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Id of the cgroup.
    pub cgroup: u64,
    /// Thread (what the kernel calls pid).
    pub pid: u32,
    /// Process (what the kernel calls tgid).
    pub tgid: u32,
    /// User.
    pub uid: u32,
    /// Keeps the size a multiple of the alignment.
    pub reserved: u32,
    /// Command name, NUL-terminated.
    pub comm: [u8; COMM_LEN],
}

impl Owner {
    /// Nobody: what is reported when the kernel cannot say. No process has the number 0.
    pub const UNKNOWN: Self = Self {
        cgroup: 0,
        pid: 0,
        tgid: 0,
        uid: 0,
        reserved: 0,
        comm: [0; COMM_LEN],
    };

    /// The command name without its NULs.
    #[must_use]
    pub fn command(&self) -> &[u8] {
        let end = self
            .comm
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(COMM_LEN);
        &self.comm[..end]
    }

    pub(crate) fn from_bytes(bytes: &[u8; 40]) -> Self {
        Self {
            cgroup: u64::from_ne_bytes(array(bytes, 0)),
            pid: u32::from_ne_bytes(array(bytes, 8)),
            tgid: u32::from_ne_bytes(array(bytes, 12)),
            uid: u32::from_ne_bytes(array(bytes, 16)),
            reserved: 0,
            comm: array(bytes, 24),
        }
    }
}

/// Where a connection was going, and whose it is: the value of the FLOWS map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowInfo {
    /// Whose it is.
    pub owner: Owner,
    /// Where `connect(2)` was going before the rewrite; a listener of the proxy if the workload asked
    /// for it by itself.
    pub original: Destination,
    /// Keeps the size a multiple of the alignment.
    pub reserved: u32,
}

impl FlowInfo {
    /// Size in bytes, as the map has it.
    pub const SIZE: usize = 64;

    /// From the bytes of the map.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        Self {
            owner: Owner::from_bytes(&array(bytes, 0)),
            original: destination(bytes, 40),
            reserved: 0,
        }
    }
}

/// A destination as it lies in memory, from `at`.
pub(crate) fn destination(bytes: &[u8], at: usize) -> Destination {
    let address = Address::from_bytes(array(bytes, at));
    Destination::new(address, u16::from_ne_bytes(array(bytes, at + 16)))
}

/// `N` bytes from `at`. The callers' sizes are constants of this crate, covered by tests.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    const ADDRESS: Address =
        Address::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7]);

    #[test]
    fn layout() {
        assert_eq!(
            (size_of::<FlowKey>(), align_of::<FlowKey>()),
            (FlowKey::SIZE, 4)
        );
        assert_eq!(
            (offset_of!(FlowKey, address), offset_of!(FlowKey, port)),
            (0, 16)
        );
        assert_eq!(offset_of!(FlowKey, protocol), 18);

        assert_eq!((size_of::<Owner>(), align_of::<Owner>()), (40, 8));
        assert_eq!((offset_of!(Owner, cgroup), offset_of!(Owner, pid)), (0, 8));
        assert_eq!((offset_of!(Owner, tgid), offset_of!(Owner, uid)), (12, 16));
        assert_eq!(
            (offset_of!(Owner, reserved), offset_of!(Owner, comm)),
            (20, 24)
        );

        assert_eq!(
            (size_of::<FlowInfo>(), align_of::<FlowInfo>()),
            (FlowInfo::SIZE, 8)
        );
        assert_eq!(
            (offset_of!(FlowInfo, owner), offset_of!(FlowInfo, original)),
            (0, 40)
        );
        assert_eq!(offset_of!(FlowInfo, reserved), 60);
    }

    #[test]
    fn from_bytes_reads_every_field() {
        let mut bytes = [0; FlowInfo::SIZE];
        bytes[..8].copy_from_slice(&0x1122_3344_5566_7788_u64.to_ne_bytes());
        bytes[8..12].copy_from_slice(&1_u32.to_ne_bytes());
        bytes[12..16].copy_from_slice(&2_u32.to_ne_bytes());
        bytes[16..20].copy_from_slice(&3_u32.to_ne_bytes());
        bytes[24..28].copy_from_slice(b"curl");
        bytes[40..56].copy_from_slice(&ADDRESS.to_bytes());
        bytes[56..58].copy_from_slice(&443_u16.to_ne_bytes());
        let info = FlowInfo::from_bytes(&bytes);
        assert_eq!(info.owner.cgroup, 0x1122_3344_5566_7788);
        assert_eq!((info.owner.pid, info.owner.tgid, info.owner.uid), (1, 2, 3));
        assert_eq!(info.owner.command(), b"curl");
        assert_eq!(info.original.port, 443);
        assert_eq!(info.original.address, ADDRESS);
    }

    #[test]
    fn key_is_in_the_order_of_the_fields() {
        let peer = Destination::new(ADDRESS, 0x0909);
        let bytes = FlowKey::new(Transport::Udp, peer).to_bytes();
        assert_eq!(bytes[..16], peer.address.to_bytes());
        assert_eq!(bytes[16..18], [9, 9]);
        assert_eq!(bytes[18..], 17_u16.to_ne_bytes());
    }
}
