// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every fault of a rule: line, column, reason, and what to write instead; the same in every format.
#![expect(clippy::unwrap_used, reason = "it is how a test says that it failed")]

use std::{collections::BTreeMap, path::Path};

use keyward_policy::{Builder, Faults, Input, NoCommands, Sources};

/// Rules that are refused. In TOML and JSON they stand as they are here; escapes are theirs.
const REFUSED: &[&str] = &[
    "",
    " ",
    "example.com ",
    " example.com",
    "exam ple.com",
    "example.com\\t",
    "exam\\u0000ple.com",
    "exam\\u001bple.com",
    "exam\\u200bple.com",
    "exam\u{a0}ple.com",
    "'example.com'",
    "\\\"example.com\\\"",
    "\u{201c}example.com\u{201d}",
    "example.com;id",
    "`id`.example.com",
    "example.com#x",
    "example\\\\.com",
    "a.example.com,b.example.com",
    "*",
    "*.",
    "*.*",
    "*.*.com",
    "*.com",
    "api-*.com",
    "*.co.uk",
    "co.uk",
    "example.*",
    "*.example.*",
    "a*b",
    "**.example.com",
    "a.**.example.com",
    "b\u{fc}*.example.com",
    "..",
    ".",
    ".example.com",
    "example..com",
    "example.com..",
    "*..example.com",
    "example.com:",
    "example.com:0",
    "example.com:65536",
    "example.com:http",
    "example.com:*",
    "example.com:-1",
    "example.com:080",
    "example.com:90-80",
    "example.com:80-",
    "example.com:80-0",
    "example.com:80-90-100",
    ":443",
    "https://",
    "https://:443",
    "tcp://example.com",
    "ssh://example.com",
    "wss://example.com",
    "udp://example.com:53",
    "://example.com",
    "https://example.com/path",
    "example.com/path",
    "tcp://example.com:80/path",
    "http://example.com/a/../b",
    "http://example.com//a",
    "http://example.com/%2e%2e/a",
    "http://example.com/a?b=*",
    "example.com?x",
    "user@example.com",
    "https://user:secret@example.com",
    "exam%70le.com",
    "exam$ple.com",
    "exam!ple.com",
    "(example.com)",
    "127.1",
    "0x7f.0.0.1",
    "2130706433",
    "0177.0.0.1",
    "192.0.2.256",
    "192.0.2.1.",
    "*.example.0x1",
    "10.0.0.5/8",
    "10.0.0.0/33",
    "10.0.0.0/8x",
    "10.0.0.0/08",
    "10.0.0.0/8:0",
    "0.0.0.0/0",
    "::/0",
    "fd00::1/8",
    "fd00::/129",
    "[fd00::1",
    "[fd00::1]443",
    "[192.0.2.1x]",
    "fe80::1%eth0",
    "2001:db8:::1",
    "xn--a.example",
    "\u{378}.example.com",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.com",
    "host.docker.internal",
    "host.keyward.internal:5432",
    "group:nothing",
    "group:gihtub",
    "registry:nmp",
];

fn load(extension: &str, text: &str) -> Faults {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(format!("keyward.{extension}")), text).unwrap();
    let environment = BTreeMap::new();
    let mut builder = Builder::new(Sources {
        root: directory.path(),
        home: None,
        directory: directory.path(),
        environment: &environment,
        commands: &NoCommands,
    });
    let path = Path::new("keyward").with_extension(extension);
    if extension == "txt" {
        builder.allow_domains_file(&path);
    } else {
        builder.config(&Input::Path(path));
    }
    builder.finish().unwrap_err()
}

fn toml(rule: &str) -> String {
    format!("# \u{e9}\nallow = [\"fine.example.com\", \"{rule}\"]\n")
}

#[test]
fn every_fault_says_where_it_is_and_why() {
    let mut shown = String::new();
    for rule in REFUSED {
        let faults = load("toml", &toml(rule));
        assert_eq!(faults.0.len(), 1, "{rule}: {faults}");
        shown.push_str(&faults.to_string());
        shown.push_str("\n\n");
    }
    insta::assert_snapshot!("refused", shown);
}

#[test]
fn it_is_the_same_in_every_format() {
    for rule in REFUSED {
        let places = [
            (
                "json",
                format!("\n{{\"allow\": [\"fine.example.com\", \"{rule}\"]}}\n"),
                2,
                33,
            ),
            (
                "yaml",
                format!("allow:\n  - fine.example.com\n  - \"{rule}\"\n"),
                3,
                6,
            ),
        ];
        let toml = &load("toml", &toml(rule)).0[0];
        for (extension, text, line, column) in places {
            let faults = load(extension, &text);
            assert_eq!(faults.0.len(), 1, "{rule}: {faults}");
            let fault = &faults.0[0];
            assert_eq!(
                (&fault.what, &fault.hint),
                (&toml.what, &toml.hint),
                "{rule}"
            );
            assert_eq!(fault.origin.line, line, "{extension}: {fault}");
            // In TOML the rule begins at column 31.
            assert_eq!(
                fault.origin.column - column,
                toml.origin.column - 31,
                "{extension}: {fault}"
            );
        }
    }
}

#[test]
fn and_in_lists() {
    for rule in REFUSED {
        // Spaces around a rule, commas and comments are the list's own.
        if rule.contains(['\\', ',']) || rule.trim() != *rule || rule.is_empty() {
            continue;
        }
        let fault = &load("txt", &format!("fine.example.com\n  {rule}\n")).0[0];
        let toml = &load("toml", &toml(rule)).0[0];
        assert_eq!(
            (&fault.what, &fault.hint),
            (&toml.what, &toml.hint),
            "{rule}"
        );
        assert_eq!(
            (fault.origin.line, fault.origin.column - 3),
            (2, toml.origin.column - 31),
            "{rule}"
        );
    }
}

#[test]
fn all_faults_come_at_once() {
    let text = "\
mode = \"enforced\"
alow = []
block = \"example.com\"
host-ports = [0, \"90-80\", \"x\", true]
allow = [
    { rule = \"https://example.com\", methods = [\"GET\"] },
    { rule = \"http://example.com\", methods = [\"get\"] },
    { rule = \"http://example.com\", methods = [] },
    { rule = \"example.com\", private = \"yes\" },
    { rules = \"example.com\" },
    { rule = \"group:github\", private = true },
    5,
]
allow-files = [\"missing.txt\"]
include = [\"missing.toml\"]

[groups]
github = [\"example.com\"]
My_Team = [\"example.com\"]
one = [\"group:two\"]
two = [\"group:one\", \"example.com:0\"]

[dns]
answer = \"real\"
servers = [\"dns.example\", \"192.0.2.53\"]

[upstream-proxy]
url = \"socks5://user:secret@proxy.test\"
no-proxy = [\"a b\"]
";
    let faults = load("toml", text).to_string();
    assert!(!faults.contains("secret"), "{faults}");
    insta::assert_snapshot!("all_at_once", faults);
}

#[test]
fn what_is_no_policy_says_so() {
    let mut shown = String::new();
    for (extension, text) in [
        ("toml", "allow = [\"a.test\""),
        ("toml", "allow = 1 2"),
        ("yaml", "allow: [a.test"),
        ("yaml", "- a.test"),
        ("yaml", "allow:\n\t- a.test"),
        ("yaml", "allow: []\nallow: []"),
        ("json", "{\"allow\": [\"a.test\",]}"),
        ("json", "[]"),
        ("json", ""),
        ("conf", "alow: [a.test]"),
        ("conf", "{allow: 1}"),
    ] {
        shown.push_str(&format!("{}\n\n", load(extension, text)));
    }
    insta::assert_snapshot!("not_policies", shown);
}
