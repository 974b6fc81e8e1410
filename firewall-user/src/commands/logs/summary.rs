// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward logs summary`: a run on half a page, for the page of a CI job.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::Result;

use super::digest::{self, Digest, in_words, words};
use super::stats::{self, by_use, span};
use crate::cli::{SummaryArgs, SummaryFormat};
use crate::reading::units::{bytes, counted, milliseconds};
use crate::reading::{Denials, HostTally, Requests, Shown, Tally, find, help, sentence};

/// Most rows of a table: CI services cut long pages off.
const MAX_ROWS: usize = 100;

/// Prints it.
pub(super) fn run(args: &SummaryArgs, out: &mut impl Write) -> Result<()> {
    let log = find(&args.run.place.log_dir, &args.run.run)?;
    let (tally, requests) = digest::read(&log)?;
    match args.format {
        SummaryFormat::Json => {
            writeln!(out, "{}", Digest::new(&log.id, &tally, &requests).json()?)?;
        }
        SummaryFormat::Pretty => {
            writeln!(
                out,
                "{}\n",
                facts(&log.id, &tally, |text| Shown(text).to_string())
            )?;
            if let Some(asked) = asked(&requests) {
                writeln!(out, "{asked}\n")?;
            }
            out.write_all(stats::text(&tally, &requests).as_bytes())?;
        }
        SummaryFormat::Markdown => {
            out.write_all(markdown(&log.id, &tally, &requests).as_bytes())?
        }
    }
    Ok(())
}

/// One sentence about the run.
fn facts(run: &str, tally: &Tally, escape: impl Fn(&str) -> String) -> String {
    let start = tally.start.as_deref();
    let mut text = format!("Run {}", escape(run));
    if let Some(command) = start.and_then(|line| line.program.as_deref()) {
        write!(text, " of {}", escape(command)).unwrap_or_default();
    }
    if let Some(user) = start.and_then(|line| line.user.as_deref()) {
        write!(text, " as {}", escape(user)).unwrap_or_default();
    }
    if let Some(duration) = digest::duration(tally) {
        write!(text, " took {}", milliseconds(duration)).unwrap_or_default();
    }
    if let Some(status) = tally.end.as_deref().and_then(|line| line.status) {
        write!(text, " and ended with status {status}").unwrap_or_default();
    }
    let totals = &tally.totals;
    write!(
        text,
        ". {} allowed, {} denied",
        counted(totals.allowed, "connection"),
        counted(totals.denied, "decision")
    )
    .unwrap_or_default();
    if totals.audited > 0 {
        write!(text, ", {} that enforcement would deny", totals.audited).unwrap_or_default();
    }
    write!(
        text,
        "; {} up, {} down.",
        bytes(totals.bytes_up),
        bytes(totals.bytes_down)
    )
    .unwrap_or_default();
    text
}

/// One sentence about what was asked of providers, and what it cost.
fn asked(requests: &Requests) -> Option<String> {
    let total = requests.total();
    if total.count == 0 {
        return None;
    }
    let mut text = counted(total.count, "request");
    text.push_str(" to providers");
    if total.all_input() > 0 || total.all_output() > 0 {
        let (sent, came) = (total.all_input(), total.all_output());
        write!(text, ", {} in", counted(sent, "token")).unwrap_or_default();
        if let Some(hits) = total.cache_hits() {
            write!(text, " ({hits}% from the cache)").unwrap_or_default();
        }
        write!(text, ", {came} out").unwrap_or_default();
    }
    let first = |percent| total.first_bytes.percentile(percent).map(milliseconds);
    if let (Some(p50), Some(p99)) = (first(50), first(99)) {
        write!(text, "; first byte after {p50} (p50), {p99} (p99)").unwrap_or_default();
    }
    text.push('.');
    Some(text)
}

/// The summary in GitHub's Markdown.
fn markdown(run: &str, tally: &Tally, requests: &Requests) -> String {
    let denied = tally.worst(|host| host.denied.attempts());
    let audited = tally.worst(|host| host.audited.answered_attempts());
    let attempts: u64 =
        denied.iter().map(|(_, _, count)| count).sum::<u64>() + tally.things_attempted();
    let heading = match (attempts, audited.len()) {
        (0, 0) => "nothing was blocked".to_owned(),
        (0, hosts) => format!("audit mode, {hosts} hosts would have been blocked"),
        (attempts, _) => format!("{} blocked", counted(attempts, "attempt")),
    };
    let mut text = format!("### keyward: {heading}\n\n{}\n", facts(run, tally, escape));
    if let Some(asked) = asked(requests) {
        writeln!(text, "{asked}").unwrap_or_default();
    }
    denials(&mut text, "Blocked host", &denied, |host| &host.denied);
    denials(&mut text, "Would be blocked", &audited, |host| {
        &host.audited
    });
    things(&mut text, tally);
    hosts(&mut text, tally);
    gateway(&mut text, requests);
    text
}

fn denials(
    text: &mut String,
    heading: &str,
    hosts: &[(&str, &HostTally, u64)],
    which: impl Fn(&HostTally) -> &Denials,
) {
    if hosts.is_empty() {
        return;
    }
    row(
        text,
        &[heading, "Attempts", "By", "Why", "To allow it"].map(str::to_owned),
    );
    row(
        text,
        &["---", "---:", "---", "---", "---"].map(str::to_owned),
    );
    for (name, host, count) in hosts.iter().take(MAX_ROWS) {
        let denials = which(host);
        let reason = denials.main_reason().map_or("", |(reason, _)| reason);
        let comms: Vec<_> = denials.comms.keys().map(|comm| escape(comm)).collect();
        let mut place = (*name).to_owned();
        if let Some(port) = denials.ports.first() {
            write!(place, ":{port}").unwrap_or_default();
        }
        row(
            text,
            &[
                code(&place),
                count.to_string(),
                comms.join(", "),
                escape(sentence(reason).unwrap_or(reason)),
                in_words(denials).map_or_else(String::new, |advice| code(&advice)),
            ],
        );
    }
    cut(text, hosts.len());
}

fn things(text: &mut String, tally: &Tally) {
    let mut things = tally.worst_things();
    things.retain(|(thing, _)| !thing.is_probe);
    if things.is_empty() {
        return;
    }
    open(text, "Other things that were blocked", things.len());
    row(text, &["What", "Attempts", "By", "Why"].map(str::to_owned));
    row(text, &["---", "---:", "---", "---"].map(str::to_owned));
    for (thing, tally) in things.iter().take(MAX_ROWS) {
        let comms: Vec<_> = tally.comms.keys().map(|comm| escape(comm)).collect();
        let mut why = escape(sentence(&thing.reason).unwrap_or(&thing.reason));
        if let Some(advice) = help(thing, tally) {
            write!(why, " ({})", escape(&words(advice))).unwrap_or_default();
        }
        let cells = [
            code(&thing.what()),
            tally.count.to_string(),
            comms.join(", "),
            why,
        ];
        row(text, &cells);
    }
    cut(text, things.len());
    close(text);
}

fn hosts(text: &mut String, tally: &Tally) {
    let hosts: Vec<_> = by_use(tally)
        .into_iter()
        .filter(|(_, host)| host.allowed > 0)
        .collect();
    if hosts.is_empty() {
        return;
    }
    open(text, "Hosts that were reached", hosts.len());
    row(
        text,
        &["Host", "Connections", "Up", "Down", "p50", "p99", "Rule"].map(str::to_owned),
    );
    row(
        text,
        &["---", "---:", "---:", "---:", "---:", "---:", "---"].map(str::to_owned),
    );
    for (name, host) in hosts.iter().take(MAX_ROWS) {
        let rules: Vec<_> = host.rules.iter().map(|(rule, _)| code(rule)).collect();
        row(
            text,
            &[
                code(name),
                host.allowed.to_string(),
                bytes(host.bytes_up),
                bytes(host.bytes_down),
                span(host.spans.percentile(50)),
                span(host.spans.percentile(99)),
                rules.join(" "),
            ],
        );
    }
    cut(text, hosts.len());
    close(text);
}

fn gateway(text: &mut String, requests: &Requests) {
    if requests.count == 0 {
        return;
    }
    open(text, "Providers", requests.by_model.len());
    row(
        text,
        &[
            "Provider",
            "Model",
            "Requests",
            "Denied",
            "Failed",
            "Tokens in",
            "From cache",
            "Tokens out",
            "First byte p50",
            "p99",
        ]
        .map(str::to_owned),
    );
    row(
        text,
        &[
            "---", "---", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:",
        ]
        .map(str::to_owned),
    );
    for ((provider, model), tally) in &requests.by_model {
        row(
            text,
            &[
                escape(provider),
                escape(model),
                tally.count.to_string(),
                tally.denied.to_string(),
                tally.failed.to_string(),
                tally.all_input().to_string(),
                tally
                    .cache_hits()
                    .map_or_else(|| "-".to_owned(), |it| format!("{it}%")),
                tally.all_output().to_string(),
                span(tally.first_bytes.percentile(50)),
                span(tally.first_bytes.percentile(99)),
            ],
        );
    }
    close(text);
}

fn open(text: &mut String, title: &str, count: usize) {
    write!(text, "\n<details><summary>{title} ({count})</summary>\n").unwrap_or_default();
}

fn close(text: &mut String) {
    text.push_str("\n</details>\n");
}

fn cut(text: &mut String, count: usize) {
    if count > MAX_ROWS {
        writeln!(text, "\nand {} more", count - MAX_ROWS).unwrap_or_default();
    }
}

fn row(text: &mut String, cells: &[String]) {
    // A table begins after an empty line.
    let in_table = text
        .lines()
        .last()
        .is_some_and(|line| line.starts_with('|'));
    if !in_table {
        text.push('\n');
    }
    writeln!(text, "| {} |", cells.join(" | ")).unwrap_or_default();
}

/// In a typewriter face. A code span of Markdown's own would not take the escapes.
fn code(text: &str) -> String {
    format!("<code>{}</code>", escape(text))
}

/// Text in which nothing is Markdown, HTML, a link or a mention: the workload chose it.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in Shown(text).to_string().chars() {
        if character.is_ascii_punctuation() && !",-()".contains(character) {
            write!(safe, "&#{};", u32::from(character)).unwrap_or_default();
        } else {
            safe.push(character);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::commands::logs::sample;
    use crate::reading::Line;

    #[test]
    fn a_page_of_a_ci_job() {
        let (tally, requests) = sample();
        insta::assert_snapshot!(markdown("a1b2c3d4e5f6", &tally, &requests));
    }

    #[test]
    fn in_audit_mode_it_says_what_would_be_blocked() {
        let mut tally = Tally::default();
        for line in include_str!("../../reading/samples/audit.jsonl").lines() {
            tally.add(&Line::parse(line.as_bytes()).unwrap());
        }
        let text = markdown("0f1e2d3c4b5a", &tally, &Requests::default());
        assert!(text.contains("| Would be blocked |"), "{text}");
        let facts = facts("0f1e2d3c4b5a", &tally, str::to_owned);
        assert!(facts.contains("that enforcement would deny"), "{facts}");
    }

    proptest! {
        #[test]
        fn nothing_of_markdown_is_left(text in any::<String>()) {
            let safe = escape(&text);
            prop_assert!(!safe.contains(['|', '<', '>', '`', '*', '_', '[', ']', '@', '\n', '\r', '"', '\'', '.', ':', '/']));
            prop_assert!(!safe.replace("&#", "").contains(['&', '#']));
        }
    }
}
