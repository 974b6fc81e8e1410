// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs of the operating system that tasks need, and their installation where one is missing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{Cmd, find_program};
use crate::workspace::Workspace;

/// A program of the operating system, or a file of it, the Debian package that brings it, and what keyward's chores use it for.
pub(crate) struct Tool {
    program: &'static str,
    package: &'static str,
    reason: &'static str,
}

const fn tool(program: &'static str, package: &'static str, reason: &'static str) -> Tool {
    Tool {
        program,
        package,
        reason,
    }
}

/// What `cargo xtask escape` runs.
pub(crate) const ESCAPE: &[Tool] = &[
    tool(
        "ip",
        "iproute2",
        "lays the wire between the lab's host and its outside",
    ),
    tool("nft", "nftables", "what a hostile root would try"),
    tool("python3", "python3", "the attempts, and the lab's servers"),
    tool(
        "setpriv",
        "util-linux",
        "makes attempts without keyward as a user, not as root",
    ),
];

/// What `cargo xtask demo` runs.
pub(crate) const DEMO: &[Tool] = &[
    tool(
        "ip",
        "iproute2",
        "lays the wire between the demo's host and its outside",
    ),
    tool("python3", "python3", "the agent, and what it tries"),
    tool(
        "setpriv",
        "util-linux",
        "runs the agent without keyward as a user, not as root",
    ),
];

/// What the tests that need no root run.
pub(crate) const UNIT: &[Tool] = &[
    tool("node", "nodejs", "a program with a preload library"),
    tool("python3", "python3", "a program with a preload library"),
];

/// What the kernel and end-to-end tests run.
pub(crate) const TEST: &[Tool] = &[
    tool("bundle", "bundler", "a client: gems"),
    tool(
        "bwrap",
        "bubblewrap",
        "a sandbox that works inside keyward's",
    ),
    tool("cc", "gcc", "a client: C"),
    tool(
        "certutil",
        "libnss3-tools",
        "makes Chromium trust the tests' authority",
    ),
    tool("chromium", "chromium", "a client: a browser"),
    tool("cmake", "cmake", "a client: C"),
    tool("composer", "composer", "a client: packages of PHP"),
    tool("curl", "curl", "a probe, and a client of the gateway"),
    tool("dig", "dnsutils", "a probe: DNS past the system's resolver"),
    tool("gdb", "gdb", "a debugger that works inside"),
    tool("git", "git", "a client: clones"),
    tool(
        "go",
        "golang-go",
        "a client: modules, and static binaries that resolve names by themselves",
    ),
    tool(
        "ip",
        "iproute2",
        "addresses and routes of the tests' own namespaces",
    ),
    tool("javac", "default-jdk-headless", "a client: Java"),
    tool("keyctl", "keyutils", "a session with a key in its keyring"),
    tool("make", "make", "a client: C"),
    // What a build by Maven needs at the least, from Debian's own repository of artifacts.
    tool(
        "/usr/share/java/junit4.jar",
        "junit4",
        "tests of a Maven project",
    ),
    tool(
        "/usr/share/java/maven-surefire-plugin.jar",
        "libsurefire-java",
        "runs the tests of a Maven project",
    ),
    tool(
        "/var/lib/dpkg/info/libmaven-compiler-plugin-java.list",
        "libmaven-compiler-plugin-java",
        "compiles a Maven project",
    ),
    tool(
        "/var/lib/dpkg/info/libmaven-jar-plugin-java.list",
        "libmaven-jar-plugin-java",
        "packs a Maven project",
    ),
    tool(
        "/var/lib/dpkg/info/libmaven-resources-plugin-java.list",
        "libmaven-resources-plugin-java",
        "copies the resources of a Maven project",
    ),
    tool("mvn", "maven", "a client: artifacts, and builds"),
    tool(
        "nft",
        "nftables",
        "a second reader of the rules that keyward wrote",
    ),
    tool("node", "nodejs", "runs the real clients"),
    tool("npm", "npm", "installs the real clients"),
    tool(
        "pg_ctlcluster",
        "postgresql",
        "a service of the host: a database",
    ),
    tool("ping", "iputils-ping", "a probe: ping sockets"),
    tool("python3", "python3", "probes: sockets of every kind"),
    // Another Python's pip may come first in the path, at a place that only root can read.
    tool(
        "/usr/bin/pip3",
        "python3-pip",
        "a client: packages of Python",
    ),
    tool(
        "redis-server",
        "redis-server",
        "a service of the host: a key-value store",
    ),
    tool("setpriv", "util-linux", "runs probes without privilege"),
    tool("sshd", "openssh-server", "a server that git clones from"),
    tool("strace", "strace", "a tracer that works inside"),
    tool("wget", "wget", "a client: downloads"),
];

/// What `cargo xtask bench` compares keyward with.
pub(crate) const BENCH: &[Tool] = &[
    tool(
        "bwrap",
        "bubblewrap",
        "the sandbox that the start-up time is compared with",
    ),
    tool(
        "dnsmasq",
        "dnsmasq-base",
        "a name server that ours is compared with",
    ),
    tool(
        "haproxy",
        "haproxy",
        "the TCP proxy that ours is compared with",
    ),
    tool("ip", "iproute2", "namespaces for the benchmarks"),
    tool(
        "nginx",
        "nginx-light",
        "the gateway that ours is compared with",
    ),
    tool(
        "squid",
        "squid",
        "the CONNECT proxy that ours is compared with",
    ),
    tool(
        "unbound",
        "unbound",
        "a name server that ours is compared with",
    ),
];

/// What `cargo xtask vm` boots guests with.
pub(crate) const VM: &[Tool] = &[
    tool("mke2fs", "e2fsprogs", "makes the guests' disks"),
    tool("mmdebstrap", "mmdebstrap", "installs the guests' system"),
    tool(
        "qemu-system-x86_64",
        "qemu-system-x86",
        "is the machine that a guest runs on",
    ),
    tool(
        "strip",
        "binutils",
        "makes test binaries small for a guest's disk",
    ),
];

/// Installs what is missing of `tools`; says what and why before it does.
pub(crate) fn ensure_tools(tools: &[Tool], workspace: &Workspace) -> Result<()> {
    let missing: Vec<&Tool> = tools
        .iter()
        .filter(|tool| find_program(tool.program).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for tool in &missing {
        println!("{} is missing: {}", tool.program, tool.reason);
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    install(&packages, workspace)?;
    for tool in missing {
        if find_program(tool.program).is_none() {
            bail!(
                "{} is still missing after installing {}",
                tool.program,
                tool.package
            );
        }
    }
    Ok(())
}

/// Installs libclang, unless it is there.
///
/// rustables reads the kernel's nftables headers with it, by bindgen, when it is compiled.
pub(crate) fn ensure_libclang(workspace: &Workspace) -> Result<()> {
    if std::env::var_os("LIBCLANG_PATH").is_some() || has_libclang() {
        return Ok(());
    }
    println!("libclang is missing: rustables reads the kernel's nftables headers with it");
    install(&["libclang-dev"], workspace)
}

/// Whether libclang is at one of the places where clang-sys looks for it.
fn has_libclang() -> bool {
    let llvm = fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("llvm-"))
        .map(|entry| entry.path().join("lib"));
    let system = [
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
    ];
    llvm.chain(system.into_iter().map(PathBuf::from))
        .any(|directory| {
            fs::read_dir(directory)
                .into_iter()
                .flatten()
                .flatten()
                .any(|entry| {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    // Not libclang-cpp, which is the interface for C++.
                    name.contains(".so")
                        && (name.starts_with("libclang.so") || name.starts_with("libclang-"))
                        && !name.starts_with("libclang-cpp")
                })
        })
}

/// Installs Debian packages.
///
/// # Errors
///
/// There is no apt-get, no way to be root, or a package cannot be had; the error names the packages.
pub(crate) fn install(packages: &[&str], workspace: &Workspace) -> Result<()> {
    let hint = || {
        format!(
            "install {} with your system's package manager",
            packages.join(", ")
        )
    };
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("this is not a Debian system: {}", hint());
    }
    if !workspace.identity().is_root() && find_program("sudo").is_none() {
        bail!(
            "neither root nor sudo is at hand: as root, run `apt-get install {}`",
            packages.join(" ")
        );
    }
    // A fresh container has no package lists at all, and old lists name packages that are gone.
    Cmd::new("apt-get")
        .args(["update", "-qq"])
        .with_root()
        .run(workspace)
        .with_context(hint)?;
    Cmd::new("sh")
        .args(["-c", INSTALL, "apt-get"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .with_root()
        .run(workspace)
        .with_context(hint)
}

/// Debian starts a service as soon as it is installed. These packages are for tests, which start what they need by
/// themselves: nothing is to run on the machine because of them. policy-rc.d says no for as long as the installation
/// takes, unless the machine has one of its own.
const INSTALL: &str = "set -e; policy=/usr/sbin/policy-rc.d; \
    if [ ! -e $policy ]; then trap 'rm -f $policy' EXIT; trap 'exit 1' INT TERM; \
    printf '#!/bin/sh\\nexit 101\\n' > $policy; chmod 755 $policy; fi; \
    apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 \"$@\"";
