// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way to one provider: connections that are verified, kept, shared and given up in time.
//!
//! Nothing here knows of credentials: a request arrives complete and goes to the one target that this
//! value was made for. That is what binds a credential to its host.

mod connect;
mod pool;
pub(crate) mod race;
mod stream;
pub(crate) mod tls;

pub(crate) use self::{
    connect::{Connection, Connector, Protocol},
    pool::{Lease, Pool, to_origin_form},
    stream::{Stream, Wire},
};
