// SPDX-License-Identifier: GPL-3.0-or-later
//! A line of the log for people.

use std::fmt::Write as _;

use crate::reading::units::{bytes, counted, milliseconds};
use crate::reading::{Event, Line, Shown, Verdict, sentence};

/// Widths of the columns: longer texts push their line out.
const DOOR: usize = 11;
const PLACE: usize = 34;
const WHO: usize = 20;

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pretty {
    pub(super) colours: bool,
}

/// What stands out. The values are the terminal's colour codes.
#[derive(Clone, Copy)]
enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Blue = 34,
}

impl Pretty {
    /// The line, without its end. `name` is the name behind the line's address.
    pub(super) fn line(self, line: &Line, name: Option<&str>) -> String {
        let time = line.time.map_or_else(
            || "--:--:--.---".to_owned(),
            |time| time.strftime("%H:%M:%S%.3f").to_string(),
        );
        let told = match line.event {
            Event::Decision => self.decision(line, name),
            Event::Start => self.note("start", &started(line)),
            Event::End => self.note("end", &ended(line)),
            Event::Reload => self.note("reload", &reloaded(line)),
            Event::Process => self.note("runs", &runs(line)),
            Event::LinesLost => {
                self.note("lost", &format!("{} lines are missing here", line.lines))
            }
            Event::Other => self.note("?", "a line of another version"),
        };
        format!("{time}  {}", told.trim_end())
    }

    fn note(self, word: &str, text: &str) -> String {
        format!("{}  {text}", self.paint(Colour::Blue, &format!("{word:6}")))
    }

    fn decision(self, line: &Line, name: Option<&str>) -> String {
        let (colour, verdict) = match (line.verdict, &line.audited) {
            (Verdict::Deny, _) => (Colour::Red, "deny"),
            // Let through, and no more than that.
            (Verdict::Allow, Some(_)) => (Colour::Yellow, "audit"),
            (Verdict::Allow, None) => (Colour::Green, "allow"),
            (Verdict::Unknown, _) => (Colour::Yellow, "?"),
        };
        let verdict = self.paint(colour, &format!("{verdict:6}"));
        let place = place(line, name);
        let who = who(line);
        let door = Shown(&line.door);
        let mut text = format!("{verdict}  {door:DOOR$}  {place:PLACE$}  {who:WHO$}  ");
        for part in details(line) {
            text.push_str(&part);
            text.push_str("  ");
        }
        text
    }

    fn paint(self, colour: Colour, text: &str) -> String {
        if self.colours {
            format!("\u{1b}[{}m{text}\u{1b}[0m", colour as u8)
        } else {
            text.to_owned()
        }
    }
}

fn place(line: &Line, name: Option<&str>) -> String {
    let Some(host) = line.host.as_deref().or(line.address.as_deref()) else {
        return Shown(line.what.as_deref().unwrap_or("-")).to_string();
    };
    let mut text = match name {
        Some(name) => format!("{} ({})", Shown(name), Shown(host)),
        None => Shown(host).to_string(),
    };
    match (line.port, &line.record_type) {
        (Some(port), _) if host.contains(':') && name.is_none() => {
            text = format!("[{text}]:{port}");
        }
        (Some(port), _) => write!(text, ":{port}").unwrap_or_default(),
        (None, Some(record_type)) => write!(text, " {}", Shown(record_type)).unwrap_or_default(),
        (None, None) => {}
    }
    text
}

fn who(line: &Line) -> String {
    let comm = Shown(line.comm.as_deref().unwrap_or("?"));
    match line.pid {
        Some(pid) => format!("{comm}[{pid}]"),
        None => comm.to_string(),
    }
}

fn details(line: &Line) -> Vec<String> {
    let mut parts = Vec::new();
    if !line.is_lookup() {
        let spoken = line.scheme.as_deref().or(line.protocol.as_deref());
        parts.extend(spoken.map(|it| Shown(it).to_string()));
    }
    if let (Some(method), Some(path)) = (&line.method, &line.path) {
        parts.push(format!("{} {}", Shown(method), Shown(path)));
    }
    if let Some(reason) = &line.reason {
        parts.push(why(reason));
    }
    if let Some(reason) = &line.audited {
        parts.push(format!("would be denied: {}", why(reason)));
    }
    if line.bytes_up > 0 || line.bytes_down > 0 {
        parts.push(format!(
            "up {} down {}",
            bytes(line.bytes_up),
            bytes(line.bytes_down)
        ));
    }
    parts.extend(line.duration_ms.map(milliseconds));
    if let Some(rule) = &line.rule {
        parts.push(match line.rule_at.as_deref() {
            None | Some("") => format!("[{}]", Shown(rule)),
            Some(place) => format!("[{}, {}]", Shown(rule), Shown(place)),
        });
    }
    parts
}

fn why(reason: &str) -> String {
    match sentence(reason) {
        Some(sentence) => format!("{reason}: {sentence}"),
        None => Shown(reason).to_string(),
    }
}

fn started(line: &Line) -> String {
    let mut text = line.time.map_or_else(String::new, |time| {
        time.strftime("%Y-%m-%d (UTC)  ").to_string()
    });
    let mut part = |label: &str, value: Option<&str>| {
        if let Some(value) = value {
            write!(text, "{label}{}  ", Shown(value)).unwrap_or_default();
        }
    };
    part("", line.program.as_deref());
    part("as ", line.user.as_deref());
    part("mode ", line.mode.as_deref());
    text
}

fn ended(line: &Line) -> String {
    let mut text = match line.status {
        Some(status) => format!("status {status}  "),
        None => String::new(),
    };
    if let Some(duration) = line.duration_ms {
        write!(text, "after {}", milliseconds(duration)).unwrap_or_default();
    }
    text
}

fn runs(line: &Line) -> String {
    let pid = line
        .pid
        .map_or_else(|| "?".to_owned(), |pid| pid.to_string());
    format!("[{pid}] is {}", Shown(line.exe.as_deref().unwrap_or("?")))
}

fn reloaded(line: &Line) -> String {
    match (line.ok, &line.error) {
        (Some(true), _) => {
            let mut text = "a new policy is in force".to_owned();
            if let Some(rules) = line.rules {
                write!(text, ", {}", counted(rules, "rule")).unwrap_or_default();
            }
            if let Some(ended) = line.ended.filter(|ended| *ended > 0) {
                write!(text, ", {} ended", counted(ended, "connection")).unwrap_or_default();
            }
            text
        }
        (_, Some(error)) => format!("the old policy stays: {}", Shown(error)),
        (_, None) => "the old policy stays".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_the_verdict_and_the_rest_is_escaped() {
        let line = Line::parse(
            br#"{"time":"2026-11-23T18:00:00.5Z","event":"decision","door":"explicit","verdict":"deny",
            "host":"\u001b[2J.test","port":80,"method":"GET","path":"/\u202ex","comm":"a\u0007","pid":1,
            "reason":"host_blocked"}"#,
        )
        .unwrap();
        let text = Pretty { colours: true }.line(&line, None);
        assert_eq!(text.matches('\u{1b}').count(), 2, "{text:?}");
        assert!(
            text.starts_with("18:00:00.500  \u{1b}[31mdeny  \u{1b}[0m  explicit"),
            "{text:?}"
        );
        let plain = Pretty { colours: false }.line(&line, None);
        assert!(
            !plain.contains(char::is_control) && !plain.contains('\u{202e}'),
            "{plain:?}"
        );
    }
}
