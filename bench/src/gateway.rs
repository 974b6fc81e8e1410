// SPDX-License-Identifier: MIT OR Apache-2.0
//! The gateway next to nginx and HAProxy, which do the same header replacement, and next to no gateway.
//!
//! Everything is on loopback in a fresh network namespace: one emulator, one load client, and the
//! contestants, each pinned to a core that load and emulator do not use. They take turns; each
//! round starts with another one, so that a machine that grows slower is unfair to none.

mod contestants;
mod measure;
mod table;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use keyward_emulator::{Emulator, Handle, Options};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;

use self::contestants::{Contestant, Setup};
use self::measure::{Many, Round};
use crate::cores::{self, Cores};
use crate::report::{Machine, Output};
use crate::{load, namespace, process};

/// Descriptors that a process may need for other things than streams.
const SPARE: u64 = 1000;

/// The streams are watched for so many times the length of another measurement.
const STREAMS_TIME: u64 = 5;

/// What the emulator takes for the real key.
const KEY: &str = "sk-real-key-of-the-benchmark";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The keyward-proxy to measure
    #[arg(long, value_name = "FILE")]
    proxy: PathBuf,

    /// The nginx to compare it with
    #[arg(long, value_name = "FILE", default_value = "/usr/sbin/nginx")]
    nginx: PathBuf,

    /// The HAProxy to compare it with
    #[arg(long, value_name = "FILE", default_value = "/usr/sbin/haproxy")]
    haproxy: PathBuf,

    /// Rounds; each contestant has its turn in each
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,

    /// Length of one throughput or latency measurement
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    seconds: u64,

    /// Event streams to hold open at once; fewer where there are not descriptors for so many
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    streams: u32,

    /// Leave a contestant out: direct, nginx, haproxy, haproxy-http2, keyward or keyward-http2
    #[arg(long, value_name = "NAME")]
    without: Vec<String>,

    #[command(flatten)]
    output: Output,
}

/// Everything that is written down.
#[derive(Debug, Serialize)]
struct Results {
    machine: Machine,
    rounds: usize,
    seconds: u64,
    contestants: Vec<Contested>,
}

/// One contestant's results.
#[derive(Debug, Serialize)]
struct Contested {
    name: &'static str,
    description: &'static str,
    rounds: Vec<Round>,
    many_streams: Many,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    namespace::enter()?;
    namespace::free_ports()?;
    let descriptors = process::raise_descriptor_limit()?;
    let cores = Cores::choose()?;
    let scratch = tempfile::tempdir().context("a temporary directory")?;
    // The emulator's thread inherits the core.
    let emulator = cores::on(cores.load, || {
        let options = Options {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8443))],
            keep_records: false,
            ..Options::new(KEY, KEY)
        };
        Emulator::start(options).context("starting the emulator")
    })?;
    cores::pin(cores.load)?;
    let setup = Setup {
        args,
        cores,
        descriptors,
        scratch: scratch.path(),
        upstream: emulator.addr(),
        ca_pem: emulator.ca_pem(),
        tls: trust(&emulator)?,
    };

    let mut contested = Vec::new();
    for contestant in Contestant::ALL {
        if !args.without.iter().any(|name| name == contestant.name()) {
            contested.push((contestant, setup.start(contestant)?, Vec::new()));
        }
    }
    for round in 0..args.rounds {
        let count = contested.len();
        for turn in 0..count {
            let (contestant, entry, rounds) = &mut contested[(turn + round) % count];
            let measured = measure::round(entry, Duration::from_secs(args.seconds))
                .with_context(|| format!("round {round}, {}", contestant.name()))?;
            rounds.push(measured);
        }
    }
    let mut results = Vec::new();
    for (contestant, entry, rounds) in contested {
        // A fresh server: what it kept from the load would hide what a stream costs.
        drop(entry);
        let entry = setup.start(contestant)?;
        let time = Duration::from_secs(args.seconds * STREAMS_TIME);
        let most = descriptors.saturating_sub(SPARE) / contestant.descriptors_for_stream();
        let streams = u32::try_from(most).map_or(args.streams, |most| most.min(args.streams));
        let many_streams = measure::many(&entry, streams, time)
            .with_context(|| format!("{streams} streams, {}", contestant.name()))?;
        let (name, description) = (contestant.name(), contestant.description());
        results.push(Contested {
            name,
            description,
            rounds,
            many_streams,
        });
    }
    let (rounds, seconds) = (args.rounds, args.seconds);
    let results = Results {
        machine: Machine::read()?,
        rounds,
        seconds,
        contestants: results,
    };
    args.output.write(&results, &table::markdown(&results))
}

/// TLS that trusts the emulator, for the client that comes without a gateway.
fn trust(emulator: &Handle) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(emulator.ca_pem().as_bytes()).context("CA")?;
    roots.add(ca).context("CA")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The requests of this benchmark.
mod requests {
    use anyhow::Result;

    use super::load::{Connection, Request, Target};

    /// What an agent inside has for a key: the gateway replaces it.
    pub(super) const PLACEHOLDER: &str = "sk-placeholder-for-api-proxy";

    /// A small question and a small answer, about 1 KiB each.
    pub(super) fn small(credential: &str) -> Request {
        let body = format!(r#"{{"model":"gpt-5","input":"{}"}}"#, "a".repeat(900));
        Request::post("/v1/responses", credential, "sink", body.as_bytes())
    }

    /// A stream whose events come 1 ms apart, so that the first byte is not the last.
    pub(super) fn stream(credential: &str) -> Request {
        let body = br#"{"model":"gpt-5","stream":true,"input":"hi"}"#;
        Request::post("/v1/responses", credential, "events=2,delay-ms=1", body)
    }

    /// Each stream's events are so many milliseconds apart: with ten thousand streams that is an event every
    /// 0.4 ms, of which the core of each contestant, and the one of the load, have time for several.
    pub(super) const PERIOD_MS: u32 = 4000;

    /// A stream with an event every so often, without end.
    pub(super) fn ticking(credential: &str) -> Request {
        let body = br#"{"model":"gpt-5","stream":true,"input":"hi"}"#;
        let wish = format!("tick-ms={PERIOD_MS}");
        Request::post("/v1/responses", credential, &wish, body)
    }

    /// A WebSocket whose messages come back.
    pub(super) fn websocket(target: &Target, credential: &str) -> Result<Connection> {
        Connection::open_websocket(target, "/v1/responses", credential, "echo")
    }

    /// The size of a large body: the gateway's default limit.
    pub(super) const LARGE: usize = 10 << 20;

    pub(super) fn download(credential: &str) -> Request {
        Request::post(
            "/v1/responses",
            credential,
            &format!("sink,bytes={LARGE}"),
            b"{}",
        )
    }

    pub(super) fn upload(credential: &str) -> Request {
        Request::post("/v1/responses", credential, "sink", &vec![b'.'; LARGE])
    }
}
