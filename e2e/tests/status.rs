// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward status`, and what happens when a layer is taken away under a run or was never there.
#![cfg(test)]

use std::fs;
use std::process::{Child, Command, Output, Stdio};

use e2e::host::{
    DEGRADED, Host, binary, degraded, eventually, leftovers, on_a_host, processes_with, stderr,
    stdout, succeed,
};
use serde_json::Value;

/// A run that goes on until it is ended, and its name.
struct Live {
    keyward: Option<Child>,
    id: String,
    init: u64,
}

impl Live {
    fn start(host: &Host, mark: &str, flags: &[&str]) -> Self {
        let mut run = host.run();
        // In a script, so that keyward's own arguments do not look like the command.
        let script = format!("sleep {mark}; true");
        run.stderr(Stdio::piped())
            .args(flags)
            .args(["--", "sh", "-c", &script]);
        let keyward = run.spawn().unwrap();
        let pid = keyward.id();
        eventually("the command runs", || {
            !processes_with(&format!("sleep\0{mark}")).is_empty()
        });
        let document = json(&status(&["--json"]));
        let runs = document["runs"].as_array().unwrap();
        let run = runs
            .iter()
            .find(|run| run["pid"] == pid)
            .unwrap_or_else(|| panic!("{document}"));
        Self {
            id: run["id"].as_str().unwrap().to_owned(),
            init: run["init"].as_u64().unwrap(),
            keyward: Some(keyward),
        }
    }

    fn status(&self) -> (Option<i32>, Value) {
        let output = status(&["--json", &self.id]);
        (output.status.code(), json(&output)["runs"][0].take())
    }

    /// Its end, which it comes to by itself.
    fn end(mut self) -> Output {
        self.keyward.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(mut keyward) = self.keyward.take() {
            keyward.kill().ok();
            keyward.wait().ok();
        }
    }
}

fn status(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("keyward"));
    command.arg("status").args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

fn states(run: &Value) -> Vec<(String, String)> {
    let layers = run["layers"].as_array().unwrap();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    layers
        .iter()
        .map(|layer| (word(&layer["name"]), word(&layer["state"])))
        .collect()
}

#[test]
fn every_layer_is_read_back_and_logged() {
    on_a_host(|host| {
        let mark = format!("84{}", std::process::id());
        let live = Live::start(
            host,
            &mark,
            &["--no-userns", "--memory", "512M", "--cpu", "2"],
        );
        let (code, run) = live.status();
        assert_eq!(code, Some(0), "{run:#}");
        for (name, state) in states(&run) {
            let is_known = name == "Landlock" && degraded().is_some();
            let expected = if is_known { "degraded" } else { "in_force" };
            assert_eq!(state, expected, "{name}: {run:#}");
        }
        assert_eq!(run["proxy"]["problem"], Value::Null);
        assert_eq!(run["limits"]["memory"], 512 << 20);
        let ebpf = &run["layers"][1];
        assert!(ebpf["programs"]["connect4"].as_u64() > Some(0), "{ebpf}");
        let text = stdout(&status(&[&live.id]));
        assert!(
            text.starts_with(&format!("run {}  sh  for ", live.id)),
            "{text}"
        );
        assert!(text.contains("in force  nftables"), "{text}");
        let log = host.log("audit");
        let sandbox: Vec<_> = log
            .iter()
            .filter(|line| line["event"] == "sandbox")
            .collect();
        assert_eq!(sandbox.len(), 1);
        assert_eq!(states(sandbox[0]), states(&run));
    });
}

#[test]
fn without_a_run_there_is_nothing_to_say() {
    on_a_host(|_| {
        let output = status(&["ffffffffffff"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("there is no such run on this host"));
    });
}

/// While keyward is stopped it cannot notice, and status shows it.
#[test]
fn rules_that_were_changed_are_shown_and_end_the_run() {
    on_a_host(|host| {
        let mark = format!("85{}", std::process::id());
        let live = Live::start(host, &mark, &[]);
        signal(&live, "STOP");
        let namespace = format!("--net=/proc/{}/ns/net", live.init);
        succeed(
            Command::new("nsenter").args([&namespace, "nft", "delete", "table", "inet", "keyward"]),
        );
        let (code, run) = live.status();
        assert_eq!(code, Some(1), "{run:#}");
        assert!(
            states(&run).contains(&("nftables".to_owned(), "lost".to_owned())),
            "{run:#}"
        );
        signal(&live, "CONT");
        is_ended(host, live, "the nftables rules were changed");
    });
}

#[test]
fn a_program_that_was_detached_ends_the_run() {
    on_a_host(|host| {
        let mark = format!("86{}", std::process::id());
        let live = Live::start(host, &mark, &[]);
        // The pin is all that holds the link.
        fs::remove_file(format!("/sys/fs/bpf/keyward-{}/egress", live.id)).unwrap();
        is_ended(host, live, "egress");
    });
}

#[test]
fn a_limit_that_was_lifted_ends_the_run() {
    on_a_host(|host| {
        let mark = format!("87{}", std::process::id());
        let live = Live::start(host, &mark, &["--pids", "50"]);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mounts = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        let file = mounts
            .map(|mount| format!("{mount}/keyward-{}/pids.max", live.id))
            .find(|path| fs::metadata(path).is_ok())
            .unwrap();
        fs::write(file, "max").unwrap();
        is_ended(host, live, "a limit was changed");
    });
}

fn signal(live: &Live, name: &str) {
    let pid = live.keyward.as_ref().unwrap().id().to_string();
    succeed(Command::new("kill").args([&format!("-{name}"), &pid]));
}

fn is_ended(host: &Host, live: Live, reason: &str) {
    let output = live.end();
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    let report = stderr(&output);
    assert!(
        report.contains("a part of the firewall was taken away from outside"),
        "{report}"
    );
    assert!(report.contains(reason), "{report}");
    assert_eq!(leftovers(host), [].into());
}

/// Behind a filter that asks somebody: the kernel allows one in a tree of filters, so keyward's may not.
const ASKED_ALREADY: &str = "
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
allow = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000))
program = struct.pack('HxxxxxxQ', 1, ctypes.addressof(allow))
assert libc.prctl(38, 1, 0, 0, 0) == 0
listener = libc.syscall(317, 1, 8, program)
assert listener >= 0, ctypes.get_errno()
child = os.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))";

/// On a kernel without Landlock, as far as programs can tell.
const NO_LANDLOCK: &str = "
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (6, 0, 0, 0x00050026), (6, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *it) for it in code))
program = struct.pack('HxxxxxxQ', 4, ctypes.addressof(code))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.syscall(317, 1, 0, program) == 0
os.execv(sys.argv[1], sys.argv[1:])";

fn lacking(host: &Host, wrapper: &str, flags: &[&str], script: &str) -> Output {
    let run = host.run();
    let mut command = Command::new("/usr/bin/python3");
    command
        .args(["-c", wrapper])
        .arg(run.get_program())
        .args(run.get_args());
    for (name, value) in run.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.env_remove(DEGRADED);
    command.current_dir(host.scratch()).stdin(Stdio::null());
    command
        .args(flags)
        .args(["--", "sh", "-c", script])
        .output()
        .unwrap()
}

#[cfg(target_arch = "x86_64")]
#[test]
fn what_is_lacking_is_refused_by_name_and_done_without_by_name() {
    on_a_host(|host| {
        for (wrapper, flags, feature, second) in [
            (ASKED_ALREADY, &[][..], "seccomp-notify", None),
            (NO_LANDLOCK, &[][..], "landlock-scope", None),
            (
                NO_LANDLOCK,
                &["--no-userns"][..],
                "landlock",
                Some("landlock-scope"),
            ),
        ] {
            // What this kernel lacks in any case is done without, but for what is tried here.
            let besides = degraded().unwrap_or_default();
            let besides: Vec<_> = besides.split(',').filter(|it| !it.is_empty()).collect();
            let mut flags = flags.to_vec();
            for &it in besides.iter().filter(|it| **it != feature) {
                flags.extend(["--allow-degraded", it]);
            }
            let output = lacking(host, wrapper, &flags, "echo ran");
            assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
            assert_eq!(stdout(&output), "");
            let hint = format!("hint: to run all the same: --allow-degraded {feature}");
            assert!(stderr(&output).contains(&hint), "{}", stderr(&output));
            let mut allowed = flags.clone();
            allowed.extend(["--allow-degraded", feature]);
            allowed.extend(second.iter().flat_map(|it| ["--allow-degraded", it]));
            let script = "python3 -c 'import socket; socket.socket(socket.AF_VSOCK)' 2>&1 | tail -1; echo ran";
            let output = lacking(host, wrapper, &allowed, script);
            assert_eq!(
                stdout(&output),
                "PermissionError: [Errno 1] Operation not permitted\nran\n",
                "{feature}: {}",
                stderr(&output)
            );
            let log = host.log("audit");
            let degraded = log.iter().filter(|line| line["event"] == "sandbox");
            let named = |line: &Value| {
                line["degraded"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|it| it == feature)
            };
            assert!(degraded.into_iter().any(named), "{feature}: {log:#?}");
        }
    });
}

/// In a mount namespace without them.
#[test]
fn a_limit_that_nobody_could_keep_is_refused() {
    on_a_host(|host| {
        let without = "umount -a -t cgroup
            unified=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
            mount --bind /dev/null \"$unified/cgroup.controllers\" && exec \"$@\"";
        let run_without = |flags: &[&str]| {
            let run = host.run();
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", without, "sh"]);
            command
                .arg(run.get_program())
                .args(run.get_args())
                .args(flags);
            for (name, value) in run.get_envs() {
                command.env(name, value.unwrap_or_default());
            }
            command.current_dir(host.scratch()).stdin(Stdio::null());
            command.args(["--", "echo", "ran"]).output().unwrap()
        };
        let output = run_without(&["--memory", "64M"]);
        assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
        let told = "lacks cgroup-limits: no hierarchy has the controller memory, pids";
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
        let mut lacking = vec!["cgroup-limits".to_owned()];
        lacking.extend(degraded());
        let output = run_without(&["--memory", "64M", "--allow-degraded", &lacking.join(",")]);
        assert_eq!(stdout(&output), "ran\n", "{}", stderr(&output));
    });
}
