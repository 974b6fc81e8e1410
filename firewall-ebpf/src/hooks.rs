// SPDX-License-Identifier: MIT OR Apache-2.0
//! One file a hook. `destination` is what connect and sendmsg share; `answer` what recvmsg and
//! getpeername share.

mod answer;
mod destination;

pub(crate) mod connect4;
pub(crate) mod connect6;
pub(crate) mod egress;
pub(crate) mod getpeername4;
pub(crate) mod getpeername6;
pub(crate) mod ingress;
pub(crate) mod recvmsg4;
pub(crate) mod recvmsg6;
pub(crate) mod sendmsg4;
pub(crate) mod sendmsg6;
pub(crate) mod setsockopt;
pub(crate) mod sock_create;
pub(crate) mod sock_ops;
