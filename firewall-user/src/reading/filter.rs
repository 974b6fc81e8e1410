// SPDX-License-Identifier: GPL-3.0-or-later
//! Which lines somebody wants to see.

use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use super::line::{Line, Verdict};

// Which lines are shown. All that is given must fit.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filters")]
pub struct Filter {
    /// Only what was allowed, or denied, or would have been denied outside audit mode
    #[arg(long, value_name = "VERDICT")]
    pub verdict: Option<VerdictFilter>,
    /// Only what was decided at this door: kernel, dns, transparent, explicit
    #[arg(long, value_name = "DOOR")]
    pub door: Option<String>,
    /// Only this host and its subdomains; with *, only what the pattern fits
    #[arg(long, value_name = "PATTERN")]
    pub host: Option<String>,
    /// Only what this command asked for
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,
    /// Only what was denied for this reason
    #[arg(long, value_name = "REASON")]
    pub reason: Option<String>,
    /// Only what is not older than this: 90s, 10m, 2h
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub since: Option<std::time::Duration>,
}

/// A verdict to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerdictFilter {
    /// It went through.
    Allow,
    /// It did not.
    Deny,
    /// It went through in audit mode only.
    Audited,
}

impl Filter {
    /// Whether a line fits. `name` is the name behind the line's address, if it is known.
    pub fn fits(&self, line: &Line, name: Option<&str>, now: Timestamp) -> bool {
        if let Some(since) = self.since {
            let oldest = SignedDuration::try_from(since)
                .ok()
                .and_then(|since| now.checked_sub(since).ok());
            // Without a limit that can be told, everything is new enough; without a time, nothing is.
            if oldest.is_some_and(|oldest| line.time.is_none_or(|time| time < oldest)) {
                return false;
            }
        }
        if !line.is_decision() {
            return self.asks_for_everything();
        }
        let verdict = self.verdict.is_none_or(|verdict| match verdict {
            VerdictFilter::Allow => line.verdict == Verdict::Allow,
            VerdictFilter::Deny => line.verdict == Verdict::Deny,
            VerdictFilter::Audited => line.audited.is_some(),
        });
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| found.is_some_and(|it| it.eq_ignore_ascii_case(wanted)))
        };
        let host = self.host.as_deref().is_none_or(|pattern| {
            let places = [line.host.as_deref(), name, line.address.as_deref()];
            places
                .into_iter()
                .flatten()
                .any(|host| host_fits(pattern, host))
        });
        verdict
            && host
            && is(&self.door, Some(&line.door))
            && is(&self.comm, line.comm.as_deref())
            && is(&self.reason, line.any_reason())
    }

    /// Whether lines that are no decisions are wanted, too.
    fn asks_for_everything(&self) -> bool {
        self.verdict.is_none()
            && [&self.door, &self.host, &self.comm, &self.reason]
                .iter()
                .all(|it| it.is_none())
    }
}

fn host_fits(pattern: &str, host: &str) -> bool {
    let pattern = pattern.trim_end_matches('.').to_ascii_lowercase();
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if pattern.contains('*') {
        return glob(pattern.as_bytes(), host.as_bytes());
    }
    host == pattern
        || host
            .strip_suffix(&pattern)
            .is_some_and(|rest| rest.ends_with('.'))
}

/// Whether `text` fits a pattern in which `*` stands for anything. It goes back to the last `*` only, so the time it
/// takes is at most the product of the lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut in_text) = (0, 0);
    let mut last_star = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                last_star = Some((at, in_text));
                at += 1;
            }
            Some(byte) if text.get(in_text) == Some(byte) => {
                at += 1;
                in_text += 1;
            }
            _ => {
                let Some((star, tried)) = last_star else {
                    return false;
                };
                last_star = Some((star, tried + 1));
                (at, in_text) = (star + 1, tried + 1);
            }
        }
    }
    pattern.iter().skip(at).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_fit_as_rules_do() {
        for (pattern, host, fits) in [
            ("github.com", "github.com", true),
            ("GitHub.com", "api.github.com.", true),
            ("github.com", "notgithub.com", false),
            ("*.github.com", "api.github.com", true),
            ("*.github.com", "github.com", false),
            ("api-*.example.*", "api-7.example.org", true),
            ("a*b*c", "aXbYbZ", false),
            ("*", "", true),
            ("203.0.113.*", "203.0.113.9", true),
        ] {
            assert_eq!(host_fits(pattern, host), fits, "{pattern} {host}");
        }
    }

    #[test]
    fn all_that_is_given_must_fit() {
        let line = Line::parse(
            br#"{"time":"2026-11-23T18:00:00Z","event":"decision","door":"transparent","verdict":"allow",
            "audited":"host_not_allowed","host":"api.example.com","comm":"npm"}"#,
        )
        .unwrap();
        let now: Timestamp = "2026-11-23T18:05:00Z".parse().unwrap();
        let text = |text: &str| Some(text.to_owned());
        let all = Filter::default();
        assert!(all.fits(&line, None, now));
        let fitting = Filter {
            verdict: Some(VerdictFilter::Audited),
            door: text("transparent"),
            host: text("example.com"),
            comm: text("npm"),
            reason: text("host_not_allowed"),
            since: Some(std::time::Duration::from_secs(600)),
        };
        assert!(fitting.fits(&line, None, now));
        for change in [
            |it: &mut Filter| it.verdict = Some(VerdictFilter::Deny),
            |it: &mut Filter| it.door = Some("dns".to_owned()),
            |it: &mut Filter| it.host = Some("example.org".to_owned()),
            |it: &mut Filter| it.comm = Some("node".to_owned()),
            |it: &mut Filter| it.reason = Some("host_blocked".to_owned()),
            |it: &mut Filter| it.since = Some(std::time::Duration::from_secs(60)),
        ] {
            let mut other = fitting.clone();
            change(&mut other);
            assert!(!other.fits(&line, None, now), "{other:?}");
        }
        // The kernel saw an address only.
        let by_name = Filter {
            host: text("github.com"),
            ..Filter::default()
        };
        assert!(!by_name.fits(&line, None, now));
        assert!(by_name.fits(&line, Some("github.com"), now));
        // What is no decision is shown when everything is.
        let start = Line::parse(br#"{"event":"start"}"#).unwrap();
        assert!(all.fits(&start, None, now) && !by_name.fits(&start, None, now));
    }
}
