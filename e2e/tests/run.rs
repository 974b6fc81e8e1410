// SPDX-License-Identifier: GPL-3.0-or-later
//! `keyward run` as its user meets it: statuses, user, environment, signals, streams, and that nothing stays behind.
#![cfg(test)]

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::host::{
    DEGRADED, REAL_KEY, degraded, eventually, leftovers, on_a_host, processes_with, stderr, stdout,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn the_exit_status_is_the_commands() {
    on_a_host(|host| {
        for (script, status) in [
            ("true", 0),
            ("exit 7", 7),
            ("exit 255", 255),
            ("kill -9 $$", 137),
            ("kill -15 $$", 143),
        ] {
            let output = host.shell(script);
            assert_eq!(
                output.status.code(),
                Some(status),
                "{script}: {}",
                stderr(&output)
            );
            assert_eq!(stderr(&output), "", "{script}");
        }
    });
}

#[test]
fn the_programs_say_what_they_let_through_when_asked() {
    on_a_host(|host| {
        let said = |filter: &str| {
            let mut run = host.run();
            run.env("KEYWARD_LOG", filter)
                .args(["--", "getent", "ahostsv4", "name.test"]);
            stderr(&run.output().unwrap())
        };
        let line = "connect4: ::ffff:172.30.0.30 port 53 goes on";
        let said_all = said("keyward_ebpf=debug");
        assert!(said_all.contains(line), "{said_all}");
        let said_nothing = said("warn");
        assert!(!said_nothing.contains("connect4"), "{said_nothing}");
    });
}

#[test]
fn a_command_that_cannot_start_says_why_and_has_the_shells_status() {
    on_a_host(|host| {
        let file = host.scratch().join("plain");
        fs::write(&file, "text").unwrap();
        for (command, status, words) in [
            (
                "no-such-command",
                127,
                "no-such-command: command not found in PATH=",
            ),
            (
                "/no/such/file",
                127,
                "/no/such/file: No such file or directory",
            ),
            (file.to_str().unwrap(), 126, "Permission denied"),
        ] {
            let output = host.run().args(["--", command]).output().unwrap();
            assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
            assert!(stderr(&output).contains(words), "{}", stderr(&output));
            assert!(
                stderr(&output).starts_with("keyward: "),
                "{}",
                stderr(&output)
            );
        }
    });
}

#[test]
fn wrong_usage_is_125_and_every_fault_is_named() {
    on_a_host(|host| {
        let output = host
            .run()
            .args(["--no-such-flag", "--", "true"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(125));
        let output = host
            .run()
            .args([
                "--env-file",
                "/no/such/file",
                "--upstream-ca",
                "/no/such/ca",
                "--env",
                "=x",
            ])
            .args(["--openai-api-target", "ftp://x", "--", "true"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(125));
        for words in [
            "--env-file /no/such/file",
            "--upstream-ca /no/such/ca",
            "--env: there is no name",
            "openai",
        ] {
            assert!(
                stderr(&output).contains(words),
                "{words}: {}",
                stderr(&output)
            );
        }
        assert!(
            !host.log_dir().exists(),
            "nothing is made before the settings hold"
        );
    });
}

#[test]
fn root_is_not_assumed() {
    on_a_host(|host| {
        let keyward = e2e::host::binary("keyward");
        let output = Command::new(keyward)
            .env_clear()
            .args(["run", "--log-dir"])
            .arg(host.log_dir())
            .args(["--", "id"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert!(
            stderr(&output).contains("--user NAME"),
            "{}",
            stderr(&output)
        );
    });
}

#[test]
fn the_command_is_the_user_without_privileges() {
    on_a_host(|host| {
        for (user, ids) in [("12345:54321", "12345 54321 54321"), ("root", "0 0 0")] {
            let script = "echo $(id -u) $(id -g) $(id -G); grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
            let output = host
                .run_as(user)
                .args(["--", "sh", "-c", script])
                .output()
                .unwrap();
            let text = stdout(&output);
            let mut lines = text.lines();
            assert_eq!(lines.next(), Some(ids), "{text} {}", stderr(&output));
            for line in lines {
                let (name, value) = line.split_once(":\t").unwrap();
                let expected = match name {
                    "NoNewPrivs" => "1",
                    "Seccomp" => "2",
                    _ => "0000000000000000",
                };
                assert_eq!(value, expected, "{user}: {line}");
            }
            assert_eq!(text.lines().count(), 8, "{text}");
        }
    });
}

#[test]
fn the_user_who_called_sudo_is_the_commands() {
    on_a_host(|host| {
        let keyward = e2e::host::binary("keyward");
        let output = Command::new(keyward)
            .env_clear()
            .envs([
                ("PATH", "/usr/bin:/bin"),
                ("SUDO_UID", "23456"),
                ("SUDO_GID", "34567"),
            ])
            .envs(degraded().map(|it| (DEGRADED, it)))
            .args(["run", "--log-dir"])
            .arg(host.log_dir())
            .args(["--", "sh", "-c", "echo $(id -u) $(id -g); env"])
            .output()
            .unwrap();
        assert!(
            stdout(&output).starts_with("23456 34567\n"),
            "{}",
            stderr(&output)
        );
        assert!(!stdout(&output).contains("SUDO"), "{}", stdout(&output));
    });
}

#[test]
fn the_command_sees_its_own_processes_only() {
    on_a_host(|host| {
        let output =
            host.shell("cd /proc && echo [0-9]*; hostname; cat /proc/1/environ; cat /proc/1/maps");
        assert!(stdout(&output).starts_with("1 2"), "{}", stdout(&output));
        let seen = stdout(&output).lines().next().unwrap().split(' ').count();
        assert!(seen <= 3, "{}", stdout(&output));
        // Init is of the same user and is not to be looked into.
        assert_eq!(
            stderr(&output).matches("Permission denied").count(),
            2,
            "{}",
            stderr(&output)
        );
    });
}

#[test]
fn there_is_no_way_out_but_the_proxys_addresses() {
    on_a_host(|host| {
        let script = "ip -o addr | awk '{print $2, $4}'; ip route show table all type unicast; cat /etc/resolv.conf";
        let output = host.shell(script);
        let expected =
            "lo 127.0.0.1/8\nlo 172.30.0.30/32\nlo fd6b:6579:7761:7264::30/128\nlo ::1/128\n";
        let text = stdout(&output);
        for line in expected.lines() {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(!text.contains("default"), "{text}");
        assert!(text.contains("nameserver 172.30.0.30"), "{text}");
    });
}

#[test]
fn keys_become_placeholders() {
    on_a_host(|host| {
        for flags in [&[][..], &["--env-all"]] {
            let mut run = host.run();
            run.env("FOO", "bar")
                .env("GITHUB_TOKEN", "ghp_x")
                .args(flags);
            let output = run.args(["--", "env"]).output().unwrap();
            let text = stdout(&output);
            assert!(
                text.contains("OPENAI_API_KEY=sk-placeholder-for-api-proxy\n"),
                "{text} {}",
                stderr(&output)
            );
            assert!(
                text.contains("OPENAI_BASE_URL=http://172.30.0.30:10000\n"),
                "{text}"
            );
            assert_eq!(text.contains("FOO=bar"), !flags.is_empty());
            assert!(
                !text.contains(REAL_KEY) && !text.contains("GITHUB_TOKEN"),
                "{text}"
            );
        }
    });
}

#[test]
fn the_real_key_under_another_name_stops_the_run_before_the_command() {
    on_a_host(|host| {
        let attempts: [(&[&str], &str); 4] = [
            (&["--env-all"], "OTHER_NAME holds the real key of openai"),
            (
                &["--env", "OTHER_NAME"],
                "OTHER_NAME holds the real key of openai",
            ),
            (
                &["--env", "OPENAI_API_KEY=sk-something-else"],
                "OPENAI_API_KEY would hold something other",
            ),
            (
                &["--env", "CODEX_API_KEY=sk-something-else"],
                "CODEX_API_KEY would hold something other",
            ),
        ];
        for (flags, words) in attempts {
            let mut run = host.run();
            run.env("OTHER_NAME", REAL_KEY).args(flags);
            let output = run.args(["--", "touch", "it-ran"]).output().unwrap();
            assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
            assert!(stderr(&output).contains(words), "{}", stderr(&output));
            assert!(
                !stderr(&output).contains("sk-"),
                "a value was shown: {}",
                stderr(&output)
            );
            assert!(!host.scratch().join("it-ran").exists());
        }
        // The placeholder itself passes, and then the command does run.
        let mut run = host.run();
        run.args([
            "--env",
            "OPENAI_API_KEY=sk-placeholder-for-api-proxy",
            "--",
            "touch",
            "it-ran",
        ]);
        assert!(run.status().unwrap().success());
        assert!(host.scratch().join("it-ran").exists());
    });
}

#[test]
fn inherited_descriptors_do_not_reach_the_command() {
    on_a_host(|host| {
        let script = "echo /proc/self/fd/*";
        // bash opens 9 and passes it on; without keyward the command has it.
        let through = |keyward: &str| {
            let mut bash = Command::new("bash");
            bash.env("LOG_DIR", host.log_dir()).args([
                "-c",
                &format!("exec 9</dev/null; {keyward} sh -c '{script}'"),
            ]);
            stdout(&bash.output().unwrap())
        };
        assert!(through("").contains("/proc/self/fd/9"));
        let keyward = e2e::host::binary("keyward");
        let inside = through(&format!(
            "{} run --user 12345:12345 --log-dir $LOG_DIR --",
            keyward.display()
        ));
        assert_eq!(
            inside.trim(),
            "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3"
        );
    });
}

#[test]
fn a_socket_as_a_standard_stream_is_replaced_by_a_pipe() {
    on_a_host(|host| {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let theirs: OwnedFd = theirs.into();
        let mut run = host.run();
        run.stdin(theirs.try_clone().unwrap()).stdout(theirs);
        let script = "readlink /proc/self/fd/0 /proc/self/fd/1; cat";
        let mut child = run.args(["--", "sh", "-c", script]).spawn().unwrap();
        drop(run);
        ours.write_all(b"hello through two pipes\n").unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        ours.read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success());
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("pipe:") && lines[1].starts_with("pipe:"),
            "{text}"
        );
        assert_eq!(lines[2], "hello through two pipes");
    });
}

#[test]
fn streams_pass_through_unharmed() {
    on_a_host(|host| {
        let data: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
        let mut run = host.run();
        run.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = run.args(["--", "cat"]).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let sent = data.clone();
        let writer = std::thread::spawn(move || input.write_all(&sent).unwrap());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(
            output.stdout == data,
            "{} of {} bytes",
            output.stdout.len(),
            data.len()
        );
    });
}

#[test]
fn signals_reach_the_command() {
    on_a_host(|host| {
        for (signal, name) in [
            (Signal::SIGTERM, "TERM"),
            (Signal::SIGINT, "INT"),
            (Signal::SIGHUP, "HUP"),
            (Signal::SIGUSR1, "USR1"),
        ] {
            let script = format!(
                "trap 'echo caught {name}; exit 42' {name}; echo ready; while :; do sleep 0.02; done"
            );
            let mut run = host.run();
            run.stdout(Stdio::piped());
            let mut child = run.args(["--", "sh", "-c", &script]).spawn().unwrap();
            let mut output = child.stdout.take().unwrap();
            let mut ready = [0; 6];
            output.read_exact(&mut ready).unwrap();
            send(&child, signal);
            let mut rest = String::new();
            output.read_to_string(&mut rest).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(42));
            assert_eq!(rest, format!("caught {name}\n"));
        }
    });
}

#[test]
fn a_stopped_command_stops_keyward_and_goes_on_with_it() {
    on_a_host(|host| {
        let mut run = host.run();
        run.stdout(Stdio::piped());
        let script = "echo ready; kill -STOP $$; echo continued";
        let mut child = run.args(["--", "sh", "-c", script]).spawn().unwrap();
        let state = format!("/proc/{}/stat", child.id());
        eventually("keyward is stopped", || {
            fs::read_to_string(&state)
                .unwrap()
                .rsplit(')')
                .next()
                .unwrap()
                .trim_start()
                .starts_with('T')
        });
        send(&child, Signal::SIGCONT);
        let mut text = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "ready\ncontinued\n");
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn a_timeout_ends_the_command_and_what_ignores_being_asked() {
    on_a_host(|host| {
        let begun = Instant::now();
        let output = host
            .run()
            .args(["--timeout", "300ms", "--", "sleep", "60"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(124));
        assert!(
            stderr(&output).contains("--timeout ran out"),
            "{}",
            stderr(&output)
        );
        assert!(begun.elapsed() < Duration::from_secs(4));

        let script = "trap '' TERM; while :; do sleep 0.1; done";
        let output = host
            .run()
            .args(["--timeout", "200ms", "--", "sh", "-c", script])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(124));
        assert!(begun.elapsed() < Duration::from_secs(15));
    });
}

#[test]
fn what_the_command_left_in_the_background_ends_with_it() {
    on_a_host(|host| {
        let mark = format!("98{}", std::process::id());
        let script = format!("setsid sleep {mark} >/dev/null 2>&1 & sleep 0.1; echo started");
        let output = host.shell(&script);
        assert_eq!(stdout(&output), "started\n", "{}", stderr(&output));
        assert_eq!(processes_with(&format!("sleep\0{mark}")), [0; 0]);
    });
}

#[test]
fn nothing_stays_behind() {
    on_a_host(|host| {
        host.shell("true");
        host.shell("kill -9 $$");
        host.run().args(["--", "no-such-command"]).output().unwrap();
        assert_eq!(fs::read_dir(host.log_dir()).unwrap().count(), 3);
        assert!(leftovers(host).is_empty(), "{:?}", leftovers(host));
    });
}

#[test]
fn logs_are_roots_alone() {
    on_a_host(|host| {
        host.shell("true");
        let run = fs::read_dir(host.log_dir())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let mode =
            |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&run), 0o700);
        for name in ["audit.jsonl", "requests.jsonl", "proxy.jsonl"] {
            assert_eq!(mode(&run.join(name)), 0o600, "{name}");
        }
    });
}

#[test]
fn the_hosts_files_are_as_they_were_and_the_commands_view_is_not() {
    on_a_host(|host| {
        let before = fs::read("/etc/resolv.conf").ok();
        let output = host
            .shell("cat /etc/codex/managed_config.toml; echo x > /etc/resolv.conf; touch /etc/new");
        assert!(
            stdout(&output).contains("openai_base_url = \"http://172.30.0.30:10000/v1\""),
            "{}",
            stdout(&output)
        );
        assert_eq!(
            stderr(&output).matches("Read-only file system").count(),
            2,
            "{}",
            stderr(&output)
        );
        assert_eq!(fs::read("/etc/resolv.conf").ok(), before);
        assert!(!fs::exists("/etc/new").unwrap());
    });
}

#[test]
fn sockets_of_daemons_are_out_of_reach() {
    on_a_host(|host| {
        let path = format!("/run/keyward-e2e-{}.sock", std::process::id());
        let listener = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let connect = format!(
            "import socket; socket.socket(socket.AF_UNIX).connect('{path}'); print('reached')"
        );
        // Without keyward the same user reaches it.
        let outside = Command::new("setpriv")
            .args([
                "--reuid",
                "12345",
                "--regid",
                "12345",
                "--clear-groups",
                "/usr/bin/python3",
                "-c",
                &connect,
            ])
            .output()
            .unwrap();
        let inside = host
            .run()
            .args(["--", "/usr/bin/python3", "-c", &connect])
            .output()
            .unwrap();
        drop(listener);
        fs::remove_file(&path).unwrap();
        assert_eq!(stdout(&outside), "reached\n", "{}", stderr(&outside));
        assert!(
            stderr(&inside).contains("FileNotFoundError"),
            "{} {}",
            stdout(&inside),
            stderr(&inside)
        );
    });
}

#[test]
fn a_host_that_uses_the_proxys_address_is_not_disturbed() {
    on_a_host(|host| {
        e2e::host::succeed(Command::new("ip").args([
            "address",
            "add",
            "172.30.0.30/32",
            "dev",
            "lo",
        ]));
        let theirs = std::net::TcpListener::bind("172.30.0.30:10000").unwrap();
        theirs.set_nonblocking(true).unwrap();
        let script = "python3 -c \"import urllib.request as r; print(r.urlopen('http://172.30.0.30:10000/health').read())\"";
        let output = host.shell(script);
        assert!(
            stdout(&output).contains("keyward"),
            "{} {}",
            stdout(&output),
            stderr(&output)
        );
        assert_eq!(
            theirs.accept().unwrap_err().kind(),
            std::io::ErrorKind::WouldBlock
        );
    });
}

#[test]
fn an_own_server_on_loopback_works() {
    on_a_host(|host| {
        let script = "python3 -c \"\
import socket,threading
for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):
    server = socket.create_server((address, 8080), family=family)
    client = socket.create_connection((address, 8080))
    peer, _ = server.accept()
    peer.sendall(b'hello'); print(client.recv(5))
    udp = socket.socket(family, socket.SOCK_DGRAM); udp.bind((address, 9000))
    other = socket.socket(family, socket.SOCK_DGRAM); other.sendto(b'hi', (address, 9000)); print(udp.recv(2))
\"";
        let output = host.shell(script);
        assert_eq!(
            stdout(&output),
            "b'hello'\nb'hi'\nb'hello'\nb'hi'\n",
            "{}",
            stderr(&output)
        );
    });
}

#[test]
fn sixty_four_runs_at_once_finish_right() {
    on_a_host(|host| {
        let spawn = |number: i32| {
            let script = format!("echo run {number}; exit {number}");
            let mut run = host.run();
            run.stdout(Stdio::piped()).stderr(Stdio::piped());
            (
                number,
                run.args(["--", "sh", "-c", &script]).spawn().unwrap(),
            )
        };
        let children: Vec<_> = (0..64).map(spawn).collect();
        for (number, child) in children {
            let output = child.wait_with_output().unwrap();
            assert_eq!(
                stdout(&output),
                format!("run {number}\n"),
                "{}",
                stderr(&output)
            );
            assert_eq!(output.status.code(), Some(number));
        }
        assert!(leftovers(host).is_empty(), "{:?}", leftovers(host));
    });
}
