// SPDX-License-Identifier: GPL-3.0-or-later
//! Package managers and the registries that they are set up with, through the firewall: they work unchanged where the
//! registry is allowed, and end soon where it is not, with a report whose advice makes them work.
//!
//! This is the one suite whose traffic leaves the machine. A registry is more than a server that answers: redirects,
//! content networks, several hosts, clients that keep connections and retry. A server of the tests' own would show that
//! keyward gets along with that server. What is fetched is what any build fetches, one small package each.
//!
//! No registry's name is written down here: whatever the machine is set up with is used, a mirror too.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use e2e::host::{Host, on_this_machine, stderr, stdout, succeed};

/// A package manager.
#[derive(Clone, Copy, Debug)]
struct Client {
    /// As in `registry:NAME`.
    name: &'static str,
    /// Fetches something in a fresh home, and ends well only if that is there in the end.
    script: &'static str,
    /// What is set for attempts that are to fail, so that they need not be waited for longer than it takes to see it.
    impatient: &'static [&'static str],
}

const NPM: Client = Client {
    name: "npm",
    script: "npm install is-number && test -f node_modules/is-number/package.json",
    // By itself it would try again after ten seconds and again after sixty; keyward sets shorter times.
    impatient: &[],
};

const PIP: Client = Client {
    name: "pip",
    script: "/usr/bin/python3 -m pip install --target packages six && test -f packages/six.py",
    impatient: &[],
};

const CARGO: Client = Client {
    name: "cargo",
    script: "mkdir src && touch src/lib.rs && \
        printf '[package]\\nname = \"probe\"\\nedition = \"2021\"\\n[dependencies]\\ncfg-if = \"1\"\\n' >Cargo.toml && \
        CARGO_HOME=$HOME/cargo /mnt/bin/cargo fetch && ls cargo/registry/cache/*/cfg-if-*.crate",
    impatient: &[],
};

/// Lists of its own: those of the machine stay as they are.
const APT: Client = Client {
    name: "apt",
    script: "mkdir -p state/lists/partial cache/archives/partial && \
        printf '%s;\\n' \"Dir::State \\\"$HOME/state\\\"\" \"Dir::Cache \\\"$HOME/cache\\\"\" \
            'APT::Update::Error-Mode \"any\"' '#clear APT::Update::Post-Invoke' \
            '#clear APT::Update::Post-Invoke-Success' >apt.conf && \
        apt-get -c apt.conf update && ls state/lists/*InRelease",
    impatient: &[],
};

/// Longest that a client may try what it may not have.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn npm_install() {
    check(NPM);
}

#[test]
fn pip_install() {
    check(PIP);
}

#[test]
fn cargo_fetch() {
    check(CARGO);
}

#[test]
fn apt_get_update() {
    check(APT);
}

fn check(client: Client) {
    on_this_machine(move |host| {
        let toolchain = toolchain();
        if client.name == CARGO.name {
            // It may be where only root can look.
            succeed(
                Command::new("mount")
                    .args(["--bind", "-o", "ro"])
                    .args([&toolchain, Path::new("/mnt")]),
            );
        }
        let registry = format!("registry:{}", client.name);
        for flags in [&[][..], &["--proxy-env"][..]] {
            let output = run(host, client, &registry, flags, &[]);
            assert!(output.status.success(), "{flags:?}: {}", all_of(&output));
            assert_eq!(stderr(&output), "", "nothing was blocked");
        }
        let used = hosts(host);

        // Without proxy variables.
        let advised = refused(host, client, "example.com", &[]).expect("an attempt that fails");
        let unknown: Vec<_> = advised.difference(&used).collect();
        assert!(unknown.is_empty(), "{unknown:?} of {used:?}");
        // With them, and then as each report says, until nothing is missing.
        let mut allowed = vec!["example.com".to_owned()];
        while let Some(advised) = refused(host, client, &allowed.join(","), &["--proxy-env"]) {
            allowed.extend(advised);
            assert!(allowed.len() <= 1 + used.len(), "{allowed:?} of {used:?}");
        }
        assert!(allowed.len() > 1, "nothing was refused");
    });
}

/// Runs it, and returns which hosts the report would have allowed, if it failed: that must not take long.
fn refused(host: &Host, client: Client, allowed: &str, flags: &[&str]) -> Option<BTreeSet<String>> {
    let begun = Instant::now();
    let output = run(host, client, allowed, flags, client.impatient);
    let took = begun.elapsed();
    if output.status.success() {
        return None;
    }
    let all = all_of(&output);
    assert!(took < SOON, "{flags:?}: took {took:?}: {all}");
    let report = stderr(&output);
    let mut words = report.split_whitespace();
    let mut advised = BTreeSet::new();
    while let Some(word) = words.next() {
        if word == "--allow-domains" {
            advised.extend(words.next().map(str::to_owned));
        }
    }
    assert!(!advised.is_empty(), "no advice: {all}");
    Some(advised)
}

/// Runs it in a home that nothing has been in.
fn run(host: &Host, client: Client, allowed: &str, flags: &[&str], env: &[&str]) -> Output {
    let home = host.scratch().join("home");
    fs::remove_dir_all(&home).ok();
    fs::create_dir(&home).unwrap();
    chown(&home, Some(12345), Some(12345)).unwrap();
    let mut command = host.run();
    command.args(["--allow-domains", allowed]).args(flags);
    command.arg("--env").arg(format!("HOME={}", home.display()));
    for variable in env {
        command.args(["--env", variable]);
    }
    // keyward passes these by itself.
    let passed = TRUST.into_iter();
    command.envs(passed.filter_map(|name| Some((name, std::env::var_os(name)?))));
    // The user has fetched crates before, and the one who set the machine up has said from where.
    command.env("CARGO_HOME", cargo_home());
    let script = format!("cd \"$HOME\" && exec 2>&1 && {}", client.script);
    command.args(["--exclude-env", "CARGO_HOME", "--", "sh", "-c", &script]);
    command.output().unwrap()
}

/// Variables by which a machine says whom its programs should trust.
const TRUST: [&str; 7] = [
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
];

/// The toolchain that this test was built with.
fn toolchain() -> PathBuf {
    let bin = Path::new(env!("CARGO")).parent();
    bin.and_then(Path::parent).unwrap().to_owned()
}

/// Where cargo keeps what it has fetched on this machine.
fn cargo_home() -> PathBuf {
    let home = std::env::var_os("HOME").map(|it| Path::new(&it).join(".cargo"));
    let named = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or(home).unwrap()
}

/// The hosts that were reached.
fn hosts(host: &Host) -> BTreeSet<String> {
    let lines = host.log("audit").into_iter();
    let lines = lines.filter(|it| it["verdict"] == "allow");
    lines
        .filter_map(|it| it["host"].as_str().map(str::to_owned))
        .collect()
}

/// What the command says comes on standard output, and what keyward says on the other.
fn all_of(output: &Output) -> String {
    stdout(output) + &stderr(output)
}
