// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who a connection comes from: what the eBPF programs wrote down when it was made.
//!
//! Only for the logs. A peer that is not found is served like any other and its fields are left out:
//! a standalone proxy has no eBPF beside it. Reading a map through a descriptor takes no capability
//! (kernel 5.19 and later).

use std::{
    collections::HashSet,
    fmt,
    fs::File,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
};

use aya::maps::{HashMap, Map, MapData, MapError};
use firewall_common::{Address, Destination, FlowInfo, FlowKey, Transport};

type Flows = HashMap<MapData, [u8; FlowKey::SIZE], [u8; FlowInfo::SIZE]>;

/// A process of the workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Process id, as the host's initial namespace numbers it.
    pub(crate) pid: u32,
    /// Command name.
    pub(crate) comm: String,
    /// Cgroup id.
    pub(crate) cgroup: u64,
    /// Where it was going before the kernel redirected it; the listener itself if it asked for that.
    pub(crate) original: SocketAddr,
}

/// Where peers are looked up.
#[derive(Default)]
pub struct Peers {
    source: Source,
    sightings: Option<Sightings>,
}

/// Who wrote them down.
#[derive(Default)]
enum Source {
    #[default]
    Nobody,
    Kernel(Flows),
    Embedder(Box<Lookup>),
}

type Lookup = dyn Fn(Transport, SocketAddr) -> Option<FlowInfo> + Send + Sync;

/// Where processes are reported that were not seen before. This process has no right to ask what program they run; who
/// started it has.
struct Sightings {
    to: File,
    reported: Mutex<HashSet<(u32, String)>>,
}

/// Most processes that are remembered as reported; then all of them may be reported once more.
const MOST_REPORTED: usize = 4096;

impl Peers {
    /// Nobody is known.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    /// What the map behind `descriptor` says: keys are [`FlowKey`], values [`FlowInfo`].
    ///
    /// # Errors
    ///
    /// When it is not a map of that shape.
    pub fn from_map(descriptor: OwnedFd) -> Result<Self, MapError> {
        let map = Map::from_map_data(MapData::from_fd(descriptor)?)?;
        Ok(Self::of(Source::Kernel(Flows::try_from(map)?)))
    }

    /// What `lookup` says of the connection, or datagram, that came from an address: for a program that has this proxy
    /// in it and redirects connections by other means than the eBPF programs.
    #[must_use]
    pub fn from_fn(
        lookup: impl Fn(Transport, SocketAddr) -> Option<FlowInfo> + Send + Sync + 'static,
    ) -> Self {
        Self::of(Source::Embedder(Box::new(lookup)))
    }

    fn of(source: Source) -> Self {
        Self {
            source,
            sightings: None,
        }
    }

    /// Reports each process, when it is first found, as its id in native byte order. `to` does not block: what finds
    /// no room is lost.
    #[must_use]
    pub fn reporting_to(mut self, to: File) -> Self {
        self.sightings = Some(Sightings {
            to,
            reported: Mutex::default(),
        });
        self
    }

    /// Whether somebody writes down who connects, so that whoever is not found is a stranger.
    pub(crate) fn are_recorded(&self) -> bool {
        !matches!(self.source, Source::Nobody)
    }

    /// The process that connected, or sent a datagram, from `address`.
    pub(crate) fn find(&self, transport: Transport, address: SocketAddr) -> Option<Peer> {
        let FlowInfo {
            owner, original, ..
        } = match &self.source {
            Source::Nobody => return None,
            Source::Kernel(flows) => look_up(flows, transport, address)?,
            Source::Embedder(lookup) => lookup(transport, address)?,
        };
        let ip = IpAddr::from(original.address.to_bytes()).to_canonical();
        let peer = Peer {
            original: SocketAddr::new(ip, original.port),
            pid: owner.tgid,
            comm: String::from_utf8_lossy(owner.command()).into_owned(),
            cgroup: owner.cgroup,
        };
        if let Some(sightings) = &self.sightings {
            sightings.report(&peer);
        }
        Some(peer)
    }
}

impl Sightings {
    fn report(&self, peer: &Peer) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        // A process that becomes another program keeps its number.
        let key = (peer.pid, peer.comm.clone());
        if reported.len() >= MOST_REPORTED {
            reported.clear();
        }
        if reported.insert(key) {
            // Only the program's path is missing from the log then.
            (&self.to).write_all(&peer.pid.to_ne_bytes()).ok();
        }
    }
}

fn look_up(flows: &Flows, transport: Transport, address: SocketAddr) -> Option<FlowInfo> {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let peer = Destination::new(Address::from_bytes(ip.octets()), address.port());
    let info = flows
        .get(&FlowKey::new(transport, peer).to_bytes(), 0)
        .ok()?;
    Some(FlowInfo::from_bytes(&info))
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peers").field(&self.are_recorded()).finish()
    }
}
