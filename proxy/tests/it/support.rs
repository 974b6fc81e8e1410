// SPDX-License-Identifier: MIT OR Apache-2.0
//! A provider of one's own over real TLS, a gateway in front of it, and a raw socket to talk to it.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs::File,
    future::Future,
    io::{BufRead as _, BufReader, Read as _, Seek as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keyward_proxy::{
    credential::{Credential, Credentials, Rotation},
    peers::Peers,
    provider::Providers,
    request_log::RequestLog,
    server::{Logs, Server},
    settings::{RawSettings, Settings},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

pub(crate) const OPENAI_KEY: &str = "sk-real-openai-0123456789";
pub(crate) const ANTHROPIC_KEY: &str = "sk-ant-real-0123456789";
pub(crate) const OPENAI_PLACEHOLDER: &str = "sk-placeholder-for-api-proxy";

/// Longer than anything here takes, shorter than a person waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// An address that refuses, for as long as this is held: bound, so that nobody else gets it, and not listening.
pub(crate) struct Nobody {
    socket: TcpSocket,
    pub(crate) address: SocketAddr,
}

impl Nobody {
    pub(crate) fn here() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        Self { socket, address }
    }

    /// From now on somebody is there.
    pub(crate) fn listen(self) -> TcpListener {
        self.socket.listen(16).unwrap()
    }
}

/// A certificate authority with one server certificate.
pub(crate) struct Ca {
    pub(crate) pem: String,
    server: Arc<rustls::ServerConfig>,
    server_http1: Arc<rustls::ServerConfig>,
    server_http2: Arc<rustls::ServerConfig>,
}

impl Ca {
    /// For the providers' real names.
    pub(crate) fn new() -> Self {
        Self::for_names(&[
            "api.openai.com",
            "api.anthropic.com",
            "api.githubcopilot.com",
            "api.enterprise.githubcopilot.com",
            "api.business.githubcopilot.com",
            "copilot-api.acme.ghe.com",
            "generativelanguage.googleapis.com",
            "aiplatform.googleapis.com",
            "bedrock-runtime.us-east-1.amazonaws.com",
            "acme.openai.azure.com",
            "gw.corp.test",
            // Token hosts.
            "token.actions.test",
            "login.microsoftonline.com",
            "sts.googleapis.com",
            "iamcredentials.googleapis.com",
            "sts.us-east-1.amazonaws.com",
        ])
    }

    pub(crate) fn for_names(names: &[&str]) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let certificate = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        let config = |alpn: &[&[u8]]| {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut config = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .unwrap();
            config.alpn_protocols = alpn.iter().map(|it| it.to_vec()).collect();
            Arc::new(config)
        };
        Self {
            pem: issuer.pem(),
            server: config(&[b"h2", b"http/1.1"]),
            server_http2: config(&[b"h2"]),
            server_http1: config(&[b"http/1.1"]),
        }
    }

    /// A server's configuration, with HTTP/2.
    pub(crate) fn server(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.server)
    }
}

/// What an upstream was sent.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) version: http::Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Which of the upstream's connections it came over.
    pub(crate) connection: usize,
}

pub(crate) type Body = BoxBody<Bytes, Infallible>;
type Answer = Response<Body>;
type Handler = Arc<dyn Fn(Seen) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// An upstream that records and answers.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) ca: Ca,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Speaks {
    Http1,
    Http2,
    OnlyHttp2,
}

/// A suite that is to hold whatever the providers speak.
macro_rules! over_both {
    ($hold:ident) => {
        #[tokio::test]
        async fn over_http1() {
            $hold(crate::support::Speaks::Http1).await;
        }

        #[tokio::test]
        async fn over_http2() {
            $hold(crate::support::Speaks::Http2).await;
        }
    };
}
pub(crate) use over_both;

impl Upstream {
    /// Answers every request with 200 and `hello`.
    pub(crate) async fn hello(speaks: Speaks) -> Self {
        Self::answering(speaks, |_| async { text(200, "hello") }).await
    }

    pub(crate) async fn answering<F, A>(speaks: Speaks, handler: F) -> Self
    where
        F: Fn(Seen) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |seen| Box::pin(handler(seen)));
        let ca = Ca::new();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let acceptor = match speaks {
            Speaks::Http1 => TlsAcceptor::from(Arc::clone(&ca.server_http1)),
            Speaks::Http2 => TlsAcceptor::from(Arc::clone(&ca.server)),
            Speaks::OnlyHttp2 => TlsAcceptor::from(Arc::clone(&ca.server_http2)),
        };
        let record = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, handler, record) =
                    (acceptor.clone(), Arc::clone(&handler), Arc::clone(&record));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (handler, record) = (Arc::clone(&handler), Arc::clone(&record));
                        async move {
                            let (head, body) = request.into_parts();
                            let Ok(body) = body.collect().await else {
                                // A body that broke is not a request.
                                return Ok::<_, Infallible>(text(400, "broken body"));
                            };
                            let seen = Seen {
                                method: head.method.to_string(),
                                uri: head.uri.to_string(),
                                version: head.version,
                                headers: head.headers,
                                body: body.to_bytes(),
                                connection,
                            };
                            record.lock().unwrap().push(seen.clone());
                            Ok(handler(seen).await)
                        }
                    });
                    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let io = TokioIo::new(stream);
                    if http2 {
                        let builder =
                            hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        drop(builder.serve_connection(io, service).await);
                    } else {
                        let builder = hyper::server::conn::http1::Builder::new();
                        drop(builder.serve_connection(io, service).await);
                    }
                });
            }
        });
        Self {
            address,
            ca,
            seen,
            task,
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An upstream that speaks in bytes: each connection, after TLS, is handed to `script`.
pub(crate) async fn raw_upstream<F, A>(ca: &Ca, script: F) -> (SocketAddr, JoinHandle<()>)
where
    F: Fn(TlsStream<TcpStream>) -> A + Send + Sync + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::clone(&ca.server_http1));
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(script(stream));
            }
        }
    });
    (address, task)
}

pub(crate) fn text(status: u16, body: &str) -> Answer {
    let body = Full::new(Bytes::from(body.to_owned())).boxed();
    Response::builder().status(status).body(body).unwrap()
}

/// A gateway for every provider, in front of `upstream`.
pub(crate) struct Gateway {
    pub(crate) openai: SocketAddr,
    pub(crate) anthropic: SocketAddr,
    pub(crate) gemini: SocketAddr,
    /// Each provider's port.
    pub(crate) ports: BTreeMap<String, SocketAddr>,
    pub(crate) rotation: Rotation,
    log: RequestLog,
    log_file: File,
    tokens: RequestLog,
    tokens_file: File,
    drain: Option<tokio::sync::oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<()>,
}

impl Gateway {
    pub(crate) fn new(upstream: SocketAddr, ca: &Ca) -> Self {
        Self::with(upstream, ca, "")
    }

    /// With real credentials for two providers; `toml` adds to the settings.
    pub(crate) fn with(upstream: SocketAddr, ca: &Ca, toml: &str) -> Self {
        let keys = [("openai", OPENAI_KEY), ("anthropic", ANTHROPIC_KEY)];
        Self::serving(upstream, ca, toml, &keys)
    }

    /// With these credentials.
    pub(crate) fn serving(
        upstream: SocketAddr,
        ca: &Ca,
        toml: &str,
        keys: &[(&str, &str)],
    ) -> Self {
        Self::trusting(upstream, &ca.pem, toml, keys)
    }

    /// The same for another's authority.
    pub(crate) fn trusting(
        upstream: SocketAddr,
        ca: &str,
        toml: &str,
        keys: &[(&str, &str)],
    ) -> Self {
        Self::starting(upstream, ca, toml, keys).unwrap()
    }

    /// The same, if it starts; or why it does not.
    pub(crate) fn starting(
        upstream: SocketAddr,
        ca: &str,
        toml: &str,
        keys: &[(&str, &str)],
    ) -> Result<Self, String> {
        let mut raw: RawSettings = toml::from_str(toml).unwrap();
        raw.upstream.ca_pem.push(ca.to_owned());
        raw.upstream.system_roots.get_or_insert(false);
        // What a test's upstream prefers is what is spoken.
        raw.upstream.http1_connections.get_or_insert(0);
        if raw.upstream.resolve.is_empty() {
            let table = Providers::parse(&raw.providers, &mut Vec::new());
            let hosts = table.iter().map(|it| it.target.host.as_str());
            let names = hosts.filter(|it| it.parse::<IpAddr>().is_err());
            let fixed = names.map(|it| format!("{it}={upstream}"));
            raw.upstream.resolve.extend(fixed);
        }
        let settings = Settings::try_from(raw).map_err(|fault| fault.to_string())?;
        let providers = settings.providers.clone();
        let mut credentials = Credentials::new();
        for (name, key) in keys {
            let key = Credential::new(key.as_bytes().to_vec()).unwrap();
            credentials.insert(name, key);
        }
        // Reading moves the place where the next line would go; appending does not ask for it.
        let log_file = tempfile::Builder::new().append(true).tempfile();
        let log_file = log_file.unwrap().into_file();
        let log = RequestLog::to(log_file.try_clone().unwrap());
        let tokens_file = tempfile::tempfile().unwrap();
        let tokens = RequestLog::to(tokens_file.try_clone().unwrap());
        let mut server = Server::new(
            settings,
            credentials,
            Logs {
                requests: log.clone(),
                tokens: tokens.clone(),
                audit: RequestLog::none(),
            },
            Peers::unknown(),
        )
        .map_err(|fault| fault.to_string())?;
        let ports: BTreeMap<String, SocketAddr> = providers
            .iter()
            .map(|provider| {
                let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let address = listener.local_addr().unwrap();
                server.add_gateway(Arc::clone(provider), listener).unwrap();
                (provider.name.clone(), address)
            })
            .collect();
        server.load_roots().unwrap();
        let rotation = server.rotation();
        let (drain, drained) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(server.run(async {
            if drained.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        Ok(Self {
            openai: ports["openai"],
            anthropic: ports["anthropic"],
            gemini: ports["gemini"],
            ports,
            rotation,
            log,
            log_file,
            tokens,
            tokens_file,
            drain: Some(drain),
            task,
        })
    }

    pub(crate) fn drain(&mut self) {
        self.drain.take().unwrap().send(()).unwrap();
    }

    /// The request log so far, as text.
    pub(crate) fn log_text(&mut self) -> String {
        self.log.flush(PATIENCE);
        self.log_file.rewind().unwrap();
        let mut text = String::new();
        self.log_file.read_to_string(&mut text).unwrap();
        text
    }

    /// The accounts of tokens so far.
    pub(crate) fn tokens(&mut self) -> Vec<serde_json::Value> {
        self.tokens.flush(PATIENCE);
        self.tokens_file.rewind().unwrap();
        let mut text = String::new();
        self.tokens_file.read_to_string(&mut text).unwrap();
        let lines = text.lines();
        lines.map(|it| serde_json::from_str(it).unwrap()).collect()
    }

    /// The accounts of tokens so far, one at a time: there may be more than fit in memory.
    pub(crate) fn each_account(&mut self, mut look: impl FnMut(serde_json::Value)) {
        self.tokens.flush(PATIENCE);
        self.tokens_file.rewind().unwrap();
        for line in BufReader::new(&self.tokens_file).lines() {
            look(serde_json::from_str(&line.unwrap()).unwrap());
        }
    }

    /// The request log once it has `count` lines.
    pub(crate) async fn log(&mut self, count: usize) -> Vec<serde_json::Value> {
        let waited = async {
            loop {
                let text = self.log_text();
                let lines: Vec<_> = text
                    .lines()
                    .map(|it| serde_json::from_str(it).unwrap())
                    .collect();
                if lines.len() >= count {
                    return lines;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waited).await.expect("log lines")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What came back over a raw socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// A raw connection of the workload's.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: Vec<u8>,
    pub(crate) patience: Duration,
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
            patience: PATIENCE,
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The gateway may have answered and closed already.
        drop(self.stream.write_all(bytes.as_ref()).await);
    }

    pub(crate) async fn fill(&mut self) -> usize {
        let mut chunk = [0; 16 * 1024];
        match timeout(self.patience, self.stream.read(&mut chunk))
            .await
            .expect("bytes in time")
        {
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                count
            }
            Err(_reset) => 0,
        }
    }

    /// The next head, without its empty line; `None` at the end.
    pub(crate) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|it| it == b"\r\n\r\n") {
                let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
                self.buffer.drain(..end + 4);
                return Some(head);
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    /// The next whole answer.
    pub(crate) async fn reply(&mut self) -> Option<Reply> {
        let head = self.head().await?;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply {
            status,
            head,
            body: Vec::new(),
        };
        if let Some(length) = reply.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length && self.fill().await > 0 {}
            reply.body = self.buffer.drain(..length.min(self.buffer.len())).collect();
        } else if reply.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                reply.body.extend_from_slice(&chunk);
            }
        }
        Some(reply)
    }

    /// The next chunk of a chunked body; `None` behind the last one, or if it breaks off.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|it| it == b"\r\n") {
                let size = std::str::from_utf8(&self.buffer[..end]).unwrap();
                let size = usize::from_str_radix(size, 16).unwrap();
                if self.buffer.len() >= end + 2 + size + 2 {
                    let chunk = self.buffer[end + 2..end + 2 + size].to_vec();
                    self.buffer.drain(..end + 2 + size + 2);
                    return (size > 0).then_some(chunk);
                }
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    /// Whether the gateway closes the connection, with nothing more on it.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && self.fill().await == 0
    }
}

/// One request on a connection of its own.
pub(crate) async fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Reply {
    let mut raw = Raw::connect(address).await;
    raw.send(request).await;
    raw.reply().await.expect("an answer")
}
