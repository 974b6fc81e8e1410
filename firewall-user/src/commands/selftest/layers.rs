// SPDX-License-Identifier: GPL-3.0-or-later
//! The parts of the firewall, one by one.

use std::net::Ipv6Addr;
use std::path::Path;

use anyhow::Result;
use firewall_common::Endpoints;
use keyward_escape::catalogue::Layer;
use keyward_escape::lab::{Lab, network};
use keyward_escape::round::Layers;

use crate::ebpf::{self, BPFFS};
use crate::nft::{self, Ruleset};

/// keyward's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts;

/// The proxy's addresses in the lab. All doors are shut but the gateway's.
fn endpoints() -> Endpoints {
    Endpoints {
        v6: Ipv6Addr::octets(&network::PROXY_V6),
        v4: network::PROXY_V4.octets(),
        gateway_first: 10000,
        gateway_last: 10099,
        transparent: 0,
        explicit: 0,
        dns: 0,
        reserved: 0,
    }
}

impl Layers for Parts {
    fn with(&self, layer: Layer, lab: &Lab, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        match layer {
            Layer::Ebpf => {
                ebpf::ensure_bpffs(Path::new(BPFFS))?;
                let pins =
                    Path::new(BPFFS).join(format!("keyward-selftest-{}", std::process::id()));
                let attached = ebpf::load(&endpoints())?.attach(lab.cgroup().directory(), &pins)?;
                let done = work();
                drop(attached);
                ebpf::unpin(&pins)?;
                done
            }
            Layer::Nftables => {
                let rules = Ruleset::for_workload(&endpoints());
                lab.host().run(move || nft::apply(&rules).map(drop))??;
                let done = work();
                lab.host().run(nft::remove)??;
                done
            }
            // Whoever makes the attempts begins by going there.
            Layer::Namespace | Layer::Pids | Layer::Ipc | Layer::Capabilities => work(),
        }
    }
}
