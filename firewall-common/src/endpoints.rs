// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the proxy listens inside the workload's network namespace.
//!
//! One value, computed by the supervisor before anything is set up, is handed to the eBPF programs, to the nftables
//! rule set, to the listeners and to the workload's environment: none of them can disagree with the others.

use core::ops::RangeInclusive;

/// The gateway's ports: one for each model provider.
pub const GATEWAY_PORTS: RangeInclusive<u16> = 10000..=10004;

/// The proxy's addresses and ports. Ports are in host order; 0 means that the door is closed.
///
/// `#[repr(C)]` without padding: the eBPF programs read it as it lies in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// IPv6 address of the proxy, in network order.
    pub v6: [u8; 16],
    /// IPv4 address of the proxy, in network order.
    pub v4: [u8; 4],
    /// First port of the gateway.
    pub gateway_first: u16,
    /// Last port of the gateway.
    pub gateway_last: u16,
    /// Transparent listener: what `connect(2)` to anywhere else is redirected to.
    pub transparent: u16,
    /// Explicit proxy, for `HTTP_PROXY` and `HTTPS_PROXY`.
    pub explicit: u16,
    /// DNS listener, UDP and TCP.
    pub dns: u16,
    /// Keeps the size a multiple of the alignment of the maps that hold it.
    pub reserved: u16,
}
