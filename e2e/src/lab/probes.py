# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to get something out. `probes.py NAME MARKER` tries one and prints the milliseconds that it took, what came of
it (`sent`, or the name of an errno) and its pid. Without a name it lists them all, each with who has to run it.

No probe depends on another, nor on anything but Python's standard library and the addresses of the lab.
"""

import ctypes
import errno
import os
import signal
import socket
import struct
import sys
import time

V4, V6, PORT = "192.0.2.1", "2001:db8::1", 4242
HOST_V4 = "192.0.2.2"
MAPPED = "::ffff:" + V4
PROXY_V6 = "fd00:6b77::30"
DEVICE = b"out\0"
I4, I6, TCP, UDP, RAW = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW
MPTCP, UDPLITE = 262, 136
MSG_FASTOPEN, TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_NO_COOKIE = 0x20000000, 30, 34
IPV6_RTHDR, IPV6_DSTOPTS, IPV6_ADDRFORM, IP_RETOPTS, IP_OPTIONS, IP_UNICAST_IF = 57, 59, 1, 7, 4, 50
SO_BINDTODEVICE, SO_BINDTOIFINDEX, SO_MARK = 25, 62, 36
MARKER = b""


def connect(family, kind, protocol, address, port=PORT, options=()):
    with socket.socket(family, kind, protocol) as s:
        for option in options:
            s.setsockopt(*option)
        s.settimeout(2)
        s.connect((address, port))
        s.send(MARKER)


def sendto(family, kind, protocol, address, port=PORT, options=(), flags=0, data=None):
    with socket.socket(family, kind, protocol) as s:
        for option in options:
            s.setsockopt(*option)
        s.sendto(MARKER if data is None else data, flags, (address, port))


def sendmsg(family, address, ancillary, port=PORT):
    with socket.socket(family, UDP) as s:
        s.sendmsg([MARKER], [ancillary], 0, (address, port))


def sendmmsg():
    class Iovec(ctypes.Structure):
        _fields_ = [("base", ctypes.c_char_p), ("len", ctypes.c_size_t)]

    class Msghdr(ctypes.Structure):
        _fields_ = [("name", ctypes.c_char_p), ("namelen", ctypes.c_uint32), ("iov", ctypes.POINTER(Iovec)),
                    ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
                    ("flags", ctypes.c_int), ("len", ctypes.c_uint)]

    name = struct.pack("<H", I4) + struct.pack("!H", PORT) + socket.inet_aton(V4) + bytes(8)
    iovec = Iovec(MARKER, len(MARKER))
    message = Msghdr(name, len(name), ctypes.pointer(iovec), 1, None, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    with socket.socket(I4, UDP) as s:
        if libc.sendmmsg(s.fileno(), ctypes.byref(message), 1, 0) != 1:
            raise OSError(ctypes.get_errno(), "sendmmsg")


def nonblocking_connect():
    """A connect that nobody waits for, and the data behind it."""
    with socket.socket(I4, TCP) as s:
        s.setblocking(False)
        try:
            s.connect((V4, PORT))
        except BlockingIOError:
            pass
        time.sleep(0.02)
        s.send(MARKER)


def connected_then_elsewhere():
    """Connected to what is allowed, then told otherwise."""
    with socket.socket(I4, UDP) as s:
        s.bind((HOST_V4, 0))
        s.connect(("127.0.0.1", PORT))
        s.sendto(MARKER, (V4, PORT))


def reconnected():
    """Connected to what is allowed, and then again."""
    with socket.socket(I4, UDP) as s:
        s.bind((HOST_V4, 0))
        s.connect(("127.0.0.1", PORT))
        s.connect((V4, PORT))
        s.send(MARKER)


def address_form():
    """An IPv6 socket turned into an IPv4 one."""
    with socket.socket(I6, UDP) as s:
        s.bind(("::ffff:" + HOST_V4, 0))
        s.connect(("::ffff:127.0.0.1", PORT))
        s.setsockopt(socket.IPPROTO_IPV6, IPV6_ADDRFORM, I4)
        t = socket.socket(fileno=s.detach())
        t.sendto(MARKER, (V4, PORT))


def raw_header():
    with socket.socket(I4, RAW, socket.IPPROTO_RAW) as s:
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 7, 0, 64, 17, 0, bytes(4), socket.inet_aton(V4))
        s.sendto(header + MARKER, (V4, 0))


def fragment():
    with socket.socket(I4, RAW, socket.IPPROTO_RAW) as s:
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 7, 185, 64, 17, 0, bytes(4), socket.inet_aton(V4))
        s.sendto(header + MARKER, (V4, 0))


def join_group():
    """The kernel tells the network, in a packet of its own."""
    with socket.socket(I4, UDP) as s:
        member = socket.inet_aton("239.1.2.3") + socket.inet_aton("192.0.2.2")
        s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        time.sleep(0.3)


def segments():
    """An IPv6 routing header: by way of the outside, to where the packet says that it goes."""
    return struct.pack("!6BH", 0, 4, 4, 1, 1, 0, 0) + socket.inet_pton(I6, "::1") + socket.inet_pton(I6, V6)


def padding():
    """A destination options header."""
    return struct.pack("!BBBB", 0, 1, 0x1E, 12) + bytes(12)


def source_route():
    """Loose source routing: to the outside first."""
    return struct.pack("!BBBB4s", 1, 131, 7, 4, socket.inet_aton(V4))


RTHDR = (socket.IPPROTO_IPV6, IPV6_RTHDR)
PING = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
PING6 = struct.pack("!BBHHH", 128, 0, 0, 1, 1)

PROBES = {
    "tcp": lambda: connect(I4, TCP, 0, V4),
    "tcp-v6": lambda: connect(I6, TCP, 0, V6),
    "tcp-mapped": lambda: connect(I6, TCP, 0, MAPPED),
    "tcp-nonblocking": nonblocking_connect,
    "tcp-fast-open": lambda: sendto(I4, TCP, 0, V4, flags=MSG_FASTOPEN),
    "tcp-fast-open-v6": lambda: sendto(I6, TCP, 0, V6, flags=MSG_FASTOPEN),
    "tcp-fast-open-connect": lambda: connect(I4, TCP, 0, V4, options=[(6, TCP_FASTOPEN_CONNECT, 1)]),
    "tcp-fast-open-no-cookie":
        lambda: sendto(I4, TCP, 0, V4, options=[(6, TCP_FASTOPEN_NO_COOKIE, 1)], flags=MSG_FASTOPEN),
    "mptcp": lambda: connect(I4, TCP, MPTCP, V4),
    "mptcp-v6": lambda: connect(I6, TCP, MPTCP, V6),
    "udp": lambda: sendto(I4, UDP, 0, V4),
    "udp-v6": lambda: sendto(I6, UDP, 0, V6),
    "udp-mapped": lambda: sendto(I6, UDP, 0, MAPPED),
    "udp-connected": lambda: connect(I4, UDP, 0, V4),
    "udp-connected-v6": lambda: connect(I6, UDP, 0, V6),
    "udp-connected-mapped": lambda: connect(I6, UDP, 0, MAPPED),
    "udp-connected-then-elsewhere": connected_then_elsewhere,
    "udp-reconnected": reconnected,
    "udp-sendmmsg": sendmmsg,
    "udp-broadcast": lambda: sendto(I4, UDP, 0, "192.0.2.255", options=[(1, socket.SO_BROADCAST, 1)]),
    "udp-multicast": lambda: sendto(I4, UDP, 0, "239.1.2.3"),
    "udp-multicast-v6": lambda: sendto(I6, UDP, 0, "ff05::fb"),
    "udp-gateway-port": lambda: sendto(I4, UDP, 0, V4, 10000),
    "address-form": address_form,
    "join-group": join_group,
    "dns": lambda: sendto(I4, UDP, 0, V4, 53),
    "dns-v6": lambda: sendto(I6, UDP, 0, V6, 53),
    "dns-tcp": lambda: connect(I4, TCP, 0, V4, 53),
    "udp-lite": lambda: sendto(I4, UDP, UDPLITE, V4),
    "udp-lite-v6": lambda: sendto(I6, UDP, UDPLITE, V6),
    "udp-lite-connected": lambda: connect(I4, UDP, UDPLITE, V4),
    "udp-lite-connected-v6": lambda: connect(I6, UDP, UDPLITE, V6),
    "ping": lambda: sendto(I4, UDP, socket.IPPROTO_ICMP, V4, 0, data=PING + MARKER),
    "ping-v6": lambda: sendto(I6, UDP, socket.IPPROTO_ICMPV6, V6, 0, data=PING6 + MARKER),
    "bind-to-device": lambda: connect(I4, TCP, 0, V4, options=[(1, SO_BINDTODEVICE, DEVICE)]),
    "bind-to-ifindex": lambda: connect(I4, TCP, 0, V4, options=[(1, SO_BINDTOIFINDEX, socket.if_nametoindex("out"))]),
    "unicast-if": lambda: sendto(
        I4, UDP, 0, V4, options=[(0, IP_UNICAST_IF, struct.pack("!I", socket.if_nametoindex("out")))]),
    "routing-header": lambda: sendto(I6, UDP, 0, "::1", options=[(*RTHDR, segments())]),
    "routing-header-tcp": lambda: connect(I6, TCP, 0, "::1", options=[(*RTHDR, segments())]),
    "routing-header-fast-open": lambda: sendto(
        I6, TCP, 0, "::1", flags=MSG_FASTOPEN | socket.MSG_DONTWAIT,
        options=[(*RTHDR, segments()), (6, TCP_FASTOPEN_NO_COOKIE, 1)]),
}
ROOTS = {
    "raw-icmp": lambda: sendto(I4, RAW, socket.IPPROTO_ICMP, V4, 0, data=PING + MARKER),
    "raw-icmp-v6": lambda: sendto(I6, RAW, socket.IPPROTO_ICMPV6, V6, 0, data=PING6 + MARKER),
    "raw-unknown": lambda: sendto(I4, RAW, 253, V4, 0),
    "raw-unknown-v6": lambda: sendto(I6, RAW, 253, V6, 0),
    "raw-header": raw_header,
    "raw-fragment": fragment,
    "source-route": lambda: sendto(I4, UDP, 0, "127.0.0.1", options=[(0, IP_OPTIONS, source_route())]),
    "source-route-ancillary": lambda: sendmsg(I4, V4, (0, IP_RETOPTS, source_route())),
    "destination-options": lambda: sendto(I6, UDP, 0, V6, options=[(41, IPV6_DSTOPTS, padding())]),
    "mark": lambda: connect(I4, TCP, 0, V4, options=[(1, SO_MARK, 0xCA12)]),
}


def has_udp_lite():
    """Newer kernels have it no more: there, nothing of it can get out."""
    try:
        socket.socket(I4, UDP, UDPLITE).close()
    except OSError as error:
        return error.errno != errno.EPROTONOSUPPORT
    return True


def main():
    global MARKER
    if len(sys.argv) == 1:
        lite = has_udp_lite()
        for who, probes in (("user", PROBES), ("root", ROOTS)):
            print("\n".join(f"{who} {name}" for name in probes if lite or not name.startswith("udp-lite")))
        return
    MARKER = sys.argv[2].encode()
    probe = (PROBES | ROOTS)[sys.argv[1]]
    signal.alarm(10)
    start = time.monotonic()
    try:
        probe()
        result = "sent"
    except TimeoutError:
        result = "ETIMEDOUT"
    except OSError as error:
        result = errno.errorcode.get(error.errno, type(error).__name__)
    print((time.monotonic() - start) * 1000, result, os.getpid())


main()
