// SPDX-License-Identifier: MIT OR Apache-2.0
//! A gateway as others of this kind are, so far as it is known what they promise: the control of every probe in `holes.rs`.
//! It holds the port, puts the real key in, and serves; what it does worse is marked **Hole**, in this file and nowhere else.
//! What it is not: a whole gateway. Where nothing is probed it does the least.
//!
//! Beside what is marked, some holes are code that is not there: nothing asks whether a credential is the placeholder, or may
//! go to the target; there are no routes, and so each method and path is sent on. Of an answer that broke off, and of where a
//! key may go, others promise nothing, and the model does what needs no thought.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, request::Parts};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use keyward_proxy::provider::Providers;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

use crate::websocket::head;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// **Hole**: this is all that is taken away. `api-key`, `cookie`, `x-real-ip`, what belongs to the connection, what
/// `Connection` names, and names with `_` for `-` go on.
fn is_stripped(name: &str) -> bool {
    const STRIPPED: [&str; 7] = [
        "host",
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "x-goog-api-key",
        "forwarded",
        "via",
    ];
    STRIPPED.contains(&name) || name.starts_with("x-forwarded-")
}

/// **Hole**: own endpoints are own for these methods and ports alone; the rest is sent on. Metrics are JSON.
fn own_endpoint(door: &Door, head: &Parts) -> Option<&'static str> {
    let reads = matches!(head.method, Method::GET | Method::HEAD);
    match head.uri.path() {
        "/health" if reads => Some(r#"{"status":"healthy"}"#),
        "/metrics" | "/reflect" if reads && door.provider == "openai" => Some("{}"),
        _ => None,
    }
}

/// **Hole**: the model is read where OpenAI has it, in a request's body; not in a path, and not in a WebSocket's messages.
fn model(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    body["model"].as_str().map(str::to_owned)
}

/// **Hole**: of a target the scheme counts, wherever the host is, and the port does not.
fn target(text: &str) -> (bool, String, String) {
    let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = authority.split(':').next().unwrap();
    (scheme == "http", host.to_owned(), path.to_owned())
}

/// **Hole**: enough of a key is written down to know it by, and to guess at it.
fn written(provider: &str, key: &str) -> String {
    let (first, last) = (&key[..8], &key[key.len() - 4..]);
    format!("{{\"event\":\"key\",\"provider\":\"{provider}\",\"key\":\"{first}...{last}\"}}\n")
}

/// **Hole**: an answer that broke off ends as if it were whole.
fn relayed(incoming: Incoming) -> Body {
    let next = |mut incoming: Incoming| async {
        let data = incoming.frame().await?.ok()?.into_data().ok()?;
        Some((Ok(Frame::data(data)), incoming))
    };
    StreamBody::new(futures_util::stream::unfold(incoming, next)).boxed_unsync()
}

/// **Hole**: a client that knows Anthropic's key by its other name alone finds none.
pub(crate) fn environment(provider: &str) -> BTreeMap<String, String> {
    let table = Providers::builtin();
    let all = table.get(provider).unwrap();
    all.workload_environment(IpAddr::V4(Ipv4Addr::LOCALHOST))
        .map(|(name, value)| (name.to_owned(), value))
        .filter(|(name, _)| name != "ANTHROPIC_API_KEY")
        .collect()
}

/// What listens, and what it wrote down.
pub(crate) struct Peer {
    pub(crate) ports: BTreeMap<String, SocketAddr>,
    pub(crate) log: String,
    tasks: Vec<JoinHandle<()>>,
}

impl Peer {
    /// Of the settings it knows targets, and models that are denied.
    pub(crate) async fn start(
        upstream: SocketAddr,
        ca: &str,
        settings: &str,
        keys: &[(&str, &str)],
    ) -> Self {
        let settings: toml::Value = toml::from_str(settings).unwrap();
        let at = |path: &[&str]| path.iter().try_fold(&settings, |it, key| it.get(key));
        let denied = at(&["models", "deny"]).and_then(toml::Value::as_array);
        let denied = denied.into_iter().flatten();
        let denied: Vec<_> = denied
            .filter_map(|it| Some(it.as_str()?.to_owned()))
            .collect();
        let table = Providers::builtin();
        let mut peer = Self {
            ports: BTreeMap::new(),
            log: String::new(),
            tasks: Vec::new(),
        };
        for (provider, key) in keys {
            let given = at(&["provider", provider, "target"]).and_then(toml::Value::as_str);
            let usual = table.get(provider).map(|it| it.target.host.as_str());
            let (plain, host, base) = target(given.or(usual).unwrap());
            peer.log.push_str(&written(provider, key));
            let door = Arc::new(Door {
                provider: (*provider).to_owned(),
                key: (*key).to_owned(),
                upstream,
                tls: (!plain).then(|| tls(ca)),
                host,
                base,
                denied: denied.clone(),
            });
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            peer.ports.insert(door.provider.clone(), address);
            peer.tasks.push(tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(Arc::clone(&door).serve(stream));
                }
            }));
        }
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn tls(ca: &str) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One provider's port.
struct Door {
    provider: String,
    key: String,
    upstream: SocketAddr,
    /// `None`: in the clear.
    tls: Option<TlsConnector>,
    host: String,
    base: String,
    denied: Vec<String>,
}

impl Door {
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        // Looked at, not taken: what it is decides who reads it.
        let mut begun = vec![0; 64 * 1024];
        let text = loop {
            let Ok(count @ 1..) = stream.peek(&mut begun).await else {
                return;
            };
            let text = String::from_utf8_lossy(&begun[..count]).to_ascii_lowercase();
            if text.contains("\r\n\r\n") {
                break text;
            }
            tokio::task::yield_now().await;
        };
        if text.contains("\r\nupgrade: websocket\r\n") {
            return self.pipe(stream).await;
        }
        let service =
            service_fn(|request| async { Ok::<_, Infallible>(self.answer(request).await) });
        let builder = hyper::server::conn::http1::Builder::new();
        drop(
            builder
                .serve_connection(TokioIo::new(stream), service)
                .await,
        );
    }

    async fn connect(&self) -> Box<dyn Stream> {
        let tcp = TcpStream::connect(self.upstream).await.unwrap();
        let Some(tls) = &self.tls else {
            return Box::new(tcp);
        };
        let name = ServerName::try_from(self.host.clone()).unwrap();
        Box::new(tls.connect(name, tcp).await.unwrap())
    }

    fn path(&self, path: &str) -> String {
        match path.starts_with(&self.base) {
            true => path.to_owned(),
            false => format!("{}{path}", self.base),
        }
    }

    /// Name and value of the header with the real key.
    fn credential(&self) -> (&'static str, String) {
        match self.provider.as_str() {
            "anthropic" => ("x-api-key", self.key.clone()),
            "gemini" | "vertex" => ("x-goog-api-key", self.key.clone()),
            _ => ("authorization", format!("Bearer {}", self.key)),
        }
    }

    /// **Hole**: bytes are carried both ways, whatever the provider's answer to the handshake is.
    async fn pipe(&self, mut stream: TcpStream) {
        let asked = head(&mut stream).await;
        let (line, headers) = asked.split_once("\r\n").unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let mut sent = format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\n",
            words[0],
            self.path(words[1]),
            self.host
        );
        for header in headers.split("\r\n") {
            let (name, value) = header.split_once(':').unwrap();
            let name = name.to_ascii_lowercase();
            if !is_stripped(&name) {
                sent.push_str(&format!("{name}:{value}\r\n"));
            }
        }
        let (name, value) = self.credential();
        sent.push_str(&format!("{name}: {value}\r\n\r\n"));
        let mut upstream = self.connect().await;
        upstream.write_all(sent.as_bytes()).await.unwrap();
        drop(copy_bidirectional(&mut stream, &mut upstream).await);
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        if let Some(body) = own_endpoint(self, &head) {
            return own(200, body);
        }
        let Ok(body) = body.collect().await else {
            return own(400, "{}");
        };
        let body = body.to_bytes();
        if model(&body).is_some_and(|it| self.denied.contains(&it)) {
            return own(403, r#"{"error":{"type":"model_policy_violation"}}"#);
        }
        let path = head.uri.path_and_query().map_or("/", |it| it.as_str());
        let mut sent = Request::new(Full::new(body));
        *sent.method_mut() = head.method;
        *sent.uri_mut() = self.path(path).parse().unwrap();
        let headers = sent.headers_mut();
        for (name, value) in &head.headers {
            if !is_stripped(name.as_str()) {
                headers.append(name, value.clone());
            }
        }
        let (name, value) = self.credential();
        headers.insert("host", self.host.parse().unwrap());
        headers.insert(name, value.parse().unwrap());
        let io = TokioIo::new(self.connect().await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        match sender.send_request(sent).await {
            Ok(answer) => {
                let (mut head, body) = answer.into_parts();
                // Its length is what comes.
                head.headers.remove("content-length");
                Response::from_parts(head, relayed(body))
            }
            Err(_) => own(502, r#"{"error":{"type":"upstream_error"}}"#),
        }
    }
}

fn own(status: u16, body: &'static str) -> Response<Body> {
    let mut answer = Response::new(Full::new(Bytes::from_static(body.as_bytes())).boxed_unsync());
    *answer.status_mut() = status.try_into().unwrap();
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert("content-type", json);
    answer
}
