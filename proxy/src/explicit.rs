// SPDX-License-Identifier: MIT OR Apache-2.0
//! The explicit door: clients that know that it is a proxy.
//!
//! It speaks HTTP/1.1. `http://` URLs are served as at the transparent door (`http_door`); `CONNECT` opens a tunnel
//! (`connect`).

pub(crate) mod connect;

use std::sync::Arc;

use bytes::BytesMut;
use firewall_common::{Reason, Transport};
use keyward_policy::{Host, Scheme};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use crate::{
    accept,
    egress::{Door, Egress, Question},
    http_door::{Arrived, serve_proxy},
};

/// Serves `listener` until `draining` becomes true, then waits for the connections to end by
/// themselves. Dropping the future ends everything at once.
pub(crate) async fn serve(
    egress: Arc<Egress>,
    listener: TcpListener,
    room: Arc<Semaphore>,
    draining: watch::Receiver<bool>,
) {
    let serve_one = |stream, _| connection(Arc::clone(&egress), stream, draining.clone());
    accept::serve(listener, room, draining.clone(), serve_one).await;
}

async fn connection(egress: Arc<Egress>, stream: TcpStream, draining: watch::Receiver<bool>) {
    let (Ok(own), Ok(from)) = (stream.local_addr(), stream.peer_addr()) else {
        return;
    };
    let peer = egress.peers.find(Transport::Tcp, from);
    if peer.is_none() && egress.peers.are_recorded() {
        let question = Question {
            door: Door::Explicit,
            host: Host::Address(own.ip().to_canonical()),
            port: own.port(),
            scheme: Scheme::Tcp,
            request: None,
            peer: None,
        };
        egress.deny(question, Reason::UnknownPeer, None);
        return;
    }
    let arrived = Arrived {
        stream,
        read: BytesMut::new(),
        peer,
    };
    serve_proxy(egress, arrived, draining).await;
}
