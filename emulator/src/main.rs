// SPDX-License-Identifier: MIT OR Apache-2.0
//! `keyward-emulator`: the emulator as a program. When it is ready it prints one line of JSON on
//! stdout, `{"addresses": [...], "ca": "..."}`.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use keyward_emulator::{
    AccessKey, Alpn, Behaviour, Emulator, Ending, Options, Provider, WebSocketMode,
};

/// Stand in for the model providers, with made-up keys
///
/// Every request is answered with the same text, every key but the given one with the provider's
/// own 401, and what was sent is recorded, credentials included.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: Vec<SocketAddr>,

    /// Further name or address for the certificate
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,

    /// Where to write the CA certificate, PEM
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,

    /// The key that OpenAI's API accepts
    #[arg(
        long,
        value_name = "KEY",
        env = "KEYWARD_EMULATOR_OPENAI_KEY",
        hide_env_values = true
    )]
    openai_key: Option<String>,

    /// A file with the key that OpenAI's API accepts
    #[arg(long, value_name = "FILE", conflicts_with = "openai_key")]
    openai_key_file: Option<PathBuf>,

    /// The key that Anthropic's API accepts
    #[arg(
        long,
        value_name = "KEY",
        env = "KEYWARD_EMULATOR_ANTHROPIC_KEY",
        hide_env_values = true
    )]
    anthropic_key: Option<String>,

    /// A file with the key that Anthropic's API accepts
    #[arg(long, value_name = "FILE", conflicts_with = "anthropic_key")]
    anthropic_key_file: Option<PathBuf>,

    /// The key that Copilot's API accepts; like the ones below, none lets nobody in
    #[arg(
        long,
        value_name = "KEY",
        env = "KEYWARD_EMULATOR_COPILOT_KEY",
        hide_env_values = true
    )]
    copilot_key: Option<String>,

    /// The key that Gemini's API accepts
    #[arg(
        long,
        value_name = "KEY",
        env = "KEYWARD_EMULATOR_GEMINI_KEY",
        hide_env_values = true
    )]
    gemini_key: Option<String>,

    /// The key that Vertex AI accepts
    #[arg(
        long,
        value_name = "KEY",
        env = "KEYWARD_EMULATOR_VERTEX_KEY",
        hide_env_values = true
    )]
    vertex_key: Option<String>,

    /// The key that Azure's OpenAI accepts
    #[arg(
        long,
        value_name = "KEY",
        env = "KEYWARD_EMULATOR_AZURE_KEY",
        hide_env_values = true
    )]
    azure_key: Option<String>,

    /// The key that Amazon Bedrock accepts
    #[arg(
        long,
        value_name = "KEY",
        env = "KEYWARD_EMULATOR_BEDROCK_KEY",
        hide_env_values = true
    )]
    bedrock_key: Option<String>,

    /// The AWS access key whose signatures Amazon Bedrock accepts: ID:SECRET, or ID:SECRET:TOKEN
    #[arg(
        long,
        value_name = "KEY",
        env = "KEYWARD_EMULATOR_AWS_ACCESS_KEY",
        hide_env_values = true,
        value_parser = access_key
    )]
    aws_access_key: Option<AccessKey>,

    /// What a WebSocket handshake gets
    #[arg(long, value_enum, default_value_t = WebSocket::Accept)]
    websocket: WebSocket,

    /// Which protocols to offer by ALPN
    #[arg(long, value_enum, default_value_t = Protocols::Both)]
    alpn: Protocols,

    /// The text of every answer
    #[arg(long, value_name = "TEXT", default_value = "Hello from the emulator.")]
    answer: String,

    /// Repeat or cut the answer to this many bytes
    #[arg(long, value_name = "N")]
    bytes: Option<usize>,

    /// Stream the answer in this many pieces [default: one a word]
    #[arg(long, value_name = "N")]
    events: Option<usize>,

    /// Pause between the events of a stream
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    delay_ms: u64,

    /// Never end a stream: after the answer's text it stays open, idle
    #[arg(long, conflicts_with = "cut")]
    idle: bool,

    /// Break every stream off after the answer's text
    #[arg(long)]
    cut: bool,

    /// What the first request for an answer gets instead, the second, and so on: as in an x-emulator header,
    /// "status=429, retry-after=1"
    #[arg(long, value_name = "ORDER")]
    first: Vec<String>,

    /// Append what was sent to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Put whole bodies into the record
    #[arg(long, requires = "record")]
    record_bodies: bool,

    /// Stop when stdin ends
    #[arg(long)]
    until_eof: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WebSocket {
    /// 101, and events as frames
    Accept,
    /// 426 Upgrade Required
    #[value(name = "426")]
    UpgradeRequired,
    /// 404 Not Found
    #[value(name = "404")]
    NotFound,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocols {
    /// HTTP/2 and HTTP/1.1
    Both,
    /// HTTP/1.1 only
    #[value(name = "http/1.1")]
    Http1,
    /// HTTP/2 only
    #[value(name = "h2")]
    Http2,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let until_eof = args.until_eof;
    let ca = args.ca.clone();
    let emulator = Emulator::start(options(args)?)?;
    std::fs::write(&ca, emulator.ca_pem()).with_context(|| format!("writing {}", ca.display()))?;

    let ready = serde_json::json!({"addresses": emulator.addresses(), "ca": ca});
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{ready}")
        .and_then(|()| stdout.flush())
        .context("writing to stdout")?;
    drop(stdout);
    if until_eof {
        wait_for_eof().context("reading stdin")?;
    } else {
        // A signal ends the process; there is nothing to save.
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
    Ok(())
}

fn options(args: Args) -> Result<Options> {
    let openai_key = key(
        "--openai-key",
        args.openai_key,
        args.openai_key_file.as_deref(),
    )?;
    let anthropic_key = key(
        "--anthropic-key",
        args.anthropic_key,
        args.anthropic_key_file.as_deref(),
    )?;
    let more = [
        (Provider::Copilot, args.copilot_key),
        (Provider::Gemini, args.gemini_key),
        (Provider::Vertex, args.vertex_key),
        (Provider::Azure, args.azure_key),
        (Provider::Bedrock, args.bedrock_key),
    ];
    let more = more.into_iter().filter_map(|(it, key)| Some((it, key?)));
    // An empty key would let in a request that has none.
    let more_keys = more.filter(|(_, key)| !key.is_empty()).collect();
    Ok(Options {
        more_keys,
        access_key: args.aws_access_key,
        listen: args.listen,
        names: args.names,
        openai_key,
        anthropic_key,
        websocket: match args.websocket {
            WebSocket::Accept => WebSocketMode::Accept,
            WebSocket::UpgradeRequired => WebSocketMode::UpgradeRequired,
            WebSocket::NotFound => WebSocketMode::NotFound,
        },
        alpn: match args.alpn {
            Protocols::Both => Alpn::Both,
            Protocols::Http1 => Alpn::Http1,
            Protocols::Http2 => Alpn::Http2,
        },
        behaviour: Behaviour {
            answer: args.answer,
            bytes: args.bytes,
            events: args.events,
            delay: Duration::from_millis(args.delay_ms),
            ending: match (args.idle, args.cut) {
                (true, _) => Ending::Idle,
                (false, true) => Ending::Cut,
                (false, false) => Ending::Complete,
            },
            ..Behaviour::default()
        },
        first: args.first,
        keep_records: false,
        record_file: args.record,
        record_bodies: args.record_bodies,
    })
}

/// The parts, with colons between them: none of them has one.
fn access_key(text: &str) -> Result<AccessKey, &'static str> {
    let mut parts = text.splitn(3, ':').map(str::to_owned);
    let mut part = || parts.next().filter(|it| !it.is_empty());
    match (part(), part()) {
        (Some(id), Some(secret)) => Ok(AccessKey {
            id,
            secret,
            token: part(),
        }),
        _ => Err("not ID:SECRET or ID:SECRET:TOKEN"),
    }
}

/// The key itself, or what a file says without the newline at its end.
fn key(flag: &str, key: Option<String>, file: Option<&Path>) -> Result<String> {
    let key = match (key, file) {
        (Some(key), _) => key,
        (None, Some(file)) => std::fs::read_to_string(file)
            .with_context(|| format!("reading {}", file.display()))?
            .trim_end()
            .to_owned(),
        (None, None) => bail!("no key: give {flag} or {flag}-file"),
    };
    // An empty key would let in a request that has none.
    if key.is_empty() {
        bail!("{flag}: the key is empty");
    }
    Ok(key)
}

fn wait_for_eof() -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut buffer = [0; 4096];
    while stdin.read(&mut buffer)? > 0 {}
    Ok(())
}
