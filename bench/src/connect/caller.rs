// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program that calls `connect()`, the same inside and outside: after each batch of calls it
//! prints one line of JSON on stdout, and waits for a line on stdin.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, connect, socket};
use serde::{Deserialize, Serialize};

use super::Where;
use crate::namespace;

/// Calls in a batch. The first batch of a case warms up and does not count.
pub(super) const BATCH: u32 = 100;

/// Where no packet may go: documentation addresses (RFC 5737).
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Who calls whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Case {
    Outside,
    Loopback,
    Gateway,
    Redirected,
    Refused,
}

impl Case {
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Outside => "outside, to a listener on 127.0.0.1",
            Self::Loopback => "inside, to a listener on 127.0.0.1",
            Self::Gateway => "inside, to the gateway",
            Self::Redirected => "inside, redirected (to 192.0.2.1:53)",
            Self::Refused => "inside, refused (to 192.0.2.1:9)",
        }
    }
}

/// One case's times, or those of a batch.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) case: Case,
    /// Not the batch that warms up.
    pub(super) warm: bool,
    pub(super) microseconds: Vec<f64>,
}

pub(super) fn run(place: Where, calls: u32) -> Result<()> {
    if place == Where::Outside {
        namespace::enter()?;
    }
    let own = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening")?;
    let address = own.local_addr().context("the listener's address")?;
    // The listener has to be emptied; the proxy does that by itself.
    let accept = || own.accept().map(drop).context("accepting");
    match place {
        Where::Outside => measure(Case::Outside, address, calls, accept, Ok(())),
        Where::Inside => {
            let elsewhere = |port| SocketAddr::from((ELSEWHERE, port));
            let nothing = || Ok(());
            measure(Case::Loopback, address, calls, accept, Ok(()))?;
            measure(Case::Gateway, gateway()?, calls, nothing, Ok(()))?;
            measure(Case::Redirected, elsewhere(53), calls, nothing, Ok(()))?;
            measure(
                Case::Refused,
                elsewhere(9),
                calls,
                nothing,
                Err(Errno::PERM),
            )
        }
    }
}

/// Where the environment says that the gateway is.
fn gateway() -> Result<SocketAddr> {
    let url = std::env::var("OPENAI_BASE_URL").context("OPENAI_BASE_URL")?;
    let authority = url.strip_prefix("http://").context("not a http:// URL")?;
    let authority = authority.split('/').next().unwrap_or_default();
    authority
        .parse()
        .with_context(|| format!("not an address: {authority}"))
}

/// Calls `connect()` so many times, each on a new socket, each of which must end as `expected`.
fn measure(
    case: Case,
    to: SocketAddr,
    calls: u32,
    after: impl Fn() -> Result<()>,
    expected: Result<(), Errno>,
) -> Result<()> {
    let SocketAddr::V4(to) = to else {
        bail!("{to} is not an IPv4 address")
    };
    for batch in 0..=calls.div_ceil(BATCH) {
        let mut microseconds = Vec::new();
        for _ in 0..BATCH {
            microseconds.push(once(to, expected).with_context(|| case.description())?);
            after()?;
        }
        let warm = batch > 0;
        let line = serde_json::to_string(&Measured {
            case,
            warm,
            microseconds,
        })
        .context("JSON")?;
        writeln!(io::stdout(), "{line}").context("writing to stdout")?;
        io::stdin()
            .read_line(&mut String::new())
            .context("waiting for a line")?;
    }
    Ok(())
}

fn once(to: SocketAddrV4, expected: Result<(), Errno>) -> Result<f64> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).context("socket()")?;
    let begin = Instant::now();
    let result = connect(&socket, &to);
    let elapsed = begin.elapsed().as_secs_f64() * 1e6;
    if result != expected {
        bail!("connect() to {to}: {result:?} instead of {expected:?}");
    }
    Ok(elapsed)
}
