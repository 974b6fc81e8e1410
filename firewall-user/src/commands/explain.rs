// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward explain`: what would become of a connection, by the code that decides in a run; and the reasons for which
//! anything is denied.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result, bail};
use firewall_common::Listed;
use keyward_policy::{Explanation, Host, Mode, Scheme};

use super::logs::read_no_further;
use crate::cli::ExplainArgs;
use crate::settings::HostEnvironment;

/// Says it. `false`: nothing is allowed.
pub fn run(args: &ExplainArgs, environment: &HostEnvironment) -> Result<bool> {
    let Some(host) = &args.host else {
        read_no_further(reasons(&mut io::stdout().lock()).map_err(Into::into))?;
        return Ok(true);
    };
    let (host, port) = host_and_port(host)?;
    let loaded = environment.policy_source(&args.egress)?.read()?;
    let explanation = loaded.checked.explain_host(&host, port);
    let allowed = explanation
        .verdicts
        .iter()
        .any(|it| it.decision.outcome.is_ok());
    let mut out = io::stdout().lock();
    let mut write = || {
        if loaded.policy.mode == Mode::Audit {
            writeln!(
                out,
                "In audit mode nothing of this is carried out, only written down."
            )?;
        }
        tell(&host, &explanation, &mut out)
    };
    read_no_further(write().map_err(Into::into))?;
    Ok(allowed)
}

fn tell(host: &Host, explanation: &Explanation<'_>, out: &mut impl io::Write) -> io::Result<()> {
    for verdict in &explanation.verdicts {
        let spoken = match verdict.scheme {
            Scheme::Tls => "TLS",
            Scheme::Http => "plain HTTP",
            Scheme::Tcp => "anything else",
        };
        write!(out, "{host}:{} ({spoken})  ", verdict.port)?;
        match verdict.decision.outcome {
            Ok(()) => write!(out, "allowed")?,
            Err(reason) => write!(out, "denied: {} ({reason})", reason.sentence())?,
        }
        match verdict.decision.rule {
            Some(rule) => writeln!(out, "\n    by {} at {}", rule.text(), rule.origin())?,
            None => writeln!(out)?,
        }
        if let Some(remedy) = &verdict.remedy {
            writeln!(
                out,
                "    to allow it: --allow-domains {remedy}   or in keyward.toml: allow = [\"{remedy}\"]"
            )?;
        }
    }
    if let Some(resolves) = &explanation.resolves {
        let answer = if resolves.outcome.is_ok() {
            "is answered"
        } else {
            "does not exist"
        };
        writeln!(out, "asked of DNS, the name {answer}")?;
    }
    if !explanation.considered.is_empty() {
        writeln!(out, "rules about this host:")?;
    }
    for considered in &explanation.considered {
        let list = if considered.blocks { "block" } else { "allow" };
        let (rule, effect) = (considered.rule, considered.effect);
        writeln!(
            out,
            "    {list}  {}  {}  {effect}",
            rule.text(),
            rule.origin()
        )?;
    }
    Ok(())
}

/// The list of reasons.
fn reasons(out: &mut impl io::Write) -> io::Result<()> {
    let width = Listed::ALL
        .iter()
        .map(|it| it.name.len())
        .max()
        .unwrap_or(0);
    for listed in Listed::ALL {
        let (number, name) = (listed.number, listed.name);
        writeln!(out, "{number:>3}  {name:width$}  {}", listed.sentence)?;
    }
    Ok(())
}

/// `host`, `host:port`, `[v6]:port`, `v6`.
fn host_and_port(text: &str) -> Result<(Host, Option<u16>)> {
    if text.contains("://") {
        bail!("{text:?} is a URL\n  hint: give the host, and the port if you like: github.com:443");
    }
    if let Ok(host) = text.parse() {
        return Ok((host, None));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let parsed = host
        .parse::<Host>()
        .with_context(|| format!("{host:?} is not a host"))?;
    let port = port
        .parse::<u16>()
        .ok()
        .filter(|it| *it != 0)
        .with_context(|| format!("{port:?} is not a port"))?;
    Ok((parsed, Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row of the tables in `docs/logs.md` is one of the list, and the other way round.
    #[test]
    fn the_documentation_and_the_command_have_every_reason() {
        let row = |it: &Listed| format!("| {} | `{}` | {} |", it.number, it.name, it.sentence);
        let rows: Vec<_> = Listed::ALL.iter().map(row).collect();
        let text = include_str!("../../../docs/logs.md");
        let (_, tables) = text.split_once("\n## Reasons\n").unwrap();
        let is_row = |it: &&str| it.starts_with("| ") && it.contains(" | `");
        let documented: Vec<_> = tables.lines().filter(is_row).collect();
        assert_eq!(documented, rows);

        let mut printed = Vec::new();
        reasons(&mut printed).unwrap();
        let printed = String::from_utf8(printed).unwrap();
        assert_eq!(printed.lines().count(), Listed::ALL.len());
        for (line, listed) in printed.lines().zip(Listed::ALL) {
            let words: Vec<_> = line.split_whitespace().take(2).collect();
            assert_eq!(words, [&listed.number.to_string(), listed.name]);
            assert!(line.ends_with(listed.sentence), "{line}");
        }
    }

    #[test]
    fn hosts_come_with_and_without_ports() {
        for (text, host, port) in [
            ("GitHub.com", "github.com", None),
            ("github.com.:22", "github.com", Some(22)),
            ("10.0.0.5:5432", "10.0.0.5", Some(5432)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]:443", "2001:db8::1", Some(443)),
        ] {
            let (found, at) = host_and_port(text).unwrap();
            assert_eq!((found.to_string().as_str(), at), (host, port), "{text}");
        }
        for text in [
            "",
            ":443",
            "a b",
            "x:0",
            "x:99999",
            "x:",
            "https://x/",
            "a@b",
        ] {
            assert!(host_and_port(text).is_err(), "{text}");
        }
    }
}
