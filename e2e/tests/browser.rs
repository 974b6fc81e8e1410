// SPDX-License-Identifier: GPL-3.0-or-later
//! Debian's Chromium, headless, behind the firewall: pages of an allowed host load, whatever it asks of others is
//! refused, and it offers no encrypted ClientHello, which nobody could judge.
//!
//! Its own sandbox is on: it makes a user namespace in keyward's.
#![cfg(test)]

#[path = "browser/client_hello.rs"]
mod client_hello;

use std::fs;

use e2e::host::{stderr, stdout};
use e2e::world::{DENIED, World, in_a_world};

const ALLOWED: &str = "203.0.113.10";

/// A page that says of each thing that it asks of another host whether it came.
const PAGE: &str = "<!doctype html><title>page</title><body><p>page is here</p>\
    <script src='https://denied.test/files/script.js?MARK' \
        onload='said(\"script came\")' onerror='said(\"script refused\")'></script>\
    <img src='https://denied.test/files/image.svg?MARK' \
        onload='said(\"image came\")' onerror='said(\"image refused\")'>\
    <iframe src='https://denied.test/files/frame.html?MARK'></iframe>";

/// It stands in front of the others.
const SAID: &str = "<script>function said(text) { document.body.append(text + '. ') }</script>";

/// What Chromium does without being asked is off, so that nothing else is in the log.
const CHROMIUM: &str = "timeout 60 chromium --headless --disable-gpu --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --disable-domain-reliability \
    --disable-client-side-phishing-detection --disable-dev-shm-usage --user-data-dir=$HOME/PROFILE --dump-dom";

/// Chromium trusts what is in the user's own database, and says no to a wrong certificate as ever.
fn prepare(world: &World<'_>) {
    let files = world.files();
    let write = |name: &str, text: &str| fs::write(files.join(name), text).expect("a file");
    for mark in ["outside", "plain", "proxied"] {
        let page = format!("{SAID}{PAGE}").replace("MARK", mark);
        write(&format!("{mark}.html"), &page);
    }
    write("script.js", "");
    write("frame.html", "frame");
    let image = "<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>";
    write("image.svg", image);
    let script = "mkdir -p \"$HOME/.pki/nssdb\" && cd \"$HOME/.pki\" && certutil -d sql:nssdb -N --empty-password && \
        certutil -d sql:nssdb -A -t C,, -n outside -i \"$SSL_CERT_FILE\"";
    let output = world.outside(script);
    assert!(output.status.success(), "{}", stderr(&output));
}

fn show(url: &str, profile: &str) -> String {
    format!("{} {url}", CHROMIUM.replace("PROFILE", profile))
}

/// Whether an encrypted ClientHello was offered, of every handshake that the allowed host has seen.
fn offers(world: &World<'_>) -> Vec<bool> {
    let arrived = world.arrived().into_iter();
    let hellos = arrived.filter(|it| it["at"] == ALLOWED && it["what"] == "connection");
    let bytes = hellos.map(|it| -> Vec<u8> {
        let text = it["data"].as_str().unwrap_or_default().chars();
        text.filter_map(|it| u8::try_from(it).ok()).collect()
    });
    bytes
        .filter_map(|it| client_hello::extensions(&it))
        .map(|it| it.contains(&client_hello::ENCRYPTED))
        .collect()
}

fn datagrams(world: &World<'_>) -> usize {
    let arrived = world.arrived().into_iter();
    arrived.filter(|it| it["what"] == "datagram").count()
}

#[test]
fn chromium_loads_what_is_allowed_and_nothing_else() {
    in_a_world(|world| {
        prepare(world);
        // Nothing in its way.
        let output = world.outside(&show("https://allowed.test/files/outside.html", "outside"));
        let said = stdout(&output);
        for words in ["page is here", "script came", "image came"] {
            assert!(said.contains(words), "{words}: {said}{}", stderr(&output));
        }
        assert!(world.has_arrived(DENIED, "/files/frame.html?outside"));
        let offered = offers(world);
        assert!(
            offered.contains(&true),
            "without keyward's settings it offers to encrypt: {offered:?}"
        );

        let before = datagrams(world);
        for (way, variables) in [("plain", &[][..]), ("proxied", &["--proxy-env"][..])] {
            let flags = [&["--allow-domains", "allowed.test"], variables].concat();
            let handshakes = offers(world).len();
            let url = format!("https://allowed.test/files/{way}.html");
            let output = world.inside(&flags, &show(&url, way));
            let said = stdout(&output);
            for words in ["page is here", "script refused", "image refused"] {
                let all = format!("{said}{}", stderr(&output));
                assert!(said.contains(words), "{way}: {words}: {all}");
            }
            let report = stderr(&output);
            assert!(report.contains("--allow-domains denied.test"), "{report}");
            let offered = offers(world).split_off(handshakes);
            assert!(!offered.is_empty(), "no handshake was seen");
            assert!(!offered.contains(&true), "{way}: {offered:?}");

            let url = format!("https://denied.test/files/frame.html?{way}");
            let output = world.inside(&flags, &show(&url, way));
            assert!(!stdout(&output).contains("frame<"), "{}", stdout(&output));
            assert!(!world.has_arrived(DENIED, way), "{way}");
        }
        assert_eq!(datagrams(world), before, "names or QUIC past the firewall");
    });
}
