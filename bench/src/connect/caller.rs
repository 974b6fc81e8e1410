// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program that calls `connect()`, the same inside and outside: one line of JSON on stdout, then
//! it waits for the end of stdin.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, connect, socket};
use serde::{Deserialize, Serialize};

use super::Where;
use crate::namespace;

/// Calls before those that count.
const WARM_UP: u32 = 100;

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

/// One case's times.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) case: Case,
    pub(super) microseconds: Vec<f64>,
}

pub(super) fn run(place: Where, calls: u32) -> Result<()> {
    let own = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening");
    let mut cases = Vec::new();
    match place {
        Where::Outside => {
            namespace::enter()?;
            cases.push(succeeding(Case::Outside, &own()?, calls)?);
        }
        Where::Inside => {
            cases.push(succeeding(Case::Loopback, &own()?, calls)?);
            let gateway = gateway()?;
            cases.push(measure(Case::Gateway, gateway, calls, || Ok(()), Ok(()))?);
            let name_server = SocketAddr::from((ELSEWHERE, 53));
            cases.push(measure(
                Case::Redirected,
                name_server,
                calls,
                || Ok(()),
                Ok(()),
            )?);
            let discard = SocketAddr::from((ELSEWHERE, 9));
            cases.push(measure(
                Case::Refused,
                discard,
                calls,
                || Ok(()),
                Err(Errno::PERM),
            )?);
        }
    }
    let line = serde_json::to_string(&cases).context("JSON")?;
    writeln!(io::stdout(), "{line}").context("writing to stdout")?;
    io::stdin()
        .read_to_end(&mut Vec::new())
        .context("waiting for the end of stdin")?;
    Ok(())
}

/// To a listener of our own, which has to be emptied.
fn succeeding(case: Case, listener: &TcpListener, calls: u32) -> Result<Measured> {
    let address = listener.local_addr().context("the listener's address")?;
    let accept = || listener.accept().map(drop).context("accepting");
    measure(case, address, calls, accept, Ok(()))
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
) -> Result<Measured> {
    let SocketAddr::V4(to) = to else {
        bail!("{to} is not an IPv4 address")
    };
    let mut microseconds = Vec::new();
    for call in 0..WARM_UP + calls {
        let elapsed = once(to, expected).with_context(|| case.description())?;
        after()?;
        if call >= WARM_UP {
            microseconds.push(elapsed);
        }
    }
    Ok(Measured { case, microseconds })
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
