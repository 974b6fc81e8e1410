// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every map, with the reasoning for its size. A run has its own set: two runs share nothing.

use aya_ebpf::{
    Global,
    btf_maps::{LruHashMap, PerCpuArray, RingBuf, SkStorage},
    macros::btf_map,
};
use firewall_common::{
    Address, COUNTERS as COUNTERS_LEN, Endpoints, Event, FlowInfo, FlowKey, Listeners,
};

/// Where the proxy listens: an [`Endpoints`], written by the loader and frozen before the programs
/// are loaded. All zero, as it is here, means that every door is closed.
///
/// Eight-byte words, for the alignment only.
#[unsafe(no_mangle)]
static ENDPOINTS: Global<[u64; Endpoints::SIZE / 8]> = Global::new([0; Endpoints::SIZE / 8]);

/// Reads one field of the frozen endpoints, as a type of the same size.
///
/// Volatile, as [`Global::load`] is: the compiler must not take the zeros above for the values.
macro_rules! endpoint {
    ($field:ident as $type:ty) => {{
        let endpoints = (&raw const ENDPOINTS).cast::<Endpoints>();
        // SAFETY: the global has the size of an `Endpoints`, and an alignment of 8.
        let field = unsafe { &raw const (*endpoints).$field }.cast::<$type>();
        // SAFETY: the field has the size of the type; every offset is a multiple of its alignment.
        unsafe { core::ptr::read_volatile(field) }
    }};
}

/// Reads the frozen endpoints.
#[inline(always)]
pub(crate) fn listeners() -> Listeners {
    Listeners {
        v6: Address::from_words(endpoint!(v6 as [u32; 4])),
        v4: Address::from_v4_word(endpoint!(v4 as u32)),
        gateway_first: endpoint!(gateway_first as u16),
        gateway_last: endpoint!(gateway_last as u16),
        transparent: endpoint!(transparent as u16),
        explicit: endpoint!(explicit as u16),
        dns: endpoint!(dns as u16),
    }
}

/// Bytes of ring buffer: room for 1,489 denials (80 bytes and the kernel's header of 8) between two
/// looks of the supervisor. A flood beyond it is counted in `COUNTERS`, not lost without a trace.
const EVENTS_SIZE: usize = 128 * 1024;

/// Denials, on their way to the supervisor.
#[btf_map]
pub(crate) static EVENTS: RingBuf<Event, EVENTS_SIZE> = RingBuf::new();

/// How often each reason denied, and how many events the ring buffer had no room for.
#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<u64, { COUNTERS_LEN as usize }> = PerCpuArray::new();

/// What is remembered of a socket. In the socket itself: it lives and dies with it, and no flood of
/// sockets can push another one's record out.
#[btf_map]
pub(crate) static SOCKETS: SkStorage<Socket> = SkStorage::new();

/// Connections to the proxy. An entry is needed from the SYN until the proxy has accepted, so that
/// the listeners' backlogs bound what is in use; the rest is slack for the kernel's per-CPU free
/// lists. Least recently used first out: a workload that floods it loses its own connections.
const FLOWS_LEN: usize = 8192;

/// What the proxy looks up when it accepts.
#[btf_map]
pub(crate) static FLOWS: LruHashMap<FlowKey, FlowInfo, FLOWS_LEN> = LruHashMap::new();

/// What is remembered of a socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Socket {
    /// Whose it is, and where it was last going.
    pub(crate) info: FlowInfo,
    /// Whether it goes to the proxy: [`NOT_PROXY`], [`ASKED`] or [`REDIRECTED`].
    pub(crate) route: u32,
    /// Non-zero once the workload has set `IPV6_V6ONLY`.
    pub(crate) v6only: u32,
}

/// The socket goes to loopback, or nowhere yet.
pub(crate) const NOT_PROXY: u32 = 0;
/// The workload asked for a listener of the proxy by itself.
pub(crate) const ASKED: u32 = 1;
/// The socket was going elsewhere and was rewritten.
pub(crate) const REDIRECTED: u32 = 2;
