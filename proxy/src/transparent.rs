// SPDX-License-Identifier: MIT OR Apache-2.0
//! The transparent door: connections that the kernel redirected here.
//!
//! Where a connection was going is known from the kernel, and which name stands for that address from our own DNS. What
//! the connection then says of itself must agree with it: see [`flow`].

mod choice;
mod first;
mod flow;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use firewall_common::{Reason, Transport};
use keyward_policy::{Host, Scheme};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use self::flow::Flow;
use crate::{
    accept,
    egress::{Behind, Door, Egress, Question, tunnel::linger},
    peers::Peer,
};

/// Serves `listener` until `draining` becomes true, then waits for the connections to end by
/// themselves. Dropping the future ends everything at once.
pub(crate) async fn serve(
    egress: Arc<Egress>,
    listener: TcpListener,
    room: Arc<Semaphore>,
    draining: watch::Receiver<bool>,
) {
    let serve_one = |stream, address| {
        let flow = flow(&egress, stream, address, &draining);
        async move {
            if let Some(flow) = flow {
                flow.serve().await;
            }
        }
    };
    accept::serve(listener, room, draining.clone(), serve_one).await;
}

/// A connection, with what is known of whom it is for. `None`: it is denied, and reset.
fn flow(
    egress: &Arc<Egress>,
    stream: TcpStream,
    address: SocketAddr,
    draining: &watch::Receiver<bool>,
) -> Option<Flow> {
    // What is small is wanted now.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let peer = egress.peers.find(Transport::Tcp, address);
    match whom(egress, peer.as_ref()) {
        Ok((hosts, port)) => Some(Flow {
            egress: Arc::clone(egress),
            stream,
            read: BytesMut::new(),
            hosts,
            port,
            peer,
            draining: draining.clone(),
        }),
        Err(reason) => {
            linger(&stream, Some(Duration::ZERO));
            // Where it was going; for a stranger, all that is known is where it arrived.
            let original = match &peer {
                Some(peer) => peer.original,
                None => stream.local_addr().unwrap_or(address),
            };
            let question = Question {
                door: Door::Transparent,
                host: Host::Address(original.ip().to_canonical()),
                port: original.port(),
                scheme: Scheme::Tcp,
                request: None,
                peer,
            };
            egress.deny(question, reason, None);
            None
        }
    }
}

/// Whom it may be for: the names that stand for its address, newest first, or the address.
fn whom(egress: &Egress, peer: Option<&Peer>) -> Result<(Vec<Host>, u16), Reason> {
    let original = peer.ok_or(Reason::UnknownPeer)?.original;
    let address = original.ip().to_canonical();
    let hosts = match egress.names.behind(address) {
        Behind::Name(name) => vec![Host::Name(name)],
        // A real address, which a rule can list besides.
        Behind::Names(names) => names
            .into_iter()
            .map(Host::Name)
            .chain([Host::Address(address)])
            .collect(),
        Behind::Stale => return Err(Reason::StaleAddress),
        Behind::Nothing => vec![Host::Address(address)],
    };
    Ok((hosts, original.port()))
}
