// SPDX-License-Identifier: GPL-3.0-or-later
//! Below systemd as pid 1: services, delegated cgroups, slices, the journal.
//!
//! For a machine where systemd is pid 1 and nothing else goes on: `cargo xtask vm` runs these there.
#![cfg(test)]

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use e2e::host::{
    Host, REAL_KEY, USER, binary, eventually, on_this_machine, processes_with, stderr, stdout,
    succeed,
};

/// Connects to an address and says what came of it.
const PROBE: &str = "import socket, sys\n\
    try: socket.create_connection((sys.argv[1], int(sys.argv[2])), 5); print('connected')\n\
    except OSError as error: print(error.strerror)\n";

/// A service that runs `command`, with these properties.
fn service(name: &str, properties: &[&str]) -> Command {
    let mut command = Command::new("systemd-run");
    command
        .args(["--quiet", "--collect", "--unit", name])
        .arg(format!("--setenv=OPENAI_API_KEY={REAL_KEY}"));
    for property in properties {
        command.args(["--property", property]);
    }
    command.stdin(Stdio::null());
    command
}

/// The same service, with `keyward run` in front of what is still to be added.
fn confined(host: &Host, name: &str, properties: &[&str]) -> Command {
    let mut command = service(name, properties);
    command.args(["--wait", "--pipe", "--"]);
    keyward(host, &mut command);
    command
}

fn keyward(host: &Host, command: &mut Command) {
    command
        .arg(binary("keyward"))
        .args(["run", "--user", USER, "--log-dir"])
        .arg(host.log_dir())
        .arg("--");
}

fn output(command: &mut Command) -> Output {
    command.output().expect("systemd-run")
}

/// The doctor looks for what dead runs left, and fails if there is anything.
fn nothing_is_left() {
    let doctor = output(Command::new(binary("keyward")).arg("doctor"));
    assert!(doctor.status.success(), "{}", stdout(&doctor));
}

fn journal(unit: &str) -> String {
    succeed(Command::new("journalctl").arg("--sync"));
    succeed(Command::new("journalctl").args(["--output=cat", "--unit", unit]))
}

#[test]
#[ignore = "systemd must be pid 1: cargo xtask vm"]
fn the_doctor_finds_everything() {
    let doctor = output(Command::new(binary("keyward")).arg("doctor"));
    assert!(doctor.status.success(), "{}", stdout(&doctor));
    assert!(
        stdout(&doctor).contains("mounted at /sys/fs/cgroup\n"),
        "the unified hierarchy: {}",
        stdout(&doctor)
    );
}

#[test]
#[ignore = "systemd must be pid 1: cargo xtask vm"]
fn a_service_of_any_kind_is_confined_and_leaves_nothing() {
    on_this_machine(|host| {
        let outside = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = outside.local_addr().unwrap().port().to_string();
        let probe = ["/usr/bin/python3", "-c", PROBE];
        for (number, properties) in [
            &[][..],
            &["Delegate=yes"],
            &["Slice=user-12345.slice"],
            &["Slice=machine-agents.slice", "MemoryMax=1G", "TasksMax=100"],
            &["PrivateTmp=yes", "ProtectHome=yes"],
            &["IPAddressDeny=any", "IPAddressAllow=localhost"],
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("keyward-e2e-{number}");
            let mut plain = service(&name, properties);
            plain.args(["--wait", "--pipe", "--"]).args(probe);
            let open = output(plain.args(["127.0.0.1", &port]));
            assert_eq!(stdout(&open), "connected\n", "{properties:?}");
            for (address, port, expected) in [
                ("127.0.0.1", &port[..], "Connection refused\n"),
                ("192.0.2.1", "80", "Operation not permitted\n"),
                ("172.30.0.30", "10000", "connected\n"),
            ] {
                let mut command = confined(host, &name, properties);
                let tried = output(command.args(probe).args([address, port]));
                assert_eq!(
                    stdout(&tried),
                    expected,
                    "{properties:?} {address}: {}",
                    stderr(&tried)
                );
            }
            let mut command = confined(host, &name, properties);
            let status = output(command.args(["sh", "-c", "exit 7"])).status;
            assert_eq!(status.code(), Some(7), "{properties:?}");
            nothing_is_left();
        }
        let decisions = host.decisions();
        assert!(
            decisions
                .iter()
                .any(|it| it.to_string().contains("192.0.2.1")),
            "{decisions:?}"
        );
    });
}

/// A service's output is a socket of the journal's. In the workload's hands it would be a way out.
#[test]
#[ignore = "systemd must be pid 1: cargo xtask vm"]
fn the_journal_has_what_a_command_says_and_what_was_blocked() {
    on_this_machine(|host| {
        let look = "readlink /proc/self/fd/1 /proc/self/fd/2";
        let mut plain = service("keyward-e2e-plain", &[]);
        succeed(plain.args(["--wait", "--", "sh", "-c", look]));
        assert!(journal("keyward-e2e-plain").contains("socket:["));

        let mut command = service("keyward-e2e-journal", &[]);
        command.args(["--wait", "--"]);
        keyward(host, &mut command);
        let script = format!("{look}; /usr/bin/python3 -c \"$0\" 192.0.2.1 80");
        succeed(command.args(["sh", "-c", &script, PROBE]));
        let said = journal("keyward-e2e-journal");
        assert!(!said.contains("socket:["), "{said}");
        assert!(said.contains("pipe:["), "{said}");
        assert!(said.contains("Operation not permitted"), "{said}");
        assert!(said.contains("keyward: blocked"), "{said}");
    });
}

#[test]
#[ignore = "systemd must be pid 1: cargo xtask vm"]
fn stopping_a_service_ends_a_command_that_would_not() {
    on_this_machine(|host| {
        let mark = format!("81{}", std::process::id());
        let mut command = service("keyward-e2e-stop", &["TimeoutStopSec=2"]);
        command.arg("--");
        keyward(host, &mut command);
        let script = format!(
            "trap '' TERM INT HUP; (setsid sleep {mark} &) ; while :; do sleep {mark}; done"
        );
        succeed(command.args(["sh", "-c", &script]));
        let runs = || processes_with(&format!("sleep\0{mark}"));
        eventually("the command runs", || runs().len() >= 2);
        // Killed in the end, and so it has failed.
        output(Command::new("systemctl").args(["stop", "keyward-e2e-stop"]));
        eventually("the command has ended", || runs().is_empty());
        assert!(host.shell("true").status.success());
        nothing_is_left();
    });
}

/// systemd looks at all cgroups then. This one is none of its own.
#[test]
#[ignore = "systemd must be pid 1: cargo xtask vm"]
fn a_run_stays_confined_when_systemd_starts_anew() {
    on_this_machine(|host| {
        let go = host.scratch().join("go");
        let ready = host.scratch().join("ready");
        let mut command = confined(host, "keyward-e2e-reexec", &[]);
        let script = format!(
            "cat /proc/self/cgroup; touch {}; until [ -e {} ]; do sleep 0.1; done; \
             /usr/bin/python3 -c \"$0\" 192.0.2.1 80; cat /proc/self/cgroup",
            ready.display(),
            go.display()
        );
        command.args(["sh", "-c", &script, PROBE]);
        let run = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        eventually("the command runs", || ready.exists());
        for word in ["daemon-reload", "daemon-reexec"] {
            succeed(Command::new("systemctl").arg(word));
        }
        std::fs::write(&go, "").unwrap();
        let said = stdout(&run.wait_with_output().unwrap());
        let lines: Vec<&str> = said.lines().collect();
        let [before, tried, after] = lines[..] else {
            panic!("{said}");
        };
        assert_eq!(tried, "Operation not permitted");
        assert_eq!(before, after);
        nothing_is_left();
    });
}
