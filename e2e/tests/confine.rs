// SPDX-License-Identifier: GPL-3.0-or-later
//! What the command's processes may not do, and how much of the machine they may take.
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use e2e::host::{
    DEGRADED, Host, Running, degraded, eventually, leftovers, on_a_host, processes_with, stderr,
    stdout, succeed,
};

/// As a user, without keyward.
fn outside(script: &str) -> Output {
    let arguments = [
        "--reuid=12345",
        "--regid=12345",
        "--clear-groups",
        "sh",
        "-c",
    ];
    let mut command = Command::new("setpriv");
    command.args(arguments).arg(script).output().unwrap()
}

fn inside(host: &Host, flags: &[&str], script: &str) -> Output {
    let mut run = host.run();
    run.args(flags).args(["--", "sh", "-c", script]);
    run.output().unwrap()
}

/// The cgroups of a run that limit it, wherever they are.
fn limiting(host: &Host, file: &str) -> PathBuf {
    let runs = fs::read_dir(host.log_dir()).unwrap().flatten();
    let run = runs.last().unwrap().file_name().into_string().unwrap();
    let name = format!("keyward-{run}");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let places = mounts.lines().filter(|line| line.contains(" cgroup"));
    places
        .filter_map(|line| line.split(' ').nth(1))
        .map(|mount| Path::new(mount).join(&name).join(file))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("no {file} of {name}"))
}

#[test]
fn memory_ends_where_it_was_said() {
    on_a_host(|host| {
        let script = "python3 -c 'len(bytearray(200 << 20)); print(\"done\")'";
        let free = inside(host, &[], script);
        assert_eq!(stdout(&free), "done\n", "{}", stderr(&free));
        let output = inside(host, &["--memory", "64M"], script);
        assert_eq!(stdout(&output), "");
        // Of the shell, or of all together, as the hierarchy has it.
        assert_eq!(output.status.code(), Some(137), "{}", stderr(&output));
        let told = "keyward: the command came to its memory limit (67 MB): the kernel killed ";
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
        assert_eq!(leftovers(host), [].into());
    });
}

#[test]
fn a_fork_bomb_ends_and_is_named() {
    on_a_host(|host| {
        let script = "i=0; while [ $i -lt 50 ]; do sleep 0.3 & i=$((i+1)); done; wait; echo done";
        let free = inside(host, &[], script);
        assert_eq!((&*stdout(&free), &*stderr(&free)), ("done\n", ""));
        let output = inside(host, &["--pids", "20"], script);
        assert!(!output.status.success(), "{}", stderr(&output));
        let told = "keyward: the command came to its limit of 20 processes and threads";
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
    });
}

#[test]
fn there_is_a_limit_of_processes_if_nobody_says_one() {
    on_a_host(|host| {
        let mark = format!("81{}", std::process::id());
        let mut run = host.run();
        let _running = Running::new(run.args(["--", "sh", "-c", &format!("sleep {mark}; true")]));
        eventually("the command runs", || {
            !processes_with(&format!("sleep\0{mark}")).is_empty()
        });
        let limit = fs::read_to_string(limiting(host, "pids.max")).unwrap();
        let limit: u64 = limit.trim().parse().expect("a number, not max");
        let most: u64 = fs::read_to_string("/proc/sys/kernel/pid_max")
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        assert!((100..most).contains(&limit), "{limit} of {most}");
    });
}

#[test]
fn a_share_of_the_processors_is_not_exceeded() {
    on_a_host(|host| {
        let mark = format!("82{}", std::process::id());
        let script = format!("sleep {mark} & while :; do :; done");
        let mut run = host.run();
        let _running = Running::new(run.args(["--cpu", "0.05", "--", "sh", "-c", &script]));
        eventually("the command runs", || {
            !processes_with(&format!("sleep\0{mark}")).is_empty()
        });
        let path = limiting(host, "cpu.stat");
        eventually("it is held up", || {
            let stat = fs::read_to_string(&path).unwrap_or_default();
            let held = stat
                .lines()
                .find_map(|line| line.strip_prefix("nr_throttled "));
            held.is_some_and(|count| count != "0")
        });
    });
}

#[test]
fn limits_come_from_a_policy_file_too_and_faults_have_their_place() {
    on_a_host(|host| {
        let policy = host.scratch().join("keyward.toml");
        fs::write(
            &policy,
            "[sandbox]\nmemory = \"64M\"\nuser-namespaces = false\n",
        )
        .unwrap();
        let flags = ["--config", policy.to_str().unwrap()];
        let output = inside(
            host,
            &flags,
            "unshare --user true; python3 -c 'bytearray(200 << 20)'",
        );
        assert!(
            stderr(&output).contains("unshare failed: Operation not permitted"),
            "{}",
            stderr(&output)
        );
        let told = "the command came to its memory limit (67 MB)";
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
        fs::write(
            &policy,
            "[sandbox]\nmemory = \"lots\"\nswap = 1\npids = 1\n",
        )
        .unwrap();
        let output = inside(host, &flags, "true");
        assert_eq!(output.status.code(), Some(125));
        for told in [
            "keyward.toml:2:11: \"lots\" is no size; write 512M, 1.5G or a number of bytes",
            "keyward.toml:3:1: this key is not known",
            "keyward.toml:4:8: \"1\" is out of range; the least is 2",
        ] {
            assert!(
                stderr(&output).contains(told),
                "{told}: {}",
                stderr(&output)
            );
        }
    });
}

/// Error names by call.
fn calls(output: &Output) -> Vec<(String, String)> {
    let split = |line: &str| {
        let (name, error) = line.split_once(": ").unwrap();
        (name.to_owned(), error.to_owned())
    };
    stdout(output).lines().map(split).collect()
}

/// What the table refuses, as far as it can be asked for without harm where nothing refuses it.
#[cfg(target_arch = "x86_64")]
#[test]
fn calls_are_refused_as_the_table_says() {
    on_a_host(|host| {
        let script = "python3 - <<'end'\n".to_owned() + include_str!("confine/calls.py") + "end\n";
        let free = calls(&outside(&script));
        let output = inside(host, &[], &script);
        let confined = calls(&output);
        assert_eq!(confined.len(), free.len(), "{}", stderr(&output));
        assert!(confined.len() > 15);
        for ((name, confined), (_, free)) in confined.iter().zip(&free) {
            let expected = match name.as_str() {
                "getpid" | "ptrace" => free.as_str(),
                "process_vm_readv" | "open_tree" | "mount_setattr" | "modify_ldt" | "sysfs" => {
                    "ENOSYS"
                }
                _ => "EPERM",
            };
            assert_eq!(confined, expected, "{name}");
            if !matches!(
                name.as_str(),
                "getpid" | "ptrace" | "bpf" | "perf_event_open"
            ) {
                assert_ne!(free, expected, "{name}: the control shows nothing");
            }
        }
    });
}

#[test]
fn sandboxes_inside_keep_working() {
    on_a_host(|host| {
        let script = "bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp \
                      sh -c 'touch /tmp/x && ls /tmp && test ! -w /usr && id -u'";
        let output = inside(host, &[], script);
        assert_eq!(stdout(&output), "x\n12345\n", "{}", stderr(&output));
    });
}

#[test]
fn without_user_namespaces_nobody_mounts() {
    on_a_host(|host| {
        // What it would take: a namespace, by any of the calls that make one.
        let clone3 = "python3 -c 'import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
made = libc.syscall(435, (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17), 88)
if made == 0: os._exit(0)
print(made > 0 or errno.errorcode[ctypes.get_errno()])'";
        let script = format!(
            "unshare --user true && echo made; {clone3}; \
             bwrap --ro-bind / / true && echo mounted; (echo threads and forks | cat)"
        );
        let outside = Command::new("sh").args(["-c", clone3]).output();
        assert_eq!(stdout(&outside.unwrap()), "True\n");
        let free = inside(host, &[], &script);
        assert_eq!(
            stdout(&free),
            "made\nENOSYS\nmounted\nthreads and forks\n",
            "{}",
            stderr(&free)
        );
        let output = inside(host, &["--no-userns"], &script);
        assert_eq!(stdout(&output), "ENOSYS\nthreads and forks\n");
        let told = "unshare failed: Operation not permitted";
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
    });
}

#[test]
fn the_commands_own_processes_can_be_traced_and_init_cannot() {
    on_a_host(|host| {
        let output = inside(
            host,
            &[],
            "strace -qq -e trace=uname -e signal=none uname 2>&1",
        );
        assert!(
            stdout(&output).contains("uname({sysname="),
            "{}",
            stdout(&output)
        );
        let gdb = "gdb -q -batch -ex 'break main' -ex run -ex 'print 6*7' --args sleep 0 2>&1 | grep '= 42'";
        let output = inside(host, &[], gdb);
        assert_eq!(stdout(&output), "$1 = 42\n", "{}", stderr(&output));
        let output = inside(
            host,
            &[],
            "strace -p 1 2>&1; cat /proc/1/environ /proc/1/maps 2>&1",
        );
        assert_eq!(
            stdout(&output).matches("denied").count()
                + stdout(&output).matches("permitted").count(),
            3,
            "{}",
            stdout(&output)
        );
    });
}

#[test]
fn the_callers_keys_are_not_inherited() {
    on_a_host(|host| {
        // In a session of its own with a key in it, as who logs in has.
        let in_a_session = |command: &Command| {
            let mut session = Command::new("keyctl");
            let words: Vec<_> = std::iter::once(command.get_program())
                .chain(command.get_args())
                .map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', "'\\''")))
                .collect();
            let script = format!(
                "keyctl add user keyward-e2e secret @s >&2; {}",
                words.join(" ")
            );
            session.args(["session", "-", "sh", "-c", &script]);
            session
                .env_clear()
                .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
                .env("OPENAI_API_KEY", e2e::host::REAL_KEY)
                .envs(degraded().map(|it| (DEGRADED, it)))
                .stdin(Stdio::null())
                .current_dir(host.scratch())
                .output()
                .unwrap()
        };
        // Any key that the reader possesses is shown to it, whoever owns it.
        let look = "grep -c keyward-e2e /proc/keys";
        let mut free = Command::new("setpriv");
        free.args([
            "--reuid=12345",
            "--regid=12345",
            "--clear-groups",
            "sh",
            "-c",
            look,
        ]);
        assert_eq!(stdout(&in_a_session(&free)), "1\n");
        let mut run = host.run();
        run.args(["--", "sh", "-c", look]);
        let output = in_a_session(&run);
        assert_ne!(stdout(&output), "1\n", "{}", stderr(&output));
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    });
}

#[test]
fn keyward_is_killed_after_its_command_when_memory_runs_out() {
    on_a_host(|host| {
        let mark = format!("83{}", std::process::id());
        let mut run = host.run();
        let running = Running::new(run.args(["--", "sh", "-c", &format!("sleep {mark}; true")]));
        let command = || processes_with(&format!("sleep\0{mark}"));
        eventually("the command runs", || {
            command().iter().any(|pid| score(*pid).is_some())
        });
        let keyward = running.pid();
        let ours = score(keyward.as_raw().cast_unsigned()).unwrap();
        let children = format!("/proc/{keyward}/task/{keyward}/children");
        let children = fs::read_to_string(children).unwrap();
        let children: Vec<_> = children.split_whitespace().collect();
        assert_eq!(children.len(), 2, "the proxy and init");
        for child in children {
            let found = score(child.parse().unwrap()).unwrap();
            let name = fs::read(format!("/proc/{child}/cmdline")).unwrap();
            if name.starts_with(b"keyward-proxy\0") {
                assert_eq!(found, ours);
            } else {
                assert!(found > ours, "{found} is not sooner than {ours}");
            }
        }
    });
}

fn score(pid: u32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).ok()?;
    text.trim().parse().ok()
}

/// The kernel tells each process of the workload the same as init, from which it comes.
#[test]
fn every_process_is_as_confined_as_the_first() {
    on_a_host(|host| {
        let look = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
        let script = format!("{look}; sh -c \"{look}\"");
        let mut run = host.run_as("root");
        let output = run.args(["--", "sh", "-c", &script]).output().unwrap();
        let none = "0000000000000000";
        let once = format!(
            "CapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapBnd:\t{none}\nCapAmb:\t{none}\nNoNewPrivs:\t1\nSeccomp:\t2\n"
        );
        assert_eq!(stdout(&output), once.repeat(2), "{}", stderr(&output));
        let free = succeed(Command::new("sh").args(["-c", look]));
        assert_ne!(free, once);
    });
}
