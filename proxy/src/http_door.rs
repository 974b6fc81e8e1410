// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plain HTTP at the doors: every request is judged by itself, the second on a connection like the first.
//!
//! What the workload sends passes the guard first (`gateway::guard`), so that what is judged here, what hyper reads and
//! what goes upstream are the same request. A `Link` is one connection of the workload; `stack` has the steps of a request
//! in their order.

mod accept;
mod answer;
mod body;
mod connection;
mod fields;
mod forward;
mod leak;
mod link;
mod stack;
mod target;
mod websocket;

use std::{pin::Pin, sync::Arc};

use bytes::BytesMut;
use keyward_policy::Host;
use tokio::{net::TcpStream, sync::watch};

pub(crate) use self::{
    answer::Answer,
    forward::not_dialled,
    link::{After, Link, regain},
};
use self::{connection::connection, link::Face};
use crate::{
    egress::{Door, Egress},
    peers::Peer,
};

#[cfg(test)]
mod tests;

/// A connection, as a door hands it on.
pub(crate) struct Arrived {
    pub(crate) stream: TcpStream,
    /// What was read of it already.
    pub(crate) read: BytesMut,
    pub(crate) peer: Option<Peer>,
}

/// Serves a connection that the kernel redirected, to its end: every request on it has to be for one of `hosts`, at
/// `port`.
pub(crate) async fn serve_transparent(
    egress: Arc<Egress>,
    arrived: Arrived,
    hosts: Vec<Host>,
    port: u16,
    draining: watch::Receiver<bool>,
) {
    let face = Face::Server { hosts, port };
    connection(egress, Door::Transparent, face, arrived, draining).await;
}

/// Serves the inside of a tunnel that was asked for with `CONNECT host:port`, to its end.
///
/// A type of its own, as a connection holds what it may become, and this is one.
pub(crate) fn serve_tunnel(
    egress: Arc<Egress>,
    arrived: Arrived,
    host: Host,
    port: u16,
    draining: watch::Receiver<bool>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let hosts = vec![host];
    let face = Face::Server { hosts, port };
    Box::pin(connection(egress, Door::Explicit, face, arrived, draining))
}

/// Serves a connection to the proxy itself, to its end.
pub(crate) async fn serve_proxy(
    egress: Arc<Egress>,
    arrived: Arrived,
    draining: watch::Receiver<bool>,
) {
    let Ok(own) = arrived.stream.local_addr() else {
        return;
    };
    connection(
        egress,
        Door::Explicit,
        Face::Proxy { own },
        arrived,
        draining,
    )
    .await;
}
