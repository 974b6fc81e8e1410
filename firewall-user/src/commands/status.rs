// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward status`: what confines each run now, layer by layer, read back from the kernel.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anyhow::{Result, bail};
use nix::unistd::geteuid;
use serde_json::json;

use super::logs::read_no_further;
use crate::cli::StatusArgs;
use crate::posture::State;
use crate::reading::units;
use crate::runs;

mod look;

use look::Found;

/// Prints what there is, and returns whether all of it is as it should be.
pub fn run(args: &StatusArgs) -> Result<bool> {
    if !geteuid().is_root() {
        bail!("what confines a run is told to root alone\n  hint: sudo keyward status");
    }
    let mut live = runs::live();
    if let Some(wanted) = &args.run {
        live.retain(|(id, _)| id.starts_with(wanted.as_str()));
        if live.is_empty() {
            bail!("there is no such run on this host\n  hint: keyward status");
        }
    }
    let found: Vec<_> = live
        .into_iter()
        .map(|(id, introduction)| Found::look(id, introduction))
        // One that ended while it was looked at has lost everything, as it should.
        .filter(|found| found.is_whole() || runs::is_alive(&found.id))
        .collect();
    let text = if args.json {
        let mut text = serde_json::to_string_pretty(&json!({ "runs": found }))?;
        text.push('\n');
        text
    } else {
        text(&found)
    };
    read_no_further(io::stdout().write_all(text.as_bytes()).map_err(Into::into))?;
    Ok(found.iter().all(Found::is_whole))
}

fn text(found: &[Found]) -> String {
    if found.is_empty() {
        return "no run goes on on this host\n".to_owned();
    }
    let mut text = String::new();
    for (index, run) in found.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        // Writing into memory does not fail.
        write_run(run, &mut text).unwrap_or_default();
    }
    text
}

fn write_run(run: &Found, text: &mut String) -> std::fmt::Result {
    let uptime = run.uptime_seconds.map_or_else(String::new, |seconds| {
        format!("  for {}", units::milliseconds(seconds * 1000.0))
    });
    writeln!(
        text,
        "run {}  {}{uptime}  keyward is {}, init {}",
        run.id, run.program, run.pid, run.init
    )?;
    writeln!(text, "  policy    {}", run.policy)?;
    let proxy = match &run.proxy.problem {
        None => run.proxy.detail.clone(),
        Some(problem) => format!("DOES NOT ANSWER: {problem}"),
    };
    writeln!(text, "  proxy     {proxy}")?;
    for layer in &run.layers {
        writeln!(
            text,
            "  {:<9} {:<18} {}",
            layer.state.word(),
            layer.name,
            layer.detail
        )?;
        if !layer.programs.is_empty() {
            let programs = layer
                .programs
                .iter()
                .map(|(hook, id)| format!("{hook} {id}"));
            let programs: Vec<_> = programs.collect();
            writeln!(text, "  {:<9} {:<18} {}", "", "", programs.join(", "))?;
        }
    }
    for feature in &run.degraded {
        writeln!(text, "  without   {feature}: {}", feature.loss())?;
    }
    for exposure in &run.exposures {
        writeln!(text, "  exposed   {exposure}")?;
    }
    let lost = run
        .layers
        .iter()
        .filter(|it| it.state == State::Lost)
        .count();
    if lost > 0 {
        let layers = units::counted(u64::try_from(lost).unwrap_or(u64::MAX), "layer");
        writeln!(text, "  {layers} lost: keyward ends a run when it notices")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::look::Proxy;
    use super::*;
    use crate::cgroup::Limits;
    use crate::features::Feature;
    use crate::posture::Layer;

    fn found() -> Found {
        let layer = |name: &str, state, detail: &str| Layer {
            name: name.to_owned(),
            state,
            detail: detail.to_owned(),
            programs: BTreeMap::new(),
        };
        Found {
            id: "0123456789ab".to_owned(),
            program: "python3".to_owned(),
            pid: 100,
            init: 102,
            started: "2026-11-23T18:00:00Z".to_owned(),
            uptime_seconds: Some(250.0),
            policy: "enforce; it can be reloaded".to_owned(),
            proxy: Proxy {
                problem: None,
                detail: "answers; 2 connections are open".to_owned(),
            },
            layers: vec![
                Layer {
                    programs: BTreeMap::from([
                        ("connect4".to_owned(), 45),
                        ("egress".to_owned(), 41),
                    ]),
                    ..layer("eBPF", State::InForce, "2 programs attached, links pinned")
                },
                layer("nftables", State::Lost, "there is no table inet keyward"),
                layer("Landlock", State::Degraded, "ABI 2"),
                layer("no user namespaces", State::Off, "they are allowed"),
            ],
            limits: Limits::default(),
            degraded: vec![Feature::LandlockScope],
            exposures: vec!["port 5432 of the host's loopback".to_owned()],
        }
    }

    #[test]
    fn a_run_as_people_read_it() {
        insta::assert_snapshot!(text(&[found()]));
        assert_eq!(text(&[]), "no run goes on on this host\n");
    }

    #[test]
    fn what_is_lost_is_not_whole() {
        let mut run = found();
        assert!(!run.is_whole());
        run.layers.retain(|layer| layer.state != State::Lost);
        assert!(run.is_whole(), "what was allowed to be lacking is no fault");
        run.proxy.problem = Some("connection refused".to_owned());
        assert!(!run.is_whole());
    }
}
