// SPDX-License-Identifier: MIT OR Apache-2.0
//! Accepts connections until there is to be drained: what the gateway and the doors share.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

/// How long accepting rests when the kernel has no descriptor or no memory left: it would say so again
/// at once.
const REST: Duration = Duration::from_millis(50);

/// Serves each connection of `listener` with `serve_one` until `draining` becomes true, then waits for
/// the connections to end by themselves. Dropping the future ends everything at once.
pub(crate) async fn serve<F>(
    listener: TcpListener,
    room: Arc<Semaphore>,
    draining: watch::Receiver<bool>,
    serve_one: impl Fn(TcpStream, SocketAddr) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            // Room first: a connection that cannot be served waits in the kernel's queue.
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            (permit, accepted) = accepted => match accepted {
                Ok((stream, address)) => {
                    let connection = serve_one(stream, address);
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(REST).await;
                }
            },
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
            () = drained(draining.clone()) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits until there is to be drained, or whoever could say so is gone.
pub(crate) async fn drained(mut draining: watch::Receiver<bool>) {
    if draining.wait_for(|it| *it).await.is_err() {
        tracing::debug!("the server is gone");
    }
}
