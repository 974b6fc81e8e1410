// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a supervisor starts and stops the proxy: both sides of the conversation.
//!
//! The proxy's standard input is one end of a Unix stream socket. In order:
//!
//! 1. The supervisor sends the credentials, in a frame of their own that is not JSON: a JSON parser would
//!    leave copies of them in memory that nobody wipes. First, so that it can forget them before it does
//!    anything else.
//! 2. The supervisor sends one message: [`RawSettings`] and the list of what each descriptor is for;
//!    the descriptors come along with its first byte. The proxy makes itself ready.
//! 3. The supervisor sends the doors in the same way, once there are any: which is while the proxy is busy with 2.
//! 4. The proxy answers `{"ready":true}` when it serves, or `{"error":"…"}` and ends.
//! 5. Later the supervisor may send `{"policy":…}`, a [`RawPolicy`]: the proxy puts it in force, or
//!    keeps the old one, and answers which. Or `{"drain":true}`: the proxy takes no new connections,
//!    lets what runs finish, and ends. Or `{"credentials":true}` and behind it a frame as in 1.: the proxy
//!    serves later requests with these, and answers how many it replaced. When the supervisor's end closes, for whatever reason, the proxy ends at
//!    once: nothing then guards the workload, and a credential must not outlive its guard.
//!
//! A message is its length as a big-endian `u32`, then that many bytes. Nothing of the workload's ever
//! reaches this socket.

mod descriptors;
mod frame;
mod proxy;
mod supervisor;
pub(crate) use self::proxy::from_standard_input;

use std::{io, time::Duration};

use keyward_policy::RawPolicy;
use serde::{Deserialize, Serialize};

pub use self::{
    frame::{decode_credentials, decode_doors, decode_start},
    proxy::{Order, Start, accept, accept_doors, answer_replaced, next_order, refuse, say_ready},
    supervisor::{
        drain, entrust, open, prepare, replace_credentials, replace_policy, wait_until_ready,
    },
};
use crate::settings::RawSettings;

/// Longest message, in bytes: room for the settings with a large private certificate bundle.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Most descriptors in one message: the listeners of six providers and of the other doors, with room.
/// (The kernel's own limit for one message is 253.)
pub const MAX_DESCRIPTORS: usize = 32;

/// How long [`wait_until_ready`] waits for the proxy in all. It takes a few milliseconds; a machine where dozens start at once gets
/// four orders of magnitude more.
pub const START_TIMEOUT: Duration = Duration::from_mins(1);

/// What a descriptor is for that comes with the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Where decisions about hosts go, one JSON line each.
    AuditLog,
    /// A pipe into which each process that uses a door is reported: its id, as a native `u32`.
    Sightings,
    /// Where the request log goes, one JSON line a request.
    RequestLog,
    /// Where accounts of tokens go, one JSON line an answer.
    TokenLog,
    /// Where diagnostics go, JSON lines.
    DiagnosticLog,
    /// The eBPF map from a connection's source to its owner (`firewall_common::FlowKey` →
    /// `FlowInfo`); reading is enough.
    FlowMap,
}

/// What a socket is for at which the proxy serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "door", rename_all = "snake_case", deny_unknown_fields)]
pub enum Door {
    /// A listening TCP socket of the gateway, for the provider with this name.
    Gateway {
        /// Name in the provider table.
        provider: String,
    },
    /// A bound UDP socket on which DNS is asked.
    DnsUdp,
    /// A listening TCP socket on which DNS is asked.
    DnsTcp,
    /// A listening TCP socket that the kernel redirects connections to.
    Transparent,
    /// A listening TCP socket for clients that know that it is a proxy.
    Explicit,
    /// A listening Unix socket at which root reads what is going on.
    Status,
}

/// The second message.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StartMessage {
    /// Version of this protocol: both binaries come from one build, so only equality is accepted.
    pub version: u32,
    /// Settings, not yet checked.
    pub settings: RawSettings,
    /// What each descriptor that came along is for, in order.
    pub descriptors: Vec<Role>,
}

/// The third message.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DoorsMessage {
    /// What each descriptor that came along is for, in order.
    pub doors: Vec<Door>,
}

/// Version of the conversation.
pub const VERSION: u32 = 2;

/// The proxy's answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ready(bool),
    Error(String),
    /// A new policy is in force, and ended so many open connections; or so many new credentials are.
    Replaced(usize),
    /// What was sent is not in force; what was before is.
    Kept(String),
}

/// The supervisor's later messages.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Later {
    Drain(bool),
    Policy(Box<RawPolicy>),
    /// They follow in a frame of their own.
    Credentials(bool),
}

/// Why a start did not succeed, on either side.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A system call on the control socket failed.
    #[error("control socket: {call} failed")]
    Socket {
        /// The call.
        call: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The other side closed the socket too early. For the supervisor: the proxy ended before it was
    /// ready; its standard error says why.
    #[error("the other side of the control socket went away before the proxy was ready")]
    Closed,
    /// No answer in time.
    #[error("the proxy did not say that it is ready within {} s", START_TIMEOUT.as_secs())]
    TimedOut,
    /// The proxy said why it does not start.
    #[error("the proxy does not start: {0}")]
    Refused(String),
    /// A message that this version does not understand.
    #[error("control message not understood: {0}")]
    Malformed(&'static str),
    /// The message, or its descriptors, is over the limits of the protocol.
    #[error("control message too large: {0}")]
    TooLarge(&'static str),
}

/// `map_err` for a system call of this module.
fn socket(call: &'static str) -> impl Fn(io::Error) -> ControlError {
    move |source| {
        // SO_RCVTIMEO and SO_SNDTIMEO report themselves as EAGAIN.
        if matches!(
            source.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        ) {
            ControlError::TimedOut
        } else {
            ControlError::Socket { call, source }
        }
    }
}
