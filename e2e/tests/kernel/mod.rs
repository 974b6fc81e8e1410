// SPDX-License-Identifier: GPL-3.0-or-later
//! What the kernel tests share: the eBPF layer on a lab's cgroup.
#![allow(dead_code, reason = "every test file uses another part")]

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use aya::maps::{HashMap, Map, MapData};
use e2e::lab::Lab;
use firewall_common::{Endpoints, Event, FlowInfo, FlowKey};
use firewall_user::ebpf::{self, Attached, BPFFS};

/// The programs, attached to a lab's cgroup until dropped.
#[derive(Debug)]
pub(crate) struct Firewall {
    pub(crate) attached: Attached,
}

impl Firewall {
    pub(crate) fn on(lab: &Lab, endpoints: &Endpoints) -> Self {
        ebpf::ensure_bpffs(Path::new(BPFFS)).unwrap();
        let attached = ebpf::load(endpoints)
            .unwrap()
            .attach(lab.cgroup(), &pins())
            .unwrap();
        Self { attached }
    }

    /// The denials since the last call.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.attached
            .events()
            .drain(|event| events.push(event.unwrap()));
        events
    }

    /// What the proxy would find when it accepts from this peer.
    pub(crate) fn flow(&self, key: &FlowKey) -> Option<FlowInfo> {
        let fd = self.attached.flows_fd().try_clone_to_owned().unwrap();
        let map = Map::LruHashMap(MapData::from_fd(fd).unwrap());
        let map = HashMap::<_, [u8; FlowKey::SIZE], [u8; FlowInfo::SIZE]>::try_from(map).unwrap();
        map.get(&key.to_bytes(), 0)
            .ok()
            .map(|bytes| FlowInfo::from_bytes(&bytes))
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        if let Err(error) = ebpf::unpin(self.attached.pins())
            && !std::thread::panicking()
        {
            panic!("{error}");
        }
    }
}

/// A directory for pins that nobody has.
pub(crate) fn pins() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Path::new(BPFFS).join(format!("keyward-test-{}-{number}", std::process::id()))
}

/// The id of a cgroup, as the kernel gives it to programs.
pub(crate) fn id(cgroup: &Path) -> u64 {
    fs::metadata(cgroup).unwrap().ino()
}
