// SPDX-License-Identifier: GPL-3.0-or-later
//! What a workload sees of the host's files. Every probe is a line of shell that prints a mark: as the same user
//! outside it does, so it can; inside it does not.
#![cfg(test)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use e2e::host::{DEGRADED, Host, degraded, leftovers, on_a_host, stderr, stdout, succeed};

/// In every file that is not to be read.
const MARK: &str = "mark-3f9c1a77e2";

const USER: u32 = 12345;

/// A user with a home, and a project in it.
struct User<'a> {
    host: &'a Host,
    home: PathBuf,
    project: PathBuf,
}

impl<'a> User<'a> {
    fn new(host: &'a Host) -> Self {
        let home = host.scratch().join("home");
        let project = home.join("project");
        let user = Self {
            host,
            home,
            project,
        };
        user.write("project/README", "hello");
        user
    }

    /// Writes a file below the home, which is the user's with all that leads to it.
    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.home.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let below = path.ancestors().take_while(|it| it.starts_with(&self.home));
        below.for_each(|it| chown(it, Some(USER), Some(USER)).unwrap());
        path
    }

    fn keyward(&self, flags: &[&str]) -> Command {
        let mut command = self.host.run();
        command
            .current_dir(&self.project)
            .args(flags)
            .arg("--env")
            .arg(format!("HOME={}", self.home.display()));
        command
    }

    /// A script in the project, behind the firewall.
    fn inside(&self, flags: &[&str], script: &str) -> Output {
        let mut command = self.keyward(flags);
        command.args(["--", "sh", "-c", script]);
        command.output().unwrap()
    }

    /// The same without it.
    fn outside(&self, script: &str) -> Output {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=12345", "--regid=12345", "--clear-groups"])
            .args(["sh", "-c", script])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &self.home)
            .current_dir(&self.project)
            .stdin(Stdio::null());
        command.output().unwrap()
    }
}

/// Everything that a command said.
fn all(output: &Output) -> String {
    stdout(output) + &stderr(output)
}

/// Ways to read the file `$F`, one a line.
const WAYS: &[(&str, &str)] = &[
    ("cat", "cat $F"),
    ("dd", "dd if=$F status=none"),
    (
        "hard link",
        "rm -f link; ln $F link && cat link; rm -f link",
    ),
    ("copy", "rm -f copy; cp -a $F copy && cat copy; rm -f copy"),
    ("rename", "mv $F moved && cat moved && mv moved $F"),
    ("own root", "cat /proc/self/root$F"),
    ("root of another", "sleep 1 & cat /proc/$!/root$F"),
    (
        "working directory of another",
        "(cd / && exec sleep 1) & sleep .2; cat /proc/$!/cwd$F",
    ),
    (
        "open handle",
        "sh -c 'exec 3<$1 && cat /proc/self/fd/3' sh $F",
    ),
    (
        "bind mount",
        "unshare -Urm sh -c 'mount --bind $1 /mnt && cat /mnt/$2' sh ${F%/*} ${F##*/}",
    ),
    (
        "recursive bind mount",
        "unshare -Urm sh -c 'mount --rbind / /mnt && cat /mnt$1' sh $F",
    ),
    (
        "uncovered",
        "unshare -Urm sh -c 'umount $1; umount -l $1; umount -l $2; cat $1' sh $F ${F%/*}",
    ),
    (
        "new root",
        "unshare -Urm sh -c 'mount --rbind / /mnt && cd /mnt && /usr/sbin/chroot . cat $1' sh $F",
    ),
    ("find", "find $TOP -xdev -name ${F##*/} -exec cat {} \\;"),
    ("grep", "grep -rhs mark- $TOP"),
];

#[test]
fn a_hidden_file_is_absent_in_every_way() {
    on_a_host(|host| {
        let user = User::new(host);
        let files = [
            user.write(".aws/credentials", MARK),
            user.write(".ssh/id_ed25519", MARK),
            user.write(".config/gh/hosts.yml", MARK),
            user.write(".git-credentials", MARK),
            user.write(".python_history", MARK),
            // Really writable, so that it can only be covered.
            user.write("project/.env", MARK),
            user.write("project/secrets/key", MARK),
        ];
        user.write(".ssh/known_hosts", "host key");
        user.write(".config/gh/config.yml", "editor: vi");
        let flags = ["--hide", ".env*", "--hide", "secrets"];
        for file in files {
            let top = if file.starts_with(&user.project) {
                &user.project
            } else {
                &user.home
            };
            let file = file.display();
            // Each in a shell of its own, and all in one run.
            let mut script = format!("F={file}; TOP={}\n", top.display());
            for (name, way) in WAYS {
                script.push_str(&format!("echo '== {name}'; ( {way}\n) 2>&1\n"));
            }
            let output = user.outside(&script);
            let said = all(&output);
            let answers: Vec<_> = said.split("== ").skip(1).collect();
            assert_eq!(answers.len(), WAYS.len(), "{said}");
            for answer in answers {
                assert!(answer.contains(MARK), "outside, {file}: {answer}");
            }
            let output = user.inside(&flags, &script);
            let said = all(&output);
            let answers: Vec<_> = said.split("== ").skip(1).collect();
            assert_eq!(answers.len(), WAYS.len(), "{said}");
            for answer in &answers {
                assert!(!answer.contains(MARK), "inside, {file}: {answer}");
            }
            assert!(
                answers[0].contains("No such file"),
                "{file}: {}",
                answers[0]
            );
        }
        // Beside them everything is as it was.
        let output = user.inside(
            &flags,
            "cat ~/.ssh/known_hosts ~/.config/gh/config.yml README; ls -A ~ ~/.ssh",
        );
        let said = stdout(&output);
        for words in ["host key", "editor: vi", "hello", ".config"] {
            assert!(said.contains(words), "{words}: {}", all(&output));
        }
        for words in [".aws", "id_ed25519", ".git-credentials"] {
            assert!(!said.contains(words), "{words}: {said}");
        }
        assert!(leftovers(host).is_empty(), "{:?}", leftovers(host));
    });
}

#[test]
fn a_policy_file_shapes_the_view_as_flags_do() {
    on_a_host(|host| {
        let user = User::new(host);
        user.write("project/notes/plan", MARK);
        user.write(".cache/kept", "old");
        let policy = host.scratch().join("keyward.toml");
        let config = ["--config", policy.to_str().unwrap()];
        let run = |section: &str, script: &str| {
            fs::write(&policy, section).unwrap();
            user.inside(&config, script)
        };
        let script = "cat notes/plan; echo new >~/.cache/kept";
        let kept = || fs::read_to_string(user.home.join(".cache/kept")).unwrap();

        // Without it the file is read, and what is written in the home is gone with the run.
        let output = run("", script);
        assert!(stdout(&output).contains(MARK), "{}", all(&output));
        assert_eq!(kept(), "old");

        let cache = user.home.join(".cache");
        let section = format!("[files]\nhide = [\"notes\"]\nwritable = [{cache:?}]\n");
        let said = all(&run(&section, script));
        assert!(!said.contains(MARK), "{said}");
        assert!(said.contains("notes/plan: No such file"), "{said}");
        assert_eq!(kept(), "new\n");

        // Flags come on top of it.
        let script = "cat notes/plan README";
        let mut command = user.keyward(&config);
        command.args(["--hide", "README", "--", "sh", "-c", script]);
        let said = all(&command.output().unwrap());
        assert!(!said.contains(MARK) && !said.contains("hello"), "{said}");

        let output = run(
            "[files]\nexpose = [\"/no/such\"]\nmount = [\"/a:b\"]\nhides = []\n",
            "true",
        );
        assert_eq!(output.status.code(), Some(125));
        for told in [
            "keyward.toml:2:12: /no/such: No such file or directory",
            "keyward.toml:3:11: the target \"b\" is not a path below /",
            "keyward.toml:4:1: this key is not known",
        ] {
            let said = stderr(&output);
            assert!(said.contains(told), "{told}: {said}");
        }
        assert!(leftovers(host).is_empty(), "{:?}", leftovers(host));
    });
}

#[test]
fn an_overlay_of_the_workloads_own_shows_no_more() {
    on_a_host(|host| {
        let user = User::new(host);
        user.write(".aws/credentials", MARK);
        user.write("project/.env", MARK);
        let overlay = |lower: &Path| {
            format!(
                "unshare -Urm sh -c 'mount -t tmpfs none /mnt && mkdir /mnt/u /mnt/w /mnt/m && \
                 mount -t overlay none -o lowerdir={},upperdir=/mnt/u,workdir=/mnt/w,userxattr /mnt/m && \
                 grep -rhs mark- /mnt/m; grep -rhs mark- /mnt/u'",
                lower.display()
            )
        };
        for lower in [&user.home, &user.project] {
            let said = all(&user.outside(&overlay(lower)));
            assert!(said.contains(MARK), "{said}");
            let said = all(&user.inside(&["--hide", ".env"], &overlay(lower)));
            assert!(!said.contains(MARK), "{said}");
        }
    });
}

#[test]
fn what_works_with_secrets_is_shown_without_them() {
    on_a_host(|host| {
        let user = User::new(host);
        user.write(
            ".npmrc",
            &format!("registry=https://npm.corp.test/\n//npm.corp.test/:_authToken={MARK}\n"),
        );
        user.write(
            ".config/pip/pip.conf",
            &format!("[global]\nindex-url = https://me:{MARK}@pypi.corp.test/simple\n"),
        );
        let script = "cat ~/.npmrc ~/.config/pip/pip.conf";
        assert!(stdout(&user.outside(script)).contains(MARK));
        let output = user.inside(&[], script);
        assert_eq!(
            stdout(&output),
            "registry=https://npm.corp.test/\n[global]\nindex-url = https://pypi.corp.test/simple\n",
            "{}",
            stderr(&output)
        );
        let status = user.inside(&["--expose", "../.npmrc"], script);
        assert!(stdout(&status).contains(&format!("_authToken={MARK}")));
    });
}

#[test]
fn the_project_is_written_to_and_the_home_is_not() {
    on_a_host(|host| {
        let user = User::new(host);
        user.write(".bashrc", "alias ls=ls\n");
        let other = tempfile::tempdir_in("/srv").unwrap();
        chown(other.path(), Some(USER), Some(USER)).unwrap();
        let elsewhere = other.path().display().to_string();
        let script = format!(
            "echo more >> README; echo x > new; echo evil >> ~/.bashrc; mkdir -p ~/.config/systemd/user && \
             echo x > ~/.config/systemd/user/x.service; mv ~/.bashrc ~/.bashrc2; cat ~/.bashrc2; \
             echo x > {elsewhere}/file; echo x > /var/tmp/x-{0}; echo x > /tmp/x-{0}; echo x > /dev/shm/x-{0}; \
             ls /tmp /var/tmp",
            std::process::id()
        );
        let output = user.inside(&[], &script);
        let said = all(&output);
        assert!(said.contains("alias ls=ls\nevil\n"), "{said}");
        assert!(said.contains("Read-only file system"), "{said}");
        assert_eq!(
            fs::read_to_string(user.project.join("README")).unwrap(),
            "hellomore\n"
        );
        assert_eq!(fs::read_to_string(user.project.join("new")).unwrap(), "x\n");
        let bashrc = fs::read_to_string(user.home.join(".bashrc")).unwrap();
        assert_eq!(bashrc, "alias ls=ls\n");
        assert!(!user.home.join(".config").exists());
        assert!(!other.path().join("file").exists());
        for directory in ["/tmp", "/var/tmp", "/dev/shm"] {
            let path = Path::new(directory).join(format!("x-{}", std::process::id()));
            assert!(!path.exists(), "{}", path.display());
        }
        // Nothing keeps the user himself from any of it, and a flag lets the workload.
        let write = format!("echo x > {elsewhere}/file");
        assert!(user.outside(&write).status.success());
        let output = user.inside(
            &["--writable", &elsewhere],
            &format!("echo y > {elsewhere}/file"),
        );
        assert!(output.status.success(), "{}", stderr(&output));
        let text = fs::read_to_string(other.path().join("file")).unwrap();
        assert_eq!(text, "y\n");
        let flag = format!("{elsewhere}:/tmp/there:ro");
        let output = user.inside(
            &["--mount", &flag],
            "cat /tmp/there/file; echo z > /tmp/there/file",
        );
        assert_eq!(stdout(&output), "y\n", "{}", stderr(&output));
        assert!(stderr(&output).contains("Read-only"), "{}", stderr(&output));
    });
}

#[test]
fn a_home_is_not_opened_for_being_the_working_directory() {
    on_a_host(|host| {
        let user = User::new(host);
        let shown = fs::canonicalize(&user.home).unwrap();
        // The home that the host knows is what counts, so the host knows one here.
        let run = |directory: &Path, flags: &[&str]| {
            let script = format!(
                "printf 'w:x:12345:12345::{}:/bin/sh\\n' > $0.passwd && cat /etc/passwd >> $0.passwd && \
                 mount --bind $0.passwd /etc/passwd && exec \"$@\"",
                shown.display()
            );
            let keyward = e2e::host::binary("keyward");
            let mut command = Command::new("unshare");
            command
                .args(["-m", "sh", "-c", &script])
                .arg(host.scratch().join("users"))
                .arg(keyward)
                .args(["run", "--user", "12345:12345", "--log-dir"])
                .arg(host.log_dir())
                .args(flags)
                .args(["--", "sh", "-c", "echo x > written && cat written"])
                .env_clear()
                .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
                .env("OPENAI_API_KEY", e2e::host::REAL_KEY)
                .envs(degraded().map(|it| (DEGRADED, it)))
                .current_dir(directory)
                .stdin(Stdio::null());
            command.output().unwrap()
        };
        let output = run(&user.home, &[]);
        assert_eq!(stdout(&output), "x\n", "{}", stderr(&output));
        assert!(
            stderr(&output).contains("--writable"),
            "{}",
            stderr(&output)
        );
        assert!(!user.home.join("written").exists());
        let home = user.home.display().to_string();
        let output = run(&user.home, &["--writable", &home]);
        assert_eq!(
            (stdout(&output), stderr(&output)),
            ("x\n".into(), String::new())
        );
        assert!(user.home.join("written").exists());
        let output = run(&user.project, &[]);
        assert_eq!(
            (stdout(&output), stderr(&output)),
            ("x\n".into(), String::new())
        );
        assert!(user.project.join("written").exists());
    });
}

#[test]
fn a_directory_is_no_standard_stream() {
    on_a_host(|host| {
        let user = User::new(host);
        user.write(".aws/credentials", MARK);
        let script = "exec 3<&0 </dev/null; /usr/bin/python3 -c 'import os; \
            print(os.read(os.open(\"../.aws/credentials\", os.O_RDONLY, dir_fd=3), 99))'";
        let said = all(&user.outside(&format!("exec <.; {script}")));
        assert!(said.contains(MARK), "{said}");
        let mut command = user.keyward(&["--", "sh", "-c", script]);
        command.stdin(fs::File::open(&user.project).unwrap());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{}", all(&output));
        assert!(
            stderr(&output).contains("is a directory"),
            "{}",
            all(&output)
        );
    });
}

/// Connects to each path, and says which answered.
const CONNECT: &str = "/usr/bin/python3 -c '
import socket, sys
for path in sys.argv[1:]:
    try:
        socket.socket(socket.AF_UNIX).connect(path)
        print(\"reached\", path)
    except OSError as error:
        print(error)
' ";

#[test]
fn sockets_of_the_host_are_out_of_reach() {
    on_a_host(|host| {
        let user = User::new(host);
        let other = tempfile::tempdir_in("/srv").unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        for directory in [other.path(), elsewhere.path()] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let paths = [
            user.home.join("agent.sock"),
            user.project.join("editor.sock"),
            other.path().join("database.sock"),
            elsewhere.path().join("agent.1"),
        ];
        let listen = |path: &PathBuf| {
            let listener = UnixListener::bind(path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
            listener
        };
        let _listeners: Vec<_> = paths.iter().map(listen).collect();
        let shown: Vec<_> = paths.iter().map(|it| it.display().to_string()).collect();
        let script = format!("{CONNECT} {}", shown.join(" "));
        let reached = |output: &Output| stdout(output).matches("reached").count();
        let output = user.outside(&script);
        assert_eq!(reached(&output), 4, "{}", all(&output));
        let output = user.inside(&[], &script);
        assert_eq!(reached(&output), 0, "{}", all(&output));

        // What is asked for is there, and nothing else; and it is said.
        for path in &shown {
            let output = user.inside(&["--expose", path], &script);
            assert_eq!(reached(&output), 1, "{path}: {}", all(&output));
            assert!(stdout(&output).contains(&format!("reached {path}")));
            assert!(stderr(&output).contains(path), "{}", stderr(&output));
            let logged = host.log("audit");
            let said = format!("{path} (--expose)");
            let exposed = |it: &&serde_json::Value| it["exposures"].to_string().contains(&said);
            assert_eq!(logged.iter().filter(exposed).count(), 1, "{logged:#?}");
        }
        let mut command = user.keyward(&["--ssh-agent"]);
        command.env("SSH_AUTH_SOCK", &paths[3]);
        let script = format!("{CONNECT} $SSH_AUTH_SOCK");
        let output = command.args(["--", "sh", "-c", &script]).output().unwrap();
        assert_eq!(reached(&output), 1, "{}", all(&output));
    });
}

#[test]
fn what_runs_later_outside_is_not_changed() {
    on_a_host(|host| {
        let user = User::new(host);
        let git = "git -c user.name=n -c user.email=e@x.test";
        let setup = format!(
            "git init -q . && {git} add README && {git} commit -qm one && mkdir .vscode .claude && \
             touch .vscode/tasks.json .claude/settings.json .claude/notes && touch .env.sh && ln -s .env.sh .envrc"
        );
        let output = user.outside(&setup);
        assert!(output.status.success(), "{}", all(&output));
        let attacks = [
            "echo x > .git/hooks/post-checkout",
            "git config core.fsmonitor x",
            "echo x >> .git/config",
            "mv .git/config .git/old",
            "rm -rf .git/hooks && mkdir .git/hooks && touch .git/hooks/pre-commit",
            "mv .git .git2 && mkdir .git",
            "echo x > .vscode/tasks.json",
            "mv .vscode .code && mkdir .vscode",
            "echo x > .claude/settings.json",
            "mv .claude .c && mkdir .claude && touch .claude/settings.json",
            "rm .envrc && touch .envrc",
            "unshare -Urm sh -c 'umount .git/config; umount -l .git; mount -o remount,bind,rw .git/config; echo x >> .git/config'",
            "unshare -Urm sh -c 'mount --bind . /mnt && echo x >> /mnt/.git/config'",
        ];
        for attack in attacks {
            let output = user.inside(&[], attack);
            assert!(!output.status.success(), "{attack}: {}", all(&output));
        }
        let state = "cat .git/config; ls -A .git/hooks .vscode .claude; cat .vscode/tasks.json; readlink .envrc";
        let before = stdout(&user.outside(state));
        assert!(
            !before.contains("fsmonitor =") && before.contains(".claude"),
            "{before}"
        );
        // Work goes on.
        let work = format!(
            "echo two >> README && echo x > .claude/notes && {git} commit -qam two && {git} checkout -qb b && \
             {git} commit -q --allow-empty -m three && {git} log --format=%s"
        );
        let output = user.inside(&[], &work);
        assert_eq!(stdout(&output), "three\ntwo\none\n", "{}", stderr(&output));
        assert_eq!(stdout(&user.outside(state)), before);
        let log = user.outside("git log --format=%s && git fsck && git status --short");
        assert!(
            stdout(&log).starts_with("three\ntwo\none\n"),
            "{}",
            all(&log)
        );
        // What was not there can be made, and is named.
        let output = user.inside(&[], "touch .mcp.json .git/commondir; ls -A .git/commondir");
        assert_eq!(stdout(&output), ".git/commondir\n", "{}", stderr(&output));
        for name in [".mcp.json", ".git/commondir"] {
            let path = user.project.join(name);
            assert!(
                stderr(&output).contains(path.to_str().unwrap()),
                "{}",
                stderr(&output)
            );
            fs::remove_file(path).unwrap();
        }
        // The attacks are ones.
        for attack in &attacks[..11] {
            let output = user.outside(&format!(
                "rm -rf ../copy; cp -a . ../copy; cd ../copy && {attack}"
            ));
            assert!(output.status.success(), "{attack}: {}", all(&output));
        }
    });
}

#[test]
fn a_worktree_commits_to_its_repository() {
    on_a_host(|host| {
        let user = User::new(host);
        let git = "git -c user.name=n -c user.email=e@x.test";
        let setup = format!(
            "cd ~ && git init -q main && cd main && {git} commit -q --allow-empty -m one && \
             git worktree add -q ../tree -b side && cd ../tree && git rev-parse --git-dir"
        );
        let output = user.outside(&setup);
        assert!(output.status.success(), "{}", all(&output));
        let mut command = user.keyward(&[]);
        command.current_dir(user.home.join("tree"));
        let script = format!(
            "touch file && git add file && {git} commit -qm two && git log --format=%s; \
             echo x >> ../main/.git/config; echo x > ../main/.git/hooks/pre-commit; \
             echo /tmp > ../main/.git/worktrees/tree/commondir; echo 'gitdir: /tmp' > .git"
        );
        let output = command.args(["--", "sh", "-c", &script]).output().unwrap();
        assert_eq!(stdout(&output), "two\none\n", "{}", stderr(&output));
        assert_eq!(
            stderr(&output).matches("Read-only").count(),
            4,
            "{}",
            stderr(&output)
        );
        let output = user.outside("cd ~/tree && git log --format=%s && git status --short");
        assert_eq!(stdout(&output), "two\none\n", "{}", stderr(&output));

        // One that nobody knows is not opened.
        let output = user.outside(
            "mkdir ~/other && cd ~/other && echo 'gitdir: ../main/.git/worktrees/tree' > .git",
        );
        assert!(output.status.success(), "{}", all(&output));
        let mut command = user.keyward(&[]);
        command.current_dir(user.home.join("other"));
        let output = command
            .args(["--", "touch", "../main/.git/x"])
            .output()
            .unwrap();
        assert!(
            stderr(&output).contains("leads to no repository"),
            "{}",
            stderr(&output)
        );
        assert!(!user.home.join("main/.git/x").exists());
    });
}

#[test]
fn root_changes_nothing_of_the_hosts_kernel() {
    on_a_host(|host| {
        let write = "for f in kernel/core_pattern vm/swappiness; do \
            (cat /proc/sys/$f > /proc/sys/$f) 2>&1; done";
        // Root without capabilities can, where nothing is in its way: what is written is what is there.
        let mut bare = Command::new("setpriv");
        bare.args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]);
        bare.args(["sh", "-c", write]);
        assert_eq!(succeed(&mut bare), "");
        let script = format!(
            "{write}; unshare -Urpf --mount-proc sh -c ': > /proc/sys/kernel/core_pattern' 2>&1; ls /root /home"
        );
        let output = host
            .run_as("root")
            .args(["--", "sh", "-c", &script])
            .output()
            .unwrap();
        let said = stdout(&output);
        assert_eq!(
            said.matches("Read-only file system").count(),
            2,
            "{}",
            all(&output)
        );
        assert!(said.contains("unshare: "), "{said}");
    });
}

#[test]
fn programs_find_the_devices_and_the_terminal_that_they_expect() {
    on_a_host(|host| {
        let script = "for d in null zero full random urandom tty ptmx; do test -c /dev/$d || echo no $d; done; \
            head -c 4 /dev/zero | od -An -tx1; echo x > /dev/null; head -c 1 /dev/urandom | wc -c; \
            /usr/bin/python3 -c 'import os, pty; m, s = pty.openpty(); print(os.ttyname(s)[:9])'; \
            /usr/bin/python3 -c 'import multiprocessing as m; print(m.Lock() is not None)'; \
            ls -A /dev; for d in kvm mem sda vda net/tun fuse; do test -e /dev/$d && echo $d; done; true";
        let output = host.shell(script);
        let said = stdout(&output);
        assert!(
            said.starts_with(" 00 00 00 00\n1\n/dev/pts/\nTrue\n"),
            "{}",
            all(&output)
        );
        for device in ["kvm", "mem", "vda", "net", "fuse"] {
            assert!(!said.contains(device), "{device}: {said}");
        }
        let kvm = Path::new("/dev/kvm");
        if kvm.exists() {
            let output = host
                .run()
                .args(["--expose", "/dev/kvm", "--", "ls", "/dev/kvm"])
                .output()
                .unwrap();
            assert_eq!(stdout(&output), "/dev/kvm\n", "{}", stderr(&output));
        }
        // Under a terminal of somebody else's, and under one of its own.
        let keyward = e2e::host::binary("keyward");
        for flag in ["", "--tty"] {
            let command = format!(
                "{} run --user 12345:12345 --log-dir {} {flag} -- sh -c 'tty; test -t 0 && echo terminal'",
                keyward.display(),
                host.log_dir().display()
            );
            let said = succeed(
                Command::new("script")
                    .args(["-qec", &command, "/dev/null"])
                    .env("OPENAI_API_KEY", e2e::host::REAL_KEY)
                    .stdin(Stdio::null()),
            );
            assert!(said.contains("/dev/console\r\nterminal"), "{flag}: {said}");
        }
    });
}

/// Landlock, which judges files where nobody can mount, lets the command write wherever its view does.
#[test]
fn without_user_namespaces_the_view_is_the_same() {
    on_a_host(|host| {
        let user = User::new(host);
        user.write(".aws/credentials", MARK);
        let kept = tempfile::tempdir_in("/srv").unwrap();
        let shut = tempfile::tempdir_in("/srv").unwrap();
        for directory in [&kept, &shut] {
            chown(directory.path(), Some(USER), Some(USER)).unwrap();
        }
        let (kept, shut) = (kept.path().display(), shut.path().display());
        let script = format!(
            "for d in . ~ /tmp /var/tmp /dev/shm /run/lock {kept} {shut}; do \
               mkdir $d/made && echo x > $d/made/one && mv $d/made/one $d/two && cat $d/two && rm -r $d/made $d/two; \
             done; echo mine > /proc/self/comm; echo x > /dev/null; cat README ~/.aws/credentials; \
             /usr/bin/python3 -c 'import os, pty, termios; m, s = pty.openpty(); termios.tcgetattr(s); \
                                  f = os.open(os.ttyname(s), os.O_RDWR); termios.tcsetattr(f, 0, termios.tcgetattr(f)); \
                                  print(os.write(f, b\"x\"))'"
        );
        let written = |output: &Output| stdout(output).matches("x\n").count();
        let output = user.outside(&script);
        assert_eq!(written(&output), 8, "{}", all(&output));
        let writable = ["--writable", &kept.to_string()];
        for flags in [&[][..], &["--no-userns"]] {
            let output = user.inside(&[flags, &writable].concat(), &script);
            assert_eq!(written(&output), 7, "{flags:?}: {}", all(&output));
            let rest = stdout(&output).replace("x\n", "");
            assert_eq!(rest, "hello1\n", "{flags:?}: {}", all(&output));
            assert!(
                !stderr(&output).contains("/dev/null"),
                "{}",
                stderr(&output)
            );
        }
        let logged = host.log("audit");
        let layers = logged.iter().filter_map(|it| it["layers"].as_array());
        let judged = layers
            .flatten()
            .filter(|it| it["name"] == "Landlock" && it["detail"].to_string().contains("writing"));
        assert_eq!(judged.count(), 1, "{logged:#?}");
    });
}

/// A sandbox inside has a `/proc`, a `/dev` and a `/tmp` of its own, and shows nothing that is hidden.
#[test]
fn a_sandbox_inside_works() {
    on_a_host(|host| {
        let user = User::new(host);
        user.write(".aws/credentials", MARK);
        let script = "bwrap --bind / / --dev /dev --proc /proc --tmpfs /tmp --unshare-all --die-with-parent \
            sh -c 'echo pid $$; cat ~/.aws/credentials; ls /dev/null; cat README'";
        // Its own /tmp hides the tests' home, so it is put back.
        let home = user.home.display();
        let script = script.replace(
            "--tmpfs /tmp",
            &format!("--tmpfs /tmp --bind {home} {home}"),
        );
        let said = all(&user.outside(&script));
        assert!(said.contains(MARK) && said.contains("pid 2"), "{said}");
        let said = all(&user.inside(&[], &script));
        assert!(!said.contains(MARK), "{said}");
        for words in ["pid 2", "/dev/null", "hello"] {
            assert!(said.contains(words), "{words}: {said}");
        }
    });
}
