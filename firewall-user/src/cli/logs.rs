// SPDX-License-Identifier: GPL-3.0-or-later
//! The command lines of what reads the logs.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::reading::Filter;

// Where the logs are, and which of them is meant.
#[derive(Args, Clone, Debug)]
pub struct RunArg {
    /// Which run: latest, its name or the beginning of it, or the path of its log
    #[arg(value_name = "RUN", default_value = "latest")]
    pub run: String,
    /// Where the logs are.
    #[command(flatten)]
    pub place: LogDirArg,
}

// Where the logs are.
#[derive(Args, Clone, Debug)]
pub struct LogDirArg {
    /// Directory with the logs of all runs
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "KEYWARD_LOG_DIR",
        default_value = "/var/log/keyward"
    )]
    pub log_dir: PathBuf,
}

// `keyward logs`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LogsArgs {
    /// What to tell, if not the lines themselves.
    #[command(subcommand)]
    pub command: Option<LogsCommand>,
    /// Which lines, and how.
    #[command(flatten)]
    pub show: ShowArgs,
}

// What the logs come to.
#[derive(Debug, Subcommand)]
pub enum LogsCommand {
    /// List the runs that have left a log, the newest last
    List(ListArgs),
    /// Count connections, denials, bytes and durations by host
    Stats(StatsArgs),
    /// Sum a run up, for the page of a CI job
    Summary(SummaryArgs),
}

// `keyward logs`, without more.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// Which run.
    #[command(flatten)]
    pub run: RunArg,
    /// Go on as lines come, until the run ends
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// How lines are printed
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    pub format: LineFormat,
    /// Which lines.
    #[command(flatten)]
    pub filter: Filter,
}

/// How lines are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LineFormat {
    /// For people: a line each, in columns
    Pretty,
    /// JSON, with the names of synthetic addresses added, safe to print
    Json,
    /// As they stand in the file
    Raw,
}

// `keyward logs list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Where.
    #[command(flatten)]
    pub place: LogDirArg,
    /// How it is printed
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    pub format: TableFormat,
}

// `keyward logs stats`.
#[derive(Args, Debug)]
pub struct StatsArgs {
    /// Which run.
    #[command(flatten)]
    pub run: RunArg,
    /// How it is printed
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    pub format: TableFormat,
}

/// How tables are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// For people: in columns
    Pretty,
    /// One JSON document
    Json,
}

// `keyward logs summary`.
#[derive(Args, Debug)]
pub struct SummaryArgs {
    /// Which run.
    #[command(flatten)]
    pub run: RunArg,
    /// How it is printed
    #[arg(long, value_name = "FORMAT", default_value = "markdown")]
    pub format: SummaryFormat,
}

/// How a summary is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SummaryFormat {
    /// For the page of a CI job
    Markdown,
    /// One JSON document
    Json,
    /// For people: in columns
    Pretty,
}

// `keyward report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// Which run.
    #[command(flatten)]
    pub run: RunArg,
    /// File to write, - for standard output [default: keyward-RUN.html]
    #[arg(long, short = 'o', value_name = "FILE")]
    pub output: Option<PathBuf>,
}

// `keyward top`.
#[derive(Args, Debug)]
pub struct TopArgs {
    /// Print what is going on once, and end
    #[arg(long)]
    pub once: bool,
    /// With --once: as one JSON document
    #[arg(long, requires = "once")]
    pub json: bool,
    /// How often to look
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    pub interval: std::time::Duration,
}

// `keyward policy suggest`.
#[derive(Args, Debug)]
pub struct SuggestArgs {
    /// Which run: latest, its name or the beginning of it, or the path of its log
    #[arg(long, value_name = "RUN", default_value = "latest")]
    pub from: String,
    /// How it is printed
    #[arg(long, value_name = "FORMAT", default_value = "toml")]
    pub format: PolicyFormat,
    /// Where the logs are.
    #[command(flatten)]
    pub place: LogDirArg,
}

/// How a suggested policy is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PolicyFormat {
    /// A policy file, with a word on each rule
    Toml,
    /// The rules, a line each
    List,
}
