// SPDX-License-Identifier: GPL-3.0-or-later
//! Below systemd as pid 1: services, delegated cgroups, slices, the journal.
//!
//! For a machine where systemd is pid 1 and nothing else goes on: `cargo xtask vm` runs these there.
#![cfg(test)]

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use e2e::host::{
    Host, REAL_KEY, USER, binary, doctor, eventually, on_this_machine, processes_with, stderr,
    stdout, succeed,
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

/// Starts a run that goes on until the file `go` is there, and waits until its command runs.
fn held(host: &Host, name: &str, flags: &[&str], script: &str) -> Child {
    let ready = host.scratch().join("ready");
    let mut command = service(name, &[]);
    command.args(["--wait", "--pipe", "--"]);
    command.arg(binary("keyward")).args(["run", "--user", USER]);
    command.arg("--log-dir").arg(host.log_dir()).args(flags);
    command.arg("--writable").arg(host.scratch());
    let script = format!(
        "touch {}; until [ -e {} ]; do sleep 0.1; done; {script}",
        ready.display(),
        host.scratch().join("go").display()
    );
    command.args(["--", "sh", "-c", &script, PROBE]);
    let run = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the command runs", || ready.exists());
    run
}

/// Has it go on, to its end.
fn let_go(host: &Host, run: Child) -> Output {
    fs::write(host.scratch().join("go"), "").unwrap();
    run.wait_with_output().unwrap()
}

fn output(command: &mut Command) -> Output {
    command.output().expect("systemd-run")
}

/// The doctor looks for what dead runs left.
fn nothing_is_left() {
    let (is_well, said) = doctor();
    assert!(is_well, "{said}");
}

fn journal(unit: &str) -> String {
    succeed(Command::new("journalctl").arg("--sync"));
    succeed(Command::new("journalctl").args(["--output=cat", "--unit", unit]))
}

#[test]
#[ignore = "systemd must be pid 1: cargo xtask vm"]
fn the_doctor_finds_everything() {
    let (is_well, said) = doctor();
    assert!(is_well, "{said}");
    assert!(
        said.contains("mounted at /sys/fs/cgroup\n"),
        "the unified hierarchy: {said}"
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
            // Such a service reaches its own proxy by its address.
            &[
                "IPAddressDeny=any",
                "IPAddressAllow=localhost",
                "IPAddressAllow=172.30.0.30",
            ],
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
        let script = "/usr/bin/python3 -c \"$0\" 192.0.2.1 80; cat /proc/self/cgroup";
        let run = held(host, "keyward-e2e-reexec", &[], script);
        for word in ["daemon-reload", "daemon-reexec"] {
            succeed(Command::new("systemctl").arg(word));
        }
        let said = stdout(&let_go(host, run));
        let lines: Vec<&str> = said.lines().collect();
        let [tried, cgroup] = lines[..] else {
            panic!("{said}");
        };
        assert_eq!(tried, "Operation not permitted");
        assert!(cgroup.starts_with("0::/keyward-"), "{cgroup}");
        nothing_is_left();
    });
}

/// The hierarchy is systemd's: it passes on a controller for as long as a unit needs it, and then takes it away again.
#[test]
#[ignore = "systemd must be pid 1: cargo xtask vm"]
fn limits_hold_while_units_with_limits_come_and_go() {
    on_this_machine(|host| {
        let limits = ["--memory", "256M", "--pids", "64", "--cpu", "0.5"];
        let run = held(host, "keyward-e2e-limits", &limits, "echo done");
        let hold = |when: &str| {
            for (file, limit) in [
                ("memory.max", "268435456"),
                ("memory.swap.max", "0"),
                ("memory.oom.group", "1"),
                ("pids.max", "64"),
                ("cpu.max", "50000 100000"),
            ] {
                let path = cgroup().join(file);
                let found = fs::read_to_string(&path).unwrap_or_else(|error| error.to_string());
                assert_eq!(found.trim(), limit, "{when}: {}", path.display());
            }
        };
        hold("at first");
        for property in ["CPUQuota=50%", "MemoryMax=1G", "TasksMax=100"] {
            let mut unit = service("keyward-e2e-other", &[property]);
            succeed(unit.args(["--wait", "--", "true"]));
            hold(property);
        }
        succeed(Command::new("systemctl").arg("daemon-reload"));
        hold("daemon-reload");
        let ended = let_go(host, run);
        assert_eq!(stdout(&ended), "done\n", "{}", stderr(&ended));
        nothing_is_left();
    });
}

/// The cgroup of the one run that there is.
fn cgroup() -> PathBuf {
    let all = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    all.map(|it| it.path())
        .find(|it| {
            let name = it.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with("keyward-")
        })
        .expect("a run")
}
