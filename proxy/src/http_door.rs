// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plain HTTP at the doors.

use std::sync::Arc;

use bytes::BytesMut;
use firewall_common::Reason;
use keyward_policy::{Host, Scheme};
use tokio::{net::TcpStream, sync::watch};

use crate::{
    egress::{Door, Egress, Question},
    peers::Peer,
};

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
    _draining: watch::Receiver<bool>,
) {
    for host in hosts {
        let question = Question {
            door: Door::Transparent,
            host,
            port,
            scheme: Scheme::Http,
            request: None,
            peer: arrived.peer.clone(),
        };
        egress.deny(question, Reason::SchemeNotAllowed, None);
    }
}

/// Serves the inside of a tunnel that was asked for with `CONNECT host:port`, to its end.
pub(crate) async fn serve_tunnel(
    egress: Arc<Egress>,
    arrived: Arrived,
    host: Host,
    port: u16,
    draining: watch::Receiver<bool>,
) {
    serve_transparent(egress, arrived, vec![host], port, draining).await;
}
