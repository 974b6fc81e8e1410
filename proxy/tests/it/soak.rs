// SPDX-License-Identifier: MIT OR Apache-2.0
//! The gateway for a long time under many requests and tunnels, some of which either side breaks off, and some of whose
//! workers are slow: no answer goes to another's request, every token is counted once, and nothing is left behind.
//!
//! `cargo xtask soak` runs it for long; the ordinary suite for seconds. What it looks at belongs to the process
//! (descriptors, memory), so the ordinary suite starts it as a process of its own.

mod client;
mod ledger;
mod random;
mod socket;
mod stall;
mod tunnel;
mod upstream;

use std::{
    env, fs,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, task::JoinSet, time::sleep};

use self::{
    client::{Doors, Worker},
    ledger::{Counts, Ledger},
    random::Random,
    upstream::Upstream,
};
use crate::support::{Ca, Gateway, ask};

/// How much more memory the second half may take than the first.
const GROWTH_KIB: u64 = 16 * 1024;

/// How long what has ended may take to be gone.
const SETTLE: Duration = Duration::from_secs(120);

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |it| it.parse().expect("a number"))
}

#[test]
fn a_few_seconds_of_it() {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "soak::streams_and_faults"])
        .args(["--ignored", "--nocapture"])
        .env("KEYWARD_SOAK_SECONDS", "5")
        .env("KEYWARD_SOAK_STREAMS", "40")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && text.contains("1 passed");
    assert!(
        passed,
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: `cargo xtask soak`"]
async fn streams_and_faults() {
    let length = Duration::from_secs(setting("KEYWARD_SOAK_SECONDS", 60));
    let streams = setting("KEYWARD_SOAK_STREAMS", 200);
    let seed = setting("KEYWARD_SOAK_SEED", rand_seed());
    println!(
        "{streams} streams for {} s, KEYWARD_SOAK_SEED={seed}",
        length.as_secs()
    );

    let ca = Ca::new();
    // All of it is there before memory is looked at.
    let ledger = Arc::new(Ledger::new(streams * (length.as_secs() + 10) * 8));
    let http1 = Upstream::new(&ca, &[b"http/1.1"], Arc::clone(&ledger)).await;
    // Tunnels are asked for without HTTP/2.
    let http2 = Upstream::new(&ca, &[b"h2", b"http/1.1"], Arc::clone(&ledger)).await;
    let settings = format!(
        "[upstream]\nresolve = [\"api.openai.com={}\", \"api.anthropic.com={}\"]\n[limits]\nconnections = {}\n",
        http2.address,
        http1.address,
        streams * 2 + 64
    );
    // One only carries; the other reads each body and message for its model, and looks for secrets.
    let rules = "[models]\ndeny = [\"none\"]\n[scan]\nmode = \"block\"\n";
    let mut gateways = [settings.clone(), settings + rules]
        .map(|settings| Gateway::with(http2.address, &ca, &settings));
    let soak = Soak {
        gateways: gateways.each_ref().map(|it| [it.openai, it.anthropic]),
        upstreams: [&http1, &http2],
        ledger: &ledger,
        streams,
        seed,
    };

    soak.run(length.min(Duration::from_secs(10)) / 2, 0).await;
    let before = soak.settled(None).await;
    let (first, second) = soak.run(length, 1).await;
    let after = soak.settled(Some(before)).await;

    let mut lines = 0_u64;
    for gateway in &mut gateways {
        gateway.each_account(|account| {
            let Some(id) = account["request_id"].as_str() else {
                panic!("no request: {account}");
            };
            let Some(id) = id.strip_prefix("soak-") else {
                panic!("another's request: {account}");
            };
            let kind = |name: &str| account[name].as_u64().unwrap();
            let tokens = kind("input_tokens") + kind("output_tokens");
            ledger.logged(id.parse().unwrap(), tokens);
            lines += 1;
        });
    }
    let Counts {
        exchanges,
        answers,
        upstream_tokens,
        gateway_tokens,
        outcomes,
    } = ledger.check();
    println!("exchanges         {exchanges}, with {answers} answers that were counted to the end");
    println!("outcomes          {outcomes}");
    println!("tokens            upstream {upstream_tokens}, gateway {gateway_tokens}");
    println!("accounts          {lines}");
    println!("descriptors       {} before, {} after", before.0, after.0);
    println!("tasks             {} before, {} after", before.1, after.1);
    println!(
        "machine           {} s without time for this, at most",
        stall::longest()
    );
    println!("memory, most      {first} KiB in the first half, {second} KiB in the second");
    assert!(answers > 0, "nothing was soaked");
    assert_eq!(upstream_tokens, gateway_tokens);
    assert!(
        second <= first + GROWTH_KIB,
        "{first} KiB, then {second} KiB"
    );
}

fn rand_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// What is left behind can be seen by: descriptors and tasks.
type Level = (usize, usize);

fn level() -> Level {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().count();
    (descriptors, Handle::current().metrics().num_alive_tasks())
}

/// KiB of memory that this process has.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let count = line.unwrap().split_whitespace().next().unwrap();
    count.parse().unwrap()
}

struct Soak<'a> {
    gateways: [Doors; 2],
    upstreams: [&'a Upstream; 2],
    ledger: &'a Arc<Ledger>,
    streams: u64,
    seed: u64,
}

impl Soak<'_> {
    /// Keeps the requests going; the most memory in each half.
    async fn run(&self, length: Duration, round: u64) -> (u64, u64) {
        let start = Instant::now();
        let mut workers = JoinSet::new();
        for at in 0..self.streams {
            let random = Random::new(self.seed ^ (at << 32) ^ (round << 63));
            let worker = Worker::new(self.gateways, Arc::clone(self.ledger), random);
            workers.spawn(worker.run(start + length));
        }
        let mut most = [0, 0];
        while start.elapsed() < length {
            stall::watch().await;
            if let Some(Err(failed)) = workers.try_join_next() {
                panic!("a worker: {failed}");
            }
            let half = usize::from(start.elapsed() > length / 2);
            most[half] = memory().max(most[half]);
        }
        while let Some(ended) = workers.join_next().await {
            ended.unwrap();
        }
        most.into()
    }

    /// What is there while nothing is asked and no upstream is connected.
    async fn settled(&self, expected: Option<Level>) -> Level {
        for upstream in self.upstreams {
            upstream.hang_up();
        }
        let start = Instant::now();
        let mut last = level();
        let mut same = 0;
        loop {
            sleep(Duration::from_millis(100)).await;
            let now = level();
            same = if now == last { same + 1 } else { 0 };
            last = now;
            let there = expected.is_none_or(|it| now.0 <= it.0 && now.1 <= it.1);
            if same >= 10 && there {
                break;
            }
            assert!(
                start.elapsed() < SETTLE,
                "left behind: {now:?}, before {expected:?}"
            );
        }
        for [openai, _] in self.gateways {
            // The one that is active is this very request.
            let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            let metrics = ask(openai, request).await;
            let metrics = String::from_utf8(metrics.body).unwrap();
            for (provider, active) in [("openai", 1), ("anthropic", 0)] {
                let line = format!("keyward_requests_active{{provider=\"{provider}\"}} {active}\n");
                assert!(metrics.contains(&line), "{metrics}");
            }
        }
        last
    }
}
