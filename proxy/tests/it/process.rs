// SPDX-License-Identifier: MIT OR Apache-2.0
//! The binary: what it does to itself, how it is started and ended, and that the credential is
//! nowhere to be found outside its memory.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{fs::PermissionsExt as _, net::UnixStream, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use aya::maps::{HashMap, Map, MapData};
use firewall_common::{Address, Destination, FlowInfo, FlowKey, Transport};
use keyward_proxy::{
    control::{self, ControlError, Door, Role},
    credential::{Credential, Credentials},
    settings::RawSettings,
};

use crate::support::{OPENAI_KEY, PATIENCE, Speaks, Upstream, ask};

/// An unprivileged user, if the tests run as root.
const NOBODY: u32 = 65_534;

/// `BPF_MAP_TYPE_HASH`.
const HASH: u32 = 1;

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0)
}

/// The binary, where any user can run it.
fn binary() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("keyward-proxy");
    fs::copy(env!("CARGO_BIN_EXE_keyward-proxy"), &path).unwrap();
    (directory, path)
}

fn command(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env_clear().env("RUST_BACKTRACE", "0");
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

struct Supervised {
    child: Child,
    control: UnixStream,
    openai: SocketAddr,
    dns: SocketAddr,
    requests: File,
    audit: File,
    diagnostics: File,
    started_in: Duration,
    _binary: tempfile::TempDir,
}

fn credentials() -> Credentials {
    let mut credentials = Credentials::new();
    let key = Credential::new(OPENAI_KEY.as_bytes().to_vec()).unwrap();
    credentials.insert("openai", key);
    credentials
}

/// The same port over UDP and TCP. One that is free over UDP may be taken over TCP: then another.
fn dns_sockets() -> (UdpSocket, TcpListener) {
    let pair = || {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        let tcp = TcpListener::bind(udp.local_addr().ok()?).ok()?;
        Some((udp, tcp))
    };
    (0..100).find_map(|_| pair()).unwrap()
}

fn settings(upstream: &Upstream) -> RawSettings {
    let mut settings = RawSettings {
        run: Some("run-1".to_owned()),
        ..RawSettings::default()
    };
    settings.log.level = Some("trace".to_owned());
    settings.upstream.ca_pem.push(upstream.ca.pem.clone());
    settings
        .upstream
        .resolve
        .push(format!("api.openai.com={}", upstream.address));
    settings
}

impl Supervised {
    fn start(settings: &RawSettings) -> Result<Self, ControlError> {
        Self::with(settings, &[])
    }

    /// Passes further descriptors along.
    fn with(settings: &RawSettings, more: &[(Role, BorrowedFd<'_>)]) -> Result<Self, ControlError> {
        let (directory, path) = binary();
        let (control, theirs) = UnixStream::pair().unwrap();
        let requests = tempfile::tempfile().unwrap();
        let audit = tempfile::tempfile().unwrap();
        let diagnostics = tempfile::tempfile().unwrap();
        let gateway = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (dns, dns_tcp) = dns_sockets();
        let before = Instant::now();
        let child = command(&path)
            .arg("--supervised")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(diagnostics.try_clone().unwrap())
            .spawn()
            .unwrap();
        let mut it = Self {
            child,
            control,
            openai: gateway.local_addr().unwrap(),
            dns: dns.local_addr().unwrap(),
            requests,
            audit,
            diagnostics,
            started_in: Duration::ZERO,
            _binary: directory,
        };
        let provider = "openai".to_owned();
        let doors = [
            (Door::Gateway { provider }, gateway.as_fd()),
            (Door::DnsUdp, dns.as_fd()),
            (Door::DnsTcp, dns_tcp.as_fd()),
        ];
        let mut descriptors = vec![
            (Role::RequestLog, it.requests.as_fd()),
            (Role::AuditLog, it.audit.as_fd()),
            (Role::DiagnosticLog, it.diagnostics.as_fd()),
        ];
        descriptors.extend_from_slice(more);
        control::entrust(&it.control, &credentials())?;
        control::prepare(&it.control, settings, &descriptors)?;
        control::open(&it.control, &doors)?;
        control::wait_until_ready(&it.control)?;
        it.started_in = before.elapsed();
        Ok(it)
    }

    fn wait(&mut self) -> std::process::ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("the proxy did not end");
    }

    fn status(&self, name: &str) -> String {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text
            .lines()
            .find_map(|it| it.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{name}")).trim().to_owned()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn text(file: &mut File) -> String {
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_hardened_and_its_credential_is_nowhere_to_be_seen() {
    let upstream = Upstream::hello(Speaks::Http2).await;
    let mut proxy = Supervised::start(&settings(&upstream)).unwrap();
    eprintln!("ready after {:?}", proxy.started_in);

    for request in [
        "POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        "GET /v1/files HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/models HTTP/1.1\nHost: x\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /reflect HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let reply = ask(proxy.openai, request).await;
        let all = format!("{}{}", reply.head, String::from_utf8_lossy(&reply.body));
        assert!(!all.contains(OPENAI_KEY), "{all}");
    }
    assert_eq!(
        upstream.seen()[0].headers["authorization"],
        format!("Bearer {OPENAI_KEY}")
    );

    assert_eq!(proxy.status("NoNewPrivs"), "1");
    assert_eq!(proxy.status("Seccomp"), "2");
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(proxy.status(set), "0000000000000000", "{set}");
    }
    let id = proxy.child.id();
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|it| it.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    if is_root() {
        // Not dumpable: its files in /proc belong to root although it does not.
        let metadata = fs::metadata(format!("/proc/{id}/environ")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&metadata), 0);
    }
    for file in ["environ", "cmdline"] {
        let bytes = fs::read(format!("/proc/{id}/{file}")).unwrap();
        assert!(
            !bytes
                .windows(OPENAI_KEY.len())
                .any(|it| it == OPENAI_KEY.as_bytes()),
            "{file}"
        );
    }

    drop(std::mem::replace(
        &mut proxy.control,
        UnixStream::pair().unwrap().0,
    ));
    proxy.wait();
    let requests = text(&mut proxy.requests);
    let diagnostics = text(&mut proxy.diagnostics);
    // One line for each request to a provider; the proxy's own endpoints are none.
    assert_eq!(requests.lines().count(), 3, "{requests}");
    assert!(!requests.contains("/health"), "{requests}");
    assert!(requests.contains("\"run\":\"run-1\""));
    assert!(
        diagnostics.contains("DEBUG"),
        "diagnostics are at trace: {diagnostics}"
    );
    for log in [&requests, &diagnostics] {
        assert!(
            !log.contains(OPENAI_KEY) && !log.contains("real-openai"),
            "{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_with_its_supervisor_at_once_and_when_drained_after_its_work() {
    let upstream = Upstream::answering(Speaks::Http1, |_| async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        crate::support::text(200, "late")
    })
    .await;
    let request = "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n";

    let mut proxy = Supervised::start(&settings(&upstream)).unwrap();
    let address = proxy.openai;
    let asked = tokio::spawn(async move { ask(address, request).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    control::drain(&proxy.control).unwrap();
    assert_eq!(asked.await.unwrap().body, b"late");
    assert!(proxy.wait().success());

    let mut proxy = Supervised::start(&settings(&upstream)).unwrap();
    let mut raw = crate::support::Raw::connect(proxy.openai).await;
    raw.send(request).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = Instant::now();
    drop(std::mem::replace(
        &mut proxy.control,
        UnixStream::pair().unwrap().0,
    ));
    proxy.wait();
    assert!(
        before.elapsed() < Duration::from_millis(300),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(raw.reply().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dns_is_denied_over_udp_and_tcp_and_logged() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let mut proxy = Supervised::start(&settings(&upstream)).unwrap();
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01";
    let denied = |answer: &[u8]| answer[..2] == query[..2] && answer[3] & 0x0f == 3;

    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(query, proxy.dns).unwrap();
    let mut buffer = [0; 512];
    let count = socket.recv(&mut buffer).unwrap();
    assert!(denied(&buffer[..count]));

    let mut stream = std::net::TcpStream::connect(proxy.dns).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..2 {
        let mut message = vec![0, u8::try_from(query.len()).unwrap()];
        message.extend_from_slice(query);
        std::io::Write::write_all(&mut stream, &message).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        assert!(denied(&answer));
    }
    drop(std::mem::replace(
        &mut proxy.control,
        UnixStream::pair().unwrap().0,
    ));
    proxy.wait();
    let log = text(&mut proxy.audit);
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    for (line, protocol) in lines.iter().zip(["udp", "tcp", "tcp"]) {
        let has = |name: &str, value: &str| assert_eq!(line[name], value, "{line}");
        has("event", "decision");
        has("run", "run-1");
        has("door", "dns");
        has("host", "www.example.com");
        has("type", "A");
        has("protocol", protocol);
        has("verdict", "deny");
        has("reason", "host_not_allowed");
        has("remedy", "www.example.com");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_are_named_from_the_map_without_a_capability() {
    if !is_root() {
        eprintln!("skipped: only root can make a map");
        return;
    }
    let shape = aya_obj::Map::new_from_params(HASH, 20, 64, 16, 0);
    let map = MapData::create(shape, "flows", None).unwrap();
    let flow_map = map.fd().as_fd().try_clone_to_owned().unwrap();
    let mut flows: HashMap<MapData, [u8; FlowKey::SIZE], [u8; FlowInfo::SIZE]> =
        HashMap::try_from(Map::HashMap(map)).unwrap();
    let upstream = Upstream::hello(Speaks::Http1).await;
    let mut proxy =
        Supervised::with(&settings(&upstream), &[(Role::FlowMap, flow_map.as_fd())]).unwrap();

    // What the eBPF programs write before the connection is there.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let address = Address::from_bytes(Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets());
    let key = FlowKey::new(Transport::Tcp, Destination::new(address, port));
    let mut info = [0; FlowInfo::SIZE];
    info[..8].copy_from_slice(&77_u64.to_ne_bytes());
    info[8..12].copy_from_slice(&4242_u32.to_ne_bytes());
    info[12..16].copy_from_slice(&4241_u32.to_ne_bytes());
    info[24..29].copy_from_slice(b"codex");
    flows.insert(key.to_bytes(), info, 0).unwrap();
    let stream = socket.connect(proxy.openai).await.unwrap();
    let mut raw = crate::support::Raw {
        stream,
        buffer: Vec::new(),
        patience: PATIENCE,
    };
    raw.send("GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(raw.reply().await.unwrap().status, 200);
    // And one that nobody wrote down.
    assert_eq!(
        ask(proxy.openai, "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .status,
        200
    );

    drop(std::mem::replace(
        &mut proxy.control,
        UnixStream::pair().unwrap().0,
    ));
    proxy.wait();
    let log = text(&mut proxy.requests);
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    assert_eq!(lines[0]["pid"], 4241);
    assert_eq!(
        (lines[0]["comm"].as_str(), lines[0]["cgroup"].as_u64()),
        (Some("codex"), Some(77))
    );
    assert!(lines[1].get("pid").is_none(), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_settings_are_told_to_the_supervisor() {
    let upstream = Upstream::hello(Speaks::Http1).await;
    let mut settings = settings(&upstream);
    settings.run = Some("a b".to_owned());
    settings.limits.head = Some(1);
    let Err(ControlError::Refused(why)) = Supervised::start(&settings) else {
        panic!("it started");
    };
    assert!(
        why.contains("run:") && why.contains("limits.head:"),
        "{why}"
    );
}

#[test]
fn with_capabilities_it_takes_no_credential() {
    if !is_root() {
        eprintln!("skipped: only root has capabilities to leave in place");
        return;
    }
    let (control, theirs) = UnixStream::pair().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_keyward-proxy"))
        .arg("--supervised")
        .stdin(OwnedFd::from(theirs))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    control::entrust(&control, &credentials()).unwrap();
    control::prepare(&control, &RawSettings::default(), &[]).unwrap();
    control::open(&control, &[]).unwrap();
    let result = control::wait_until_ready(&control);
    assert!(
        matches!(&result, Err(ControlError::Refused(why)) if why.contains("capabilities")),
        "{result:?}"
    );
    assert!(!child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_it_reads_a_file_and_refuses_a_bad_one() {
    let (directory, path) = binary();
    let file = directory.path().join("keyward.toml");
    let run = |text: &str| {
        fs::write(&file, text).unwrap();
        command(&path)
            .arg("--config")
            .arg(&file)
            .env("MY_KEY", OPENAI_KEY)
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let bad = run("run = 'a b'\n[provider.openai]\ncredential = 'sk-not-a-reference'");
    let output = bad.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        error.contains("provider.openai.credential") && error.contains("run:"),
        "{error}"
    );
    assert!(!error.contains("sk-not-a-reference"), "{error}");

    // On an address of its own, so that the fixed ports meet nobody else's.
    let upstream = Upstream::hello(Speaks::Http2).await;
    let ca = directory.path().join("ca.pem");
    fs::write(&ca, &upstream.ca.pem).unwrap();
    let listen = format!("127.{}.7.9", 1 + std::process::id() % 250);
    let mut child = run(&format!(
        "listen = '{listen}'\n[provider.openai]\ncredential = 'env:MY_KEY'\n\
         [upstream]\nca-files = ['{}']\nresolve = ['api.openai.com={}']",
        ca.display(),
        upstream.address
    ));
    let address: SocketAddr = format!("{listen}:10000").parse().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(
            Instant::now() < deadline && child.try_wait().unwrap().is_none(),
            "not listening"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let reply = ask(address, "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        upstream.seen()[0].headers["authorization"],
        format!("Bearer {OPENAI_KEY}")
    );
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let log = String::from_utf8(output.stdout).unwrap();
    assert!(
        log.contains("\"status\":200") && !log.contains(OPENAI_KEY),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_replaces_a_credential_while_the_process_runs() {
    let upstream = Upstream::hello(Speaks::Http2).await;
    let mut proxy = Supervised::start(&settings(&upstream)).unwrap();
    let request = "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(ask(proxy.openai, request).await.status, 200);
    let rotated = "sk-rotated-9876543210";
    let only = |slot: &str| {
        let mut credentials = Credentials::new();
        let key = Credential::new(rotated.as_bytes().to_vec()).unwrap();
        credentials.insert(slot, key);
        credentials
    };
    let replaced = control::replace_credentials(&proxy.control, &only("openai"));
    assert_eq!(replaced.unwrap(), 1);
    assert_eq!(ask(proxy.openai, request).await.status, 200);
    // One that has no place there is refused, and nothing else changes.
    let stray = control::replace_credentials(&proxy.control, &only("gemini"));
    assert!(matches!(stray, Err(ControlError::Refused(why)) if why.contains("gemini")));
    assert_eq!(ask(proxy.openai, request).await.status, 200);
    let seen = upstream.seen();
    let used: Vec<_> = seen.iter().map(|it| &it.headers["authorization"]).collect();
    let (old, new) = (format!("Bearer {OPENAI_KEY}"), format!("Bearer {rotated}"));
    assert_eq!(used, [&old, &new, &new]);
    let logs = [
        &mut proxy.requests,
        &mut proxy.audit,
        &mut proxy.diagnostics,
    ]
    .map(text);
    assert!(logs.iter().all(|it| !it.contains("9876543210")));
}
