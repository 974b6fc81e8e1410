# SPDX-License-Identifier: GPL-3.0-or-later
"""An outside: every server that a workload may or may not reach, all on one loopback device.

    servers.py CERTIFICATE KEY LOG FILES

Which host was reached is told by the address that was connected to. Whatever arrives is one line of JSON in LOG.
"""
import gzip
import http.server
import json
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

certificate, key, log_path, files = sys.argv[1:]
log_lock = threading.Lock()
log_file = open(log_path, "a", buffering=1)


def arrived(what, address, **more):
    with log_lock:
        log_file.write(json.dumps({"what": what, "at": address, **more}) + "\n")


def bind(kind, port, family=socket.AF_INET):
    sock = socket.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
    if kind == socket.SOCK_STREAM:
        sock.listen(512)
    return sock


class Pages(http.server.BaseHTTPRequestHandler):
    """Pages, redirects, and the files of a repository."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def parse_request(self):
        if self.raw_requestline.startswith(b"PRI"):
            arrived("preface", self.connection.getsockname()[0], data=self.rfile.peek(4096).decode("latin-1"))
        return super().parse_request()

    def do_GET(self):
        at = self.connection.getsockname()[0]
        tls = isinstance(self.connection, ssl.SSLSocket)
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length).decode("latin-1")
        arrived("https" if tls else "http", at, host=self.headers.get("host"), path=self.path,
                method=self.command, body=body, head=str(self.headers), headers=len(str(self.headers)))
        if self.path.startswith("/redirect?to="):
            self.send_response(302)
            self.send_header("location", self.path.split("=", 1)[1])
            self.send_header("content-length", "0")
            self.end_headers()
            return
        if "/reflect" in self.path:
            # As a careless service's page for debugging, or its words about a bad request.
            return self.reflect(body)
        if self.path.startswith("/git/"):
            return self.git(body.encode("latin-1"))
        if self.path.startswith("/files/"):
            path = os.path.join(files, self.path[len("/files/"):].split("?")[0])
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    return self.answer(200, file.read())
            return self.answer(404, b"no such file\n")
        if self.path.startswith("/large"):
            return self.answer(200, b"0123456789abcdef" * 65536 * 4)
        self.answer(200, f"<title>page of {at}</title>hello from {at}\n".encode())

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_CONNECT = do_TRACK = do_FOO = do_TRACE = do_get = do_Get = do_GET

    def reflect(self, body):
        heads = {name: value for name, value in self.headers.items()}
        if "/asked" in self.path:
            heads.pop("authorization", 0)
        text = f"{self.command} {self.path}\n{heads}\n{body}".encode("latin-1")
        self.send_response(200)
        if "/header" in self.path:
            self.send_header("x-request", str(heads))
        if "/compressed" in self.path:
            text = gzip.compress(text)
            self.send_header("content-encoding", "gzip")
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        # In pieces, none of which has a whole word in it.
        step = 7 if "/pieces" in self.path else len(text)
        for at in range(0, len(text), step):
            self.wfile.write(text[at:at + step])
            self.wfile.flush()
            time.sleep(0.002)

    def git(self, body):
        """Repositories, by git's own CGI program."""
        path, _, query = self.path.partition("?")
        header = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in self.headers.items()}
        program = subprocess.run(["git", "http-backend"], input=body, stdout=subprocess.PIPE, env={
            **os.environ, **header, "GIT_PROJECT_ROOT": files, "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
            "QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_ADDR": self.client_address[0],
            "CONTENT_TYPE": self.headers.get("content-type", ""), "CONTENT_LENGTH": str(len(body)),
        })
        head, _, content = program.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Threads(socketserver.ThreadingMixIn):
    daemon_threads = True
    request_queue_size = 512


class PageServer(Threads, http.server.HTTPServer):
    def handle_error(self, request, client_address):
        pass


class PageServerV6(PageServer):
    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()


class TlsPageServer(PageServer):
    def finish_request(self, request, client_address):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        at = request.getsockname()[0]
        # Told also if the handshake goes no further.
        context.sni_callback = lambda connection, name, _: arrived("tls", at, sni=name)
        try:
            first = request.recv(4096, socket.MSG_PEEK)
            arrived("connection", at, port=request.getsockname()[1], data=first.decode("latin-1"))
            tls = context.wrap_socket(request, server_side=True)
        except OSError:
            return
        self.RequestHandlerClass(tls, client_address, self)


def echo(port, family=socket.AF_INET):
    """Speaks first, then says back what it hears."""
    listener = bind(socket.SOCK_STREAM, port, family)

    def serve(client):
        at = client.getsockname()[0]
        arrived("connection", at, port=port)
        with client:
            try:
                client.sendall(b"hello from %s\n" % at.encode())
                while data := client.recv(65536):
                    arrived("bytes", at, port=port, data=data.decode("latin-1"))
                    client.sendall(data)
            except OSError:
                pass

    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def datagrams(port):
    sock = bind(socket.SOCK_DGRAM, port)
    sock.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
    while True:
        data, control, _, sender = sock.recvmsg(65536, 1024)
        at = socket.inet_ntoa(control[0][2][8:12]) if control else "?"
        arrived("datagram", at, port=port, data=data.decode("latin-1"))
        if port == 53:
            sock.sendto(data[:2] + b"\x81\x83" + data[4:], sender)


def forwarder(port):
    """A forward proxy that checks nothing."""
    listener = bind(socket.SOCK_STREAM, port)

    def pump(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve(client):
        try:
            forward(client)
        except (OSError, ValueError):
            # It is asked for anything.
            client.close()

    def forward(client):
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(65536)
            if not data:
                return
            head += data
        head, rest = head.split(b"\r\n\r\n", 1)
        method, target, _ = head.split(b"\r\n")[0].split(b" ")
        if method == b"CONNECT":
            authority = target
        else:
            url = target.split(b"://", 1)[1] if b"://" in target else target.lstrip(b"/")
            authority, _, path = url.partition(b"/")
            line = method + b" /" + path + b" HTTP/1.1"
            rest = b"\r\n".join([line] + head.split(b"\r\n")[1:]) + b"\r\n\r\n" + rest
        arrived("forwarded", client.getsockname()[0], target=target.decode("latin-1"))
        authority = urllib.parse.unquote(authority.rsplit(b"@", 1)[-1].split(b"\0")[0].decode())
        host, colon, port = authority.rpartition(":")
        if not colon or authority.endswith("]"):
            host, port = authority, "443" if method == b"CONNECT" else "80"
        upstream = socket.create_connection((host.strip("[]").rstrip("."), int(port)))
        if method == b"CONNECT":
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        upstream.sendall(rest)
        threading.Thread(target=pump, args=(upstream, client), daemon=True).start()
        pump(client, upstream)

    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def start(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()


for port in (80, 8080):
    start(PageServer(("0.0.0.0", port), Pages).serve_forever)
start(PageServerV6(("::", 80), Pages).serve_forever)
for port in (443, 8443, 853):
    start(TlsPageServer(("0.0.0.0", port), Pages).serve_forever)
for port in (22, 25, 2222, 4242, 5555):
    start(echo, port)
    start(echo, port, socket.AF_INET6)
for port in (53, 443, 4433):
    start(datagrams, port)
start(echo, 53)
start(forwarder, 3128)
arrived("ready", "")
threading.Event().wait()
