// SPDX-License-Identifier: GPL-3.0-or-later
//! The tables of the page.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::html::Html;
use crate::reading::units::{bytes, milliseconds};
use crate::reading::{
    Advice, Denials, HostTally, Request, Requests, Tally, advice, help, sentence,
};

/// A table of the page. What it takes besides text to sort by is in the cells.
pub(super) struct Table {
    text: String,
}

/// A cell.
pub(super) enum Cell {
    /// Text, escaped.
    Text(String),
    /// A number with how it is shown; `None` comes last.
    Number(Option<f64>, String),
    /// HTML of our own making.
    Html(String),
}

impl Table {
    pub(super) fn new(heads: &[&str]) -> Self {
        let mut text = "<div class=\"wide\"><table>\n<thead><tr>".to_owned();
        for head in heads {
            write!(text, "<th scope=\"col\">{head}</th>").unwrap_or_default();
        }
        text.push_str("</tr></thead>\n<tbody>\n");
        Self { text }
    }

    pub(super) fn row(&mut self, class: &str, cells: Vec<Cell>) {
        write!(self.text, "<tr class=\"{class}\">").unwrap_or_default();
        for cell in cells {
            match cell {
                Cell::Text(text) => write!(self.text, "<td>{}</td>", Html(&text)),
                Cell::Number(value, shown) => write!(
                    self.text,
                    "<td class=\"number\" data-value=\"{}\">{}</td>",
                    value.unwrap_or(-1.0),
                    Html(&shown)
                ),
                Cell::Html(html) => write!(self.text, "<td>{html}</td>"),
            }
            .unwrap_or_default();
        }
        self.text.push_str("</tr>\n");
    }

    pub(super) fn end(mut self) -> String {
        self.text.push_str("</tbody></table></div>\n");
        self.text
    }
}

fn counted(count: u64) -> Cell {
    Cell::Number(Some(count as f64), count.to_string())
}

fn sized(count: u64) -> Cell {
    Cell::Number(Some(count as f64), bytes(count))
}

fn span(span: Option<f64>) -> Cell {
    Cell::Number(span, span.map_or_else(String::new, milliseconds))
}

fn comms(comms: &BTreeMap<String, u64>) -> Cell {
    Cell::Text(
        comms
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", "),
    )
}

fn reason(name: &str) -> Cell {
    let text = sentence(name).unwrap_or(name);
    Cell::Html(format!(
        "<span title=\"{}\">{}</span>",
        Html(name),
        Html(text)
    ))
}

fn remedy(advice: Option<Advice>) -> Cell {
    Cell::Html(match advice {
        Some(Advice::Allow { flag, line }) => {
            let mut html = format!("<code>{}</code>", Html(&flag));
            if let Some(line) = line {
                write!(html, "<br><code>{}</code>", Html(&line)).unwrap_or_default();
            }
            html
        }
        Some(Advice::Note(note)) => format!("<span class=\"quiet\">{}</span>", Html(&note)),
        None => String::new(),
    })
}

/// What was denied at hosts.
pub(super) fn denials(
    tally: &Tally,
    class: &str,
    which: impl Fn(&HostTally) -> &Denials,
    attempts: impl Fn(&Denials) -> u64,
) -> Option<String> {
    let hosts = tally.worst(|host| attempts(which(host)));
    if hosts.is_empty() {
        return None;
    }
    let mut table = Table::new(&[
        "Host",
        "Ports",
        "Attempts",
        "By",
        "Why",
        "What would allow it",
    ]);
    for (name, host, count) in hosts {
        let denials = which(host);
        let main = denials.main_reason().map_or("", |(reason, _)| reason);
        table.row(
            class,
            vec![
                Cell::Text(name.to_owned()),
                Cell::Text(ports(denials.ports.iter())),
                counted(count),
                comms(&denials.comms),
                reason(main),
                remedy(advice(denials)),
            ],
        );
    }
    Some(table.end())
}

/// What else was denied.
pub(super) fn things(tally: &Tally) -> Option<String> {
    let things = tally.worst_things();
    if things.is_empty() {
        return None;
    }
    let mut table = Table::new(&["What", "Attempts", "By", "Why", "What would help"]);
    for (thing, tally) in things {
        table.row(
            "deny",
            vec![
                Cell::Text(thing.what()),
                counted(tally.count),
                comms(&tally.comms),
                reason(&thing.reason),
                remedy(help(thing, tally)),
            ],
        );
    }
    Some(table.end())
}

/// Every host.
pub(super) fn hosts(tally: &Tally) -> Option<String> {
    if tally.hosts.is_empty() {
        return None;
    }
    let mut table = Table::new(&[
        "Host", "Ports", "Allowed", "Denied", "Failed", "Up", "Down", "p50", "p99", "By", "Rule",
    ]);
    let moved = |host: &HostTally| host.bytes_up.saturating_add(host.bytes_down);
    let mut hosts: Vec<_> = tally.hosts.iter().collect();
    hosts.sort_by_key(|(name, host)| (std::cmp::Reverse((moved(host), host.allowed)), *name));
    for (name, host) in hosts {
        let denied = host.denied.attempts();
        let audited = host.audited.answered_attempts();
        let class = match (denied, audited) {
            (0, 0) if host.failed.attempts() == 0 => "allow",
            (0, _) => "audit",
            (_, _) => "deny",
        };
        let shown = if audited > 0 {
            format!("({audited})")
        } else {
            denied.to_string()
        };
        table.row(
            class,
            vec![
                Cell::Text(name.clone()),
                Cell::Text(ports(host.ports.iter())),
                counted(host.allowed),
                Cell::Number(Some((denied + audited) as f64), shown),
                counted(host.failed.attempts()),
                sized(host.bytes_up),
                sized(host.bytes_down),
                span(host.spans.percentile(50)),
                span(host.spans.percentile(99)),
                comms(&host.comms),
                rules(host),
            ],
        );
    }
    Some(table.end())
}

fn rules(host: &HostTally) -> Cell {
    let rules = host.rules.iter().map(|(rule, place)| {
        format!(
            "<code>{}</code> <span class=\"quiet\">{}</span>",
            Html(rule),
            Html(place)
        )
    });
    Cell::Html(rules.collect::<Vec<_>>().join("<br>"))
}

fn ports<'a>(ports: impl Iterator<Item = &'a u16>) -> String {
    ports.map(u16::to_string).collect::<Vec<_>>().join(", ")
}

/// The providers, model by model.
pub(super) fn models(requests: &Requests) -> Option<String> {
    if requests.count == 0 {
        return None;
    }
    let mut table = Table::new(&[
        "Provider",
        "Model",
        "Requests",
        "Denied",
        "Failed",
        "Tokens in",
        "Tokens out",
        "Up",
        "Down",
        "p50",
        "p99",
    ]);
    for ((provider, model), tally) in &requests.by_model {
        table.row(
            if tally.denied > 0 { "deny" } else { "allow" },
            vec![
                Cell::Text(provider.clone()),
                Cell::Text(model.clone()),
                counted(tally.count),
                counted(tally.denied),
                counted(tally.failed),
                tokens(Some(tally.all_input())),
                tokens(Some(tally.all_output())),
                sized(tally.request_bytes),
                sized(tally.response_bytes),
                span(tally.spans.percentile(50)),
                span(tally.spans.percentile(99)),
            ],
        );
    }
    Some(table.end())
}

/// The requests, one by one.
pub(super) fn requests(requests: &Requests) -> Option<String> {
    if requests.listed.is_empty() {
        return None;
    }
    let mut table = Table::new(&[
        "Time (UTC)",
        "Provider",
        "Model",
        "Request",
        "Status",
        "Up",
        "Down",
        "First byte",
        "Whole",
        "Tokens",
    ]);
    for request in &requests.listed {
        table.row(class(request), one(request));
    }
    Some(table.end())
}

fn class(request: &Request) -> &'static str {
    match request.decision.as_str() {
        "denied" => "deny",
        "failed" => "audit",
        _ => "allow",
    }
}

fn one(request: &Request) -> Vec<Cell> {
    let time = request
        .time
        .map(|it| it.strftime("%H:%M:%S%.3f").to_string());
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let status = request.status.map(|it| it.to_string()).unwrap_or_default();
    let status = match &request.reason {
        Some(reason) => {
            let sentence = sentence(reason).unwrap_or(reason);
            Cell::Html(format!(
                "{status} <span title=\"{}\">{}</span>",
                Html(sentence),
                Html(reason)
            ))
        }
        None => Cell::Text(status),
    };
    let kinds = [
        request.input_tokens,
        request.output_tokens,
        request.cache_read_tokens,
        request.cache_write_tokens,
        request.reasoning_tokens,
    ];
    let all = kinds.into_iter().flatten().reduce(u64::saturating_add);
    vec![
        Cell::Text(time.unwrap_or_default()),
        Cell::Text(request.provider.clone()),
        Cell::Text(text(&request.model)),
        Cell::Text(format!("{} {}", text(&request.method), text(&request.path))),
        status,
        sized(request.request_bytes),
        sized(request.response_bytes),
        span(request.first_byte_ms),
        span(request.duration_ms),
        tokens(all),
    ]
}

/// Nothing, where none were counted.
fn tokens(count: Option<u64>) -> Cell {
    match count.filter(|count| *count > 0) {
        Some(count) => counted(count),
        None => Cell::Number(None, String::new()),
    }
}
