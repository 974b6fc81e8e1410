// SPDX-License-Identifier: GPL-3.0-or-later
//! How much a run may ask of providers, which models, and what is looked for in what it sends.

use clap::{Args, ValueEnum};

// The gateway's limits that have flags of their own.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Requests that ask a model in a minute, to all providers together
    #[arg(long, value_name = "N")]
    pub rate_limit_rpm: Option<u64>,
    /// Requests that ask a model in an hour, to all providers together
    #[arg(long, value_name = "N")]
    pub rate_limit_rph: Option<u64>,
    /// Bytes of requests and answers in a minute, of all providers together
    #[arg(long, value_name = "N")]
    pub rate_limit_bytes_pm: Option<u64>,
    /// Requests that ask a model, over the whole run
    #[arg(long, value_name = "N")]
    pub max_runs: Option<u64>,
    /// Tokens over the whole run
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u64>,
    /// Dollars over the whole run
    #[arg(long, value_name = "USD", value_parser = dollars)]
    pub max_cost: Option<f64>,
    /// Requests at the same time
    #[arg(long, value_name = "N")]
    pub max_concurrent: Option<u64>,
    /// Models that may be asked, with * for any run of characters; all, if there are none
    #[arg(long, value_name = "PATTERN,...", value_delimiter = ',')]
    pub allow_model: Vec<String>,
    /// Models that may not be asked, whatever is allowed
    #[arg(long, value_name = "PATTERN,...", value_delimiter = ',')]
    pub deny_model: Vec<String>,
    /// Look for secrets in what is sent: off, warn, or block
    #[arg(long, value_name = "MODE")]
    pub scan: Option<Scan>,
    /// Send metrics to this OpenTelemetry collector, over OTLP
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
}

/// What becomes of a request in which a secret is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scan {
    /// Nobody looks.
    Off,
    /// It is written down.
    Warn,
    /// It is refused.
    Block,
}

impl Scan {
    /// As settings have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Block => "block",
        }
    }
}

fn dollars(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(number) if f64::is_finite(number) && number >= 0.0 => Ok(number),
        Ok(_) | Err(_) => Err("it is a number such as 2.50"),
    }
}
