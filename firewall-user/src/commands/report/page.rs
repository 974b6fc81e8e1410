// SPDX-License-Identifier: GPL-3.0-or-later
//! The page. It loads nothing, from nowhere, and says so to the browser.

use std::fmt::Write as _;

use super::html::Html;
use super::{tables, timeline};
use crate::commands::logs::digest;
use crate::reading::units::{bytes, counted, milliseconds};
use crate::reading::{Denials, Requests, Tally};

const STYLE: &str = include_str!("style.css");
/// Sorting and filtering; without it the page is the same, but stands still.
const SCRIPT: &str = include_str!("script.js");

/// The whole document.
pub(super) fn write(run: &str, tally: &Tally, requests: &Requests, nonce: &str) -> String {
    let run = Html(run);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>keyward run {run}</title>\n\
         <style nonce=\"{nonce}\">\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
    header(&mut page, &run, tally);
    cards(&mut page, tally, requests);
    section(&mut page, "Timeline", Some(timeline::draw(&tally.timeline)));
    section(
        &mut page,
        "Blocked",
        tables::denials(tally, "deny", |host| &host.denied, Denials::attempts),
    );
    section(
        &mut page,
        "Would be blocked outside audit mode",
        tables::denials(
            tally,
            "audit",
            |host| &host.audited,
            Denials::answered_attempts,
        ),
    );
    section(
        &mut page,
        "Other things that were blocked",
        tables::things(tally),
    );
    section(
        &mut page,
        "Allowed, but not reached",
        tables::denials(tally, "audit", |host| &host.failed, Denials::attempts),
    );
    section(&mut page, "Hosts", tables::hosts(tally));
    section(&mut page, "Gateway", tables::models(requests));
    section(&mut page, &listed(requests), tables::requests(requests));
    footer(&mut page, tally, requests);
    write!(
        page,
        "</main>\n<script nonce=\"{nonce}\">\n{SCRIPT}</script>\n</body>\n</html>\n"
    )
    .unwrap_or_default();
    page
}

fn header(page: &mut String, run: &Html<'_>, tally: &Tally) {
    let start = tally.start.as_deref();
    let program = start.and_then(|line| line.program.as_deref());
    let audit = start.and_then(|line| line.mode.as_deref()) == Some("audit");
    write!(
        page,
        "<header>\n<h1>{} <span class=\"quiet\">under keyward</span></h1>\n",
        Html(program.unwrap_or("A command"))
    )
    .unwrap_or_default();
    page.push_str("<dl class=\"facts\">");
    let mut fact = |name: &str, value: String| {
        write!(page, "<div><dt>{name}</dt><dd>{value}</dd></div>").unwrap_or_default();
    };
    fact("Run", format!("<code>{run}</code>"));
    if let Some(first) = tally.first {
        fact(
            "Started",
            format!("{} UTC", first.strftime("%Y-%m-%d %H:%M:%S")),
        );
    }
    if let Some(duration) = digest::duration(tally) {
        fact("Took", milliseconds(duration));
    }
    fact(
        "Ended",
        match tally.end.as_deref() {
            Some(end) => end.status.map_or_else(
                || "yes".to_owned(),
                |status| format!("with status {status}"),
            ),
            None => "not yet, or it was killed".to_owned(),
        },
    );
    if let Some(mode) = start.and_then(|line| line.mode.as_deref()) {
        let class = if audit { "badge audit" } else { "badge" };
        fact(
            "Mode",
            format!("<span class=\"{class}\">{}</span>", Html(mode)),
        );
    }
    page.push_str("</dl>\n</header>\n");
}

fn cards(page: &mut String, tally: &Tally, requests: &Requests) {
    let totals = &tally.totals;
    let attempts = |which: fn(&crate::reading::HostTally) -> u64| -> u64 {
        tally.hosts.values().map(which).sum()
    };
    let blocked = attempts(|host| host.denied.attempts()) + tally.things_attempted();
    let audited = attempts(|host| host.audited.answered_attempts());
    let total = requests.total();
    let tokens = total.all_input().saturating_add(total.all_output());
    page.push_str("<div class=\"cards\">\n");
    let mut card = |class: &str, number: String, label: &str| {
        writeln!(
            page,
            "<div class=\"card {class}\"><b>{number}</b><span>{label}</span></div>"
        )
        .unwrap_or_default();
    };
    card("allow", totals.allowed.to_string(), "connections allowed");
    card(
        if blocked > 0 { "deny" } else { "" },
        blocked.to_string(),
        "attempts blocked",
    );
    if audited > 0 {
        card("audit", audited.to_string(), "would be blocked");
    }
    if totals.failed > 0 {
        card("audit", totals.failed.to_string(), "not reached");
    }
    card("", tally.hosts.len().to_string(), "hosts");
    card("", bytes(totals.bytes_up), "sent");
    card("", bytes(totals.bytes_down), "received");
    if requests.count > 0 {
        card("", requests.count.to_string(), "model requests");
    }
    if tokens > 0 {
        card("", tokens.to_string(), "tokens");
    }
    page.push_str("</div>\n");
}

fn section(page: &mut String, title: &str, content: Option<String>) {
    if let Some(content) = content {
        write!(page, "<section>\n<h2>{title}</h2>\n{content}</section>\n").unwrap_or_default();
    }
}

fn listed(requests: &Requests) -> String {
    let listed = u64::try_from(requests.listed.len()).unwrap_or(u64::MAX);
    if listed < requests.count {
        format!("The first {listed} of {} model requests", requests.count)
    } else {
        "Model requests".to_owned()
    }
}

fn footer(page: &mut String, tally: &Tally, requests: &Requests) {
    page.push_str("<footer>\n");
    let mut line = |text: String| writeln!(page, "<p>{text}</p>").unwrap_or_default();
    if tally.beyond > 0 {
        line(format!(
            "{} at more hosts than are told apart.",
            counted(tally.beyond, "decision")
        ));
    }
    if tally.lost > 0 {
        line(format!(
            "{} came too fast to be written down.",
            counted(tally.lost, "decision")
        ));
    }
    let unreadable = tally.unreadable + requests.unreadable;
    if unreadable > 0 {
        line(format!(
            "{} of the logs could not be read.",
            counted(unreadable, "line")
        ));
    }
    line(format!(
        "keyward {}. This page loads nothing: it can be read with no network, and kept.",
        env!("CARGO_PKG_VERSION")
    ));
    page.push_str("</footer>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::logs::sample;
    use crate::reading::Line;

    #[test]
    fn everything_is_on_the_page() {
        let (tally, requests) = sample();
        let page = write("a1b2c3d4e5f6", &tally, &requests, "0123456789abcdef");
        let page = page.replace(STYLE, "STYLE\n").replace(SCRIPT, "SCRIPT\n");
        let page = page.replace(env!("CARGO_PKG_VERSION"), "VERSION");
        insta::assert_snapshot!(page);
    }

    #[test]
    fn an_empty_log_makes_a_page_too() {
        let page = write("x", &Tally::default(), &Requests::default(), "n");
        assert!(page.contains("Nothing was asked for."));
        assert!(!page.contains("<table>"));
    }

    #[test]
    fn nothing_of_the_workloads_becomes_markup() {
        let evil =
            "</script><script>alert(1)</script><img src=x onerror=alert(1)>\\\" onload=\\\"x' &lt;";
        let mut tally = Tally::default();
        for (door, verdict) in [
            ("dns", "deny"),
            ("explicit", "allow"),
            ("kernel", "deny"),
            ("explicit", "deny"),
        ] {
            let line = format!(
                r#"{{"event":"decision","door":"{door}","verdict":"{verdict}","host":"{evil}","comm":"{evil}",
                "reason":"{evil}","remedy":"{evil}","rule":"{evil}","rule_at":"{evil}","protocol":"{evil}"}}"#
            );
            tally.add(&Line::parse(line.as_bytes()).unwrap());
        }
        let start = format!(r#"{{"event":"start","program":"{evil}","mode":"{evil}"}}"#);
        tally.add(&Line::parse(start.as_bytes()).unwrap());
        let (_, mut requests) = sample();
        for request in &mut requests.listed {
            request.provider = evil.replace('\\', "");
            request.reason = Some(evil.replace('\\', ""));
        }
        let page = write("<b>", &tally, &requests, "n");
        assert_eq!(page.matches("<script").count(), 1);
        assert_eq!(page.matches("</script>").count(), 1);
        for markup in ["<img", "<b>alert", "\" onload=", "onerror=alert(1)>"] {
            assert!(!page.contains(markup), "{markup}");
        }
        assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;"));
    }

    #[test]
    fn the_page_loads_nothing() {
        let (tally, requests) = sample();
        let page = write("x", &tally, &requests, "n");
        for way in [
            "src=",
            "href=",
            "url(",
            "@import",
            "<link",
            "<iframe",
            "fetch(",
            "XMLHttpRequest",
            "style=\"",
        ] {
            assert!(!page.replace("&lt;img src=x", "").contains(way), "{way}");
        }
    }
}
