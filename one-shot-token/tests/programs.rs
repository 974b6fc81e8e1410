// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real programs with the library and without it: what they find, what their children find, and what others see of them.
#![cfg(test)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const SECRET: &str = "s3cret-token-0123456789";

/// The library, from the same build as the test.
fn library() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.with_file_name("libone_shot_token.so");
    assert!(path.is_file(), "{} is not built", path.display());
    path
}

/// The program of `calls.c`, and the same as a static one.
fn calls() -> &'static [PathBuf; 2] {
    static BUILT: OnceLock<[PathBuf; 2]> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/calls.c");
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        [("calls", "-pthread"), ("calls-static", "-static")].map(|(name, how)| {
            let program = directory.join(name);
            // Under another name until it is whole.
            let partial = directory.join(format!("{name}.{}", std::process::id()));
            let built = Command::new("cc")
                .args(["-O1", "-w", "-pthread", how, "-o"])
                .args([&partial, &source])
                .status();
            assert!(built.unwrap().success());
            fs::rename(&partial, &program).unwrap();
            program
        })
    })
}

fn command(program: impl AsRef<Path>, arguments: &[&str], with: bool) -> Command {
    let mut command = Command::new(program.as_ref());
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("BEFORE", "1")
        .env("TOKEN", SECRET)
        .env("SECOND", "2nd")
        .env("TOKEN_OTHER", "stays");
    if let Some(node) = node().parent() {
        command.env(
            "PATH",
            format!("{}:/usr/local/bin:/usr/bin:/bin", node.display()),
        );
    }
    if with {
        command
            .env("KEYWARD_ONE_SHOT", "TOKEN,SECOND,MISSING")
            .env("LD_PRELOAD", library());
    }
    command
}

fn said(program: impl AsRef<Path>, arguments: &[&str], with: bool) -> String {
    let output = command(program, arguments, with).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    assert_eq!(error, "", "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn node() -> PathBuf {
    let found = Command::new("sh")
        .args(["-c", "command -v node"])
        .output()
        .unwrap();
    PathBuf::from(String::from_utf8(found.stdout).unwrap().trim())
}

const PYTHON_OWN: &str =
    "import os; print(os.environ['TOKEN'], os.getenv('SECOND'), os.environ['TOKEN_OTHER'])";
const NODE_OWN: &str =
    "console.log(process.env.TOKEN, process.env.SECOND, process.env.TOKEN_OTHER)";
const SHELL_OWN: &str = "echo $TOKEN $SECOND $TOKEN_OTHER; :";

#[test]
fn programs_find_what_they_were_given() {
    let expected = format!("{SECRET} 2nd stays\n");
    for (program, arguments) in [
        ("python3", vec!["-c", PYTHON_OWN]),
        ("node", vec!["-e", NODE_OWN]),
        ("bash", vec!["-c", SHELL_OWN]),
        ("sh", vec!["-c", SHELL_OWN]),
        // The process is another program by the time that somebody asks.
        ("env", vec!["python3", "-c", PYTHON_OWN]),
        ("env", vec!["node", "-e", NODE_OWN]),
        (
            "bash",
            vec!["-c", "exec \"$@\"", "-", "python3", "-c", PYTHON_OWN],
        ),
        (
            "sh",
            vec!["-c", "exec env \"$@\"", "-", "node", "-e", NODE_OWN],
        ),
    ] {
        for with in [false, true] {
            assert_eq!(
                said(program, &arguments, with),
                expected,
                "{program} {arguments:?} {with}"
            );
        }
    }
    let own = said(&calls()[0], &["own"], true);
    assert_eq!(own, said(&calls()[0], &["own"], false));
    assert_eq!(own.matches(SECRET).count(), 12, "{own}");
}

#[test]
fn children_find_nothing() {
    const SHOW: &str = "echo \"[${TOKEN:-none}]\"";
    let python = format!(
        "import os, subprocess, sys\n\
         c = '{SHOW}'\n\
         subprocess.run(['sh', '-c', c]); subprocess.run(c, shell=True, env=dict(os.environ))\n\
         os.system(c)\n\
         sys.stdout.write(os.popen(c).read()); sys.stdout.flush()\n\
         os.waitpid(os.posix_spawn('/bin/sh', ['sh', '-c', c], os.environ), 0)\n\
         p = os.fork()\n\
         if p == 0: os.execve('/bin/sh', ['sh', '-c', c], os.environ)\n\
         os.waitpid(p, 0)\n\
         subprocess.run([sys.executable, '-c', 'import os; print(os.environ.get(\"TOKEN\"), flush=True)'])"
    );
    let node = format!(
        "const {{execSync, spawnSync}} = require('child_process'); const c = '{SHOW}';\n\
         process.stdout.write(execSync(c)); spawnSync('sh', ['-c', c], {{stdio: 'inherit', env: {{...process.env}}}});\n\
         spawnSync(process.execPath, ['-e', 'console.log(process.env.TOKEN)'], {{stdio: 'inherit'}})"
    );
    let shell = format!(
        "sh -c '{SHOW}'; (sh -c '{SHOW}'); x=$(sh -c '{SHOW}'); echo $x; export TOKEN; env | grep -c ^TOKEN=; :"
    );
    for (program, arguments, without, with) in [
        (
            "python3",
            vec!["-c", &*python],
            format!("{}{SECRET}\n", format!("[{SECRET}]\n").repeat(6)),
            "[none]\n".repeat(6) + "None\n",
        ),
        (
            "node",
            vec!["-e", &*node],
            format!("[{SECRET}]\n[{SECRET}]\n{SECRET}\n"),
            "[none]\n[none]\nundefined\n".to_owned(),
        ),
        (
            "bash",
            vec!["-c", &*shell],
            format!("{}1\n", format!("[{SECRET}]\n").repeat(3)),
            "[none]\n".repeat(3) + "0\n",
        ),
        (
            "sh",
            vec!["-c", &*shell],
            format!("{}1\n", format!("[{SECRET}]\n").repeat(3)),
            "[none]\n".repeat(3) + "0\n",
        ),
    ] {
        assert_eq!(said(program, &arguments, false), without, "{program}");
        assert_eq!(said(program, &arguments, true), with, "{program}");
    }
}

#[test]
fn every_way_to_a_child_is_watched() {
    let without = said(&calls()[0], &["children"], false);
    let with = said(&calls()[0], &["children"], true);
    assert_eq!(without.lines().count(), 16, "{without}");
    for (before, after) in without.lines().zip(with.lines()) {
        let (how, found) = after.split_once(' ').unwrap();
        assert_eq!(before, format!("{how} {SECRET}"), "the control");
        // What is behind them is the process's own again.
        let expected = if how.starts_with("behind") {
            SECRET
        } else {
            "none"
        };
        assert_eq!(found, expected, "{how}");
    }
    assert_eq!(with.lines().count(), 16, "{with}");
    // And the process itself, as another program.
    assert_eq!(said(&calls()[0], &["execve"], true), format!("{SECRET}\n"));
}

#[test]
fn changes_are_the_c_librarys() {
    let with = said(&calls()[0], &["changes"], true);
    assert_eq!(with, said(&calls()[0], &["changes"], false));
    assert_eq!(
        with,
        "setenv changed\nunsetenv none\nputenv put\nclearenv none\nfork-behind-clearenv other\n"
    );
}

#[test]
fn the_memory_is_locked_and_in_no_dump_and_no_fork() {
    let flags = said(&calls()[0], &["memory"], true);
    for flag in [" lo", " dd", " wf"] {
        assert!(flags.contains(flag), "{flags}");
    }
    let without = said(&calls()[0], &["memory"], false);
    assert!(
        !without.contains(" dd") && !without.contains(" wf"),
        "{without}"
    );
}

/// What `/proc/PID/environ` shows of a program that runs.
fn shown(program: impl AsRef<Path>, arguments: &[&str], with: bool) -> String {
    let mut command = command(program, arguments, with);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let output = child.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    let shown = fs::read(format!("/proc/{}/environ", child.id())).unwrap();
    // It may have ended by itself, which the status tells.
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(line, "ready\n");
    String::from_utf8(shown).unwrap()
}

#[test]
fn the_kernels_copy_does_not_show_it() {
    let python = "print('ready', flush=True); input()";
    let node = "console.log('ready'); process.stdin.once('data', () => process.exit(0))";
    let shell = "echo ready; read x";
    let own = calls()[0].to_str().unwrap();
    for (program, arguments) in [
        ("python3", vec!["-c", python]),
        ("node", vec!["-e", node]),
        ("bash", vec!["-c", shell]),
        (own, vec!["wait"]),
        ("env", vec!["python3", "-c", python]),
    ] {
        let without = shown(program, &arguments, false);
        assert!(
            without.contains(&format!("TOKEN={SECRET}")),
            "{program}: {without:?}"
        );
        let with = shown(program, &arguments, true);
        assert!(
            !with.contains(SECRET) && !with.contains("2nd"),
            "{program}: {with:?}"
        );
        for other in [
            "BEFORE=1",
            "TOKEN_OTHER=stays",
            "KEYWARD_ONE_SHOT=TOKEN,SECOND,MISSING",
        ] {
            assert!(with.contains(other), "{program}: {with:?}");
        }
    }
    // What it cannot help: nothing is loaded into a static program.
    let with = shown(&calls()[1], &["wait"], true);
    assert!(with.contains(SECRET), "{with:?}");
}
