// SPDX-License-Identifier: GPL-3.0-or-later
//! A suggested policy as text.

use std::fmt::Write as _;

use super::needs::{Suggested, Use};
use crate::reading::Shown;
use crate::reading::units::counted;

/// Widest rule that comments stand in line behind.
const MAX_WIDTH: usize = 48;

/// Most things that are listed as not allowed.
const MAX_NOTES: usize = 200;

/// As a policy file.
pub(super) fn toml(run: &str, suggested: &Suggested) -> String {
    let mut text = format!("# What run {} needed", Shown(run));
    if let Some(program) = &suggested.program {
        write!(text, " ({})", Shown(program)).unwrap_or_default();
    }
    if let Some(mode) = &suggested.mode {
        write!(text, ", mode {}", Shown(mode)).unwrap_or_default();
    }
    text.push_str(".\n# Read every line: a rule that the job does not need is a way out that it does not need.\n\n");
    let quoted = |rule: &str| format!("{},", toml::Value::String(rule.to_owned()));
    let rules: Vec<_> = suggested
        .rules
        .iter()
        .map(|(rule, used)| (quoted(rule), used))
        .collect();
    if rules.is_empty() {
        text.push_str("allow = []\n");
    } else {
        text.push_str("allow = [\n");
        commented(&mut text, "    ", &rules);
        text.push_str("]\n");
    }
    if !suggested.host_ports.is_empty() {
        let ports: Vec<_> = suggested
            .host_ports
            .iter()
            .map(|(port, used)| (format!("{port},"), used))
            .collect();
        text.push_str("\n# Services on the host's own loopback.\nhost-ports = [\n");
        commented(&mut text, "    ", &ports);
        text.push_str("]\n");
    }
    notes(&mut text, suggested);
    text
}

/// As a file for `--allow-domains-file`.
pub(super) fn list(suggested: &Suggested) -> String {
    let mut text = String::new();
    for (rule, _) in &suggested.rules {
        writeln!(text, "{rule}").unwrap_or_default();
    }
    if !suggested.host_ports.is_empty() {
        let ports: Vec<_> = suggested.host_ports.keys().map(u16::to_string).collect();
        writeln!(text, "# and --allow-host-service-ports {}", ports.join(",")).unwrap_or_default();
    }
    text
}

fn commented(text: &mut String, indent: &str, rows: &[(String, &Use)]) {
    let widths = rows.iter().map(|(rule, _)| rule.chars().count());
    let width = widths.max().unwrap_or_default().min(MAX_WIDTH);
    for (rule, used) in rows {
        writeln!(text, "{indent}{rule:width$}  # {}", story(used)).unwrap_or_default();
    }
}

fn notes(text: &mut String, suggested: &Suggested) {
    if suggested.notes.is_empty() && suggested.beyond == 0 {
        return;
    }
    text.push_str("\n# Not allowed by this policy:\n");
    for (note, used) in suggested.notes.iter().take(MAX_NOTES) {
        let (what, why) = (Shown(&note.what), Shown(&note.why));
        writeln!(text, "#   {what}: {why} ({})", story(used)).unwrap_or_default();
    }
    if suggested.notes.len() > MAX_NOTES {
        writeln!(text, "#   and {} more", suggested.notes.len() - MAX_NOTES).unwrap_or_default();
    }
    if suggested.beyond > 0 {
        let beyond = counted(suggested.beyond, "decision");
        writeln!(
            text,
            "#   and {beyond} at more hosts than are told apart here"
        )
        .unwrap_or_default();
    }
}

fn story(used: &Use) -> String {
    let mut text = format!("{}×", used.count);
    if !used.comms.is_empty() {
        let comms: Vec<_> = used
            .comms
            .iter()
            .map(|comm| Shown(comm).to_string())
            .collect();
        write!(text, " by {}", comms.join(", ")).unwrap_or_default();
    }
    if let Some(first) = used.first {
        write!(text, ", first at {}", first.strftime("%H:%M:%SZ")).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::needs::Needs;
    use super::*;
    use crate::reading::Line;

    fn suggested(lines: &str) -> Suggested {
        let mut needs = Needs::default();
        lines
            .lines()
            .for_each(|line| needs.add(&Line::parse(line.as_bytes()).unwrap()));
        needs.suggest()
    }

    #[test]
    fn a_policy_to_review() {
        let audited = suggested(include_str!("../../reading/samples/audit.jsonl"));
        let enforced = suggested(include_str!("../../reading/samples/enforce.jsonl"));
        let text = [
            toml("0f1e2d3c4b5a", &audited),
            toml("a1b2c3d4e5f6", &enforced),
            list(&enforced),
        ];
        insta::assert_snapshot!(text.join("\n--------\n"));
    }

    #[test]
    fn it_is_toml_whatever_the_workload_is_called() {
        let evil = r#"{"event":"decision","door":"transparent","verdict":"deny","host":"a.test","port":443,"scheme":"tls","reason":"host_not_allowed","comm":"x\nallow = [\"evil.test\"]\u0007"}"#;
        let note = r#"{"event":"decision","door":"kernel","verdict":"deny","what":"x\n[groups]","reason":"y\nz"}"#;
        let text = toml("r\nun", &suggested(&format!("{evil}\n{note}")));
        let document: toml::Table = text.parse().unwrap();
        assert_eq!(
            document["allow"].as_array().unwrap(),
            &[toml::Value::from("a.test")]
        );
        assert_eq!(document.len(), 1, "{text}");
    }
}
