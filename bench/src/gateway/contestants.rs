// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who is measured, and how each is set up: one thread or worker, keep-alive on both sides, TLS to
//! the upstream verified, the workload's credential replaced by the real one, one log line a
//! request.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::ClientConfig;

use super::requests::PLACEHOLDER;
use super::{Args, KEY};
use crate::cores::{self, Cores};
use crate::load::Target;
use crate::process::Server;

/// One of those compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contestant {
    Direct,
    Nginx,
    Haproxy,
    HaproxyHttp2,
    Keyward,
    KeywardHttp2,
}

impl Contestant {
    pub(super) const ALL: [Self; 6] = [
        Self::Direct,
        Self::Nginx,
        Self::Haproxy,
        Self::HaproxyHttp2,
        Self::Keyward,
        Self::KeywardHttp2,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::HaproxyHttp2 => "haproxy-http2",
            Self::Keyward => "keyward",
            Self::KeywardHttp2 => "keyward-http2",
        }
    }

    /// How many descriptors a stream takes: in the contestant, or here, where load client and emulator share a limit.
    pub(super) fn descriptors_for_stream(self) -> u64 {
        match self {
            // A connection to the provider for each. HAProxy asks for as many, however the provider is spoken to.
            Self::Direct | Self::Nginx | Self::Haproxy | Self::HaproxyHttp2 => 2,
            Self::Keyward | Self::KeywardHttp2 => 1,
        }
    }

    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Direct => "the client speaks TLS to the provider itself",
            Self::Nginx => "nginx, HTTP/1.1 upstream, keep-alive pool",
            Self::Haproxy => "HAProxy, HTTP/1.1 upstream, keep-alive pool",
            Self::HaproxyHttp2 => "HAProxy, HTTP/2 upstream",
            Self::Keyward => {
                "keyward-proxy as it comes: HTTP/1.1 upstream for few requests, HTTP/2 for many"
            }
            Self::KeywardHttp2 => {
                "keyward-proxy told to use HTTP/2 alone upstream (`http1-connections = 0`)"
            }
        }
    }
}

/// A contestant that is ready.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) target: Target,
    /// What the client sends as its key.
    pub(super) credential: &'static str,
    /// `None` where there is nothing between client and emulator.
    pub(super) server: Option<Server>,
}

/// What all of them need.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    pub(super) args: &'a Args,
    pub(super) cores: Cores,
    pub(super) descriptors: u64,
    pub(super) scratch: &'a Path,
    pub(super) upstream: SocketAddr,
    pub(super) ca_pem: &'a str,
    pub(super) tls: Arc<ClientConfig>,
}

impl Setup<'_> {
    pub(super) fn start(&self, contestant: Contestant) -> Result<Entry> {
        let directory = self.scratch.join(contestant.name());
        fs::create_dir_all(&directory).context("a temporary directory")?;
        fs::write(directory.join("ca.pem"), self.ca_pem).context("writing the CA")?;
        // Each has an address of its own; loopback has plenty.
        let (command, address) = match contestant {
            Contestant::Direct => {
                let target = Target {
                    address: self.upstream,
                    tls: Some(Arc::clone(&self.tls)),
                };
                return Ok(Entry {
                    target,
                    credential: KEY,
                    server: None,
                });
            }
            Contestant::Nginx => self.nginx(&directory)?,
            Contestant::Haproxy => {
                self.haproxy(&directory, Ipv4Addr::new(127, 0, 0, 4), "http/1.1")?
            }
            Contestant::HaproxyHttp2 => {
                self.haproxy(&directory, Ipv4Addr::new(127, 0, 0, 5), "h2")?
            }
            Contestant::Keyward => self.keyward(&directory, Ipv4Addr::new(127, 0, 0, 2), "")?,
            Contestant::KeywardHttp2 => self.keyward(
                &directory,
                Ipv4Addr::new(127, 0, 0, 3),
                "http1-connections = 0\n",
            )?,
        };
        let server = cores::on(self.cores.server, || Server::start(command, address))?;
        let target = Target { address, tls: None };
        Ok(Entry {
            target,
            credential: PLACEHOLDER,
            server: Some(server),
        })
    }

    fn nginx(&self, directory: &Path) -> Result<(Command, SocketAddr)> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 18080));
        let (upstream, descriptors) = (self.upstream, self.descriptors);
        // Buffering is off in both directions: a gateway for event streams has no choice.
        let text = format!(
            r#"
daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile {descriptors};
pid nginx.pid;
error_log error.log;
events {{ worker_connections 32768; }}
http {{
    log_format json escape=json '{{"time":$msec,"id":"$request_id","method":"$request_method",'
        '"path":"$uri","status":$status,"duration":$request_time,"sent":$bytes_sent,'
        '"received":$request_length,"upstream":"$upstream_addr",'
        '"first_byte":"$upstream_header_time"}}';
    access_log access.log json buffer=64k flush=1s;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
    map $http_upgrade $connection_header {{
        default upgrade;
        '' '';
    }}
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_max_body_size 10m;
    tcp_nodelay on;
    upstream provider {{
        server {upstream};
        keepalive 2048;
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
    }}
    server {{
        listen {address} backlog=4096;
        location / {{
            proxy_pass https://provider;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_read_timeout 600s;
            proxy_set_header Connection $connection_header;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Host api.openai.com;
            proxy_set_header Authorization "Bearer {KEY}";
            proxy_set_header X-Api-Key "";
            proxy_set_header X-Request-Id $request_id;
            proxy_ssl_protocols TLSv1.3;
            proxy_ssl_server_name on;
            proxy_ssl_name api.openai.com;
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate ca.pem;
        }}
    }}
}}
"#
        );
        let config = directory.join("nginx.conf");
        fs::write(&config, text).context("writing nginx.conf")?;
        let mut command = Command::new(&self.args.nginx);
        // Relative paths in the configuration are relative to the prefix, or to the configuration.
        command
            .arg("-p")
            .arg(directory)
            .arg("-e")
            .arg("error.log")
            .arg("-c")
            .arg(config);
        Ok((command, address))
    }

    fn haproxy(
        &self,
        directory: &Path,
        listen: Ipv4Addr,
        alpn: &str,
    ) -> Result<(Command, SocketAddr)> {
        let address = SocketAddr::from((listen, 18081));
        // It does not start where it could not have two descriptors for each of these.
        let most = self.descriptors / 2 - 100;
        let upstream = self.upstream;
        let ca = directory.join("ca.pem");
        let ca = ca.display();
        let text = format!(
            r#"
global
    maxconn {most}
    nbthread 1
    log stderr format raw local0
defaults
    mode http
    log global
    option httplog
    option http-no-delay
    http-reuse always
    timeout connect 10s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 600s
listen provider
    bind {address} backlog 4096
    http-request set-header Host api.openai.com
    http-request set-header Authorization "Bearer {KEY}"
    http-request del-header X-Api-Key
    http-request set-header X-Request-Id %[uuid]
    server provider {upstream} ssl alpn {alpn} ws h1 sni str(api.openai.com) verify required verifyhost api.openai.com ca-file {ca} ssl-min-ver TLSv1.3
"#
        );
        let config = directory.join("haproxy.cfg");
        fs::write(&config, text).context("writing haproxy.cfg")?;
        let mut command = Command::new(&self.args.haproxy);
        command.arg("-db").arg("-f").arg(config);
        Ok((command, address))
    }

    fn keyward(
        &self,
        directory: &Path,
        listen: Ipv4Addr,
        upstream: &str,
    ) -> Result<(Command, SocketAddr)> {
        let key = directory.join("key");
        fs::write(&key, KEY).context("writing the key")?;
        let path = |path: &Path| toml_string(&path.display().to_string());
        let text = format!(
            "listen = \"{listen}\"\n\
             [provider.openai]\n\
             credential = {}\n\
             [upstream]\n\
             ca-files = [{}]\n\
             system-roots = false\n\
             {upstream}\
             resolve = [\"api.openai.com={}\"]\n\
             [limits]\n\
             connections = 30000\n\
             [log]\n\
             requests = {}\n",
            toml_string(&format!("file:{}", key.display())),
            path(&directory.join("ca.pem")),
            self.upstream,
            path(&directory.join("requests.log")),
        );
        let config = directory.join("proxy.toml");
        fs::write(&config, text).context("writing proxy.toml")?;
        let mut command = Command::new(&self.args.proxy);
        command.arg("--config").arg(config);
        Ok((command, SocketAddr::from((listen, 10000))))
    }
}

/// A basic TOML string. Paths of temporary files have nothing to escape but these two.
fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
