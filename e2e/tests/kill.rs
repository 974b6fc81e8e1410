// SPDX-License-Identifier: GPL-3.0-or-later
//! SIGKILL at any moment: the workload ends or has no way out, and the next run clears away what is left.
//!
//! The tests take turns: each looks at all of keyward's processes and leftovers on this machine.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use e2e::host::{Host, eventually, on_a_host, processes_with, stderr};
use firewall_user::{cgroup, runs};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

static TURN: Mutex<()> = Mutex::new(());

/// How long a run takes here from its start to its command, generously: moments are spread over it.
const START_UP: Duration = Duration::from_millis(80);

/// Whom to kill.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Keyward,
    Proxy,
    Init,
    Both,
    All,
}

fn take_turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run whose command would go on for ever and can be told by `mark`.
fn start(host: &Host, mark: &str) -> Child {
    let mut run = host.run();
    run.stdout(Stdio::null()).stderr(Stdio::null());
    let script = format!("(sleep {mark} & setsid sleep {mark} &) ; while :; do sleep {mark}; done");
    // With limits, which are in cgroups of their own on some hosts.
    run.args(["--memory", "1G", "--cpu", "1"]);
    run.args(["--", "sh", "-c", &script]).spawn().unwrap()
}

fn proxy_of(keyward: &Child) -> Option<Pid> {
    child_of(keyward, |cmdline| cmdline.starts_with(b"keyward-proxy\0"))
}

/// A clone of keyward itself, so it has keyward's arguments.
fn init_of(keyward: &Child) -> Option<Pid> {
    let own = fs::read(format!("/proc/{}/cmdline", keyward.id())).ok()?;
    child_of(keyward, |cmdline| !own.is_empty() && cmdline == own)
}

fn child_of(keyward: &Child, is_it: impl Fn(&[u8]) -> bool) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", keyward.id())).ok()?;
    children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .map(Pid::from_raw)
        .find(|pid| is_it(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()))
}

fn strike(keyward: &Child, victim: Victim) {
    let own = Pid::from_raw(i32::try_from(keyward.id()).unwrap());
    let proxy = proxy_of(keyward);
    let init = init_of(keyward);
    let targets = match victim {
        Victim::Keyward => [Some(own), None, None],
        Victim::Proxy => [proxy, None, None],
        Victim::Init => [init, None, None],
        Victim::Both => [Some(own), proxy, None],
        Victim::All => [proxy, init, Some(own)],
    };
    for target in targets.into_iter().flatten() {
        // It may have ended by itself.
        kill(target, Signal::SIGKILL).ok();
    }
}

/// The runs of which there is a cgroup, a directory of pins or a lock on this machine although they are over.
fn remains() -> BTreeSet<String> {
    runs::dead(&cgroup::Hierarchies::find().unwrap())
        .into_iter()
        .collect()
}

fn nothing_is_left_after_the_next_run(host: &Host) {
    let output = host.shell("true");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(remains(), BTreeSet::new());
    eventually("no proxy is left", || {
        processes_with("keyward-proxy\0--supervised").is_empty()
    });
}

#[test]
fn killed_at_ten_moments_nothing_lives_on_and_nothing_is_left() {
    let _turn = take_turn();
    on_a_host(|host| {
        for victim in [Victim::Keyward, Victim::Proxy, Victim::Both, Victim::All] {
            for moment in 0..10u32 {
                let mark = format!("77{}{moment}", std::process::id());
                let mut keyward = start(host, &mark);
                if moment == 9 {
                    eventually("the command runs", || {
                        !processes_with(&format!("sleep\0{mark}")).is_empty()
                    });
                } else {
                    std::thread::sleep(START_UP / 9 * moment);
                }
                strike(&keyward, victim);
                if matches!(victim, Victim::Proxy) && proxy_of(&keyward).is_some() {
                    // Killed too early: there was no proxy yet, so this run is as any other.
                    strike(&keyward, Victim::Proxy);
                }
                let deadline = Instant::now() + Duration::from_secs(10);
                while keyward.try_wait().unwrap().is_none() {
                    if Instant::now() > deadline || proxy_of(&keyward).is_some() {
                        strike(&keyward, Victim::Both);
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                eventually("every process of the workload has ended", || {
                    processes_with(&format!("sleep\0{mark}")).is_empty()
                });
                nothing_is_left_after_the_next_run(host);
            }
        }
    });
}

#[test]
fn a_dead_proxy_ends_the_command_and_is_named() {
    let _turn = take_turn();
    on_a_host(|host| {
        let mark = format!("78{}", std::process::id());
        let mut run = host.run();
        run.stderr(Stdio::piped());
        // In a script, so that keyward's own arguments do not look like the command.
        let script = format!("sleep {mark}; true");
        let keyward = run.args(["--", "sh", "-c", &script]).spawn().unwrap();
        eventually("the command runs", || {
            !processes_with(&format!("sleep\0{mark}")).is_empty()
        });
        strike(&keyward, Victim::Proxy);
        let output = keyward.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert!(
            stderr(&output).contains("keyward-proxy ended (signal 9)"),
            "{}",
            stderr(&output)
        );
        assert_eq!(processes_with(&format!("sleep\0{mark}")), [0; 0]);
        // This one was told to go and went: nothing is left for the next.
        assert_eq!(remains(), BTreeSet::new());
    });
}

#[test]
fn a_dead_init_takes_the_command_with_it_and_nothing_is_left() {
    let _turn = take_turn();
    on_a_host(|host| {
        let mark = format!("76{}", std::process::id());
        let mut keyward = start(host, &mark);
        eventually("the command runs", || {
            !processes_with(&format!("sleep\0{mark}")).is_empty()
        });
        strike(&keyward, Victim::Init);
        assert_eq!(keyward.wait().unwrap().code(), Some(137));
        assert_eq!(processes_with(&format!("sleep\0{mark}")), [0; 0]);
        assert_eq!(remains(), BTreeSet::new());
    });
}

#[test]
fn doctor_clears_away_what_a_killed_run_left() {
    let _turn = take_turn();
    on_a_host(|host| {
        let mark = format!("79{}", std::process::id());
        let mut keyward = start(host, &mark);
        eventually("the command runs", || {
            !processes_with(&format!("sleep\0{mark}")).is_empty()
        });
        strike(&keyward, Victim::Keyward);
        keyward.wait().unwrap();
        assert!(
            !remains().is_empty(),
            "a killed run leaves its pins: else this test shows nothing"
        );
        let doctor = |args: &[&str]| {
            std::process::Command::new(e2e::host::binary("keyward"))
                .arg("doctor")
                .args(args)
                .output()
                .unwrap()
        };
        assert_eq!(doctor(&[]).status.code(), Some(1));
        let fixed = doctor(&["--fix"]);
        assert!(fixed.status.success(), "{}", e2e::host::stdout(&fixed));
        assert!(
            stderr(&fixed).contains("cleared away what run"),
            "{}",
            stderr(&fixed)
        );
    });
}

#[test]
fn two_hundred_kills_leave_nothing() {
    let _turn = take_turn();
    on_a_host(|host| {
        let mark = format!("80{}", std::process::id());
        for round in 0..200u64 {
            let mut keyward = start(host, &mark);
            // A low-discrepancy sequence: every part of the start-up is hit, and a failure can be repeated.
            let fraction = (round * 618_034) % 1_000_000;
            std::thread::sleep(Duration::from_micros(fraction * 100 / 1000));
            // Every third one loses its init, or everything, as when memory runs out; keyward follows.
            let victims = [Victim::Keyward, Victim::All, Victim::Init];
            strike(&keyward, victims[usize::try_from(round % 3).unwrap()]);
            strike(&keyward, Victim::Keyward);
            keyward.wait().unwrap();
        }
        eventually("every process of the workloads has ended", || {
            processes_with(&format!("sleep\0{mark}")).is_empty()
        });
        nothing_is_left_after_the_next_run(host);
    });
}
