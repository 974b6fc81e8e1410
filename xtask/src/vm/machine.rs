// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine: two disks, a serial console for the log, a port for results, and nothing that leads out.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::image::{Image, Kernel};
use super::payload::Disk;
use crate::command::Cmd;
use crate::workspace::Workspace;

/// How much slower a guest is whose processor is a program.
const IN_SOFTWARE: u32 = 10;

/// A machine that runs. Dropping it takes its power away.
pub(super) struct Machine {
    /// With its input: at the end of that, QEMU would hang the guest's port up.
    child: Child,
    lines: Receiver<String>,
    monitor: PathBuf,
    accelerator: Accelerator,
    log: PathBuf,
}

impl Machine {
    /// Boots.
    pub(super) fn start(
        kernel: &Kernel,
        image: &Image,
        payload: &Disk,
        workspace: &Workspace,
    ) -> Result<Self> {
        let directory = workspace.vm().join("logs").join(&kernel.release);
        workspace.make_directory(&directory)?;
        let console = directory.join(format!("{}.console", payload.name()));
        let log = directory.join(format!("{}.log", payload.name()));
        let monitor = directory.join("monitor");
        let accelerator = Accelerator::find();
        println!(
            "its console: {}; what it says: {}{}",
            console.display(),
            log.display(),
            accelerator.remark()
        );
        let serial = format!("file:{}", console.display());
        let mut child = hardware(kernel, image, payload, &accelerator)
            .args([
                "-chardev",
                "stdio,id=results,signal=off",
                "-serial",
                &serial,
            ])
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .env("TMPDIR", workspace.vm())
            .with_root()
            .spawn(workspace)?;
        let output = child.stdout.take().context("the guest's results")?;
        let mut file =
            fs::File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            // Tests print what they like; a byte that is not text is none of ours.
            while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if file.write_all(&line).is_err() || sender.send(text).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Ok(Self {
            child,
            lines,
            monitor,
            accelerator,
            log,
        })
    }

    /// A guest on this terminal, until it is switched off.
    pub(super) fn talk(
        kernel: &Kernel,
        image: &Image,
        payload: &Disk,
        workspace: &Workspace,
    ) -> Result<()> {
        println!("the end of the shell is the end of the guest; Ctrl-A x ends it at once");
        hardware(kernel, image, payload, &Accelerator::find())
            .args(["-chardev", "null,id=results", "-serial", "mon:stdio"])
            .env("TMPDIR", workspace.vm())
            .with_root()
            .run(workspace)
    }

    /// Everything that the guest says until it switches itself off.
    ///
    /// # Errors
    ///
    /// It takes longer than `patience`, or ends before it has said that it is at its end.
    pub(super) fn output(&mut self, patience: Duration) -> Result<Vec<String>> {
        let deadline = Instant::now() + patience * self.slowness();
        let mut said = Vec::new();
        while let Some(line) = self.line(deadline)? {
            if line.starts_with("== ") || line.ends_with("FAILED") {
                println!("  {line}");
            }
            said.push(line);
        }
        self.child.wait().context("waiting for the guest")?;
        ensure!(
            said.iter().any(|line| line == "== end"),
            "the guest ended too early: see {}",
            self.log.display()
        );
        Ok(said)
    }

    /// The next line that the guest says; `None` once it is off.
    pub(super) fn line(&mut self, deadline: Instant) -> Result<Option<String>> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the guest did not end in time: see {}", self.log.display())
            }
        }
    }

    /// Takes the power away and gives it back: what is not on the disk is lost.
    pub(super) fn reset(&self) -> Result<()> {
        self.tell("system_reset")
    }

    /// How much slower than the machine that it runs on the guest is, at the most.
    pub(super) fn slowness(&self) -> u32 {
        self.accelerator.slowness()
    }

    /// Whether its processor is a program.
    pub(super) fn is_in_software(&self) -> bool {
        matches!(self.accelerator, Accelerator::Software { .. })
    }

    /// Gives a command to the machine, and waits until it has been taken.
    fn tell(&self, command: &str) -> Result<()> {
        let failed = || format!("`{command}` to the machine");
        let mut monitor = UnixStream::connect(&self.monitor).with_context(failed)?;
        let mut answers = BufReader::new(monitor.try_clone().with_context(failed)?).lines();
        // QEMU's protocol: both sides say what they can before anything else, and events may come in between.
        for command in ["qmp_capabilities", command] {
            let request = serde_json::json!({ "execute": command });
            writeln!(monitor, "{request}").with_context(failed)?;
            loop {
                let answer = answers.next().with_context(failed)?.with_context(failed)?;
                let answer: Value = serde_json::from_str(&answer).with_context(failed)?;
                ensure!(answer["error"].is_null(), "{}: {answer}", failed());
                if answer.get("return").is_some() {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its process may be root's. If there is no monitor any more, then there is no machine.
        if self.tell("quit").is_ok() {
            self.child.wait().ok();
        }
    }
}

/// What executes the guest's instructions.
enum Accelerator {
    /// The processor.
    Kvm,
    /// A program.
    Software {
        /// Why.
        reason: &'static str,
    },
}

impl Accelerator {
    /// The processor's flags are looked at, too: there are hosts that have `/dev/kvm` without them, for kernels that are
    /// made for it, and Debian's are not.
    fn find() -> Self {
        let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let virtual_machines = flags
            .split_whitespace()
            .any(|flag| flag == "vmx" || flag == "svm");
        if !Path::new("/dev/kvm").exists() {
            return Self::Software {
                reason: "there is no /dev/kvm",
            };
        }
        if !virtual_machines {
            return Self::Software {
                reason: "the processor shows neither VMX nor SVM",
            };
        }
        Self::Kvm
    }

    fn arguments(&self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host", "-smp", "2"],
            // The guest's clock counts instructions: it sees a fast machine, however slow this one is, and no time-out
            // of a test passes because of that. One processor, since several that take turns wait for each other.
            // Virtual machines inside would load drivers that nobody wants, five levels of pages cost time, and the
            // instructions that a processor with ERMS copies memory by are carried out byte by byte.
            Self::Software { .. } => &[
                "-accel",
                "tcg,thread=single,tb-size=512",
                "-icount",
                "shift=0,sleep=on",
                "-cpu",
                "max,svm=off,la57=off,erms=off",
                "-smp",
                "1",
            ],
        }
    }

    fn slowness(&self) -> u32 {
        match self {
            Self::Kvm => 1,
            Self::Software { .. } => IN_SOFTWARE,
        }
    }

    fn remark(&self) -> String {
        match self {
            Self::Kvm => String::new(),
            Self::Software { reason } => format!("\nit runs in software, slowly: {reason}"),
        }
    }
}

/// The command line, less what the guest's console, results and monitor lead to.
fn hardware(kernel: &Kernel, image: &Image, payload: &Disk, accelerator: &Accelerator) -> Cmd {
    // The system's disk stays as it is: what guests write goes to a temporary file, and is gone with the machine.
    let disk = |path: &Path| format!("file={},format=raw,if=virtio,snapshot=on", path.display());
    Cmd::new("nice")
        .args(["-n", "19", "qemu-system-x86_64"])
        .args(accelerator.arguments())
        .args([
            "-m",
            "2560",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
        ])
        .args(["-nic", "none"])
        .arg("-kernel")
        .arg(image.boot(kernel, "vmlinuz"))
        .arg("-initrd")
        .arg(image.boot(kernel, "initrd.img"))
        .args([
            "-append",
            "root=/dev/vda rw console=ttyS0 quiet fastboot panic=-1 mitigations=off",
        ])
        .args([
            "-drive",
            &disk(&image.disk()),
            "-drive",
            &disk(payload.path()),
        ])
        .args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"])
        .args(["-device", "virtserialport,chardev=results,name=keyward"])
}
