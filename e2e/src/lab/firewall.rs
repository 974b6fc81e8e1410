// SPDX-License-Identifier: GPL-3.0-or-later
//! The eBPF layer on a lab's cgroup, and nothing else of the firewall.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use aya::maps::{HashMap, Map, MapData};
use firewall_common::{Endpoints, Event, FlowInfo, FlowKey};
use firewall_user::ebpf::{self, Attached, BPFFS};

use super::Lab;

/// The programs, attached to a lab's cgroup until dropped.
#[derive(Debug)]
pub struct Firewall {
    /// What the supervisor holds.
    pub attached: Attached,
}

impl Firewall {
    /// Loads the programs and attaches them.
    ///
    /// # Panics
    ///
    /// The kernel lacks something, or this is not root: a kernel test fails then, it does not skip.
    #[must_use]
    pub fn on(lab: &Lab, endpoints: &Endpoints) -> Self {
        ebpf::ensure_bpffs(Path::new(BPFFS)).expect("the BPF file system");
        let attached = ebpf::load(endpoints)
            .expect("loading takes root: cargo xtask test")
            .attach(lab.cgroup(), &pins())
            .expect("attaching");
        Self { attached }
    }

    /// The denials since the last call.
    ///
    /// # Panics
    ///
    /// The kernel sent something else.
    pub fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.attached
            .events()
            .drain(|event| events.push(event.expect("an event")));
        events
    }

    /// What the proxy would find when it accepts from this peer.
    ///
    /// # Panics
    ///
    /// The map cannot be read.
    #[must_use]
    pub fn flow(&self, key: &FlowKey) -> Option<FlowInfo> {
        let fd = self
            .attached
            .flows_fd()
            .try_clone_to_owned()
            .expect("a descriptor");
        let map = Map::LruHashMap(MapData::from_fd(fd).expect("a map"));
        let map =
            HashMap::<_, [u8; FlowKey::SIZE], [u8; FlowInfo::SIZE]>::try_from(map).expect("FLOWS");
        map.get(&key.to_bytes(), 0)
            .ok()
            .map(|bytes| FlowInfo::from_bytes(&bytes))
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        let unpinned = ebpf::unpin(self.attached.pins());
        // A second panic would hide the first.
        if !std::thread::panicking() {
            unpinned.expect("no pin is left");
        }
    }
}

/// A directory for pins that nobody has.
#[must_use]
pub fn pins() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Path::new(BPFFS).join(format!("keyward-test-{}-{number}", std::process::id()))
}

/// The id of a cgroup, as the kernel gives it to programs.
///
/// # Panics
///
/// There is no such cgroup.
#[must_use]
pub fn cgroup_id(cgroup: &Path) -> u64 {
    fs::metadata(cgroup).expect("a cgroup").ino()
}
