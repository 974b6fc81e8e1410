// SPDX-License-Identifier: MIT OR Apache-2.0
//! `keyward-bench`: what keyward costs, next to what its peers cost.
//!
//! Every benchmark runs all its contestants in turn, several rounds, in one run on one machine,
//! and reports medians and ratios. Times are reported, never asserted: a machine is not a promise.

mod client;
mod connect;
mod cores;
mod dns;
mod doors;
mod gateway;
mod keyward;
mod load;
mod namespace;
mod origin;
mod process;
mod report;
mod startup;
mod stats;
mod table;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measure keyward next to its peers
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The gateway against nginx, HAProxy and no gateway: throughput, latency, memory, event streams, WebSockets
    Gateway(gateway::Args),
    /// `keyward run -- true` against bwrap and against plain `true`
    Startup(startup::Args),
    /// connect() inside, redirected or not, against connect() outside; the programs' own run time
    Connect(connect::Args),
    /// The doors for egress by host name against HAProxy, Squid and no proxy: throughput, connections, memory
    Doors(doors::Args),
    /// The DNS door against dnsmasq and unbound
    Dns(dns::Args),
    /// Be the client of a benchmark
    #[command(hide = true)]
    Client,
}

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Gateway(args) => gateway::run(&args),
        Command::Startup(args) => startup::run(&args),
        Command::Connect(args) => connect::run(&args),
        Command::Doors(args) => doors::run(&args),
        Command::Dns(args) => dns::run(&args),
        Command::Client => client::run(),
    }
}
