// SPDX-License-Identifier: GPL-3.0-or-later
//! Credentials that change during a run: files are looked at, commands are run again, and the proxy is handed what is
//! new.
//!
//! On a thread: a command may take its time, and the supervisor has signals and denials to attend to. What cannot be
//! read, or is no credential, leaves the last one in force.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use keyward_proxy::control::ControlError;
use keyward_proxy::credential::follow::{
    Followed, Looked, Reference, check_program, read_file, run_command,
};
use keyward_proxy::credential::{Credential, Credentials};
use keyward_proxy::provider::Providers;
use zeroize::Zeroizing;

use crate::user::Identity;

/// How long nothing is due, at most.
const LONGEST: Duration = Duration::from_secs(600);

/// Reads what a reference leads to. A command runs as `identity`, never as root on behalf of somebody else, and only
/// if nobody but root could put another in its place: what it prints is trusted as a credential.
pub fn read(
    reference: &Reference,
    identity: &Identity,
    variable: &impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
) -> Result<Zeroizing<Vec<u8>>, String> {
    reference.follow(&|it| match it {
        Reference::Variable(name) => variable(name).ok_or_else(|| format!("{name} is not set")),
        Reference::File(path) => read_file(path),
        Reference::Command(words) => {
            let program = words.first().map(Path::new);
            program.map_or(Ok(()), |it| check_program(it, 0))?;
            run_command(words, |command| {
                // The standard library clears the supplementary groups when it changes the user.
                command.uid(identity.uid.as_raw());
                command.gid(identity.gid.as_raw());
                command.env("HOME", &identity.home);
            })
        }
        Reference::AccessKey(_) => Err("its parts are read one by one".to_owned()),
    })
}

/// What follows a run's references.
#[derive(Debug)]
pub struct Rotation {
    news: Receiver<(String, Credential)>,
    /// A byte for each.
    told: io::PipeReader,
    /// The thread ends when this does.
    _stop: Sender<()>,
}

impl Rotation {
    /// Begins; `None` if there is nothing that could change. Starts a thread: call it after the last clone.
    pub fn begin(
        followed: Vec<Followed>,
        identity: Identity,
        providers: Providers,
    ) -> io::Result<Option<Self>> {
        let now = Instant::now();
        let watched: Vec<_> = followed
            .into_iter()
            .filter_map(|it| Watched::new(it, now))
            .collect();
        if watched.is_empty() {
            return Ok(None);
        }
        let (news_sender, news) = mpsc::channel();
        let (stop, stopped) = mpsc::channel();
        let (told, tell) = io::pipe()?;
        let following = Following {
            watched,
            identity,
            providers,
            news: news_sender,
            tell,
        };
        thread::Builder::new()
            .name("rotation".to_owned())
            .spawn(move || following.run(&stopped))?;
        Ok(Some(Self {
            news,
            told,
            _stop: stop,
        }))
    }

    /// Readable when [`Self::deliver`] has something to do.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.told.as_fd()
    }

    /// Hands the proxy what is new. `false`: nothing more will come.
    pub fn deliver(
        &mut self,
        mut replace: impl FnMut(&Credentials) -> Result<usize, ControlError>,
    ) -> bool {
        // As many bytes as there are, at most; the news behind them are there already.
        let heard = self.told.read(&mut [0; 64]).unwrap_or(0);
        for (slot, credential) in self.news.try_iter() {
            let mut credentials = Credentials::new();
            credentials.insert(&slot, credential);
            match replace(&credentials) {
                Ok(_) => tracing::info!(slot, "credential replaced"),
                Err(error) => tracing::warn!(slot, %error, "the credential before stays"),
            }
        }
        heard > 0
    }
}

/// A reference, and when it is looked at next.
struct Watched {
    followed: Followed,
    next: Instant,
    looked: Looked,
}

impl Watched {
    fn new(followed: Followed, now: Instant) -> Option<Self> {
        let wait = followed.wait(SystemTime::now())?;
        Some(Self {
            followed,
            next: now + wait,
            // Not as it is now: it may have changed since it was read.
            looked: Looked::default(),
        })
    }

    /// What is new. `None`: nothing, or it is not time to look.
    fn look(
        &mut self,
        now: Instant,
        read: impl FnOnce(&Reference) -> Result<Zeroizing<Vec<u8>>, String>,
        providers: &Providers,
    ) -> Option<Result<Credential, String>> {
        if now < self.next {
            return None;
        }
        let is_new = self.looked.is_new(&self.followed.reference);
        let found = is_new.then(|| self.followed.credential(providers, read));
        // Behind the reading, which may have said when to look again.
        let wait = self.followed.wait(SystemTime::now()).unwrap_or(LONGEST);
        self.next = Instant::now() + wait;
        found
    }
}

/// The thread.
struct Following {
    watched: Vec<Watched>,
    identity: Identity,
    providers: Providers,
    news: Sender<(String, Credential)>,
    tell: io::PipeWriter,
}

impl Following {
    fn run(mut self, stopped: &Receiver<()>) {
        loop {
            let now = Instant::now();
            let next = self.watched.iter().map(|it| it.next).min();
            let wait = next.map_or(LONGEST, |it| it.saturating_duration_since(now));
            if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            if self.look().is_err() {
                return;
            }
        }
    }

    /// Fails when nobody listens any more.
    fn look(&mut self) -> io::Result<()> {
        for watched in &mut self.watched {
            let reading = |it: &Reference| read(it, &self.identity, &|_| None);
            let found = watched.look(Instant::now(), reading, &self.providers);
            let followed = &watched.followed;
            match found {
                None => {}
                Some(Ok(credential)) => {
                    let news = (followed.slot.clone(), credential);
                    let sent = self.news.send(news);
                    sent.map_err(|_gone| io::ErrorKind::BrokenPipe)?;
                    self.tell.write_all(&[0])?;
                }
                Some(Err(fault)) => {
                    let setting = &followed.setting;
                    tracing::warn!(setting, fault, "the credential before stays");
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use keyward_proxy::credential::follow::take;
    use keyward_proxy::settings::RawProvider;
    use nix::poll::{PollFd, PollFlags, poll};

    use super::*;

    fn nobody() -> Identity {
        Identity::resolve(Some("65534:65534"), None).unwrap()
    }

    fn followed(toml: &str) -> Vec<Followed> {
        let mut providers: BTreeMap<String, RawProvider> = toml::from_str(toml).unwrap();
        let mut faults = Vec::new();
        let found = take(&mut providers, &|_| None, &mut faults);
        assert_eq!(faults, Vec::<String>::new());
        found
    }

    /// What is delivered next.
    fn next(rotation: &mut Rotation) -> Credentials {
        let mut polled = [PollFd::new(rotation.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut polled, 10_000u16).unwrap(), 1);
        let mut all = Credentials::new();
        let told = rotation.deliver(|it| {
            all = it.clone();
            Ok(1)
        });
        assert!(told);
        all
    }

    #[test]
    fn a_file_that_changes_is_delivered_and_one_that_is_no_credential_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, "one\n").unwrap();
        let toml = format!("[openai]\ncredential = 'file:{}'", path.display());
        let rotation = Rotation::begin(followed(&toml), nobody(), Providers::builtin());
        let mut rotation = rotation.unwrap().unwrap();
        let holds = |all: &Credentials, value: &[u8]| all.get("openai").unwrap().matches(value);
        assert!(holds(&next(&mut rotation), b"one"));
        fs::write(&path, "not a credential").unwrap();
        // It is looked at once a second.
        thread::sleep(Duration::from_millis(1500));
        fs::write(&path, "two-two").unwrap();
        assert!(holds(&next(&mut rotation), b"two-two"));
    }

    #[test]
    fn a_key_that_ends_is_asked_for_again_ahead_of_its_end() {
        let toml = "[bedrock]\ncredential = 'cmd:/bin/key'";
        let said = |seconds: i64| {
            let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
            let key =
                format!(r#"{{"AccessKeyId":"A","SecretAccessKey":"s3cret","Expiration":"{end}"}}"#);
            move |_: &Reference| Ok(Zeroizing::new(key.into_bytes()))
        };
        let providers = Providers::builtin();
        let mut one = followed(toml).remove(0);
        one.credential(&providers, said(200)).unwrap();
        let now = Instant::now();
        let mut watched = Watched::new(one, now).unwrap();
        let ahead = |watched: &Watched| (watched.next - now).as_secs();
        assert!((145..=150).contains(&ahead(&watched)));
        assert!(watched.look(now, said(9999), &providers).is_none());
        watched.next = now;
        let found = watched.look(now, said(400), &providers).unwrap();
        assert!(found.unwrap().matches(b"s3cret"));
        assert!((295..=305).contains(&ahead(&watched)));
    }

    #[test]
    fn variables_do_not_change() {
        let followed = followed("[openai]\ncredential = 'env:X'");
        let rotation = Rotation::begin(followed, nobody(), Providers::builtin());
        assert!(rotation.unwrap().is_none());
    }

    #[test]
    fn a_command_runs_as_the_user_and_only_if_root_alone_may_write_it() {
        let command = |program: &str| Reference::Command(vec![program.to_owned(), "-u".to_owned()]);
        if nix::unistd::Uid::effective().is_root() {
            let said = read(&command("/usr/bin/id"), &nobody(), &|_| None).unwrap();
            assert_eq!(said.as_slice(), b"65534\n");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let program = file.path().display().to_string();
        let fault = read(&command(&program), &nobody(), &|_| None).unwrap_err();
        assert!(fault.contains("others than root may write"), "{fault}");
    }
}
