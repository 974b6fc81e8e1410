// SPDX-License-Identifier: GPL-3.0-or-later
//! What init and the supervisor tell each other: one JSON value a packet.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Larger than any message: the longest carries one error text.
const MAX_MESSAGE: usize = 16 * 1024;

/// From init.
#[derive(Debug, Deserialize, Serialize)]
pub enum Report {
    /// The sandbox stands. With it comes the listener of the seccomp filter, see [`crate::sandbox::seccomp::apply`],
    /// unless that is lacking and may be.
    Confined(Confined),
    /// The command was started.
    Started,
    /// The command was not started.
    Failed(Failure),
    /// The command's process was stopped (Ctrl-Z), by this signal.
    Stopped(i32),
    /// The command ended with this status.
    Exited(i32),
    /// The command was ended by this signal.
    Signaled(i32),
}

/// What init tells of the sandbox that it has set up.
#[derive(Debug, Deserialize, Serialize)]
pub struct Confined {
    /// How long each step took, in microseconds.
    pub timings: BTreeMap<String, u64>,
}

/// Why the command was not started.
#[derive(Debug, Deserialize, Serialize)]
pub enum Failure {
    /// The sandbox could not be set up.
    Setup(String),
    /// The shell's 126: it is there but cannot be run.
    CannotRun(String),
    /// The shell's 127.
    NotFound(String),
}

/// To init.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub enum Request {
    /// Start the command: the first word, and said once.
    Start,
    /// Pass this signal to the command's process group.
    Signal(i32),
    /// Go on after a stop.
    Continue {
        /// Whether the command gets the terminal's foreground back.
        foreground: bool,
    },
}

impl Failure {
    /// What init itself exits with; the supervisor goes by the report.
    pub const NOT_STARTED: i32 = 125;
}

/// One end of the conversation: packets, in order, and an end that is noticed.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        Ok((Self(one), Self(other)))
    }

    /// Sends one message. Fails when the other side is gone.
    pub fn send(&self, message: &impl Serialize) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(message)?;
        bytes.truncate(MAX_MESSAGE);
        send(self.0.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Receives one message, waiting for it. `None` when the other side is gone.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<T>> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let length = match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(0) | Err(nix::errno::Errno::ECONNRESET) => return Ok(None),
            Ok(length) => length,
            Err(error) => return Err(error.into()),
        };
        Ok(Some(serde_json::from_slice(&buffer[..length])?))
    }

    /// Sends one message, with a descriptor if there is one, of which the other side gets a copy.
    pub(super) fn send_with(
        &self,
        message: &impl Serialize,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<_> = descriptor.into_iter().collect();
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other(
                "internal error: no space for a descriptor",
            ));
        }
        sendmsg(
            &self.0,
            &[IoSlice::new(&bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    /// As [`Self::receive`], with the descriptor that came with the message. [`Self::receive`] would drop it.
    pub fn receive_with<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        let length = match received {
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            received => received?.bytes,
        };
        if length == 0 {
            return Ok(None);
        }
        let mut descriptor = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(passed) = message {
                descriptor = passed.last().or(descriptor);
            }
        }
        Ok(Some((
            serde_json::from_slice(&buffer[..length])?,
            descriptor,
        )))
    }

    /// Whether the other side is gone.
    pub(super) fn is_closed(&self) -> bool {
        let mut descriptors = [PollFd::new(self.as_fd(), PollFlags::empty())];
        match poll(&mut descriptors, PollTimeout::ZERO) {
            Ok(_) => descriptors[0]
                .revents()
                .is_none_or(|found| found.contains(PollFlags::POLLHUP)),
            // In doubt nobody guards us.
            Err(_) => true,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
