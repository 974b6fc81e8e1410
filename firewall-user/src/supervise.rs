// SPDX-License-Identifier: GPL-3.0-or-later
//! From the start of the command to its end: signals, terminal, time, denials, and the health of the proxy.
//!
//! One thread, one loop: nothing in it may wait for the workload, and no source may keep the others from their turn.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::audit::Audit;
use crate::drift::Drift;
use crate::ebpf;
use crate::proxy_process::ProxyProcess;
use crate::reload::Reload;
use crate::rotation::Rotation;
use crate::runs::{Introduction, Run};
use crate::sightings::Sightings;
use crate::stdio::Attended;
use crate::timings::Timings;
use crate::workload::{Failure, Report, Request, Workload};

mod refused;

use refused::{Asked, RefusedSockets};

/// How long a command may take to end after `--timeout` asked it to.
const GRACE: Duration = Duration::from_secs(5);

/// What is passed on to the command. Ctrl-C and the like reach it from the terminal directly.
const PASSED_ON: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
    Signal::SIGALRM,
];

/// How the command's run came to its end.
#[derive(Debug)]
pub enum Outcome {
    /// It ended with a status.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
    /// `--timeout` ran out.
    TimedOut,
    /// It did not start.
    NotStarted(Failure),
    /// A part of the firewall ended under it, and it was ended for that.
    Abandoned(String),
}

/// Signals as something to wait for. They are blocked from here on, so that none ends keyward between setting up and
/// tearing down; one that comes during the set-up is passed on to the command as soon as there is one.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks them. Call it before any thread is started: threads inherit what is blocked.
    pub fn block() -> Result<Self> {
        let set = Self::attended();
        set.thread_block().context("cannot block the signals")?;
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map(Self)
            .context("cannot read signals")
    }

    /// Those that keyward answers itself.
    pub fn attended() -> SigSet {
        let mut set = SigSet::empty();
        for signal in PASSED_ON {
            set.add(signal);
        }
        set.add(Signal::SIGWINCH);
        // Who gives up the terminal's foreground and takes it back is in the background meanwhile.
        set.add(Signal::SIGTTOU);
        set
    }
}

/// What the loop attends to.
#[derive(Debug)]
pub struct Watch<'a> {
    /// See [`Signals`].
    pub signals: &'a Signals,
    /// Terminal and relays.
    pub attended: &'a mut Attended,
    /// The workload's init.
    pub workload: &'a Workload,
    /// Ends the run when it ends.
    pub proxy: &'a mut ProxyProcess,
    /// Denials.
    pub events: &'a mut ebpf::Events,
    /// What else the programs say, if they are asked to.
    pub log: Option<&'a mut ebpf::Log>,
    /// Where denials are written.
    pub audit: &'a mut Audit,
    /// Processes that use the doors; `None` once the proxy reports no more.
    pub sightings: Option<Sightings>,
    /// Credentials that change; `None` once none does.
    pub rotation: Option<Rotation>,
    /// What `SIGHUP` asks for.
    pub reload: Reload,
    /// Where the others on this host are told of the run.
    pub run: &'a Run,
    /// What they are told.
    pub introduction: Introduction,
    /// How long init's steps took.
    pub timings: &'a mut Timings,
    /// Whether what confines the workload is still there.
    pub drift: Drift<'a>,
}

/// Waits for the command.
pub fn watch(mut watch: Watch<'_>, timeout: Option<Duration>) -> Result<Outcome> {
    let mut deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut timed_out = false;
    let mut refused = None;
    loop {
        let due = watch.drift.due();
        let next = deadline.map_or(due, |deadline| deadline.min(due));
        let ready = watch.wait(refused.as_ref(), next)?;
        if let Err(what) = watch.look_for_drift(ready.rules) {
            return Ok(Outcome::Abandoned(format!(
                "a part of the firewall was taken away from outside: {what}; the command was stopped"
            )));
        }
        if ready.events || ready.logged {
            watch.drain_events();
        }
        if ready.refused {
            watch.answer(&mut refused)?;
        }
        if ready.signals {
            watch.pass_signals_on()?;
        }
        if ready.sightings
            && let Some(sightings) = &mut watch.sightings
            && !sightings.look(watch.audit)
        {
            watch.sightings = None;
        }
        if ready.rotated
            && let Some(rotation) = &mut watch.rotation
            && !rotation.deliver(|it| watch.proxy.replace_credentials(it))
        {
            watch.rotation = None;
        }
        if ready.reloaded {
            watch.reload.finish(watch.proxy, watch.audit);
        }
        if ready.workload
            && let Some(outcome) = watch.hear(&mut refused)?
        {
            watch.drain_events();
            watch.answer(&mut refused)?;
            return Ok(if timed_out {
                Outcome::TimedOut
            } else {
                outcome
            });
        }
        if ready.proxy
            && let Some(how) = watch.proxy.ended()
        {
            // The way out is gone for the command in any case; that it goes on in vain helps nobody.
            return Ok(Outcome::Abandoned(format!(
                "keyward-proxy ended ({how}); the command was stopped"
            )));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            if timed_out {
                return Ok(Outcome::TimedOut);
            }
            timed_out = true;
            deadline = Some(Instant::now() + GRACE);
            watch.ask(Request::Signal(Signal::SIGTERM as i32));
            // One that is stopped would not hear of it.
            watch.ask(Request::Signal(Signal::SIGCONT as i32));
        }
    }
}

struct Ready {
    events: bool,
    logged: bool,
    signals: bool,
    workload: bool,
    proxy: bool,
    reloaded: bool,
    sightings: bool,
    rotated: bool,
    refused: bool,
    rules: bool,
}

impl Watch<'_> {
    fn wait(&self, refused: Option<&RefusedSockets>, until: Instant) -> Result<Ready> {
        let always = [
            self.events.as_fd(),
            self.signals.0.as_fd(),
            self.workload.socket.as_fd(),
            self.proxy.as_fd(),
            self.drift.as_fd(),
        ];
        let mut polled: Vec<_> = always
            .into_iter()
            .chain(self.reload.as_fd())
            .chain(self.sightings.as_ref().map(AsFd::as_fd))
            .chain(self.rotation.as_ref().map(Rotation::as_fd))
            .chain(refused.map(RefusedSockets::as_fd))
            .chain(self.log.as_ref().map(|it| it.as_fd()))
            .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN))
            .collect();
        match poll(&mut polled, timeout_until(until)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait"),
        }
        let mut ready = polled.iter().map(|it| it.any().unwrap_or(true));
        let mut next = |is_polled: bool| is_polled && ready.next().unwrap_or(false);
        // In the order in which they were listed.
        Ok(Ready {
            events: next(true),
            signals: next(true),
            workload: next(true),
            proxy: next(true),
            rules: next(true),
            reloaded: next(self.reload.as_fd().is_some()),
            sightings: next(self.sightings.is_some()),
            rotated: next(self.rotation.is_some()),
            refused: next(refused.is_some()),
            logged: next(self.log.is_some()),
        })
    }

    fn look_for_drift(&mut self, rules_changed: bool) -> Result<(), String> {
        if rules_changed {
            self.drift.look_at_rules()?;
        }
        if Instant::now() >= self.drift.due() {
            self.drift.look()?;
        }
        Ok(())
    }

    fn drain_events(&mut self) {
        let audit = &mut *self.audit;
        self.events.drain(|event| audit.record(event));
        if let Some(log) = &mut self.log {
            log.drain();
        }
    }

    /// Forgets the listener once no process is left that could ask.
    fn answer(&mut self, refused: &mut Option<RefusedSockets>) -> Result<()> {
        if let Some(sockets) = refused
            && sockets.answer(self.audit)? == Asked::NeverAgain
        {
            *refused = None;
        }
        Ok(())
    }

    fn pass_signals_on(&mut self) -> Result<()> {
        while let Some(received) = self
            .signals
            .0
            .read_signal()
            .context("cannot read a signal")?
        {
            let number = i32::try_from(received.ssi_signo)?;
            match Signal::try_from(number) {
                Ok(Signal::SIGWINCH) => self.attended.copy_window_size(),
                Ok(Signal::SIGTTOU) | Err(_) => {}
                // From a process. The kernel's own says that the terminal is gone, which is the command's to know.
                Ok(Signal::SIGHUP) if received.ssi_code <= 0 && self.reload.is_possible() => {
                    self.reload.begin(self.audit);
                }
                Ok(_) => self.ask(Request::Signal(number)),
            }
        }
        Ok(())
    }

    /// If init is gone, the loop hears of that by itself.
    fn ask(&self, request: Request) {
        drop(self.workload.socket.send(&request));
    }

    fn hear(&mut self, refused: &mut Option<RefusedSockets>) -> Result<Option<Outcome>> {
        let Some((report, descriptor)) = self.workload.socket.receive_with()? else {
            // Killed from outside: init itself ends only after it has reported.
            return Ok(Some(Outcome::Signaled(Signal::SIGKILL as i32)));
        };
        Ok(match report {
            Report::Confined(confined) => {
                self.timings.add(confined.timings);
                let cgroup = self.workload.cgroup;
                *refused = descriptor.map(|listener| RefusedSockets::new(listener, cgroup));
                if refused.is_none() {
                    self.introduction.posture.without_listener();
                }
                self.audit.confined(&self.introduction.posture);
                self.run.introduce(&self.introduction)?;
                None
            }
            Report::Started => None,
            Report::Stopped(_) => {
                self.stop_too()?;
                None
            }
            Report::Exited(status) => Some(Outcome::Exited(status)),
            Report::Signaled(signal) => Some(Outcome::Signaled(signal)),
            Report::Failed(failure) => Some(Outcome::NotStarted(failure)),
        })
    }

    /// Job control: the user's shell sees keyward stopped, and wakes keyward to go on.
    fn stop_too(&mut self) -> Result<()> {
        self.attended.step_back();
        kill(Pid::this(), Signal::SIGSTOP).context("cannot stop")?;
        // Here somebody has sent SIGCONT.
        self.ask(Request::Continue {
            foreground: self.attended.is_in_foreground(),
        });
        Ok(())
    }
}

fn timeout_until(deadline: Instant) -> PollTimeout {
    let left = deadline.saturating_duration_since(Instant::now());
    // Rounded up, or the loop would spin through the last millisecond.
    PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX)
}

/// The status that keyward exits with.
pub fn exit_status(outcome: &Outcome) -> u8 {
    let status = match outcome {
        Outcome::Exited(status) => *status,
        Outcome::Signaled(signal) => 128 + signal,
        Outcome::TimedOut => 124,
        Outcome::NotStarted(Failure::Setup(_)) | Outcome::Abandoned(_) => 125,
        Outcome::NotStarted(Failure::CannotRun(_)) => 126,
        Outcome::NotStarted(Failure::NotFound(_)) => 127,
    };
    u8::try_from(status).unwrap_or(u8::MAX)
}

/// What to say about an outcome that the command itself could not tell of.
pub fn explain(outcome: &Outcome) -> Result<()> {
    match outcome {
        Outcome::Exited(_) | Outcome::Signaled(_) => Ok(()),
        Outcome::TimedOut => Err(anyhow!("the command was stopped: --timeout ran out")),
        Outcome::NotStarted(Failure::Setup(text)) => {
            Err(anyhow!("cannot set up the sandbox: {text}"))
        }
        Outcome::NotStarted(Failure::CannotRun(text) | Failure::NotFound(text))
        | Outcome::Abandoned(text) => Err(anyhow!("{text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_the_documented_ones() {
        let text = String::new;
        for (outcome, status) in [
            (Outcome::Exited(0), 0),
            (Outcome::Exited(7), 7),
            (Outcome::Exited(255), 255),
            (Outcome::Signaled(9), 137),
            (Outcome::Signaled(15), 143),
            (Outcome::TimedOut, 124),
            (Outcome::Abandoned(text()), 125),
            (Outcome::NotStarted(Failure::Setup(text())), 125),
            (Outcome::NotStarted(Failure::CannotRun(text())), 126),
            (Outcome::NotStarted(Failure::NotFound(text())), 127),
        ] {
            assert_eq!(exit_status(&outcome), status, "{outcome:?}");
        }
    }

    #[test]
    fn a_deadline_is_waited_for_and_not_spun_for() {
        let passed = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(timeout_until(passed), PollTimeout::from(1u8));
    }
}
