// SPDX-License-Identifier: GPL-3.0-or-later
//! A host with an outside: names, addresses and servers, all in the network and mount namespaces of one test.
//!
//! Every address is on the loopback device of the test's own network namespace, so nothing ever leaves it. `/etc/hosts`
//! is laid over the machine's own in the test's own mount namespace, so the host's programs, keyward's proxy among them,
//! find the names as they would find them on any host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use keyward_escape::lab::SERVERS;
use keyward_escape::lab::names::{Certificates, hosts, lay_over};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use crate::host::{Host, Running, USER, eventually, on_a_host, succeed};

/// Name and address of every host outside.
pub const HOSTS: [(&str, &str); 11] = [
    ("allowed.test", "203.0.113.10"),
    ("www.allowed.test", "203.0.113.11"),
    ("denied.test", "203.0.113.20"),
    ("other.test", "203.0.113.30"),
    ("xn--bcher-kva.test", "203.0.113.31"),
    ("resolver.test", "203.0.113.53"),
    ("forwarder.test", "203.0.113.99"),
    ("private.test", "10.11.12.13"),
    ("metadata.test", "169.254.169.254"),
    ("loopback.test", "127.0.0.1"),
    // Outside, what a container engine would answer.
    ("host.docker.internal", "127.0.0.1"),
];

/// Variables by which programs are told whom to trust.
const TRUST: [&str; 4] = [
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
];

/// The host that a workload of these tests may not reach.
pub const DENIED: &str = "203.0.113.20";

/// The same host, by its other address.
pub const DENIED_V6: &str = "2001:db8::20";

/// See the module.
#[derive(Debug)]
pub struct World<'a> {
    host: &'a Host,
    log: PathBuf,
    ca: PathBuf,
    _servers: Running,
}

/// Runs `test` on a host with an outside.
pub fn in_a_world(test: impl FnOnce(&World<'_>) + Send + 'static) {
    on_a_host(|host| test(&World::start(host)));
}

impl<'a> World<'a> {
    fn start(host: &'a Host) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace takes root: cargo xtask test");
        let nothing: Option<&str> = None;
        mount(
            nothing,
            "/",
            nothing,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            nothing,
        )
        .expect("private mounts");
        let directory = host.scratch();
        for (_, address) in HOSTS.iter().filter(|(_, it)| *it != "127.0.0.1") {
            succeed(Command::new("ip").args(["address", "add", address, "dev", "lo"]));
        }
        succeed(Command::new("ip").args(["address", "add", DENIED_V6, "dev", "lo", "nodad"]));
        for (path, content) in [
            ("/etc/hosts", &*hosts(&HOSTS)),
            // Whatever the machine asks for names does not exist here.
            ("/etc/resolv.conf", "nameserver 203.0.113.53\n"),
            ("/etc/passwd", &users(directory)),
        ] {
            lay_over(directory, path, content).expect(path);
        }
        let names = HOSTS.iter().flat_map(|it| [it.0, it.1]);
        let certificates =
            Certificates::make(directory, names.map(str::to_owned)).expect("certificates");
        let (log, files) = (directory.join("arrived.jsonl"), directory.join("files"));
        fs::create_dir(&files).expect("a directory");
        let script = directory.join("servers.py");
        fs::write(&script, SERVERS).expect("a file");
        let servers = Running::new(
            Command::new("/usr/bin/python3")
                .arg(script)
                .args([&certificates.certificate, &certificates.key, &log, &files])
                .stdin(Stdio::null()),
        );
        let world = Self {
            host,
            log,
            ca: certificates.ca,
            _servers: servers,
        };
        eventually("the servers of the outside are there", || {
            world.arrived().iter().any(|it| it["what"] == "ready")
        });
        world
    }

    /// The host.
    pub fn host(&self) -> &Host {
        self.host
    }

    /// The certificate authority of every host outside, PEM.
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// Files below it are served by every host outside, under `/files/`.
    pub fn files(&self) -> PathBuf {
        self.host.scratch().join("files")
    }

    /// The home of the user that commands run as.
    pub fn home(&self) -> PathBuf {
        self.host.scratch().join("home")
    }

    /// What has arrived at the servers so far.
    pub fn arrived(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines = text.lines().filter_map(|it| serde_json::from_str(it).ok());
        lines.collect()
    }

    /// Whether `mark` arrived at the host with this address.
    pub fn has_arrived(&self, address: &str, mark: &str) -> bool {
        let arrived = self.arrived();
        arrived
            .iter()
            .any(|it| it["at"] == address && it.to_string().contains(mark))
    }

    /// `keyward run` with these flags; the command is still to be added, behind `--`.
    pub fn keyward(&self, flags: &[&str]) -> Command {
        self.keyward_as(USER, flags)
    }

    /// The same, as another user.
    pub fn keyward_as(&self, user: &str, flags: &[&str]) -> Command {
        let mut command = self.host.run_as(user);
        command
            .args(flags)
            .args(["--env", "PROBE_PROXY=172.30.0.30:3128"])
            .arg("--env")
            .arg(format!("HOME={}", self.home().display()))
            // The home is in it, and what is written there is looked at afterwards.
            .arg("--writable")
            .arg(self.host.scratch());
        for name in TRUST {
            command.env(name, &self.ca).args(["--env", name]);
        }
        command
    }

    /// Runs a shell script behind the firewall.
    pub fn inside(&self, flags: &[&str], script: &str) -> Output {
        let mut command = self.keyward(flags);
        command.args(["--", "sh", "-c", script]);
        command.output().expect("keyward")
    }

    /// Runs a shell script as the same user without the firewall.
    pub fn outside(&self, script: &str) -> Output {
        Command::new("setpriv")
            .args(["--reuid=12345", "--regid=12345", "--clear-groups"])
            .args(["sh", "-c", script])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("PROBE_PROXY", "203.0.113.99:3128")
            .env("HOME", self.home())
            .envs(TRUST.map(|name| (name, &self.ca)))
            .current_dir(self.host.scratch())
            .stdin(Stdio::null())
            .output()
            .expect("setpriv")
    }

    /// The lines of the audit log that fit.
    pub fn audit(&self, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        self.host.log("audit").into_iter().filter(fits).collect()
    }
}

/// The machine's, and the one that commands run as, with a home and a shell: some programs insist on that.
fn users(directory: &Path) -> String {
    let home = directory.join("home");
    fs::create_dir(&home).expect("a home");
    std::os::unix::fs::chown(&home, Some(12345), Some(12345)).expect("a home");
    let machine = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    format!(
        "{machine}workload:x:12345:12345::{}:/bin/sh\n",
        home.display()
    )
}
