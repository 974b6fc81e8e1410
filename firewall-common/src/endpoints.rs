// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the proxy listens inside the workload's network namespace.
//!
//! One value, computed by the supervisor before anything is set up, is handed to the eBPF programs, to the nftables
//! rule set, to the listeners and to the workload's environment: none of them can disagree with the others.

use crate::{Address, Destination, Door, Transport};

/// First address of the pool from which names get synthetic IPv4 addresses, in host order: 198.18.0.0/15, which is set
/// aside for benchmarks (RFC 2544) and so is nobody's.
pub const NAMES_V4: u32 = 0xc612_0000;

/// First 64 bits of the pool's IPv6 addresses (RFC 4193), in host order; "keyware" in letters.
pub const NAMES_V6: [u32; 2] = [0xfd6b_6579, 0x7761_7265];

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

impl Endpoints {
    /// Size in bytes, as the eBPF programs' read-only global has it.
    pub const SIZE: usize = 32;

    /// The value as it lies in memory: what the loader writes into the programs' read-only global.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let Self {
            v6,
            v4,
            gateway_first,
            gateway_last,
            transparent,
            explicit,
            dns,
            reserved,
        } = *self;
        let mut bytes = [0; Self::SIZE];
        bytes[..16].copy_from_slice(&v6);
        bytes[16..20].copy_from_slice(&v4);
        let ports = [
            gateway_first,
            gateway_last,
            transparent,
            explicit,
            dns,
            reserved,
        ];
        for (to, port) in bytes[20..].chunks_exact_mut(2).zip(ports) {
            to.copy_from_slice(&port.to_ne_bytes());
        }
        bytes
    }

    /// The value that [`Self::to_bytes`] gave.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let mut it = Self {
            v6: [0; 16],
            v4: [0; 4],
            gateway_first: 0,
            gateway_last: 0,
            transparent: 0,
            explicit: 0,
            dns: 0,
            reserved: 0,
        };
        it.v6.copy_from_slice(&bytes[..16]);
        it.v4.copy_from_slice(&bytes[16..20]);
        let ports = [
            &mut it.gateway_first,
            &mut it.gateway_last,
            &mut it.transparent,
            &mut it.explicit,
            &mut it.dns,
            &mut it.reserved,
        ];
        for (port, from) in ports.into_iter().zip(bytes[20..].chunks_exact(2)) {
            *port = u16::from_ne_bytes([from[0], from[1]]);
        }
        it
    }

    /// The same, as the decisions want it.
    #[must_use]
    pub const fn listeners(&self) -> Listeners {
        Listeners {
            v6: Address::from_bytes(self.v6),
            v4: Address::from_v4_word(u32::from_ne_bytes(self.v4)),
            gateway_first: self.gateway_first,
            gateway_last: self.gateway_last,
            transparent: self.transparent,
            explicit: self.explicit,
            dns: self.dns,
        }
    }
}

/// [`Endpoints`] taken apart for comparing: addresses as words, because the eBPF compiler compares
/// bytes one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// IPv6 address of the proxy.
    pub v6: Address,
    /// IPv4 address of the proxy.
    pub v4: Address,
    /// First port of the gateway.
    pub gateway_first: u16,
    /// Last port of the gateway.
    pub gateway_last: u16,
    /// Transparent listener.
    pub transparent: u16,
    /// Explicit proxy.
    pub explicit: u16,
    /// DNS listener.
    pub dns: u16,
}

impl Listeners {
    /// Whether this is one of the proxy's two addresses, whatever the port.
    #[inline(always)]
    #[must_use]
    pub const fn is_proxy(&self, address: Address) -> bool {
        address.is(self.v4) || address.is(self.v6)
    }

    /// Whether a workload may ask for this port of the proxy by itself.
    ///
    /// The transparent listener is not among them: a connection that was not redirected to it has no
    /// original destination.
    #[inline(always)]
    #[must_use]
    pub const fn is_public_port(&self, transport: Transport, port: u16) -> bool {
        // A closed door has port 0, which is nobody's.
        if port == 0 {
            return false;
        }
        match transport {
            Transport::Tcp => {
                (self.gateway_first <= port && port <= self.gateway_last)
                    || port == self.explicit
                    || port == self.dns
            }
            Transport::Udp => port == self.dns,
        }
    }

    /// Whether packets to this port of the proxy may leave a workload's socket: the public ports, and
    /// the transparent listener, which connections were rewritten to.
    #[inline(always)]
    #[must_use]
    pub const fn is_listener_port(&self, transport: Transport, port: u16) -> bool {
        match transport {
            Transport::Tcp if port != 0 && port == self.transparent => true,
            Transport::Tcp | Transport::Udp => self.is_public_port(transport, port),
        }
    }

    /// The port behind a door; 0 when it is closed.
    #[inline(always)]
    #[must_use]
    pub const fn port(&self, door: Door) -> u16 {
        match door {
            Door::Transparent => self.transparent,
            Door::Dns => self.dns,
        }
    }

    /// Whether this is a listener of the proxy, as seen in a packet.
    #[inline(always)]
    #[must_use]
    pub const fn is_listener(&self, transport: Transport, at: Destination) -> bool {
        self.is_proxy(at.address) && self.is_listener_port(transport, at.port)
    }
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;

    use super::*;

    #[test]
    fn layout() {
        assert_eq!(
            (size_of::<Endpoints>(), align_of::<Endpoints>()),
            (Endpoints::SIZE, 2)
        );
        assert_eq!(offset_of!(Endpoints, v6), 0);
        assert_eq!(offset_of!(Endpoints, v4), 16);
        assert_eq!(offset_of!(Endpoints, gateway_first), 20);
        assert_eq!(offset_of!(Endpoints, gateway_last), 22);
        assert_eq!(offset_of!(Endpoints, transparent), 24);
        assert_eq!(offset_of!(Endpoints, explicit), 26);
        assert_eq!(offset_of!(Endpoints, dns), 28);
        assert_eq!(offset_of!(Endpoints, reserved), 30);
    }

    #[test]
    fn bytes_are_in_the_order_of_the_fields() {
        let endpoints = Endpoints {
            v6: [6; 16],
            v4: [4; 4],
            gateway_first: 0x0101,
            gateway_last: 0x0202,
            transparent: 0x0303,
            explicit: 0x0505,
            dns: 0x0707,
            reserved: 0,
        };
        let expected = [
            6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 4, 4, 4, 4, 1, 1, 2, 2, 3, 3, 5, 5, 7,
            7, 0, 0,
        ];
        assert_eq!(endpoints.to_bytes(), expected);
        let listeners = endpoints.listeners();
        assert_eq!(listeners.v6.to_bytes(), [6; 16]);
        assert_eq!(listeners.v4.v4_word(), Some(0x0404_0404));
        assert_eq!(
            (listeners.gateway_first, listeners.gateway_last),
            (0x0101, 0x0202)
        );
        assert_eq!(
            (listeners.transparent, listeners.explicit),
            (0x0303, 0x0505)
        );
        assert_eq!(listeners.dns, 0x0707);
    }
}
