# SPDX-License-Identifier: GPL-3.0-or-later
"""What attempts have in common, and the probes of the end-to-end tests, which it is put in front of. An attempt finds all
of this, and the names of what is where, already there.

Behind the firewall PROXY and GATE are keyward's; without it, a proxy that checks nothing and the provider itself.
"""

import base64, ctypes, errno, fcntl, glob, json, mmap, os, re, resource, select, shutil, signal, socket, ssl
import stat, struct, subprocess, sys, tempfile, threading, time

I4, I6, UNIX = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX
TCP, UDP, RAW = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW
PATIENCE = 3
libc = ctypes.CDLL(None, use_errno=True)


def place(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def call(function, *arguments):
    """A function of the C library: its result, or OSError."""
    result = getattr(libc, function)(*arguments)
    if result == -1:
        raise OSError(ctypes.get_errno(), function)
    return result


def tcp(host, port, data=b"", family=None):
    if family is None:
        s = socket.create_connection((host, port), PATIENCE)
    else:
        s = socket.socket(family, TCP)
        s.settimeout(PATIENCE)
        s.connect((host, port))
    if data:
        s.sendall(data)
    return s


def sk(family, kind, protocol, address, port, data=None, options=()):
    """A socket that is connected and sends."""
    s = socket.socket(family, kind, protocol)
    s.settimeout(PATIENCE)
    for option in options:
        s.setsockopt(*option)
    s.connect((address, port))
    s.send(M if data is None else data)
    return s


def su(family, kind, protocol, address, port, data=None, options=(), flags=0):
    """A socket that sends without being connected."""
    s = socket.socket(family, kind, protocol)
    for option in options:
        s.setsockopt(*option)
    s.sendto(M if data is None else data, flags, (address, port))
    return s


class Shown(bytes):
    """What has been printed."""


def show(said):
    print(said.decode("latin-1") if isinstance(said, bytes) else said)
    return Shown(said) if isinstance(said, bytes) else said


def heard(s):
    """What the other side has to say, if anything."""
    s.settimeout(PATIENCE)
    try:
        data = s.recv(999)
        if data[:1] == b"\x15":
            print("TLS alert", data[-1])
        else:
            show(data or "closed")
    except OSError as error:
        print(describe(error))


def each(*attempts):
    """Several spellings of one attempt: what came of each."""
    for attempt in attempts:
        try:
            made = attempt()
            if isinstance(made, socket.socket) and made.type == TCP and made.family != UNIX:
                heard(made)
            elif isinstance(made, bytes) and not isinstance(made, Shown):
                show(made or "closed")
            elif not isinstance(made, Shown):
                print("made")
        except Exception as error:
            print(describe(error))


def tls(sock, sni, alpn=None):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    return context.wrap_socket(sock, server_hostname=sni)


def say(s, data):
    s.sendall(data)
    return s


def h2(*requests):
    """HTTP/2 as it begins for who knows that it will be understood: a stream for each list of headers, none compressed."""
    def frame(kind, flags, stream, body):
        return struct.pack("!I", len(body))[1:] + struct.pack("!BBI", kind, flags, stream) + body
    said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
    for number, headers in enumerate(requests):
        pairs = ((name.encode(), value.encode()) for name, value in headers)
        block = b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in pairs)
        said += frame(1, 5, 2 * number + 1, block)
    return said


def h2_get(authority, path, *more):
    return [(":method", "GET"), (":scheme", "https"), (":authority", authority), (":path", path), *more]


def get(sock, host, path=None, more="", method="GET"):
    sock.sendall(f"{method} {path or '/' + MARK} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode("latin-1"))
    return sock.recv(65536)


def answer_of(sock):
    """All that comes until the other side has nothing more to say."""
    sock.settimeout(1.5)
    said = b""
    try:
        while data := sock.recv(65536):
            said += data
            head, separator, body = said.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            if separator and length and len(body) >= int(length[1]):
                break
    except OSError:
        pass
    return said


def raw(data):
    """These bytes, to the proxy."""
    s = socket.create_connection(place(PROXY), PATIENCE)
    s.sendall(data.encode("latin-1") if isinstance(data, str) else data)
    return show(answer_of(s))


def tun(target, host=None):
    """A tunnel through the proxy."""
    s = socket.create_connection(place(PROXY), PATIENCE)
    s.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {host or target}\r\n\r\n".encode("latin-1"))
    said = b""
    while b"\r\n\r\n" not in said:
        # No further: what follows is the server's.
        byte = s.recv(1)
        if not byte:
            raise OSError(errno.ECONNRESET, "closed")
        said += byte
    if b" 200" not in said.split(b"\r\n")[0]:
        show(said + answer_of(s))
        raise OSError(errno.EACCES, "no tunnel")
    return s


def absolute(target, host, more="", method="GET"):
    return raw(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n")


def gate(method, path, headers=None, body=b"", port=None):
    """A request at the provider's gateway, with the placeholder unless told otherwise."""
    headers = {"authorization": "Bearer " + PH} if headers is None else headers
    body = body.encode() if isinstance(body, str) else body
    if body:
        headers = {"content-type": "application/json", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    host, own = place(GATE)
    s = socket.create_connection((host, port or own), PATIENCE)
    s.sendall(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{lines}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body)
    return show(answer_of(s))


def gate_raw(data):
    s = socket.create_connection(place(GATE), PATIENCE)
    s.sendall(data.encode("latin-1") if isinstance(data, str) else data)
    return show(answer_of(s))


def question(name, kind=1, more=b""):
    labels = b"".join(bytes([len(it)]) + it.encode("latin-1") for it in name.split(".") if it)
    return struct.pack("!HHHHHH", 4242, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1) + more


def dq(server, name, kind=1, by_tcp=False):
    """One DNS question, and the code of the answer."""
    query = question(name, kind)
    if by_tcp:
        s = socket.create_connection((server, 53), PATIENCE)
        s.sendall(struct.pack("!H", len(query)) + query)
        said = s.recv(4096)[2:]
    else:
        s = socket.socket(I4, UDP)
        s.settimeout(2)
        s.sendto(query, (server, 53))
        said = s.recv(4096)
    print("rcode", said[3] & 15)
    return said


def hello(sni, extra=b"", pad=0):
    """A ClientHello that OpenSSL answers, with one more extension."""
    def ext(number, body):
        return struct.pack("!HH", number, len(body)) + body
    name = sni.encode()
    extensions = ext(0, struct.pack("!HBH", len(name) + 3, 0, len(name)) + name) if name else b""
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


def unix(path, data=None, kind=TCP):
    """Says something to a daemon of the host."""
    s = socket.socket(UNIX, kind)
    s.settimeout(PATIENCE)
    s.connect(path)
    s.sendall(M if data is None else data)
    return s


def processes():
    """What can be seen of processes: pid and arguments."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    yield int(entry), file.read().replace(b"\0", b" ").decode("latin-1")
            except OSError:
                pass


def process(words):
    """The pid of a process of the host's, by its arguments: the lab's own, where another lab has one of the same name."""
    found = [it for it in processes() if words in it[1] and it[0] != os.getpid()]
    lab = os.path.basename(os.path.dirname(WORK))
    for pid, _ in sorted(found, key=lambda it: lab not in it[1]):
        return pid
    raise OSError(errno.ESRCH, "no such process")


def read(path, size=65536):
    with open(path, "rb") as file:
        return show(file.read(size))


def write(path, text=None, mode="w"):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, mode) as file:
        file.write(MARK + "\n" if text is None else text)


def home(path):
    return os.path.join(os.path.expanduser("~"), path)


def sh(script, seconds=5):
    done = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds)
    return show(done.stdout)


def meanwhile():
    """Has the host do its part, and waits for that."""
    sign = os.path.join(SIGNS, MARK)
    with open(sign + ".go", "w"):
        pass
    for _ in range(1000):
        if os.path.exists(sign + ".done"):
            with open(sign + ".done") as file:
                return show(file.read())
        time.sleep(0.01)
    raise OSError(errno.ETIMEDOUT, "the host did not do its part")


def describe(error):
    if isinstance(error, TimeoutError):
        return "ETIMEDOUT"
    if isinstance(error, OSError) and error.errno in errno.errorcode:
        return f"{errno.errorcode[error.errno]} {error.strerror or ''}"
    return f"{type(error).__name__} {error}"
