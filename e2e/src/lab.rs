// SPDX-License-Identifier: GPL-3.0-or-later
//! A laboratory for one layer of the firewall at a time: a host with a way out, a cgroup for the workload, and a canary
//! outside that sees every packet.
//!
//! The real product gives a workload no way out. Here there is one, so that a leak is visible: each test first shows
//! that its probe reaches the canary, then that it does not.
//!
//! The two network namespaces have no names; each belongs to a thread of the lab. Whatever happens to the test, they go
//! with its process. The cgroup is removed on drop.

mod canary;
pub mod firewall;

use std::{
    fs::File,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use firewall_common::Endpoints;
use keyward_escape::lab::{Cgroup, Place, network};

use self::canary::Canary;
pub use self::canary::Frame;
pub use keyward_escape::lab::network::{
    CANARY_V4, CANARY_V6, HOST_V4, HOST_V6, PORT, PROXY_V4, PROXY_V6,
};

/// The probes: ways to get a datagram or a connection out. As text: the probes' user may not be able to read the
/// workspace.
pub const PROBES: &str = include_str!("lab/probes.py");

/// The distribution's programs: root's own path may lead where the probes' user may not go.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The user and group of an unprivileged probe: nobody's.
const USER: &str = "54321";

/// See the module.
#[derive(Debug)]
pub struct Lab {
    // In the order of dropping: the processes' cgroup goes before their namespace.
    cgroup: Cgroup,
    canary: Canary,
    host: Place,
}

/// Where a probe runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// In the workload's cgroup.
    Workload,
    /// On the host, in no special cgroup.
    Host,
}

/// Who runs a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A user without any capability.
    User,
    /// Root, with every capability.
    Root,
}

/// How a probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How long its system calls took.
    pub took: Duration,
    /// `sent`, or the name of an errno.
    pub result: String,
    /// Its process.
    pub pid: u32,
}

impl Lab {
    /// Builds the lab.
    ///
    /// # Panics
    ///
    /// Something is missing: root, cgroup v2, veth, iproute2, python3, setpriv.
    #[must_use]
    pub fn new() -> Self {
        let place = || Place::new().expect("the lab takes root: cargo xtask test");
        let (host, outside) = (place(), place());
        network::join(&host, &outside).expect("a wire");
        Self {
            cgroup: Cgroup::new().expect("a cgroup"),
            canary: Canary::new(outside),
            host,
        }
    }

    /// The proxy's addresses in this lab, all doors shut but the gateway.
    #[must_use]
    pub fn endpoints() -> Endpoints {
        Endpoints {
            v6: PROXY_V6.octets(),
            v4: PROXY_V4.octets(),
            gateway_first: 10000,
            gateway_last: 10004,
            transparent: 0,
            explicit: 0,
            dns: 0,
            reserved: 0,
        }
    }

    /// The workload's cgroup, to attach to.
    #[must_use]
    pub fn cgroup(&self) -> &File {
        self.cgroup.directory()
    }

    /// The workload's cgroup, by path.
    #[must_use]
    pub fn cgroup_path(&self) -> &Path {
        self.cgroup.path()
    }

    /// Runs `task` in the host's network namespace: sockets that it makes belong there.
    pub fn on_host<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> T {
        self.host.run(task).expect("the task ended well")
    }

    /// Runs `task` in the canary's network namespace.
    pub fn outside<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> T {
        self.canary.place().run(task).expect("the task ended well")
    }

    /// Runs a shell script on the host, and waits for it.
    pub fn shell(&self, place: Where, who: Who, script: &str) -> Output {
        let mut command = self.command(place, who, &["sh", "-c", script]);
        self.on_host(move || command.output().expect("sh"))
    }

    /// A command that runs on the host, in the cgroup or not. Spawn it by [`Lab::on_host`].
    #[must_use]
    pub fn command(&self, place: Where, who: Who, argv: &[&str]) -> Command {
        // The shell joins the cgroup, as root, before it becomes the user and the command.
        let join = match place {
            Where::Workload => "echo $$ > \"$LAB_CGROUP/cgroup.procs\" && ",
            Where::Host => "",
        };
        let become_user = match who {
            Who::User => format!(
                "setpriv --reuid {USER} --regid {USER} --clear-groups --inh-caps=-all --no-new-privs "
            ),
            Who::Root => String::new(),
        };
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{join}exec {become_user}\"$@\""))
            .arg("lab")
            .args(argv)
            .env("PATH", PATH)
            .env("LAB_CGROUP", self.cgroup.path())
            .stdin(Stdio::null());
        command
    }

    /// The names of all probes, and who has to run each.
    #[must_use]
    pub fn probes() -> Vec<(String, Who)> {
        let output = Command::new("python3")
            .args(["-c", PROBES])
            .output()
            .expect("python3");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout).expect("names");
        let line = |line: &str| {
            let (who, name) = line.split_once(' ').expect("two words");
            (
                name.to_owned(),
                if who == "root" { Who::Root } else { Who::User },
            )
        };
        text.lines().map(line).collect()
    }

    /// Runs one probe, which carries `marker` in what it sends.
    ///
    /// # Panics
    ///
    /// The probe itself is broken, or hangs.
    #[must_use]
    pub fn probe(&self, place: Where, who: Who, name: &str, marker: &str) -> Outcome {
        let mut command = self.command(place, who, &["python3", "-c", PROBES, name, marker]);
        let output = self.on_host(move || command.output().expect("python3"));
        let (text, error) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        let words: Vec<_> = text.split_whitespace().collect();
        assert!(words.len() == 3, "{name}: {} {text}{error}", output.status);
        let (took, result, pid) = (words[0], words[1], words[2]);
        Outcome {
            took: Duration::from_secs_f64(took.parse::<f64>().expect("milliseconds") / 1000.0),
            result: result.to_owned(),
            pid: pid.parse().expect("a pid"),
        }
    }

    /// Every packet of the host's that has arrived outside since the last call.
    pub fn arrived(&self) -> Vec<Frame> {
        self.canary.arrived()
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}
