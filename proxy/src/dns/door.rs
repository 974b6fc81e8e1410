// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sockets of the DNS door, and its lines in the log.

use std::{io, sync::Arc, time::Duration};

use firewall_common::Transport;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    time::timeout,
};

use super::{Asker, reply};
use crate::{gateway::Shared, refusal::Refusal};

/// Longest pause on a TCP connection: RFC 7766 advises seconds.
const IDLE: Duration = Duration::from_secs(10);

/// Most TCP connections at a time.
const CONNECTIONS: usize = 64;

/// Most datagrams that are judged at the end: a flood must not keep the proxy from ending.
const DRAINED: usize = 1000;

/// How long a failing socket rests before it is asked again.
const REST: Duration = Duration::from_millis(50);

/// Answers datagrams for ever.
pub(crate) async fn serve_udp(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; 65_535];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, address)) => {
                let asker = Asker {
                    transport: Transport::Udp,
                    address,
                };
                let query = buffer.get(..length).unwrap_or_default();
                if let Some(answer) = judge(&shared, asker, query)
                    && let Err(error) = socket.send_to(&answer, address).await
                {
                    tracing::debug!(%error, "DNS answer not sent");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "DNS socket");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// Judges the datagrams that are there, without waiting for more. Nobody is left to be answered.
pub(crate) fn drain_udp(shared: &Shared, socket: &UdpSocket) {
    let mut buffer = vec![0; 65_535];
    for _ in 0..DRAINED {
        let Ok((length, address)) = socket.try_recv_from(&mut buffer) else {
            return;
        };
        let asker = Asker {
            transport: Transport::Udp,
            address,
        };
        // Judging writes it down.
        drop(judge(
            shared,
            asker,
            buffer.get(..length).unwrap_or_default(),
        ));
    }
}

/// Answers connections for ever.
pub(crate) async fn serve_tcp(shared: Arc<Shared>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, address)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let asker = Asker {
                        transport: Transport::Tcp,
                        address,
                    };
                    if let Err(error) = connection(&shared, stream, asker).await {
                        tracing::debug!(%error, "DNS connection ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "DNS listener");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

async fn connection(shared: &Shared, mut stream: TcpStream, asker: Asker) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let mut length = [0; 2];
        timeout(IDLE, stream.read_exact(&mut length)).await??;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        timeout(IDLE, stream.read_exact(&mut query)).await??;
        let Some(answer) = judge(shared, asker, &query) else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let message = [&length.to_be_bytes()[..], &answer].concat();
        timeout(IDLE, stream.write_all(&message)).await??;
    }
}

/// The answer to a query, and a line about it.
fn judge(shared: &Shared, asker: Asker, query: &[u8]) -> Option<Vec<u8>> {
    let reply = reply(query)?;
    shared.log.add(|line| {
        line.plain("event", "dns");
        if let Some(run) = &shared.run {
            line.text("run", run);
        }
        line.plain("decision", "denied");
        line.plain("reason", Refusal::Dns.name());
        line.plain(
            "protocol",
            match asker.transport {
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
            },
        );
        if let Some((name, kind)) = &reply.question {
            line.text("name", name);
            line.text("type", kind);
        }
        if let Some(peer) = shared.peers.find(asker.transport, asker.address) {
            line.number("pid", peer.pid);
            line.text("comm", &peer.comm);
            line.number("cgroup", peer.cgroup);
        }
    });
    Some(reply.bytes)
}
