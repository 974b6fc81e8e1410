// SPDX-License-Identifier: GPL-3.0-or-later
//! A way out, and somebody who watches it: a second network namespace behind a veth pair.
//!
//! The real product gives a workload no such thing. Here it is what makes a leak visible: without it nothing could
//! leave, whatever the rules say.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};
use nix::unistd::gettid;

use super::run;

/// The workload's address on the veth pair, IPv4 and IPv6.
const INSIDE: [&str; 2] = ["192.0.2.2", "2001:db8::2"];
/// The other end's.
const OUTSIDE: [&str; 2] = ["192.0.2.1", "2001:db8::1"];

/// How long a packet may take over a veth pair, on a busy machine.
const ARRIVAL: Duration = Duration::from_millis(60);

/// The second namespace, and the sniffer on its end of the pair.
pub(super) struct Outside {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
    sniffer: OwnedFd,
    /// The hardware address of the workload's end.
    workload: String,
}

type Task = Box<dyn FnOnce() + Send>;

impl Outside {
    /// Joins the calling thread's namespace to a new one, with a default route into it.
    pub(super) fn new() -> Self {
        let (tasks, inbox) = channel::<Task>();
        let thread = std::thread::spawn(move || inbox.into_iter().for_each(|task| task()));
        let mut outside = Self {
            tasks: Some(tasks),
            thread: Some(thread),
            sniffer: sniffer(),
            workload: String::new(),
        };
        let tid = outside.on(|| {
            super::new_namespace();
            gettid().to_string()
        });
        run(
            "ip",
            &[
                "link", "add", "way-out", "type", "veth", "peer", "name", "way-in", "netns", &tid,
            ],
        );
        configure("way-out", INSIDE);
        outside.sniffer = outside.on(|| {
            configure("way-in", OUTSIDE);
            sniffer()
        });
        run("ip", &["route", "add", "default", "via", OUTSIDE[0]]);
        run("ip", &["-6", "route", "add", "default", "via", OUTSIDE[1]]);
        outside.workload = hardware_address("way-out");
        outside.know_each_other();
        outside
    }

    /// Static neighbours: the question for an address would be a packet that left.
    fn know_each_other(&self) {
        let inside = self.workload.clone();
        let outside = self.on(|| hardware_address("way-in"));
        for address in OUTSIDE {
            run(
                "ip",
                &[
                    "neigh", "replace", address, "lladdr", &outside, "dev", "way-out",
                ],
            );
        }
        self.on(move || {
            for address in INSIDE {
                run(
                    "ip",
                    &[
                        "neigh", "replace", address, "lladdr", &inside, "dev", "way-in",
                    ],
                );
            }
        });
    }

    /// Runs `task` in the second namespace.
    pub(super) fn on<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = channel();
        let task = Box::new(move || sender.send(task()).expect("the test waits"));
        self.tasks
            .as_ref()
            .expect("open until dropped")
            .send(task)
            .expect("the thread lives");
        receiver.recv().expect("the task ended well")
    }

    /// The packets that have left the workload since the last call, in the sniffer's words.
    pub(super) fn seen(&self) -> Vec<String> {
        std::thread::sleep(ARRIVAL);
        let mut seen = Vec::new();
        let mut frame = [0; 2048];
        while let Ok(length) = recv(self.sniffer.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
            seen.extend(describe(&frame[..length], &self.workload));
        }
        seen
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop(self.tasks.take());
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn configure(device: &str, [v4, v6]: [&str; 2]) {
    run(
        "ip",
        &[
            "address",
            "add",
            &format!("{v4}/24"),
            "broadcast",
            "192.0.2.255",
            "dev",
            device,
        ],
    );
    run(
        "ip",
        &[
            "address",
            "add",
            &format!("{v6}/64"),
            "dev",
            device,
            "nodad",
        ],
    );
    run("ip", &["link", "set", device, "up"]);
}

fn hardware_address(device: &str) -> String {
    let link = run("ip", &["-oneline", "link", "show", device]);
    let (_, rest) = link.split_once("link/ether ").expect("an Ethernet device");
    rest.split(' ').next().expect("an address").to_owned()
}

fn sniffer() -> OwnedFd {
    socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )
    .expect("a packet socket takes root")
}

/// An IP packet that came from the workload's end, whatever its addresses say; `None` for our own frames and for what
/// the kernel itself sends on any link: neighbours and groups.
fn describe(frame: &[u8], from: &str) -> Option<String> {
    const ETHERNET: usize = 14;
    let source: Vec<String> = frame
        .get(6..12)?
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if source.join(":") != from {
        return None;
    }
    let packet = frame.get(ETHERNET..)?;
    match frame.get(12..ETHERNET)? {
        [0x08, 0x00] => Some(format!("IPv4, protocol {}", packet.get(9)?)),
        [0x86, 0xdd] => {
            let next_header = *packet.get(6)?;
            // Hop-by-hop options: multicast listener reports. ICMPv6 133 to 136: neighbour discovery.
            let kernels =
                next_header == 0 || next_header == 58 && (133..=136).contains(packet.get(40)?);
            (!kernels).then(|| format!("IPv6, next header {next_header}"))
        }
        _ => None,
    }
}
