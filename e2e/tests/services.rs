// SPDX-License-Identifier: GPL-3.0-or-later
//! A Redis and a PostgreSQL on the host's loopback, reached from inside on the ports that were asked for, and on no others.
#![cfg(test)]

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use e2e::host::{Host, Running, eventually, on_a_host, stderr, stdout, succeed};
use nix::sys::signal::{Signal, kill};

/// The user that nobody is: PostgreSQL wants one that has a name.
const NOBODY: u32 = 65534;

/// A service of the host, ended with its test.
struct Service(Running);

impl Drop for Service {
    fn drop(&mut self) {
        // To each of them: end now, in order.
        kill(self.0.pid(), Signal::SIGINT).ok();
        self.0.wait();
    }
}

#[test]
fn redis_and_postgresql_answer_on_allowed_ports_and_no_other_port_does() {
    on_a_host(|host| {
        let _redis = redis(host, 6379);
        let _other = redis(host, 6390);
        let _postgres = postgres(host);
        let flags = ["--allow-host-service-ports", "5432,6379"];
        for name in ["host.docker.internal", "host.keyward.internal"] {
            let output = inside(host, &flags, &ping(name, 6379));
            assert_eq!(stdout(&output), "PONG\n", "{name}: {}", stderr(&output));
            let output = inside(host, &flags, &select(name));
            assert_eq!(stdout(&output), "1\n", "{name}: {}", stderr(&output));
            assert_eq!(stderr(&output), "", "nothing was blocked");

            // It is there, as these say, and it is not to be reached.
            assert_eq!(stdout(&outside(host, &ping("127.0.0.1", 6390))), "PONG\n");
            let output = inside(host, &flags, &ping(name, 6390));
            assert!(!stdout(&output).contains("PONG"), "{}", stdout(&output));
            assert!(stderr(&output).contains("6390"), "{}", stderr(&output));
        }
        // Nor are those without the flag, nor the workload's own loopback.
        for script in [
            ping("host.docker.internal", 6379),
            ping("127.0.0.1", 6379),
            select("host.docker.internal"),
        ] {
            let output = inside(host, &[], &script);
            assert!(!output.status.success(), "{script}: {}", stdout(&output));
        }
        let output = inside(host, &flags, &ping("127.0.0.1", 6379));
        assert!(!output.status.success(), "{}", stdout(&output));
    });
}

fn ping(name: &str, port: u16) -> String {
    // It says that it cannot connect, and ends well.
    format!("timeout 10 redis-cli -h {name} -p {port} PING | grep PONG")
}

fn select(name: &str) -> String {
    format!("PGCONNECT_TIMEOUT=5 timeout 10 psql -h {name} -U probe -d postgres -Atc 'SELECT 1'")
}

fn inside(host: &Host, flags: &[&str], script: &str) -> Output {
    let mut command = host.run();
    command.args(flags).args(["--", "sh", "-c", script]);
    command.output().unwrap()
}

fn outside(host: &Host, script: &str) -> Output {
    let mut command = as_nobody("sh");
    command.args(["-c", script]).current_dir(host.scratch());
    command.output().unwrap()
}

fn redis(host: &Host, port: u16) -> Service {
    let mut command = as_nobody("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--port"])
        .arg(port.to_string())
        .arg("--dir")
        .arg(host.scratch())
        .stdout(Stdio::null());
    let service = Service(Running::new(&mut command));
    eventually("Redis answers", || {
        stdout(&outside(host, &ping("127.0.0.1", port))) == "PONG\n"
    });
    service
}

fn postgres(host: &Host) -> Service {
    let data = host.scratch().join("postgres");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
    let programs = postgres_programs();
    let mut initdb = as_nobody(programs.join("initdb"));
    initdb.args(["--username=probe", "--auth=trust", "--no-sync", "-D"]);
    succeed(initdb.arg(&data));
    let mut command = as_nobody(programs.join("postgres"));
    command
        .args(["-F", "-h", "127.0.0.1", "-p", "5432", "-k"])
        .arg(&data)
        .arg("-D")
        .arg(&data)
        .stderr(fs::File::create(host.scratch().join("postgres.log")).unwrap());
    let service = Service(Running::new(&mut command));
    eventually("PostgreSQL answers", || {
        stdout(&outside(host, &select("127.0.0.1"))) == "1\n"
    });
    service
}

/// Debian keeps every version by itself: the newest that is there.
fn postgres_programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL: cargo xtask test");
    let programs = versions.flatten().map(|it| it.path().join("bin"));
    programs
        .filter(|it| it.join("initdb").is_file())
        .max()
        .expect("PostgreSQL: cargo xtask test")
}

fn as_nobody(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program.as_ref())
        .stdin(Stdio::null());
    command
}
