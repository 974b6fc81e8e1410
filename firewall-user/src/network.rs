// SPDX-License-Identifier: GPL-3.0-or-later
//! The workload's network namespace and the listeners inside it.
//!
//! A socket belongs to the namespace that it was created in, whoever holds it later. So a thread enters a new
//! namespace, opens the proxy's listeners there and hands them out; the proxy itself stays in the host's namespace.
//! The new namespace has a loopback device and nothing else: no route leads out of it.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use firewall_common::Endpoints;
use keyward_proxy::control::Door;
use keyward_proxy::provider::Providers;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;

use crate::beside::Beside;
use crate::nft;
use crate::preflight::Questions;

mod loopback;

/// Connections that may wait to be accepted: the most that the kernel takes by default (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// The namespace, its listeners, and the proof that its nftables rules are in force.
#[derive(Debug)]
pub struct Network {
    /// Keeps the namespace; the workload enters it by this descriptor.
    pub namespace: OwnedFd,
    /// The proxy's listeners, each with the door that it is.
    pub listeners: Vec<(Door, OwnedFd)>,
    /// The rules of nftables.
    pub ruleset: nft::Ruleset,
    /// The proof that they were read back and compared.
    pub rules: nft::Enforced,
    /// Says that somebody has changed them.
    pub changes: nft::Changes,
    /// Reads how often they refused something.
    pub reader: nft::Reader,
    /// How the gateway is asked from there.
    pub questions: Questions,
    /// How long it took, beside other things, in microseconds.
    pub took: u128,
}

/// Makes the namespace on a thread of its own: `unshare(2)` of the network moves only the calling thread, and the
/// supervisor must stay where it is.
pub fn build(endpoints: Endpoints, providers: Providers) -> Beside<Network> {
    Beside::begin(move || {
        let begun = Instant::now();
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        loopback::bring_up(&endpoints)
            .context("cannot bring up the loopback device of the new network namespace")?;
        let_ports_be_used_again()?;
        let listeners = open_listeners(&endpoints, &providers)?;
        let ruleset = nft::Ruleset::for_workload(&endpoints);
        let (rules, changes) =
            nft::apply_and_listen(&ruleset).context("cannot apply the nftables rules")?;
        let reader = nft::Reader::open().context("cannot read the nftables rules")?;
        let questions = Questions::prepare(&endpoints, providers.iter().map(|it| it.port))?;
        // Last, so that the kernel has had the time.
        loopback::wait_for_route(&endpoints)
            .context("the proxy's IPv6 address does not come to have its route")?;
        let namespace = open(
            "/proc/thread-self/ns/net",
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .context("cannot open the new network namespace")?;
        Ok(Network {
            namespace,
            listeners,
            ruleset,
            rules,
            changes,
            reader,
            questions,
            took: begun.elapsed().as_micros(),
        })
    })
}

/// Lets a connection take the source port of one that ended a second ago, in the calling thread's namespace.
///
/// All connections of a workload go to one address, so that source ports are all that tells them apart. By default each
/// is set aside for a minute, and a workload that connects five hundred times a second has none left.
fn let_ports_be_used_again() -> Result<()> {
    // https://docs.kernel.org/networking/ip-sysctl.html: safe between peers that have TCP timestamps, as these have.
    fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1")
        .context("cannot let source ports be used again")
}

/// Runs `act` in another network namespace, on a thread that ends with it.
pub fn inside<T: Send>(namespace: &OwnedFd, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let there = || {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)
            .context("cannot enter the workload's network namespace")?;
        act()
    };
    thread::scope(|scope| scope.spawn(there).join())
        .map_err(|_panic| anyhow!("internal error: a network thread panicked"))?
}

fn open_listeners(endpoints: &Endpoints, providers: &Providers) -> Result<Vec<(Door, OwnedFd)>> {
    let mut listeners = Vec::new();
    let v4 = Ipv4Addr::from(endpoints.v4);
    let v6 = Ipv6Addr::from(endpoints.v6);
    let addresses = |port: u16| [SocketAddr::from((v4, port)), SocketAddr::from((v6, port))];
    for provider in providers.iter() {
        for address in addresses(provider.port) {
            let door = Door::Gateway {
                provider: provider.name.clone(),
            };
            listeners.push((door, tcp(address)?));
        }
    }
    let doors = [
        (endpoints.transparent, Door::Transparent),
        (endpoints.explicit, Door::Explicit),
    ];
    for (port, door) in doors.into_iter().filter(|(port, _)| *port != 0) {
        for address in addresses(port) {
            listeners.push((door.clone(), tcp(address)?));
        }
    }
    for address in addresses(endpoints.dns) {
        listeners.push((Door::DnsTcp, tcp(address)?));
        listeners.push((Door::DnsUdp, udp(address)?));
    }
    Ok(listeners)
}

fn tcp(address: SocketAddr) -> Result<OwnedFd> {
    let listen = || -> io::Result<OwnedFd> {
        let listener = TcpListener::bind(address)?;
        // The standard library asks for 128, which a burst of connections overflows.
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        Ok(listener.into())
    };
    listen().with_context(|| {
        format!("cannot listen on {address} (TCP) in the workload's network namespace")
    })
}

fn udp(address: SocketAddr) -> Result<OwnedFd> {
    let listen = || -> io::Result<OwnedFd> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    listen().with_context(|| {
        format!("cannot listen on {address} (UDP) in the workload's network namespace")
    })
}
