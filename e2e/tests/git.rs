// SPDX-License-Identifier: GPL-3.0-or-later
//! `git clone` over https and over ssh, from servers of the tests' own: it works where the server is allowed, and fails
//! at once with the line to add where it is not.
#![cfg(test)]

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::host::{Running, USER, eventually, stderr, stdout, succeed};
use e2e::world::{DENIED, World, in_a_world};

/// Longest that a refused clone may take.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Makes a repository with a file of some size, served under `/git/project.git` by every host outside.
fn repository(world: &World<'_>) {
    let script = "git init -q -b main work && cd work && head -c 3000000 /dev/urandom >large && echo it is here >README && \
        git add . && git -c user.name=e2e -c user.email=e2e@example.com commit -q -m First && \
        git clone -q --bare . ../files/git/project.git";
    succeed(
        Command::new("sh")
            .args(["-c", script])
            .current_dir(world.host().scratch())
            // The machine's own settings are not what is tested.
            .env("HOME", world.host().scratch())
            .env("GIT_CONFIG_NOSYSTEM", "1"),
    );
}

/// How ssh is called: with nothing of the machine's, and with the key of whoever calls.
const SSH: &str = "ssh -F none -i keys/$(id -u) -o UserKnownHostsFile=keys/known_hosts";

/// What clones it from a host.
fn clone(url: &str, directory: &str) -> String {
    format!("git -c core.sshCommand=\"{SSH}\" clone -q {url} {directory} && cat {directory}/README")
}

/// Checks both ways, with the same URL but for the host.
fn check(world: &World<'_>, user: &str, rule: &str, url: impl Fn(&str) -> String) {
    let inside = |flags: &[&str], url: &str, directory: &str| {
        let mut command = world.keyward_as(user, flags);
        command.args(["--", "sh", "-c", &clone(url, directory)]);
        command.output().unwrap()
    };
    let outside = world.outside(&clone(&url("denied.test"), "outside"));
    assert_eq!(stdout(&outside), "it is here\n", "{}", stderr(&outside));
    let before = arrived_at_denied(world);
    for (way, variables) in [("plain", &[][..]), ("proxied", &["--proxy-env"][..])] {
        let flags = [&["--allow-domains", rule], variables].concat();
        let good = inside(&flags, &url("allowed.test"), way);
        assert_eq!(stdout(&good), "it is here\n", "{way}: {}", stderr(&good));
        assert_eq!(stderr(&good), "", "{way}: nothing was blocked");

        let begun = Instant::now();
        let bad = inside(&flags, &url("denied.test"), "bad");
        let report = stderr(&bad);
        assert!(!bad.status.success(), "{way}: {report}");
        assert!(begun.elapsed() < AT_ONCE, "{way}: {:?}", begun.elapsed());
        assert!(report.contains("--allow-domains denied.test"), "{report}");
    }
    assert_eq!(
        arrived_at_denied(world),
        before,
        "a denied host was reached"
    );
}

fn arrived_at_denied(world: &World<'_>) -> usize {
    world
        .arrived()
        .iter()
        .filter(|it| it["at"] == DENIED)
        .count()
}

#[test]
fn over_https() {
    in_a_world(|world| {
        repository(world);
        check(world, USER, "allowed.test", |host| {
            format!("https://{host}/git/project.git")
        });
    });
}

#[test]
fn over_ssh() {
    in_a_world(|world| {
        repository(world);
        // git serves only what belongs to the one who asks.
        let script = "cp -r files/git/project.git home && mkdir keys && cd keys && ssh-keygen -q -t ed25519 -N '' -f 12345 && \
            cp 12345 65534 && cp 12345.pub authorized_keys && ssh-keygen -q -t ed25519 -N '' -f host && \
            for it in allowed denied; do printf '[%s.test]:2022 ' $it; cat host.pub; done >known_hosts";
        let output = world.outside(script);
        assert!(output.status.success(), "{}", stderr(&output));
        let scratch = world.host().scratch();
        chown(scratch.join("keys/65534"), Some(65534), Some(65534)).unwrap();
        let _server = ssh_server(world);
        // ssh runs for nobody who has no name.
        check(world, "65534:65534", "allowed.test:2022", |host| {
            let path = world.home().join("project.git");
            format!("ssh://workload@{host}:2022{}", path.display())
        });
    });
}

/// An OpenSSH server on port 2022 of every host outside, run by the user whom it lets in.
fn ssh_server(world: &World<'_>) -> Running {
    let keys = world.host().scratch().join("keys");
    let settings = format!(
        "Port 2022\nListenAddress 0.0.0.0\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized_keys\n\
         PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n",
        keys.display()
    );
    let file = world.host().scratch().join("sshd_config");
    fs::write(&file, settings).expect("a file");
    let log = fs::File::create(world.host().scratch().join("sshd.log")).expect("a file");
    let server = Running::new(
        Command::new("setpriv")
            .args(["--reuid=12345", "--regid=12345", "--clear-groups"])
            // It insists on being called by its path.
            .args(["/usr/sbin/sshd", "-D", "-e", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(log),
    );
    let log = world.host().scratch().join("sshd.log");
    eventually("the ssh server is there", || says(&log, "listening"));
    server
}

fn says(file: &Path, words: &str) -> bool {
    fs::read_to_string(file).unwrap_or_default().contains(words)
}
