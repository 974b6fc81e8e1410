// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line, as it is typed. What it comes to is in [`crate::settings`].

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use self::providers::credential_variables;
use crate::endpoints;
use crate::features::Feature;

mod confine;
mod files;
mod limits;
mod logs;
mod policy;
mod providers;
mod selftest;
mod status;

pub use confine::*;
pub use files::*;
pub use limits::*;
pub use logs::*;
pub use policy::*;
pub use providers::*;
pub use selftest::*;
pub use status::*;

/// Run a program so that it reaches nothing but the proxy and never holds a real key
///
/// keyward puts a command into its own network namespace and cgroup, where eBPF programs and nftables let it reach
/// one thing: a proxy that holds your API keys. The command gets placeholders; the proxy puts the real key in on the
/// way to the provider that the key belongs to.
#[derive(Debug, Parser)]
#[command(
    name = "keyward",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Commands,
}

/// What keyward can do. Each command's own arguments are put together when it is asked for, so that a run does not wait for
/// those of all others. What documents them must not be a doc comment: it would come in place of what stands here.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Commands {
    /// Run a command behind the firewall
    #[command(after_long_help = run_help())]
    Run(Box<RunArgs>),
    /// Show what a run did: every decision, or numbers, or a summary
    Logs(LogsArgs),
    /// Write a run down on one page of HTML that needs nothing else
    Report(ReportArgs),
    /// Watch the runs of this host: connections, verdicts, rates
    Top(TopArgs),
    /// Say what confines each run, layer by layer, as the kernel has it now
    ///
    /// Exit status: 0 if everything is as it should be; 1 if a layer was lost or the proxy does not answer.
    Status(StatusArgs),
    /// Say what would become of a connection to a host, and by which rule
    ///
    /// No run is needed; nothing is sent. Exit status: 0 if it is allowed at some port asked about, 1 if not.
    Explain(ExplainArgs),
    /// Work on policies
    Policy(PolicyArgs),
    /// Print the JSON Schema of policy files, for editors
    Schema,
    /// Say for each thing that keyward needs whether this host has it
    Doctor(DoctorArgs),
    /// Try every known way out of this keyward, on this host, in namespaces that nothing leads out of
    ///
    /// Each attempt is also made without keyward, where it must succeed: else it shows nothing. Takes some minutes, root,
    /// python3 and iproute2. Exit status: 0 if nothing got out and everything is told and logged as it should be, 1 if not.
    Selftest(SelftestArgs),
    /// Have a running run read its policy anew
    ///
    /// What is open and still allowed goes on; what the new policy does not allow is ended. If anything is wrong with
    /// the new policy, the old one stays in force. The same as SIGHUP.
    Reload(ReloadArgs),
    /// Print the version
    Version,
}

fn run_help() -> String {
    format!(
        "{EXAMPLES}\nKeys that are taken from keyward's environment:\n{}\n{STATUS}",
        credential_variables()
    )
}

const EXAMPLES: &str = "\
Examples:
  sudo -E keyward run -- codex exec \"say hi\"
      OPENAI_API_KEY of your shell stays with the proxy; codex gets a placeholder

  sudo -E keyward run --tty -- claude
      an interactive program, on a terminal of its own

  sudo -E keyward run --env-all --exclude-env DATABASE_URL --timeout 30m -- make agent
      your whole environment but for one variable (keys never pass), and at most half an hour
";

const STATUS: &str = "\
Exit status:
  the command's own;  128+N if signal N ended it
  124  --timeout ran out
  125  keyward failed: before the command started, or because a part of the firewall ended under it
  126  the command cannot be run       127  the command was not found";

// `keyward run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Command to run, with its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,

    /// User to run the command as: NAME, UID, NAME:GID or UID:GID [default: who called sudo]
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Give the command a terminal of its own, for interactive programs
    #[arg(long, short = 't')]
    pub tty: bool,
    /// End the command after this long: 90s, 30m, 2h
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,

    /// Set a variable, or pass the host's when no value is given
    #[arg(
        long,
        short = 'e',
        value_name = "NAME[=VALUE]",
        help_heading = "Environment"
    )]
    pub env: Vec<OsString>,
    /// Pass the host's whole environment; keys are withheld all the same
    #[arg(long, help_heading = "Environment")]
    pub env_all: bool,
    /// Set variables from a file of NAME=VALUE lines
    #[arg(long, value_name = "FILE", help_heading = "Environment")]
    pub env_file: Vec<PathBuf>,
    /// Leave a variable out
    #[arg(long, value_name = "NAME", help_heading = "Environment")]
    pub exclude_env: Vec<OsString>,

    /// Really give the command this secret, to its first process alone: NAME, or NAME=env:VARIABLE, NAME=file:PATH,
    /// NAME="cmd:/PROGRAM ARGUMENT ...", NAME=systemd:CREDENTIAL. Where a placeholder does, use a provider
    #[arg(long, value_name = "NAME[=SOURCE]", help_heading = "Environment")]
    pub one_shot: Vec<String>,

    #[command(flatten)]
    pub providers: ProviderArgs,
    /// Trust the certificates in this PEM file, too, when connecting to a provider
    #[arg(long, value_name = "FILE", help_heading = "Providers")]
    pub upstream_ca: Vec<PathBuf>,
    /// Dial HOST at ADDRESS instead of asking DNS; its certificate is verified as ever
    #[arg(
        long,
        value_name = "HOST[:PORT]=ADDRESS:PORT",
        help_heading = "Providers"
    )]
    pub resolve: Vec<String>,

    #[command(flatten)]
    pub limits: LimitArgs,

    #[command(flatten)]
    pub files: FileArgs,

    #[command(flatten)]
    pub egress: EgressArgs,

    #[command(flatten)]
    pub confine: ConfineArgs,

    /// IPv4 address of the proxy, as the command sees it
    #[arg(long, value_name = "ADDRESS", default_value_t = endpoints::DEFAULT_ADDRESS, help_heading = "Firewall")]
    pub proxy_ip: Ipv4Addr,
    /// Directory for the logs of the run
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "KEYWARD_LOG_DIR",
        default_value = "/var/log/keyward",
        help_heading = "Firewall"
    )]
    pub log_dir: PathBuf,
    /// How much the proxy writes to proxy.jsonl
    #[arg(long, value_name = "LEVEL", default_value = "warn", value_parser = ["error", "warn", "info", "debug", "trace"], help_heading = "Firewall")]
    pub log_level: String,
}

// What may be reached besides the model providers.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Egress by host name")]
pub struct EgressArgs {
    /// Hosts that may be reached: github.com, *.example.com, db.lan:5432, 10.0.0.0/8, group:github, registry:npm ...
    #[arg(long, value_name = "RULE,...")]
    pub allow_domains: Vec<String>,
    /// The same from a file, one rule a line
    #[arg(long, value_name = "FILE")]
    pub allow_domains_file: Vec<PathBuf>,
    /// Hosts that may not be reached, whatever is allowed
    #[arg(long, value_name = "RULE,...")]
    pub block_domains: Vec<String>,
    /// The same from a file, one rule a line
    #[arg(long, value_name = "FILE")]
    pub block_domains_file: Vec<PathBuf>,
    /// Policy file: TOML, YAML or JSON; - is standard input. Keep it where the command cannot write
    #[arg(long, value_name = "FILE", env = "KEYWARD_CONFIG")]
    pub config: Option<PathBuf>,
    /// enforce, or audit: let every name through and write down what would have been denied
    #[arg(long, value_name = "MODE", value_parser = ["enforce", "audit"])]
    pub mode: Option<String>,
    /// Ports of this host's loopback that host.docker.internal and host.keyward.internal lead to: 5432,6379-6380
    #[arg(long, visible_alias = "allow-host-ports", value_name = "PORT,...")]
    pub allow_host_service_ports: Vec<String>,
    /// What names are answered with: synthetic addresses, or the real ones for tools that look at them
    #[arg(long, value_name = "ANSWERS", value_parser = ["synthetic", "real"])]
    pub dns: Option<String>,
    /// Look names up there instead of as the host does: an address, or the URL of a DNS over HTTPS service
    #[arg(long, value_name = "SERVER,...")]
    pub dns_servers: Vec<String>,
    /// Send what is allowed through this proxy: http://HOST:PORT or https://USER:PASSWORD@HOST:PORT
    #[arg(
        long,
        value_name = "URL",
        env = "KEYWARD_UPSTREAM_PROXY",
        hide_env_values = true
    )]
    pub upstream_proxy: Option<String>,
    /// Hosts that are reached without that proxy
    #[arg(long, value_name = "HOST,...")]
    pub upstream_no_proxy: Vec<String>,
    /// Set HTTP_PROXY and HTTPS_PROXY for the command: denials then come with a text that says what to do
    #[arg(long)]
    pub proxy_env: bool,
}

// `keyward doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Put right what can be: mount bpffs, clear away what killed runs left and the eBPF programs kept for the next run
    #[arg(long)]
    pub fix: bool,
    /// Features that this host may lack, as for keyward run: no reason to fail
    #[arg(
        long,
        value_name = "FEATURE,...",
        env = "KEYWARD_ALLOW_DEGRADED",
        value_delimiter = ','
    )]
    pub allow_degraded: Vec<Feature>,
}

// `keyward reload`.
#[derive(Args, Debug)]
pub struct ReloadArgs {
    /// The run, or the beginning of its name [default: the only one]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_commands_help_begins_as_it_is_listed() {
        let listed = |it: &clap::Command| -> Vec<_> {
            let commands = it.get_subcommands();
            // clap's own comes last, when all is put together.
            commands
                .filter(|it| it.get_name() != "help")
                .map(|it| it.get_about().map(ToString::to_string))
                .collect()
        };
        let mut command = Cli::command();
        let before = listed(&command);
        command.build();
        assert_eq!(listed(&command), before);
        assert!(before.iter().all(Option::is_some), "{before:?}");
    }

    #[test]
    fn what_follows_the_dashes_is_the_commands() {
        let cli = Cli::parse_from(["keyward", "run", "--tty", "--", "sh", "--env", "-c"]);
        let Commands::Run(run) = cli.command else {
            unreachable!()
        };
        assert_eq!(run.command, ["sh", "--env", "-c"]);
        assert!(run.env.is_empty() && run.tty);
    }
}
