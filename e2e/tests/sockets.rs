// SPDX-License-Identifier: GPL-3.0-or-later
//! Sockets that a workload may not make: each fails at once, and each is in the log, with its reason and the right
//! process, whichever part of the kernel refused it.
#![cfg(test)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::host::{Host, USER, eventually, on_a_host, stderr, stdout, succeed};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// A socket to ask for, and what is to be read of it in the log.
struct Case {
    /// `socket(2)`'s arguments, in Python.
    arguments: &'static str,
    hook: &'static str,
    reason: &'static str,
    /// Family, type, protocol.
    words: [&'static str; 3],
    /// In the report.
    what: &'static str,
}

const fn case(
    arguments: &'static str,
    [hook, reason]: [&'static str; 2],
    words: [&'static str; 3],
    what: &'static str,
) -> Case {
    Case {
        arguments,
        hook,
        reason,
        words,
        what,
    }
}

const RAW: [&str; 2] = ["seccomp", "socket_not_allowed"];
const FAMILY: [&str; 2] = ["seccomp", "family_not_allowed"];

const CASES: &[Case] = &[
    case(
        "AF_INET, SOCK_RAW, 1",
        RAW,
        ["AF_INET", "raw", "icmp"],
        "raw socket",
    ),
    case(
        "AF_INET, SOCK_RAW | SOCK_CLOEXEC, 255",
        RAW,
        ["AF_INET", "raw", "raw"],
        "raw socket",
    ),
    case(
        "AF_INET6, SOCK_RAW, 58",
        RAW,
        ["AF_INET6", "raw", "icmpv6"],
        "raw socket",
    ),
    // The old way to a packet socket.
    case(
        "AF_INET, 10, 3",
        RAW,
        ["AF_INET", "packet", "ip protocol 3"],
        "packet socket",
    ),
    case(
        "AF_PACKET, SOCK_RAW, 3",
        FAMILY,
        ["AF_PACKET", "raw", "protocol 3"],
        "AF_PACKET socket",
    ),
    case(
        "AF_VSOCK, SOCK_STREAM, 0",
        FAMILY,
        ["AF_VSOCK", "stream", "protocol 0"],
        "AF_VSOCK socket",
    ),
    case(
        "AF_ALG, SOCK_SEQPACKET, 0",
        FAMILY,
        ["AF_ALG", "seqpacket", "protocol 0"],
        "AF_ALG socket",
    ),
    case(
        "AF_BLUETOOTH, SOCK_RAW, 1",
        FAMILY,
        ["AF_BLUETOOTH", "raw", "protocol 1"],
        "AF_BLUETOOTH socket",
    ),
    case(
        "99, SOCK_DGRAM, 0",
        FAMILY,
        ["family 99", "datagram", "protocol 0"],
        "family 99 socket",
    ),
    case(
        "AF_INET, SOCK_DGRAM, 1",
        RAW,
        ["AF_INET", "datagram", "icmp"],
        "icmp socket",
    ),
    case(
        "AF_INET6, SOCK_DGRAM, 58",
        RAW,
        ["AF_INET6", "datagram", "icmpv6"],
        "icmpv6 socket",
    ),
    case(
        "AF_INET, SOCK_DGRAM, 136",
        RAW,
        ["AF_INET", "datagram", "udp-lite"],
        "udp-lite socket",
    ),
    case(
        "AF_INET, SOCK_STREAM, 262",
        RAW,
        ["AF_INET", "stream", "mptcp"],
        "mptcp socket",
    ),
    case(
        "AF_NETLINK, SOCK_RAW, 12",
        FAMILY,
        ["AF_NETLINK", "raw", "protocol 12"],
        "AF_NETLINK socket",
    ),
];

/// Defines `attempt`: the error's name (or "made") and the milliseconds that it took, by the C library, because
/// Python's own constructor asks for more than the socket.
const ATTEMPT: &str = "
import ctypes, errno, os, sys, time
from socket import *
libc = ctypes.CDLL(None, use_errno=True)
def attempt(*arguments):
    before = time.monotonic()
    made = libc.socket(*arguments)
    took = (time.monotonic() - before) * 1000
    if made >= 0:
        os.close(made)
        return 'made', took
    return errno.errorcode[ctypes.get_errno()], took
";

/// Tries every case, a line each.
fn try_all() -> String {
    let mut script = ATTEMPT.to_owned();
    for case in CASES {
        script += &format!("print(*attempt({}))\n", case.arguments);
    }
    script
}

fn python(script: &str) -> [&str; 3] {
    ["/usr/bin/python3", "-c", script]
}

/// The line of a denial that `case` leaves, without what differs from run to run.
fn expected(case: &Case) -> Value {
    let [family, socket, protocol] = case.words;
    let mut line = json!({
        "event": "decision", "door": "kernel", "verdict": "deny", "uid": 12345, "comm": "python3",
        "hook": case.hook, "what": case.what, "reason": case.reason, "protocol": protocol,
    });
    if !family.is_empty() {
        line["family"] = family.into();
        line["socket"] = socket.into();
    }
    line
}

/// Takes what differs from run to run out of a line and returns its process.
fn take_process(line: &mut Value) -> u64 {
    let fields = line.as_object_mut().unwrap();
    assert!(
        fields
            .remove("time")
            .unwrap()
            .as_str()
            .unwrap()
            .starts_with("20")
    );
    fields.remove("run").unwrap();
    // Read from /proc: it is missing where the process was gone by then.
    if let Some(program) = fields.remove("exe") {
        assert!(program.as_str().unwrap().starts_with("/usr/bin/python3"));
    }
    assert!(fields.remove("cgroup").unwrap().as_u64() > Some(1));
    let pid = fields.remove("pid").unwrap();
    // It has one thread.
    assert_eq!(fields.remove("tid").unwrap(), pid);
    pid.as_u64().unwrap()
}

/// A run of Python, which is held up where the script reads a line.
fn start(host: &Host, script: &str) -> (Child, BufReader<ChildStdout>) {
    let mut run = host.run();
    run.stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = run.arg("--").args(python(script)).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// The pid on the host of keyward's grandchild, the command.
fn command_of(keyward: &Child) -> u64 {
    let children = |pid: u64| -> Vec<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        text.split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect()
    };
    let grandchildren: Vec<u64> = children(keyward.id().into())
        .into_iter()
        .flat_map(children)
        .collect();
    let [command] = grandchildren[..] else {
        panic!("one command, not {grandchildren:?}");
    };
    command
}

#[test]
fn each_fails_at_once_and_is_in_the_log_once_with_its_reason_and_process() {
    on_a_host(|host| {
        let script = format!("{}sys.stdout.flush(); sys.stdin.readline()", try_all());
        let (keyward, mut output) = start(host, &script);
        let mut line = String::new();
        for case in CASES {
            line.clear();
            output.read_line(&mut line).unwrap();
            let (result, took) = line.trim().split_once(' ').unwrap();
            assert_eq!(result, "EPERM", "{}", case.arguments);
            assert!(
                took.parse::<f64>().unwrap() < 100.0,
                "{}: {line}",
                case.arguments
            );
        }
        let command = command_of(&keyward);
        let output = keyward.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));

        // Two ways lead to the log, so the order between them is open.
        let mut lines = host.decisions();
        for line in &mut lines {
            assert_eq!(take_process(line), command, "{line}");
        }
        for case in CASES {
            let at = lines.iter().position(|line| *line == expected(case));
            let at = at.unwrap_or_else(|| panic!("no line for {}: {lines:#?}", case.arguments));
            lines.remove(at);
            let report = stderr(&output);
            let told = report.lines().any(|line| {
                line.starts_with(&format!("  {} ", case.what)) && line.contains("  by python3  ")
            });
            assert!(told, "{}: {report}", case.what);
        }
        assert_eq!(lines, [] as [Value; 0]);
        let total = format!("keyward: blocked {} attempts\n", CASES.len());
        assert!(stderr(&output).contains(&total), "{}", stderr(&output));
    });
}

/// The control: that it is keyward that says EPERM.
#[test]
fn without_keyward_root_makes_them_or_the_kernel_says_something_else() {
    on_a_host(|_| {
        fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
        let output = succeed(Command::new("/usr/bin/python3").args(["-c", &try_all()]));
        for (case, line) in CASES.iter().zip(output.lines()) {
            assert!(!line.starts_with("EPERM"), "{}: {line}", case.arguments);
            if matches!(case.words[0], "AF_INET" | "AF_INET6" | "AF_PACKET" | "")
                && case.words[1] != "packet"
            {
                // Newer kernels have no UDP-Lite any more.
                let gone = case.words[2] == "udp-lite" && line.starts_with("EPROTONOSUPPORT ");
                assert!(
                    gone || line.starts_with("made "),
                    "{}: {line}",
                    case.arguments
                );
            }
        }
        assert_eq!(output.lines().count(), CASES.len());
    });
}

#[test]
fn a_thread_of_a_grandchild_is_named_by_its_process_and_itself() {
    on_a_host(|host| {
        let script = format!(
            "{ATTEMPT}
import threading
if os.fork() == 0:
    open('/proc/self/comm', 'w').write('a \\\\b \\xe9\\n!')
    thread = threading.Thread(target=lambda: print(*attempt(AF_VSOCK, SOCK_STREAM, 0)))
    thread.start(); thread.join()
    sys.stdout.flush()
    os._exit(0)
os.wait()"
        );
        let output = host.run().arg("--").args(python(&script)).output().unwrap();
        assert!(
            stdout(&output).starts_with("EPERM "),
            "{} {}",
            stdout(&output),
            stderr(&output)
        );
        let lines = host.decisions();
        let [line] = &lines[..] else {
            panic!("one line: {lines:?}");
        };
        assert!(line["pid"].as_u64() < line["tid"].as_u64(), "{line}");
        assert_eq!(line["comm"], "a \\b \u{e9}\n!");
        assert_eq!(line["uid"], 12345);
    });
}

#[test]
fn a_flood_of_refused_sockets_ends_and_is_counted() {
    on_a_host(|host| {
        let script = format!(
            "{ATTEMPT}
import threading
def flood():
    for _ in range(5000):
        assert attempt(AF_PACKET, SOCK_RAW, 3)[0] == 'EPERM'
threads = [threading.Thread(target=flood) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print('done')"
        );
        let began = Instant::now();
        let output = host.run().arg("--").args(python(&script)).output().unwrap();
        let took = began.elapsed();
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stdout(&output), "done\n");
        let report = stderr(&output);
        assert!(
            report.contains(
                "keyward: blocked 20000 attempts\n  AF_PACKET socket  ×20000  by python3  "
            ),
            "{report}"
        );
        assert_eq!(host.decisions().len(), 20_000);
        assert!(took < Duration::from_secs(20), "{took:?}");
    });
}

/// While the loop is kept busy by a flood that does not end, it still hears of signals, and ends the run.
#[test]
fn a_flood_keeps_keyward_from_nothing() {
    on_a_host(|host| {
        let script = format!(
            "{ATTEMPT}
import threading
def flood():
    while True: attempt(AF_PACKET, SOCK_RAW, 3)
for _ in range(8): threading.Thread(target=flood).start()
print('ready', flush=True)"
        );
        let (mut keyward, mut output) = start(host, &script);
        let mut ready = String::new();
        output.read_line(&mut ready).unwrap();
        let audit = || {
            host.log_dir()
                .read_dir()
                .unwrap()
                .flatten()
                .map(|run| fs::metadata(run.path().join("audit.jsonl")).unwrap().len())
                .sum::<u64>()
        };
        eventually("the flood is in the log", || audit() > 100_000);
        send(&keyward, Signal::SIGTERM);
        let began = Instant::now();
        assert_eq!(keyward.wait().unwrap().code(), Some(143));
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    });
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn who_asks_while_keyward_is_stopped_is_answered_when_it_goes_on() {
    on_a_host(|host| {
        let script = format!(
            "{ATTEMPT}
print('ready', flush=True)
sys.stdin.readline()
print('asking', flush=True)
result, took = attempt(AF_VSOCK, SOCK_STREAM, 0)
print(result, took > 200)"
        );
        let (mut keyward, mut output) = start(host, &script);
        let mut text = String::new();
        output.read_line(&mut text).unwrap();
        send(&keyward, Signal::SIGSTOP);
        drop(keyward.stdin.take());
        output.read_line(&mut text).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        send(&keyward, Signal::SIGCONT);
        output.read_line(&mut text).unwrap();
        assert_eq!(text, "ready\nasking\nEPERM True\n");
        assert!(keyward.wait().unwrap().success());
        assert_eq!(host.decisions().len(), 1);
    });
}

/// A filter of the workload's own that asks may not be put over keyward's: its answer could be "go on".
#[cfg(target_arch = "x86_64")]
#[test]
fn the_workload_cannot_answer_for_itself() {
    // seccomp(SECCOMP_SET_MODE_FILTER, NEW_LISTENER) with a filter that asks about socket(2) alone.
    const LISTEN: &str = "
import struct
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('filter', ctypes.c_char_p)]
code = b''.join(struct.pack('HBBI', *it) for it in
    [(0x20, 0, 0, 0), (0x15, 0, 1, 41), (0x06, 0, 0, 0x7fc00000), (0x06, 0, 0, 0x7fff0000)])
libc.prctl(38, 1, 0, 0, 0)
listener = libc.syscall(317, 1, 8, ctypes.byref(Program(4, code)))
print('listens' if listener >= 0 else errno.errorcode[ctypes.get_errno()])
";
    on_a_host(|host| {
        let script = format!("{ATTEMPT}{LISTEN}");
        let alone = succeed(Command::new("/usr/bin/python3").args(["-c", &script]));
        assert_eq!(alone, "listens\n");
        let output = host.run().arg("--").args(python(&script)).output().unwrap();
        assert_eq!(stdout(&output), "EPERM\n", "{}", stderr(&output));
    });
}

/// x32 calls have numbers of their own, which no other rule of the filter names.
#[cfg(target_arch = "x86_64")]
#[test]
fn there_are_no_calls_of_the_x32_abi() {
    const X32: &str = "
made = libc.syscall(0x40000000 | 41, AF_VSOCK, SOCK_STREAM, 0)
print('made' if made >= 0 else errno.errorcode[ctypes.get_errno()])
";
    on_a_host(|host| {
        let script = format!("{ATTEMPT}{X32}");
        let alone = succeed(Command::new("/usr/bin/python3").args(["-c", &script]));
        assert_ne!(alone, "EPERM\n");
        let output = host.run().arg("--").args(python(&script)).output().unwrap();
        assert_eq!(stdout(&output), "EPERM\n", "{}", stderr(&output));
    });
}

#[test]
fn ordinary_sockets_are_made_without_a_word() {
    on_a_host(|host| {
        let script = format!(
            "{ATTEMPT}
for arguments in [(AF_INET, SOCK_STREAM, 0), (AF_INET6, SOCK_STREAM, 6), (AF_INET, SOCK_DGRAM, 17),
        (AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), (AF_UNIX, SOCK_STREAM, 0), (AF_UNIX, SOCK_SEQPACKET, 0),
        (AF_NETLINK, SOCK_RAW, 0)]:
    print(attempt(*arguments)[0])
socketpair()"
        );
        let output = host
            .run_as(USER)
            .arg("--")
            .args(python(&script))
            .output()
            .unwrap();
        assert_eq!(stdout(&output), "made\n".repeat(7), "{}", stderr(&output));
        assert_eq!(stderr(&output), "");
        assert_eq!(host.decisions(), [] as [Value; 0]);
    });
}
