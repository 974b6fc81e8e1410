// SPDX-License-Identifier: GPL-3.0-or-later
//! The flags that each provider of keyward's own table has. They are made from that table, so that there is no second
//! list of providers.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use keyward_proxy::provider::{AccessKeyVariables, Provider, Providers};

/// Where the requests of providers go instead of their usual targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderArgs(BTreeMap<String, Elsewhere>);

/// Another target of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// `--NAME-api-target`.
    pub target: Option<Said>,
    /// `--NAME-api-base-path`.
    pub base_path: Option<Said>,
}

/// A value, and what people know by which it was given: a flag, a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The value.
    pub value: String,
    /// `--FLAG`, or `VARIABLE`.
    pub source: String,
}

/// The flag for a provider's target, without its dashes.
fn target_flag(provider: &str) -> String {
    format!("{provider}-api-target")
}

/// The flag for the path at that target, without its dashes.
fn base_path_flag(provider: &str) -> String {
    format!("{provider}-api-base-path")
}

impl ProviderArgs {
    /// What was said of each provider, by its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Elsewhere)> {
        self.0.iter().map(|(name, it)| (name.as_str(), it))
    }
}

impl Args for ProviderArgs {
    fn augment_args(mut command: Command) -> Command {
        for provider in Providers::builtin().iter() {
            let name = &provider.name;
            let target = format!(
                "Where requests for {name} go instead of {}: HOST, HOST:PORT or URL",
                provider.target.host
            );
            let base_path = "Path in front of every request at that target".to_owned();
            for (flag, value, variable, help) in [
                (
                    target_flag(name),
                    "TARGET",
                    &provider.target_variable,
                    target,
                ),
                (
                    base_path_flag(name),
                    "PATH",
                    &provider.base_path_variable,
                    base_path,
                ),
            ] {
                let mut arg = Arg::new(flag.clone())
                    .long(flag)
                    .value_name(value)
                    .help(help)
                    .help_heading("Providers");
                if let Some(variable) = variable {
                    arg = arg.env(variable.clone());
                }
                command = command.arg(arg);
            }
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ProviderArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for provider in Providers::builtin().iter() {
            // CI systems write "not set" as an empty variable; an empty flag is meant.
            let said = |flag: String, variable: &Option<String>| {
                let value = matches.get_one::<String>(&flag).cloned()?;
                let by_variable = matches.value_source(&flag) == Some(ValueSource::EnvVariable);
                let source = match variable.clone().filter(|_| by_variable) {
                    Some(_) if value.is_empty() => return None,
                    Some(variable) => variable,
                    None => format!("--{flag}"),
                };
                Some(Said { value, source })
            };
            let elsewhere = Elsewhere {
                target: said(target_flag(&provider.name), &provider.target_variable),
                base_path: said(base_path_flag(&provider.name), &provider.base_path_variable),
            };
            if elsewhere != Elsewhere::default() {
                self.0.insert(provider.name.clone(), elsewhere);
            }
        }
        Ok(())
    }
}

/// The variables from which keys are taken, for the help text.
pub(super) fn credential_variables() -> String {
    let table = Providers::builtin();
    let of = |provider: &Provider| -> Vec<String> {
        let keys = provider
            .access_key_variables
            .iter()
            .flat_map(AccessKeyVariables::names);
        provider
            .credential_variables
            .iter()
            .chain(keys)
            .cloned()
            .collect()
    };
    let all: Vec<_> = table
        .iter()
        .flat_map(|it| of(it).into_iter().map(move |name| (name, it)))
        .collect();
    let width = all.iter().map(|it| it.0.len()).max().unwrap_or(0);
    let line = |(variable, provider): &(String, &Arc<Provider>)| {
        let Provider { name, port, .. } = provider.as_ref();
        format!("  {variable:width$}  for {name}, at the gateway's port {port}\n")
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use crate::cli::{Cli, Commands, Said};

    #[test]
    fn every_provider_has_its_flags() {
        let cli = Cli::parse_from([
            "keyward",
            "run",
            "--gemini-api-target",
            "gemini.test",
            "--copilot-api-base-path=/x",
            "--",
            "true",
        ]);
        let Commands::Run(run) = cli.command else {
            unreachable!()
        };
        let said: Vec<_> = run
            .providers
            .iter()
            .map(|(name, it)| {
                let value = |it: &Option<Said>| it.as_ref().map(|it| it.value.clone());
                (name, value(&it.target), value(&it.base_path))
            })
            .collect();
        assert_eq!(
            said,
            [
                ("copilot", None, Some("/x".to_owned())),
                ("gemini", Some("gemini.test".to_owned()), None)
            ]
        );
    }

    #[test]
    fn the_help_text_lists_flags_variables_and_keys() {
        let mut command = Cli::command();
        let run = command.find_subcommand_mut("run").unwrap();
        let help = run.render_long_help().to_string();
        for words in [
            "--vertex-api-target <TARGET>",
            "--anthropic-api-base-path <PATH>",
            "[env: COPILOT_API_TARGET=",
            "instead of generativelanguage.googleapis.com",
            "  GEMINI_API_KEY            for gemini, at the gateway's port 10003",
        ] {
            assert!(help.contains(words), "{words}: {help}");
        }
    }
}
