// SPDX-License-Identifier: GPL-3.0-or-later
//! Hears of changes: the kernel tells whoever listens of every transaction.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// `NFNLGRP_NFTABLES` as a bit: include/uapi/linux/netfilter/nfnetlink.h.
const GROUP: u32 = 1 << 6;

/// Readable when somebody has changed rules of the namespace in which it was made.
#[derive(Debug)]
pub struct Changes(OwnedFd);

impl Changes {
    /// Begins to listen, in the calling thread's network namespace.
    pub(super) fn listen() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(netlink::NETFILTER),
        )?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUP))?;
        Ok(Self(socket))
    }

    /// Takes what was heard. What it was does not matter, nor if some of it got lost: who heard something looks.
    pub fn forget(&self) {
        let mut buffer = [0; 4096];
        while recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty())
            .is_ok_and(|(length, _)| length > 0)
        {}
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
