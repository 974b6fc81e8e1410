// SPDX-License-Identifier: MIT OR Apache-2.0
//! Carries the bytes of a connection that was allowed.
//!
//! What one side does, the other sees: bytes in order, the end of one direction while the other goes on, a reset as a
//! reset. Whatever ends a tunnel before both sides have said that they are done (a limit, a new policy, the end of the
//! proxy) is a reset of both, so that nobody takes a part for the whole.
//!
//! A tunnel that is silent holds two sockets and no buffer.

mod clock;
mod other;
mod pipe;
mod way;

use std::{io, time::Duration};

use firewall_common::Reason;
use rustix::net::{Shutdown, sockopt};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest},
    net::TcpStream,
    pin, select,
};

use self::{clock::Clock, way::End};
use super::Connection;
use crate::{scan::Scanned, settings::Limits};

/// Carries bytes between the workload and its upstream until both are done. `first` is what the workload said already,
/// and goes first.
pub(crate) async fn carry(
    client: TcpStream,
    upstream: TcpStream,
    first: Vec<u8>,
    connection: &Connection,
    limits: &Limits,
) {
    // From here on every end that is not a good one is a reset: a socket that is dropped so sends one.
    for side in [&client, &upstream] {
        linger(side, Some(Duration::ZERO));
    }
    // What is looked at has to pass through memory.
    if let Some(scanner) = connection.scanner() {
        let client = Scanned::bytes(client, Some(scanner), connection.report());
        scanned(client, upstream, first, connection, limits).await;
        return;
    }
    let clock = Clock::new(limits);
    let both = both(&client, &upstream, first, connection, &clock);
    select! {
        done = both => match done {
            Ok(()) => {
                for side in [&client, &upstream] {
                    linger(side, None);
                }
            }
            Err(error) => tracing::debug!(%error, "tunnel broken"),
        },
        () = connection.ended() => {}
        () = clock.run_out() => tracing::debug!("tunnel out of time"),
    }
}

/// The same for sides that are more than a socket (TLS to a proxy, a connection that an HTTP library gave back): every
/// byte passes through memory.
pub(crate) async fn carry_other<C, U>(
    client: C,
    upstream: U,
    first: Vec<u8>,
    connection: &Connection,
    limits: &Limits,
) where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let clock = Clock::new(limits);
    select! {
        done = other::both(client, upstream, first, connection, &clock) => {
            if let Err(error) = done {
                broken(&error, connection);
            }
        }
        () = connection.ended() => {}
        () = clock.run_out() => tracing::debug!("tunnel out of time"),
    }
}

/// The same under the eyes of a scanner.
async fn scanned(
    mut client: Scanned<TcpStream>,
    mut upstream: TcpStream,
    first: Vec<u8>,
    connection: &Connection,
    limits: &Limits,
) {
    let clock = Clock::new(limits);
    let carried = async {
        client.unread(first)?;
        other::both(&mut client, &mut upstream, Vec::new(), connection, &clock).await
    };
    let done = select! {
        done = carried => done,
        () = connection.ended() => return,
        () = clock.run_out() => return tracing::debug!("tunnel out of time"),
    };
    match done {
        Ok(()) => {
            for side in [client.get_ref(), &upstream] {
                linger(side, None);
            }
        }
        Err(error) => broken(&error, connection),
    }
}

/// Notes how a tunnel broke.
fn broken(error: &io::Error, connection: &Connection) {
    if error.kind() == io::ErrorKind::PermissionDenied {
        connection.failed(Reason::SecretLeak);
    }
    tracing::debug!(%error, "tunnel broken");
}

/// What a socket does when it is dropped: `None`, it says goodbye; zero, it resets.
pub(crate) fn linger(stream: &TcpStream, time: Option<Duration>) {
    if let Err(error) = sockopt::set_socket_linger(stream, time) {
        tracing::debug!(%error, "SO_LINGER");
    }
}

/// Both directions, to their good end or the first bad one.
async fn both(
    client: &TcpStream,
    upstream: &TcpStream,
    first: Vec<u8>,
    connection: &Connection,
    clock: &Clock,
) -> io::Result<()> {
    let up = way::way(client, upstream, first, |count| {
        connection.add_up(count);
        clock.touch();
    });
    let down = way::way(upstream, client, Vec::new(), |count| {
        connection.add_down(count);
        clock.touch();
    });
    pin!(up, down);
    select! {
        end = &mut up => after(end, client, upstream, down).await,
        end = &mut down => after(end, upstream, client, up).await,
    }
}

/// What is left to do when the direction `from` → `to` has ended and `back` goes on.
async fn after(
    end: End,
    from: &TcpStream,
    to: &TcpStream,
    back: impl Future<Output = End>,
) -> io::Result<()> {
    match end {
        End::Done => {
            // The sender may be gone altogether by now, which it would say to nobody: nothing is read from it any
            // more.
            rustix::net::shutdown(to, Shutdown::Write)?;
            select! {
                end = back => match end {
                    End::Done => Ok(rustix::net::shutdown(from, Shutdown::Write)?),
                    End::From(error) | End::To(error) => Err(error),
                },
                _ready = from.ready(Interest::ERROR) => Err(io::ErrorKind::ConnectionReset.into()),
            }
        }
        // Nobody is left to take what the other side says.
        End::From(error) => Err(error),
        // What it said before it broke is still delivered, and then the break.
        End::To(error) => {
            back.await;
            Err(error)
        }
    }
}
