// SPDX-License-Identifier: MIT OR Apache-2.0
//! DNS queries a second, in a closed loop over one UDP socket: so many are under way at a time, and each answer lets the
//! next query go.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Loop;
use super::connections::summary;
use crate::stats::nanoseconds;

/// An answer that takes longer is lost, which does not happen on loopback.
const PATIENCE: Duration = Duration::from_secs(5);

const PORT: u16 = 53;

/// Where the number of queries and the number of answers are in a message, and where its flags.
const FLAGS: usize = 2;
const ANSWERS: usize = 6;

pub(super) fn run(
    name: &str,
    server: Option<IpAddr>,
    outstanding: u16,
    time: Duration,
) -> Result<Loop> {
    let server = server.map_or_else(server_of_the_system, Ok)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("a socket")?;
    socket
        .connect(SocketAddr::new(server, PORT))
        .context("connecting")?;
    socket
        .set_read_timeout(Some(PATIENCE))
        .context("SO_RCVTIMEO")?;
    let mut query = query(name)?;
    let mut send = |id: u16| {
        query[..2].copy_from_slice(&id.to_be_bytes());
        socket.send(&query).context("sending")
    };
    // Ids are the places in this list.
    let mut begun = Vec::with_capacity(usize::from(outstanding));
    let mut latencies = Vec::with_capacity(1 << 20);
    let begin = Instant::now();
    for id in 0..outstanding {
        begun.push(Instant::now());
        send(id)?;
    }
    let mut answer = [0; 1500];
    let mut running = outstanding;
    while running > 0 {
        let length = socket.recv(&mut answer).context("no answer")?;
        let id = check(&answer[..length])?;
        let now = Instant::now();
        let begun = begun
            .get_mut(usize::from(id))
            .context("an answer to nothing")?;
        latencies.push(nanoseconds(now - *begun));
        if now - begin < time {
            *begun = now;
            send(id)?;
        } else {
            running -= 1;
        }
    }
    summary(latencies, begin.elapsed())
}

/// A question for the IPv4 address of a name, with recursion desired; the id is left open.
fn query(name: &str) -> Result<Vec<u8>> {
    let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len().try_into().context("a label that is too long")?);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    Ok(query)
}

/// The id of an answer that has what was asked for.
fn check(answer: &[u8]) -> Result<u16> {
    let number = |at: usize| {
        let bytes = answer.get(at..)?.first_chunk::<2>()?;
        Some(u16::from_be_bytes(*bytes))
    };
    match (number(0), number(FLAGS), number(ANSWERS)) {
        // An answer, and its code is NOERROR.
        (Some(id), Some(flags), Some(1..)) if flags & 0x800f == 0x8000 => Ok(id),
        (_, flags, answers) => bail!("no good answer: flags {flags:x?}, {answers:?} records"),
    }
}

fn server_of_the_system() -> Result<IpAddr> {
    let text = fs::read_to_string("/etc/resolv.conf").context("/etc/resolv.conf")?;
    let mut servers = text
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver"));
    let first = servers.next().context("no nameserver in resolv.conf")?;
    first
        .trim()
        .parse()
        .context("the address of the nameserver")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_what_the_standard_says_and_only_good_answers_count() {
        let mut message = query("a.test").unwrap();
        assert_eq!(
            message,
            b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01"
        );
        assert!(check(&message).is_err(), "a query is no answer");
        message[FLAGS] |= 0x80;
        assert!(check(&message).is_err(), "no records");
        message[ANSWERS + 1] = 1;
        message[1] = 7;
        assert_eq!(check(&message).unwrap(), 7);
        message[FLAGS + 1] |= 5;
        assert!(check(&message).is_err(), "refused");
    }
}
