// SPDX-License-Identifier: GPL-3.0-or-later
//! Ordinary programs, unchanged, that find a host by themselves in every way there is: the C library's names, a resolver
//! of their own, proxy variables or none. Each fetches a page of an allowed host, and fails at once on another.
#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::host::{stderr, succeed};
use e2e::world::{DENIED, World, in_a_world};

const ALLOWED: &str = "203.0.113.10";

/// Longest that a denial may take, with all of them at once on a busy machine.
const AT_ONCE: f64 = 20.0;

/// Name, and what fetches `$1`; `$1` begins with what stands in front of the host's name.
const TOOLS: [(&str, &str, &str); 10] = [
    ("curl", "https", "curl -sSf $1"),
    // GnuTLS knows no variable for whom to trust.
    (
        "wget",
        "https",
        "wget -qO- --ca-certificate=$SSL_CERT_FILE $1",
    ),
    (
        "urllib",
        "https",
        "/usr/bin/python3 -c 'import sys, urllib.request as it; print(it.urlopen(sys.argv[1]).read())' $1",
    ),
    (
        "ruby",
        "https",
        "ruby -ropen-uri -e 'puts URI.open(ARGV[0]).read' $1",
    ),
    (
        "php",
        "https",
        "php -r 'print(file_get_contents($argv[1]) ?: exit(1));' $1",
    ),
    // It reads no proxy variables.
    (
        "node",
        "https",
        "node -e 'fetch(process.argv[1]).then(it => it.text()).then(console.log)' $1",
    ),
    // Nor does this, and it has its own store of certificates.
    (
        "java",
        "https",
        "java -Djavax.net.ssl.trustStore=trusted.p12 -Djavax.net.ssl.trustStorePassword=changeit -cp programs Fetch $1",
    ),
    // Static, with the C library's resolver, which looks at the addresses and sorts them.
    ("c", "http", "programs/fetch-c $1"),
    // Static, with a resolver of its own that takes the first address.
    ("raw", "http", "programs/fetch-raw $1"),
    // Static, with its own resolver, TLS and proxy variables.
    ("go", "https", "programs/fetch-go $1"),
];

/// Builds the programs that are built, where both users find them.
fn programs(world: &World<'_>) {
    let directory = world.host().scratch().join("programs");
    fs::create_dir(&directory).expect("a directory");
    let source = |name: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/tools")
            .join(name)
    };
    for (program, file) in [("fetch-c", "fetch.c"), ("fetch-raw", "raw.c")] {
        // The linker warns that a static program takes the resolver's plugins from the machine; it is the same machine.
        let mut compiler = Command::new("cc");
        compiler.args(["-static", "-O2", "-w", "-o"]);
        succeed(compiler.arg(directory.join(program)).arg(source(file)));
    }
    let mut java = Command::new("javac");
    succeed(java.arg("-d").arg(&directory).arg(source("Fetch.java")));
    let mut keytool = Command::new("keytool");
    keytool.args(["-importcert", "-noprompt", "-storepass", "changeit"]);
    keytool.arg("-file").arg(world.ca()).arg("-keystore");
    succeed(keytool.arg(world.host().scratch().join("trusted.p12")));
    let mut go = Command::new("go");
    go.args(["build", "-o"])
        .arg(directory.join("fetch-go"))
        .arg(source("fetch.go"))
        .env("GOCACHE", go_cache())
        .env("CGO_ENABLED", "0");
    succeed(&mut go);
}

/// Go compiles its library before the first program: once is enough.
fn go_cache() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients/go");
    fs::create_dir_all(&target).expect("a directory");
    target.canonicalize().expect("a directory")
}

/// A script that has all of them fetch a page at once, and says status and duration of each.
fn all(host: &str, mark: &str) -> String {
    let each = TOOLS.iter().map(|(name, scheme, fetch)| {
        let url = format!("{scheme}://{host}/{mark}-{name}");
        format!(
            "( start=$(date +%s.%N); timeout 60 sh -c '{}' {name} {url} >{mark}-{name}.out 2>&1; \
             echo {name} $? $start $(date +%s.%N) ) &\n",
            fetch.replace('\'', "'\\''")
        )
    });
    format!("{}wait", each.collect::<String>())
}

/// Status and duration in seconds of each.
fn outcomes(said: &str) -> BTreeMap<String, (i32, f64)> {
    let line = |line: &str| {
        let [name, status, start, end] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{said}");
        };
        let time = |text: &str| text.parse::<f64>().expect("a time");
        let status = status.parse().expect("a status");
        (name.to_owned(), (status, time(end) - time(start)))
    };
    said.lines().map(line).collect()
}

#[test]
fn each_reaches_what_is_allowed_and_fails_at_once_on_what_is_not() {
    in_a_world(|world| {
        programs(world);
        let said = |mark: &str, name: &str| {
            let file = world.host().scratch().join(format!("{mark}-{name}.out"));
            fs::read_to_string(file).unwrap_or_default()
        };
        // Nothing in their way: each of them reaches the host that it will be refused.
        let outside = world.outside(&all("denied.test", "outside"));
        for (name, (status, _)) in outcomes(&e2e::host::stdout(&outside)) {
            assert_eq!(status, 0, "{name}: {}", said("outside", &name));
            assert!(world.has_arrived(DENIED, &format!("/outside-{name}")));
        }

        for (way, variables) in [("plain", &[][..]), ("proxied", &["--proxy-env"][..])] {
            let flags = [&["--allow-domains", "allowed.test"], variables].concat();
            let (good, bad) = (format!("good-{way}"), format!("bad-{way}"));
            let output = world.inside(&flags, &all("allowed.test", &good));
            let outcomes_of_good = outcomes(&e2e::host::stdout(&output));
            assert_eq!(outcomes_of_good.len(), TOOLS.len());
            for (name, (status, _)) in outcomes_of_good {
                let text = said(&good, &name);
                assert_eq!(status, 0, "{name}, {way}: {text}{}", stderr(&output));
                assert!(text.contains("hello from 203.0.113.10"), "{name}: {text}");
                assert!(world.has_arrived(ALLOWED, &format!("/{good}-{name}")));
            }
            assert_eq!(stderr(&output), "", "{way}: nothing was blocked");

            let output = world.inside(&flags, &all("denied.test", &bad));
            for (name, (status, took)) in outcomes(&e2e::host::stdout(&output)) {
                assert_ne!(status, 0, "{name}, {way}: {}", said(&bad, &name));
                assert!(took < AT_ONCE, "{name}, {way}: took {took} s");
            }
            let report = stderr(&output);
            assert!(report.contains("--allow-domains denied.test"), "{report}");
            assert!(!world.has_arrived(DENIED, &bad), "{way}");
        }
    });
}
