// SPDX-License-Identifier: GPL-3.0-or-later
//! What to do about a denial.

use std::collections::BTreeSet;

use firewall_common::Reason;

use super::tally::{Denials, Thing, ThingTally};

/// What to do about a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advice {
    /// It can be allowed.
    Allow {
        /// By this flag of `keyward run`.
        flag: String,
        /// By this line of a policy file.
        line: Option<String>,
    },
    /// It cannot be allowed just like that: why, or what else to do.
    Note(String),
}

/// What to do about what was denied at a host.
pub fn advice(denials: &Denials) -> Option<Advice> {
    let (reason, tally) = denials.main_reason()?;
    if reason == Reason::HostBlocked.name() {
        let (rule, place) = tally.rule.as_ref()?;
        return Some(Advice::Note(match place.as_str() {
            "" => format!("blocked by {rule}"),
            place => format!("blocked by {rule}, {place}"),
        }));
    }
    if reason == Reason::HostPortNotAllowed.name() {
        let ports: Vec<_> = denials.ports.iter().map(u16::to_string).collect();
        return (!ports.is_empty()).then(|| Advice::Allow {
            flag: format!("--allow-host-service-ports {}", ports.join(",")),
            line: None,
        });
    }
    allow(denials.remedies())
}

/// What to do about something else that was denied.
pub fn help(thing: &Thing, tally: &ThingTally) -> Option<Advice> {
    let is = |reason: Reason| thing.reason == reason.name();
    let note = |text: &str| Some(Advice::Note(text.to_owned()));
    if thing.is_probe {
        return note("nothing is needed: addresses are compared like this before a connection");
    }
    if is(Reason::UdpNotAllowed) && thing.port == Some(443) {
        return note("nothing is needed: what tries QUIC goes on over TCP");
    }
    if is(Reason::DnsNotAllowed) || is(Reason::UdpNotAllowed) && thing.port == Some(53) {
        return note("names are looked up through /etc/resolv.conf as the command sees it");
    }
    if is(Reason::Http2Plaintext) {
        return note("use HTTP/1.1, or TLS");
    }
    if is(Reason::StaleAddress) {
        return note("look the name up again instead of keeping its address");
    }
    allow(&tally.remedies)
}

fn allow(remedies: &BTreeSet<String>) -> Option<Advice> {
    // A rule has none of these, whoever it is from: what is printed here is pasted into shells and files.
    let plain = |rule: &&String| {
        let odd = |it: char| it.is_control() || it.is_whitespace() || "'\"\\`$;,".contains(it);
        !rule.is_empty() && !rule.contains(odd)
    };
    let rules: Vec<_> = remedies.iter().filter(plain).map(String::as_str).collect();
    if rules.is_empty() {
        return None;
    }
    let quoted: Vec<_> = rules.iter().map(|rule| format!("\"{rule}\"")).collect();
    Some(Advice::Allow {
        flag: format!("--allow-domains {}", for_shell(&rules.join(","))),
        line: Some(format!("allow = [{}]", quoted.join(", "))),
    })
}

/// In single quotes where a shell would otherwise see more in it than a word.
fn for_shell(word: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "._-:/,@%+=".contains(it);
    if word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{word}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pasted_is_quoted_or_left_out() {
        let set = |rules: &[&str]| rules.iter().map(|&rule| rule.to_owned()).collect();
        let flag = |rules: &[&str]| match allow(&set(rules)) {
            Some(Advice::Allow { flag, line }) => Some((flag, line.unwrap())),
            Some(Advice::Note(_)) | None => None,
        };
        assert_eq!(
            flag(&["a.example.com", "b.test:8443"]).unwrap(),
            (
                "--allow-domains a.example.com,b.test:8443".to_owned(),
                "allow = [\"a.example.com\", \"b.test:8443\"]".to_owned()
            )
        );
        assert_eq!(
            flag(&["http://a.test/x/*"]).unwrap().0,
            "--allow-domains 'http://a.test/x/*'"
        );
        for evil in [
            "",
            "a b",
            "a;reboot",
            "$(reboot)",
            "`x`",
            "a'b",
            "a\u{1b}[2J",
            "a\"]",
        ] {
            assert_eq!(flag(&[evil]), None, "{evil}");
        }
    }
}
