// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program that makes the load, the same for every contestant: outside it runs as a child of the benchmark, and
//! with keyward as the workload of `keyward run`.
//!
//! It is told what to do by lines of JSON on stdin, and answers each with a line of JSON on stdout. When stdin closes,
//! it ends.

mod bulk;
mod connections;
mod dns;
mod handshakes;
mod hold;
mod route;
mod running;

use std::io::{self, BufRead, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use self::hold::Held;
use self::route::Route;
pub(crate) use self::running::Client;
use crate::cores;

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// Where to run.
    pub(crate) core: usize,
    /// Name or address of what is connected to.
    pub(crate) host: String,
    pub(crate) proxy: Proxy,
    /// What is trusted, PEM.
    pub(crate) certificate: String,
}

/// Whom to ask for a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Proxy {
    /// Nobody.
    None,
    At(SocketAddr),
    /// What the environment says.
    OfEnvironment,
}

/// Every other line. Times are in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// As many bytes as go through so many connections. Answered with [`Rate`], of MiB.
    Bulk {
        direction: Direction,
        streams: usize,
        time: u64,
    },
    /// So many clients, each of which connects, has a byte sent each way, closes, and does it again. Answered with
    /// [`Loop`].
    Connections { clients: usize, time: u64 },
    /// The same over TLS. Answered with [`Rate`].
    Handshakes { clients: usize, time: u64 },
    /// Opens so many connections and keeps them. Answered with `()`.
    Hold { connections: usize },
    /// Closes them. Answered with `()`.
    Release,
    /// So many DNS queries under way at a time, to this server or else to that of `resolv.conf`. Answered with
    /// [`Loop`].
    Dns {
        server: Option<IpAddr>,
        outstanding: u16,
        time: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Direction {
    Down,
    Up,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
}

/// What came of a closed loop.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Loop {
    pub(crate) per_second: f64,
    /// From the beginning of one until its answer was there, in microseconds.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Is the client, until stdin closes.
pub(crate) fn run() -> Result<()> {
    let mut lines = io::stdin().lock().lines();
    let setup = lines.next().context("no setup")?.context("stdin")?;
    let setup: Setup = serde_json::from_str(&setup).context("the setup")?;
    cores::pin(setup.core)?;
    let mut route = Route::new(&setup);
    let mut held = Held::default();
    say(&())?;
    for line in lines {
        let line = line.context("stdin")?;
        let task: Task = serde_json::from_str(&line).context("a task")?;
        let time = Duration::from_millis;
        match task {
            Task::Bulk {
                direction,
                streams,
                time: it,
            } => say(&bulk::run(&mut route, direction, streams, time(it))?)?,
            Task::Connections { clients, time: it } => {
                say(&connections::run(&mut route, clients, time(it))?)?;
            }
            Task::Handshakes { clients, time: it } => {
                say(&handshakes::run(&mut route, &setup, clients, time(it))?)?;
            }
            Task::Hold { connections } => say(&held.open(&mut route, connections)?)?,
            Task::Release => say(&held.release())?,
            Task::Dns {
                server,
                outstanding,
                time: it,
            } => say(&dns::run(&setup.host, server, outstanding, time(it))?)?,
        }
    }
    Ok(())
}

fn say(answer: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(answer).context("JSON")?;
    writeln!(io::stdout(), "{line}").context("writing to stdout")
}
