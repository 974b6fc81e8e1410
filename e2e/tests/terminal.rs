// SPDX-License-Identifier: GPL-3.0-or-later
//! Terminals: the command behaves on the user's as it does without keyward, and on one of its own with `--tty`.
//!
//! The user's terminal is a pseudo-terminal that `script` makes; what is written to `script` is typed on it.
#![cfg(test)]

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use e2e::host::{DEGRADED, Host, degraded, on_a_host, stderr, stdout};

/// A user at a terminal.
struct Terminal {
    script: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<Vec<u8>>>,
}

/// The words of a shell that start a command under keyward.
fn keyward(host: &Host) -> String {
    let run = host.run();
    let words = std::iter::once(run.get_program()).chain(run.get_args());
    words
        .map(|word| format!("'{}' ", word.to_str().unwrap()))
        .collect()
}

impl Terminal {
    fn open(host: &Host, command: &str) -> Self {
        let mut script = Command::new("script")
            .args([
                "--quiet",
                "--flush",
                "--return",
                "--command",
                command,
                "/dev/null",
            ])
            .env_clear()
            .envs([
                ("PATH", "/usr/bin:/bin"),
                ("TERM", "dumb"),
                ("SHELL", "/bin/bash"),
            ])
            .envs(degraded().map(|it| (DEGRADED, it)))
            .current_dir(host.scratch())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut output, shown) = (script.stdout.take().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                shown.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        let keyboard = script.stdin.take().unwrap();
        Self {
            script,
            keyboard,
            screen,
        }
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).replace('\r', "")
    }

    fn shows(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.screen().contains(text) {
            assert!(
                Instant::now() < deadline,
                "no {text:?} on the screen:\n{}",
                self.screen()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn status(mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.script.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                Instant::now() < deadline,
                "it does not end:\n{}",
                self.screen()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    /// Closes the terminal, if the test has not come to its end: what runs on it is hung up.
    fn drop(&mut self) {
        self.script.kill().ok();
        self.script.wait().ok();
    }
}

#[test]
fn the_command_is_in_the_foreground_of_the_users_terminal() {
    on_a_host(|host| {
        let script = "test -t 0 && test -t 1 && echo a terminal; read line; echo read: $line";
        let mut terminal = Terminal::open(host, &format!("{} -- sh -c '{script}'", keyward(host)));
        terminal.shows("a terminal\n");
        // A program in the background that reads is stopped, and would never say this.
        terminal.press("hello\n");
        terminal.shows("read: hello\n");
        assert_eq!(terminal.status(), Some(0));
    });
}

#[test]
fn ctrl_c_reaches_the_command() {
    on_a_host(|host| {
        let script = "trap \"echo caught; exit 9\" INT; echo ready; while :; do sleep 0.02; done";
        let mut terminal = Terminal::open(host, &format!("{} -- sh -c '{script}'", keyward(host)));
        terminal.shows("ready\n");
        terminal.press("\x03");
        terminal.shows("caught\n");
        assert_eq!(terminal.status(), Some(9));
    });
}

#[test]
fn a_shell_can_stop_it_and_bring_it_back() {
    on_a_host(|host| {
        let mut terminal = Terminal::open(host, "env PS1='prompt> ' bash --norc --noprofile -i");
        terminal.shows("prompt> ");
        terminal.press(&format!(
            "{} -- sh -c 'echo \"is\" ready; exec cat'\n",
            keyward(host)
        ));
        // What is typed before would be the shell's.
        terminal.shows("is ready\n");
        terminal.press("one\n");
        terminal.shows("one\none\n");
        terminal.press("\x1a");
        terminal.shows("Stopped");
        terminal.press("echo the shell \"is back\"\n");
        terminal.shows("the shell is back\n");
        terminal.press("fg\n");
        terminal.shows("prompt> fg\n'");
        terminal.press("two\n");
        terminal.shows("two\ntwo\n");
        terminal.press("\x04");
        terminal.press("echo status \"was $?\"; exit\n");
        terminal.shows("status was 0\n");
        assert_eq!(terminal.status(), Some(0));
    });
}

#[test]
fn a_shell_inside_has_job_control() {
    on_a_host(|host| {
        let inner = "bash --norc --noprofile -i";
        let mut terminal = Terminal::open(
            host,
            &format!("{} --tty --env PS1=inner -- {inner}", keyward(host)),
        );
        terminal.shows("inner");
        terminal.press("sh -c 'echo \"is\" ready; exec sleep 60'\n");
        terminal.shows("is ready\n");
        terminal.press("\x1a");
        terminal.shows("Stopped");
        // While a job is stopped bash does not leave at the first asking, but it lets itself be replaced.
        terminal.press("exec sh -c 'exit 3'\n");
        assert!(
            !terminal.screen().contains("no job control"),
            "{}",
            terminal.screen()
        );
        assert_eq!(terminal.status(), Some(3));
    });
}

#[test]
fn a_terminal_of_its_own_has_the_size_of_the_users() {
    on_a_host(|host| {
        let command = format!(
            "stty rows 41 cols 97; {} --tty -- sh -c 'tty; stty size'",
            keyward(host)
        );
        let terminal = Terminal::open(host, &command);
        terminal.shows("41 97\n");
        let screen = terminal.screen();
        // The host's terminals have no names inside, but for this one.
        assert!(screen.contains("/dev/console"), "{screen}");
        assert_eq!(terminal.status(), Some(0));
    });
}

#[test]
fn a_terminal_of_its_own_needs_none_outside() {
    on_a_host(|host| {
        let script = "test -t 0 && test -t 1 && test -t 2 && echo a terminal; exit 5";
        let output = host
            .run()
            .args(["--tty", "--", "sh", "-c", script])
            .output()
            .unwrap();
        assert_eq!(stdout(&output), "a terminal\r\n", "{}", stderr(&output));
        assert_eq!(output.status.code(), Some(5));
    });
}

#[test]
fn nothing_can_be_typed_into_the_users_terminal() {
    on_a_host(|host| {
        // TIOCSTI puts a byte into the terminal's input. The kernel may refuse it by itself: then with another error.
        let script = "python3 -c \"import fcntl; fcntl.ioctl(0, 0x5412, b'x')\" 2>&1 | tail -1";
        let terminal = Terminal::open(
            host,
            &format!(
                "{} -- sh -c '{}'",
                keyward(host),
                script.replace('\'', "'\\''")
            ),
        );
        terminal.shows("PermissionError: [Errno 1] Operation not permitted\n");
        assert_eq!(terminal.status(), Some(0));
        // Without keyward the same request is not answered with EPERM: it works, or the kernel has it turned off.
        let without = Terminal::open(host, &format!("{script}; echo done"));
        without.shows("done\n");
        assert!(
            !without.screen().contains("Errno 1]"),
            "{}",
            without.screen()
        );
    });
}
