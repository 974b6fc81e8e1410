// SPDX-License-Identifier: MIT OR Apache-2.0
//! TCP to the first of several addresses that answers.

use std::{net::SocketAddr, time::Duration};

use tokio::{net::TcpStream, task::JoinSet};

use crate::refusal::UpstreamFault;

/// Head start of an address before the next one is tried beside it: the recommended delay of
/// RFC 8305, section 8.
const HEAD_START: Duration = Duration::from_millis(250);

/// Dials the addresses, the families in turn, each a little after the one before; the first
/// connection wins (RFC 8305).
pub(crate) async fn connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, UpstreamFault> {
    // What there is most of needs no race.
    if let [only] = addresses[..] {
        return dial(only).await;
    }
    let (v6, v4): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv6);
    let mut attempts = JoinSet::new();
    for (at, address) in alternate(v6, v4).enumerate() {
        let wait = HEAD_START.saturating_mul(u32::try_from(at).unwrap_or(u32::MAX));
        attempts.spawn(async move {
            tokio::time::sleep(wait).await;
            dial(address).await
        });
    }
    while let Some(result) = attempts.join_next().await {
        if let Ok(Ok(stream)) = result {
            return Ok(stream);
        }
    }
    Err(UpstreamFault::Unreachable)
}

/// One of `first`, one of `second`, and so on; then what is left.
fn alternate<T>(first: Vec<T>, second: Vec<T>) -> impl Iterator<Item = T> {
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turn = false;
    std::iter::from_fn(move || {
        turn = !turn;
        if turn {
            first.next().or_else(|| second.next())
        } else {
            second.next().or_else(|| first.next())
        }
    })
}

pub(crate) async fn dial(address: SocketAddr) -> Result<TcpStream, UpstreamFault> {
    let stream = TcpStream::connect(address).await.map_err(|error| {
        tracing::debug!(%address, %error, "connect failed");
        UpstreamFault::Unreachable
    })?;
    // Events are small, and each is wanted now.
    stream
        .set_nodelay(true)
        .map_err(|_gone| UpstreamFault::Unreachable)?;
    Ok(stream)
}
