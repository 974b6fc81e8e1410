// SPDX-License-Identifier: MIT OR Apache-2.0
//! Follows references to credentials, for whoever starts the proxy: the supervisor, or the standalone start.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderName, header};
use zeroize::Zeroizing;

use super::{
    Credential, MAX_CREDENTIAL, TELEMETRY,
    federation::{CLIENT_SECRET, OIDC_TOKEN, REFRESH_TOKEN},
};
use crate::{
    provider::Providers,
    settings::{RawAccessKey, RawCredential, RawProvider, RawTelemetry},
};

/// What a request to a collector has of its own.
const OWN_HEADERS: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::USER_AGENT,
];

/// How long a command may take.
pub const COMMAND_TIME: Duration = Duration::from_secs(30);

/// How often a file is looked at, unless the settings say otherwise. Looking is one system call.
const FILE: Duration = Duration::from_secs(1);

/// How often a command is run again: tokens that commands print last an hour in most places.
const COMMAND: Duration = Duration::from_secs(600);

/// A command whose credential ends is not run more often than this on that account.
const LEAST: Duration = Duration::from_secs(10);

/// Where the runner of a job says how to ask for the job's identity.
const REQUEST_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const REQUEST_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A variable of keyward's own environment.
    Variable(String),
    /// A file.
    File(PathBuf),
    /// What a program says: its absolute path, then its arguments.
    Command(Vec<String>),
    /// The parts of an AWS access key: id, secret, and perhaps token.
    AccessKey(Vec<Self>),
}

/// A reference, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Followed {
    /// Where the secret goes.
    pub slot: String,
    /// Name of the setting, for faults.
    pub setting: String,
    /// Where the secret is.
    pub reference: Reference,
    /// How often it is looked at again, if that was said.
    pub refresh: Option<Duration>,
    /// When what it led to last ends, if that said so.
    expires: Option<SystemTime>,
}

impl Followed {
    /// Follows it, and remembers when what it led to ends. A failure leaves that as it was.
    ///
    /// # Errors
    ///
    /// What `read` says, or why that is no credential.
    pub fn credential(
        &mut self,
        providers: &Providers,
        read: impl FnOnce(&Reference) -> Result<Zeroizing<Vec<u8>>, String>,
    ) -> Result<Credential, String> {
        let value = read(&self.reference)?;
        let credential = Credential::real(value, providers).map_err(|fault| fault.to_string())?;
        self.expires = credential.expires();
        Ok(credential)
    }

    /// How long until it is looked at again; `None`: it does not change. What ends is looked at ahead of its end, and,
    /// where there is nothing newer by then, more and more often.
    #[must_use]
    pub fn wait(&self, now: SystemTime) -> Option<Duration> {
        let every = self.refresh.unwrap_or(self.reference.pace()?);
        let Some(end) = self.expires else {
            return Some(every);
        };
        let left = end.duration_since(now).unwrap_or_default();
        Some(every.min((left * 3 / 4).max(LEAST)))
    }
}

impl Reference {
    /// Reads `env:NAME`, `file:PATH`, `cmd:/program argument…` or `systemd:NAME`.
    ///
    /// # Errors
    ///
    /// What is wrong. The text is never quoted: it may be a credential that was written where a reference belongs.
    pub fn parse(
        text: &str,
        variable: &impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("env", name)) => Ok(Self::Variable(name.to_owned())),
            Some(("file", path)) => Ok(Self::File(PathBuf::from(path))),
            Some(("cmd", command)) => {
                let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
                match words.first().is_some_and(|it| it.starts_with('/')) {
                    true => Ok(Self::Command(words)),
                    false => Err("the program has to be given by its absolute path".to_owned()),
                }
            }
            Some(("systemd", name)) => {
                if name.is_empty() || name.contains('/') || name.starts_with('.') {
                    return Err("the name of a systemd credential has no slash".to_owned());
                }
                let directory = variable("CREDENTIALS_DIRECTORY")
                    .and_then(|it| String::from_utf8(it.to_vec()).ok())
                    .ok_or("CREDENTIALS_DIRECTORY is not set; systemd sets it for a service")?;
                Ok(Self::File(Path::new(&directory).join(name)))
            }
            Some(_) | None => {
                Err("it must be env:NAME, file:PATH, cmd:/program or systemd:NAME".to_owned())
            }
        }
    }
}

impl Reference {
    /// What it leads to, each part read by `read`.
    ///
    /// # Errors
    ///
    /// What is wrong with one of them, or with them together.
    pub fn follow(
        &self,
        read: &impl Fn(&Self) -> Result<Zeroizing<Vec<u8>>, String>,
    ) -> Result<Zeroizing<Vec<u8>>, String> {
        let Self::AccessKey(parts) = self else {
            return read(self);
        };
        let mut parts = parts.iter().map(|it| it.follow(read));
        let mut part = || {
            parts
                .next()
                .unwrap_or_else(|| Err("a part is missing".to_owned()))
        };
        let (id, secret) = (part()?, part()?);
        let key = Credential::access_key(id, secret, parts.next().transpose()?);
        key.map(|it| it.written())
            .map_err(|fault| fault.to_string())
    }

    /// How often it is looked at, unless the settings say otherwise; `None`: it does not change, as nobody changes the
    /// environment of a process from outside. A key with a part there is not changed in the others alone.
    #[must_use]
    pub fn pace(&self) -> Option<Duration> {
        match self {
            Self::Variable(_) => None,
            Self::File(_) => Some(FILE),
            Self::Command(_) => Some(COMMAND),
            Self::AccessKey(parts) => {
                let all: Option<Vec<_>> = parts.iter().map(Self::pace).collect();
                all?.into_iter().max()
            }
        }
    }

    /// The variables that it names.
    #[must_use]
    pub fn variables(&self) -> Vec<&str> {
        match self {
            Self::Variable(name) => vec![name],
            Self::File(_) | Self::Command(_) => Vec::new(),
            Self::AccessKey(parts) => parts.iter().flat_map(Self::variables).collect(),
        }
    }

    /// What tells whether there may be something new. `None`: nothing tells, it has to be read.
    fn stamps(&self) -> Option<Vec<Option<Stamp>>> {
        match self {
            Self::Variable(_) => Some(Vec::new()),
            Self::File(path) => Some(vec![Stamp::of(path)]),
            Self::Command(_) => None,
            Self::AccessKey(parts) => {
                let all: Option<Vec<_>> = parts.iter().map(Self::stamps).collect();
                all.map(|it| it.concat())
            }
        }
    }
}

/// Whether what a reference leads to may be new since this was last asked.
#[derive(Debug, Default)]
pub struct Looked(Vec<Option<Stamp>>);

impl Looked {
    /// A file that is gone for a moment while it is replaced is looked at again.
    pub fn is_new(&mut self, reference: &Reference) -> bool {
        let Some(now) = reference.stamps() else {
            return true;
        };
        let is_new = now.iter().all(Option::is_some) && now != self.0;
        if is_new {
            self.0 = now;
        }
        is_new
    }
}

/// Takes the references out of the settings; what is left may be given to the proxy. Federated credentials stay,
/// without their secrets, and learn from `variable` where a job's identity is asked for.
pub fn take(
    providers: &mut BTreeMap<String, RawProvider>,
    variable: &impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
    faults: &mut Vec<String>,
) -> Vec<Followed> {
    let mut found = Vec::new();
    for (name, provider) in providers {
        let setting = format!("provider.{name}.credential");
        let mut add = |slot: String, setting: String, text: &str, refresh| match Reference::parse(
            text, variable,
        ) {
            Ok(reference) => found.push(Followed {
                slot,
                setting,
                reference,
                refresh,
                expires: None,
            }),
            Err(what) => faults.push(format!("{setting}: {what}")),
        };
        match provider.credential.take() {
            None => {}
            Some(RawCredential::Reference(text)) => add(name.clone(), setting, &text, None),
            Some(RawCredential::Followed(it)) => {
                let refresh = match refresh(it.refresh_seconds, &setting) {
                    Ok(refresh) => refresh,
                    Err(wrong) => {
                        faults.push(wrong);
                        continue;
                    }
                };
                match (it.file, it.command) {
                    (Some(path), None) => {
                        add(name.clone(), setting, &format!("file:{path}"), refresh);
                    }
                    (None, Some(command)) => {
                        add(name.clone(), setting, &format!("cmd:{command}"), refresh);
                    }
                    (None, None) | (Some(_), Some(_)) => {
                        faults.push(format!("{setting}: it needs a file, a command, or a kind"));
                    }
                }
            }
            Some(RawCredential::AccessKey(it)) => {
                let (reference, refresh) = match access_key(&it, &setting, variable) {
                    Ok(read) => read,
                    Err(wrong) => {
                        faults.extend(wrong);
                        continue;
                    }
                };
                found.push(Followed {
                    slot: name.clone(),
                    setting,
                    reference,
                    refresh,
                    expires: None,
                });
            }
            Some(RawCredential::Federated(mut it)) => {
                for part in [CLIENT_SECRET, REFRESH_TOKEN] {
                    if let Some(text) = it.fields.remove(part) {
                        let slot = format!("{name}.{part}");
                        add(slot, format!("{setting}.{part}"), &text, None);
                    }
                }
                if it.kind == "github-oidc" {
                    let url =
                        variable(REQUEST_URL).and_then(|it| String::from_utf8(it.to_vec()).ok());
                    if let Some(url) = url {
                        it.fields.entry("request-url".to_owned()).or_insert(url);
                    }
                    let text = format!("env:{REQUEST_TOKEN}");
                    add(format!("{name}.{OIDC_TOKEN}"), setting, &text, None);
                }
                provider.credential = Some(RawCredential::Federated(it));
            }
        }
    }
    found
}

fn refresh(seconds: Option<u64>, setting: &str) -> Result<Option<Duration>, String> {
    match seconds {
        Some(0) => Err(format!("{setting}.refresh-seconds: it is 0")),
        _ => Ok(seconds.map(Duration::from_secs)),
    }
}

/// The parts of an access key, or every fault.
fn access_key(
    raw: &RawAccessKey,
    setting: &str,
    variable: &impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
) -> Result<(Reference, Option<Duration>), Vec<String>> {
    let mut faults = Vec::new();
    let parts = [
        ("access-key-id", Some(&raw.access_key_id)),
        ("secret-access-key", Some(&raw.secret_access_key)),
        ("session-token", raw.session_token.as_ref()),
    ];
    let written = parts.into_iter().filter_map(|(name, it)| Some((name, it?)));
    let mut references = Vec::new();
    for (name, text) in written {
        match Reference::parse(text, variable) {
            Ok(reference) => references.push(reference),
            Err(what) => faults.push(format!("{setting}.{name}: {what}")),
        }
    }
    match refresh(raw.refresh_seconds, setting) {
        Ok(refresh) if faults.is_empty() => return Ok((Reference::AccessKey(references), refresh)),
        Ok(_) => {}
        Err(wrong) => faults.push(wrong),
    }
    Err(faults)
}

/// Takes the references out of what says where telemetry is sent to.
pub fn take_telemetry(
    telemetry: &mut RawTelemetry,
    variable: &impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
    faults: &mut Vec<String>,
) -> Vec<Followed> {
    let bearer = telemetry.bearer.take().into_iter();
    let bearer = bearer.map(|it| ("telemetry.bearer".to_owned(), String::new(), it));
    let headers = std::mem::take(&mut telemetry.headers).into_iter();
    let headers = headers.map(|(name, it)| (format!("telemetry.headers.{name}"), name, it));
    let mut found = Vec::new();
    for (setting, name, text) in bearer.chain(headers) {
        let wrong = match name.parse::<HeaderName>() {
            Ok(it) if OWN_HEADERS.contains(&it) => Some("the exporter sets this header itself"),
            Ok(_) => None,
            Err(_) if name.is_empty() => None,
            Err(_) => Some("this is no name of a header"),
        };
        let reference = match wrong {
            Some(what) => Err(what.to_owned()),
            None => Reference::parse(&text, variable),
        };
        match reference {
            Ok(reference) => found.push(Followed {
                slot: format!("{TELEMETRY}{}", name.to_ascii_lowercase()),
                setting,
                reference,
                refresh: None,
                expires: None,
            }),
            Err(what) => faults.push(format!("{setting}: {what}")),
        }
    }
    found
}

/// What tells whether a file is another one than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    size: u64,
    changed: Option<SystemTime>,
}

impl Stamp {
    /// Of the file as it is now; `None` if there is none.
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            inode: (found.dev(), found.ino()),
            size: found.len(),
            changed: found.modified().ok(),
        })
    }
}

/// Reads a file that holds a secret.
///
/// # Errors
///
/// What is wrong with it.
pub fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let named = |error| format!("{}: {error}", path.display());
    let file = fs::File::open(path).map_err(named)?;
    read_some(file).map_err(named)
}

/// Refuses a program that somebody else could put another in the place of: what it is, and every directory on the
/// way to it, must belong to root or to `own`, and nobody else may write there.
///
/// # Errors
///
/// Which of them it is.
pub fn check_program(program: &Path, own: u32) -> Result<(), String> {
    let real = fs::canonicalize(program);
    let real = real.map_err(|error| format!("{}: {error}", program.display()))?;
    for part in real.ancestors() {
        let found = fs::metadata(part).map_err(|error| format!("{}: {error}", part.display()))?;
        if ![0, own].contains(&found.uid()) || found.mode() & 0o022 != 0 {
            let part = part.display();
            let whom = if own == 0 {
                "root"
            } else {
                "root and the user that runs it"
            };
            return Err(format!(
                "{}: not run, because others than {whom} may write {part}\n  \
                 hint: let it belong to root, with mode 755",
                program.display()
            ));
        }
    }
    Ok(())
}

/// Runs a program and takes what it says. It gets no input and a clean environment; `prepare` may change whom it
/// runs as.
///
/// # Errors
///
/// When it cannot be run, fails, or takes longer than [`COMMAND_TIME`]. What it said is not in the error.
pub fn run_command(
    words: &[String],
    prepare: impl FnOnce(&mut Command),
) -> Result<Zeroizing<Vec<u8>>, String> {
    let (program, arguments) = words.split_first().ok_or("there is no program")?;
    let named = |what: &dyn std::fmt::Display| format!("{program}: {what}");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    prepare(&mut command);
    let mut child = command.spawn().map_err(|error| named(&error))?;
    let output = child.stdout.take().ok_or_else(|| named(&"no output"))?;
    let reading = thread::spawn(move || read_some(output));
    let deadline = Instant::now() + COMMAND_TIME;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| named(&error))? {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill().ok();
            child.wait().ok();
            return Err(named(&"it was stopped after 30 s"));
        }
        thread::sleep(Duration::from_millis(20));
    };
    if !status.success() {
        return Err(named(&status));
    }
    // One that left a process behind may keep its output open; that is not waited for.
    while !reading.is_finished() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    if !reading.is_finished() {
        return Err(named(&"its output did not end"));
    }
    match reading.join() {
        Ok(output) => output.map_err(|error| named(&error)),
        Err(_panic) => Err(named(&"its output cannot be read")),
    }
}

/// As much as a credential with white space around it may have; what is longer is found out later.
fn read_some(from: impl std::io::Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    const MOST: usize = MAX_CREDENTIAL + 1024;
    // Never grows, so that no copy is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST + 1));
    let most = u64::try_from(MOST).unwrap_or(u64::MAX);
    from.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn references_are_taken_out_and_faults_are_named() {
        let mut providers: BTreeMap<String, RawProvider> = toml::from_str(
            "[a]\ncredential = 'env:A'\n[b]\ncredential = { command = '/bin/x y', refresh-seconds = 600 }\n\
             [c]\ncredential = 'sk-very-secret'\n[d]\ncredential = 'cmd:relative'\n[e]\ncredential = 'systemd:key'\n\
             [f]\ncredential = { kind = 'oauth', client-id = 'c', client-secret = 'file:/s', token-url = 'https://t' }\n\
             [g]\ncredential = { kind = 'github-oidc', exchange = 'azure' }",
        )
        .unwrap();
        let variable = |name: &str| {
            let value: &[u8] = match name {
                "CREDENTIALS_DIRECTORY" => b"/run/credentials/x",
                REQUEST_URL => b"https://token.test/?v=1",
                _ => return None,
            };
            Some(Zeroizing::new(value.to_vec()))
        };
        let mut faults = Vec::new();
        let found = take(&mut providers, &variable, &mut faults);
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.slot.as_str(), &it.reference))
            .collect();
        assert_eq!(
            found,
            [
                ("a", &Reference::Variable("A".to_owned())),
                ("b", &Reference::Command(words(&["/bin/x", "y"]))),
                ("e", &Reference::File("/run/credentials/x/key".into())),
                ("f.client-secret", &Reference::File("/s".into())),
                (
                    "g.oidc-token",
                    &Reference::Variable(REQUEST_TOKEN.to_owned())
                ),
            ]
        );
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].starts_with("provider.c.credential: "));
        assert!(!faults.join("").contains("secret"), "{faults:?}");
        assert!(!format!("{providers:?}").contains("secret"));
        let Some(RawCredential::Federated(g)) = &providers["g"].credential else {
            unreachable!()
        };
        assert_eq!(g.fields["request-url"], "https://token.test/?v=1");
        let wrong = "[a]\ncredential = { comand = '/x' }";
        let wrong = toml::from_str::<BTreeMap<String, RawProvider>>(wrong).unwrap_err();
        assert!(wrong.to_string().contains("comand"), "{wrong}");
    }

    #[test]
    fn an_access_key_is_read_in_its_parts() {
        let mut providers: BTreeMap<String, RawProvider> = toml::from_str(
            "[a]\ncredential = { access-key-id = 'env:ID', secret-access-key = 'file:/s', session-token = 'env:T' }\n\
             [b]\ncredential = { access-key-id = 'AKIA1', secret-access-key = 's3cret', refresh-seconds = 0 }",
        )
        .unwrap();
        let mut faults = Vec::new();
        let found = take(&mut providers, &|_| None, &mut faults);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[1].starts_with("provider.b.credential.secret-access-key: "));
        assert!(!faults.concat().contains("s3cret"), "{faults:?}");
        let [one] = found.as_slice() else {
            unreachable!()
        };
        assert_eq!((one.slot.as_str(), one.reference.pace()), ("a", None));
        let file = || Reference::File("/s".into());
        let said = Reference::Command(vec!["/bin/true".to_owned()]);
        assert_eq!(
            Reference::AccessKey(vec![file(), file()]).pace(),
            Some(FILE)
        );
        assert_eq!(
            Reference::AccessKey(vec![file(), said]).pace(),
            Some(COMMAND)
        );
        assert_eq!(one.reference.variables(), ["ID", "T"]);
        let read = |it: &Reference| match it {
            Reference::File(_) => Ok(Zeroizing::new(b"s3cret\n".to_vec())),
            Reference::Variable(name) => Ok(Zeroizing::new(name.clone().into_bytes())),
            Reference::Command(_) | Reference::AccessKey(_) => Err("no".to_owned()),
        };
        let key = Credential::new(one.reference.follow(&read).unwrap()).unwrap();
        assert!(key.matches(b"s3cret") && key.matches(b"T"));
        let fault = one.reference.follow(&|_| Err("gone".to_owned()));
        assert_eq!(fault.unwrap_err(), "gone");
        let stray = "[a]\ncredential = { access-key-id = 'env:ID', secret-access-key = 'env:S', tokn = 'env:T' }";
        let stray = toml::from_str::<BTreeMap<String, RawProvider>>(stray).unwrap_err();
        assert!(stray.to_string().contains("tokn"), "{stray}");
    }

    #[test]
    fn what_ends_is_looked_at_ahead_of_its_end() {
        let mut providers: BTreeMap<String, RawProvider> = toml::from_str(
            "[a]\ncredential = 'cmd:/bin/x'\n[b]\ncredential = { command = '/bin/x', refresh-seconds = 7200 }\n\
             [c]\ncredential = 'env:X'",
        )
        .unwrap();
        let mut found = take(&mut providers, &|_| None, &mut Vec::new());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000);
        let mut wait = |which: usize, end: &str, read: Result<(), String>| {
            let one = &mut found[which];
            let key =
                format!(r#"{{"AccessKeyId":"A","SecretAccessKey":"s3cret","Expiration":{end}}}"#);
            let reading = |_: &Reference| read.map(|()| Zeroizing::new(key.into_bytes()));
            let credential = one.credential(&Providers::builtin(), reading);
            (credential.is_ok(), one.wait(now).map(|it| it.as_secs()))
        };
        let fine = || Ok(());
        // The usual pace, unless the end is near; what was said, unless the end is nearer.
        assert_eq!(wait(0, "null", fine()), (true, Some(600)));
        assert_eq!(wait(1, "null", fine()), (true, Some(7200)));
        assert_eq!(
            wait(0, r#""2030-01-01T01:00:00Z""#, fine()),
            (true, Some(600))
        );
        assert_eq!(
            wait(1, r#""2030-01-01T01:00:00Z""#, fine()),
            (true, Some(2700))
        );
        assert_eq!(
            wait(0, r#""2030-01-01T00:04:00Z""#, fine()),
            (true, Some(180))
        );
        // What fails meanwhile, and what cannot be read, does not make it last longer.
        assert_eq!(wait(0, "null", Err("no".to_owned())), (false, Some(180)));
        assert_eq!(wait(0, r#""soon""#, fine()), (false, Some(180)));
        // Over, and there is nothing newer: again, but not without a pause.
        assert_eq!(
            wait(0, r#""2029-12-31T00:00:00Z""#, fine()),
            (true, Some(10))
        );
        assert_eq!(wait(2, r#""2030-01-01T00:04:00Z""#, fine()), (true, None));
    }

    #[test]
    fn only_what_changed_is_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let part = || Reference::File(file.path().to_owned());
        let both = Reference::AccessKey(vec![part(), part()]);
        let mut looked = Looked::default();
        assert!(looked.is_new(&both) && !looked.is_new(&both));
        fs::write(file.path(), "changed").unwrap();
        assert!(looked.is_new(&both) && !looked.is_new(&both));
        let gone = Reference::File("/nonexistent/key".into());
        assert!(!looked.is_new(&gone));
        let said = Reference::Command(vec!["/bin/true".to_owned()]);
        assert!(looked.is_new(&said) && looked.is_new(&said));
    }

    #[test]
    fn a_collectors_headers_are_taken_out_too() {
        let mut telemetry: RawTelemetry = toml::from_str(
            "otlp = 'https://x.test'\nbearer = 'env:TOKEN'\n\
             [headers]\nX-Team = 'file:/t'\nhost = 'env:H'\n'a b' = 'env:A'\nx-key = 'very-secret'",
        )
        .unwrap();
        let mut faults = Vec::new();
        let found = take_telemetry(&mut telemetry, &|_| None, &mut faults);
        let found: Vec<_> = found.iter().map(|it| (&*it.slot, &it.reference)).collect();
        let expected = [
            ("telemetry:", &Reference::Variable("TOKEN".to_owned())),
            ("telemetry:x-team", &Reference::File("/t".into())),
        ];
        assert_eq!(found, expected);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(!faults.join("").contains("secret"), "{faults:?}");
        assert!(!format!("{telemetry:?}").contains("secret"));
    }

    #[test]
    fn a_command_has_a_clean_environment_and_its_failure_is_told() {
        let said = run_command(&words(&["/usr/bin/env"]), |_| {}).unwrap();
        assert_eq!(said.as_slice(), b"PATH=/usr/bin:/bin\n");
        let fault = run_command(&words(&["/bin/false"]), |_| {}).unwrap_err();
        assert!(fault.starts_with("/bin/false: exit status"), "{fault}");
        assert!(run_command(&words(&["/no/such/program"]), |_| {}).is_err());
    }

    #[test]
    fn a_program_that_others_may_write_is_refused() {
        check_program(Path::new("/usr/bin/env"), 0).unwrap();
        // The directory for temporary files is everybody's.
        let file = tempfile::NamedTempFile::new().unwrap();
        let fault = check_program(file.path(), 0).unwrap_err();
        assert!(fault.contains("may write"), "{fault}");
    }
}
