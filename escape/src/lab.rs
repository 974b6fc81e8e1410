// SPDX-License-Identifier: GPL-3.0-or-later
//! A host and its outside, in namespaces of their own, with decoys of everything that a workload could want.
//!
//! The host has a wire to the outside, so that what gets out without the firewall gets there; the outside leads nowhere.
//! It has an allowed host and denied ones, a model provider, resolvers, a proxy that checks nothing, and somebody who
//! looks at every packet. On the host there are daemons that act for who asks, by loopback, by unix sockets, by queues
//! and shared memory; a home full of keys; and a process with a secret in its memory. None of it is real.

mod cgroup;
pub mod names;
pub mod network;
mod place;
mod strays;
mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use tempfile::TempDir;

use self::names::{Certificates, hosts, lay_over};
use self::network::{CANARY_V4, CANARY_V6, HOST_V4, HOST_V6, PORT};
pub use self::wire::{Wire, marks};
pub use self::{cgroup::Cgroup, place::Place};

/// The servers of an outside: `python3 - CERTIFICATE KEY LOG FILES`.
pub const SERVERS: &str = include_str!("lab/servers.py");

const DECOYS: &str = include_str!("lab/decoys.py");

/// Name and address of every host outside.
const HOSTS: [(&str, &str); 12] = [
    ("allowed.test", "203.0.113.10"),
    ("www.allowed.test", "203.0.113.11"),
    ("denied.test", "203.0.113.20"),
    ("other.test", "203.0.113.30"),
    ("upstream.test", UPSTREAM),
    (MISCERTIFIED, "203.0.113.41"),
    ("resolver.test", "203.0.113.53"),
    ("forwarder.test", "203.0.113.99"),
    ("google.test", "8.8.8.8"),
    ("private.test", "10.11.12.13"),
    ("metadata.test", "169.254.169.254"),
    ("loopback.test", "127.0.0.1"),
];

/// The model provider's address.
pub const UPSTREAM: &str = "203.0.113.40";

/// A host whose certificate is for others.
const MISCERTIFIED: &str = "miscertified.test";

/// Where keyward keeps the locks of its runs.
const OWN_RUN: &str = "/run/keyward";

/// The denied host's other address.
const DENIED_V6: &str = "2001:db8:1::20";

/// The unprivileged user and group of workloads: nobody's.
pub const USER: u32 = 12345;

/// Who owns what the lab has seen: nobody else.
const KEEPER: u32 = 12346;

/// A group that the user is in, as of a container engine: whoever is in it may do what others may not.
pub const GROUP: u32 = 12347;

/// The port of the host's own daemons.
const DAEMONS: u16 = 4343;

/// Distributions' programs alone: root's own path may lead where nobody else may go.
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// Files in the working directory that programs outside take orders from, as they are at first.
const ORDERS: [(&str, &str); 8] = [
    (".git/HEAD", "ref: refs/heads/main\n"),
    (
        ".git/config",
        "[core]\n\trepositoryformatversion = 0\n\tbare = false\n",
    ),
    (".git/hooks/pre-commit", "#!/bin/sh\n"),
    (".husky/pre-commit", "#!/bin/sh\n"),
    (".envrc", "# nothing\n"),
    (".pre-commit-config.yaml", "repos: []\n"),
    (".vscode/tasks.json", "{}\n"),
    (".claude/settings.json", "{}\n"),
];

/// How long servers may take to start, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// See the module. One process has one at a time.
#[derive(Debug)]
pub struct Lab {
    // In the order of dropping: processes before the places that they are in.
    helpers: Vec<Helper>,
    cgroup: Cgroup,
    wire: Wire,
    host: Place,
    outside: Place,
    nonce: String,
    shared: TempDir,
    evidence: TempDir,
}

impl Lab {
    /// Builds it, with processes of these names for whoever would end them. The calling process gets mount and ipc
    /// namespaces of its own, and keeps them: what the lab has in `/tmp` and `/run` goes with them. It adopts what
    /// attempts leave behind, so it should have no other children.
    ///
    /// # Errors
    ///
    /// Something is missing: root, veth, iproute2, python3.
    pub fn new(victims: &[String]) -> Result<Self> {
        strays::adopt()?;
        own_tmp()?;
        let (shared, evidence) = (directory(0o755)?, directory(0o700)?);
        for (name, mode, owner) in [
            ("work", 0o777, USER),
            ("home", 0o700, USER),
            ("root", 0o700, 0),
            ("system", 0o755, 0),
            ("tools", 0o755, 0),
            ("files", 0o755, 0),
            ("work/signs", 0o777, 0),
            // What programs outside take orders from, in the directory that commands work in.
            ("work/.git", 0o755, USER),
            ("work/.git/hooks", 0o755, USER),
            ("work/.git/objects", 0o755, USER),
            ("work/.git/refs", 0o755, USER),
            ("work/.husky", 0o755, USER),
            ("work/.vscode", 0o755, USER),
            ("work/.claude", 0o755, USER),
        ] {
            let path = shared.path().join(name);
            fs::create_dir(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            chown(&path, Some(owner), Some(owner))?;
        }
        for (name, text) in ORDERS {
            let path = shared.path().join("work").join(name);
            fs::write(&path, text)?;
            chown(&path, Some(USER), Some(USER))?;
        }
        // Not root's: a workload that is root, without capabilities, may look into what is.
        chown(evidence.path(), Some(KEEPER), Some(KEEPER))?;
        own_view(shared.path(), evidence.path())?;
        let nonce = format!("k{:06x}", std::process::id() & 0xff_ffff);
        let (host, outside) = (Place::new()?, Place::new()?);
        network::join(&host, &outside)?;
        for (_, address) in HOSTS.iter().filter(|(_, it)| *it != "127.0.0.1") {
            outside.ip(&format!("address add {address}/32 dev lo"))?;
        }
        for address in ["1.1.1.1/32", &format!("{DENIED_V6}/128")] {
            outside.ip(&format!("address add {address} dev lo"))?;
        }
        let mut lab = Self {
            helpers: Vec::new(),
            cgroup: Cgroup::new()?,
            wire: Wire::watch(&outside, &nonce)?,
            host,
            outside,
            nonce,
            shared,
            evidence,
        };
        lab.start_servers()?;
        lab.start_decoys(victims)?;
        Ok(lab)
    }

    fn start_servers(&mut self) -> Result<()> {
        let evidence = self.evidence.path();
        // One host's certificate is not its own.
        let names = HOSTS.iter().filter(|(name, _)| *name != MISCERTIFIED);
        let names = names.flat_map(|(name, address)| [(*name).to_owned(), (*address).to_owned()]);
        let certificates = Certificates::make(evidence, names)?;
        fs::copy(&certificates.ca, self.ca())?;
        fs::set_permissions(self.ca(), fs::Permissions::from_mode(0o644))?;
        let mut command = python(evidence, "servers.py", SERVERS)?;
        command
            .args([&certificates.certificate, &certificates.key])
            .args([self.log("outside"), self.shared.path().join("files")]);
        self.helpers.push(Helper::start(&self.outside, command)?);
        self.is_ready("outside")
    }

    fn start_decoys(&mut self, victims: &[String]) -> Result<()> {
        let log = self.log("decoys");
        // They become the workload's own user's, which is the worst case: nothing but the firewall keeps them apart.
        let mut command = python(self.evidence.path(), "decoys.py", DECOYS)?;
        command
            .arg(log)
            .envs(self.values(Side::Outside))
            .env("SECRET", self.secret())
            .env("VICTIMS", victims.join(" "));
        self.helpers.push(Helper::start(&self.host, command)?);
        self.is_ready("decoys")
    }

    fn is_ready(&self, log: &str) -> Result<()> {
        let begun = Instant::now();
        while !fs::read_to_string(self.log(log)).is_ok_and(|it| it.contains("\"ready\"")) {
            if begun.elapsed() > PATIENCE {
                bail!("the lab's {log} do not start");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The host, to run things on.
    #[must_use]
    pub fn host(&self) -> &Place {
        &self.host
    }

    /// The network namespace of the outside, as a path.
    ///
    /// # Errors
    ///
    /// As [`Place::run`].
    pub fn outside(&self) -> Result<String> {
        Ok(format!("/proc/{}/ns/net", self.outside.tid()?))
    }

    /// A cgroup for workloads of a single layer.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Waits until everything that has left by the wire so far was looked at: what is sent last is seen last.
    ///
    /// # Errors
    ///
    /// Nobody looks any more.
    pub fn settle(&self) -> Result<()> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let last = format!("{}last{number}z", self.nonce);
        let bytes = last.clone().into_bytes();
        self.host.run(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.send_to(&bytes, (CANARY_V4, PORT))
        })??;
        let begun = Instant::now();
        while !self.wire.has(&last) {
            if begun.elapsed() > PATIENCE {
                bail!("what leaves by the wire is not seen");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Waits until everything has ended that attempts started. Says what does not.
    #[must_use]
    pub fn whoever_stays(&self) -> Vec<String> {
        strays::wait(&self.pids())
    }

    /// Ends everything that attempts started.
    ///
    /// # Errors
    ///
    /// Something does not end.
    pub fn clear(&self) -> Result<()> {
        strays::end(&self.pids())
    }

    fn pids(&self) -> Vec<Pid> {
        self.helpers.iter().map(Helper::pid).collect()
    }

    /// What has left the host by the wire.
    #[must_use]
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// What every mark of this lab begins with.
    #[must_use]
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// The real key at the model provider.
    #[must_use]
    pub fn key(&self) -> String {
        format!("sk-real-{}-9f8e7d6c5b4a39281706", self.nonce)
    }

    /// What the host's decoys hide.
    #[must_use]
    pub fn secret(&self) -> String {
        format!("secret-{}-0a1b2c3d4e5f60718293", self.nonce)
    }

    /// The certificate authority of every host outside, PEM.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.shared.path().join("ca.pem")
    }

    /// A directory that everybody can read.
    #[must_use]
    pub fn shared(&self) -> &Path {
        self.shared.path()
    }

    /// A directory that only root can read.
    #[must_use]
    pub fn evidence(&self) -> &Path {
        self.evidence.path()
    }

    /// A log of the lab's: `outside`, or `decoys`.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.evidence.path().join(format!("{name}.jsonl"))
    }

    /// The words that programs use for what is where.
    #[must_use]
    pub fn values(&self, side: Side) -> BTreeMap<&'static str, String> {
        let path = |name: &str| self.shared.path().join(name).display().to_string();
        let (proxy, gate, placeholder) = match side {
            Side::Inside => ("172.30.0.30:3128", "172.30.0.30:10000", String::new()),
            Side::Outside => ("203.0.113.99:3128", "203.0.113.40:80", self.key()),
        };
        BTreeMap::from([
            ("C4", CANARY_V4.to_string()),
            ("C6", CANARY_V6.to_string()),
            ("CP", PORT.to_string()),
            ("H4", HOST_V4.to_string()),
            ("H6", HOST_V6.to_string()),
            ("HS", DAEMONS.to_string()),
            ("ALLOWED", "allowed.test".to_owned()),
            ("DENIED", "denied.test".to_owned()),
            ("D4", "203.0.113.20".to_owned()),
            ("D6", DENIED_V6.to_owned()),
            ("PROXY", proxy.to_owned()),
            ("GATE", gate.to_owned()),
            ("PH", placeholder),
            ("TOOLS", path("tools")),
            ("SYSTEM", path("system")),
            ("SIGNS", path("work/signs")),
            ("WORK", path("work")),
            ("SSL_CERT_FILE", path("ca.pem")),
            ("CURL_CA_BUNDLE", path("ca.pem")),
            ("DECOY_HOME", path("home")),
            (
                "POLICY",
                self.evidence
                    .path()
                    .join("policy.toml")
                    .display()
                    .to_string(),
            ),
        ])
    }
}

/// Which side of the firewall a program is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Behind it.
    Inside,
    /// Not: for controls.
    Outside,
}

/// A process that does not outlive the lab.
#[derive(Debug)]
struct Helper(Child);

impl Helper {
    fn start(place: &Place, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null());
        Ok(Self(place.run(move || command.spawn())??))
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Both fail if it has ended, which is as well.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Drop for Lab {
    /// Before the places that they are in. Nobody can be told any more what does not end.
    fn drop(&mut self) {
        self.clear().ok();
    }
}

fn directory(mode: u32) -> Result<TempDir> {
    let directory = tempfile::Builder::new()
        .prefix("keyward-escape-")
        .tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode))?;
    Ok(directory)
}

/// A Python program in a file of its own, by the distribution's interpreter.
fn python(directory: &Path, name: &str, text: &str) -> Result<Command> {
    let script = directory.join(name);
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644))?;
    // It goes with the lab, also when that is killed.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "/usr/bin/python3"]);
    command.arg(script).env_clear().env("PATH", PATH);
    Ok(command)
}

fn own_tmp() -> Result<()> {
    let namespaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC;
    unshare(namespaces).context("namespaces take root")?;
    let nothing: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing).context("private mounts")?;
    let own = std::env::current_exe()?;
    if own.starts_with("/tmp") || own.starts_with("/run") {
        bail!(
            "{} is where the lab puts its own things: move it",
            own.display()
        );
    }
    mount(
        Some("tmpfs"),
        "/tmp",
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=1777"),
    )
    .context("/tmp")
}

/// Names, users and `/run` of the lab's own. keyward's part of `/run` stays: live runs of this host have their locks
/// there, and would be swept if they were not seen.
fn own_view(shared: &Path, evidence: &Path) -> Result<()> {
    let nothing: Option<&str> = None;
    lay_over(evidence, "/etc/hosts", &hosts(&HOSTS))?;
    // Whatever the machine asks for names does not exist here.
    lay_over(evidence, "/etc/resolv.conf", "nameserver 203.0.113.53\n")?;
    let machine = fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    // Homes of the lab's own: nothing that a workload does to its home is to be done to somebody's.
    let users = machine.lines().filter(|it| !it.starts_with("root:"));
    let users: String = users.map(|it| format!("{it}\n")).collect();
    let shared = shared.display();
    let users = format!(
        "root:x:0:0:root:{shared}/root:/bin/sh\n{users}workload:x:{USER}:{USER}::{shared}/home:/bin/sh\n"
    );
    lay_over(evidence, "/etc/passwd", &users)?;
    let groups = fs::read_to_string("/etc/group").context("/etc/group")?;
    let groups = format!("{}\nkeyward-decoy:x:{GROUP}:workload\n", groups.trim_end());
    lay_over(evidence, "/etc/group", &groups)?;
    for file in ["hosts", "resolv.conf", "passwd", "group"] {
        let open = fs::Permissions::from_mode(0o644);
        fs::set_permissions(evidence.join(file), open)?;
    }
    fs::create_dir_all(OWN_RUN)?;
    let own = open(OWN_RUN, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )?;
    fs::create_dir(OWN_RUN)?;
    let real = format!("/proc/self/fd/{}", own.as_raw_fd());
    mount(
        Some(real.as_str()),
        OWN_RUN,
        nothing,
        MsFlags::MS_BIND,
        nothing,
    )
    .context("keyward's part of /run")
}
