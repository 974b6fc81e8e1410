# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to send one packet past a firewall. `probes.py NAME` runs one and prints how long it took and what it got.

No probe depends on the others, or on anything but Python's standard library and the addresses of the test.
"""

import errno
import signal
import socket
import struct
import sys
import time

V4, V6, MAPPED, PORT = "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", 4242
PROXY_V6, GATEWAY = "fd00:6b77::30", 10000
MPTCP, UDPLITE, FASTOPEN, IPV6_RTHDR = 262, 136, 0x20000000, 57
PING = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
PING6 = struct.pack("!BBHHH", 128, 0, 0, 1, 1)


def connect(family, kind, protocol, address, port=PORT):
    with socket.socket(family, kind, protocol) as s:
        s.settimeout(2)
        s.connect((address, port))
        s.send(b"x")


def sendto(family, kind, protocol, address, port=PORT, data=b"x", option=None, flags=0):
    with socket.socket(family, kind, protocol) as s:
        s.settimeout(2)
        if option:
            s.setsockopt(*option)
        if flags == FASTOPEN:
            # Python's timeouts make a socket non-blocking, and this one would not wait for an answer.
            s.settimeout(None)
        s.sendto(data, flags, (address, port))


def routing_header():
    """Segment routing: by way of the outside, to an address that the rules allow."""
    segments = socket.inet_pton(socket.AF_INET6, "::") + socket.inet_pton(socket.AF_INET6, V6)
    header = struct.pack("!BBBBBBH", 0, 4, 4, 1, 1, 0, 0) + segments
    return (socket.IPPROTO_IPV6, IPV6_RTHDR, header)


def routed_tcp(address, port):
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as s:
        s.settimeout(2)
        s.setsockopt(*routing_header())
        s.connect((address, port))


I4, I6, TCP, UDP, RAW = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW
PROBES = {
    "tcp": lambda: connect(I4, TCP, 0, V4),
    "tcp-443": lambda: connect(I4, TCP, 0, V4, 443),
    "tcp-to-a-gateway-port": lambda: connect(I4, TCP, 0, V4, GATEWAY),
    "tcp-v6": lambda: connect(I6, TCP, 0, V6),
    "tcp-mapped": lambda: connect(I6, TCP, 0, MAPPED),
    "tcp-fast-open": lambda: sendto(I4, TCP, 0, V4, flags=FASTOPEN),
    "mptcp": lambda: connect(I4, TCP, MPTCP, V4),
    "udp-connected": lambda: connect(I4, UDP, 0, V4),
    "udp": lambda: sendto(I4, UDP, 0, V4),
    "udp-v6": lambda: sendto(I6, UDP, 0, V6),
    "udp-mapped": lambda: sendto(I6, UDP, 0, MAPPED),
    "udp-broadcast": lambda: sendto(I4, UDP, 0, "192.0.2.255", option=(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)),
    "udp-multicast": lambda: sendto(I4, UDP, 0, "239.1.2.3"),
    "dns": lambda: sendto(I4, UDP, 0, V4, 53),
    "dns-tcp": lambda: connect(I4, TCP, 0, V4, 53),
    "quic-port": lambda: sendto(I6, UDP, 0, V6, 443),
    "udp-lite": lambda: sendto(I4, UDP, UDPLITE, V4),
    "udp-lite-connected": lambda: connect(I4, UDP, UDPLITE, V4),
    "udp-lite-v6": lambda: sendto(I6, UDP, UDPLITE, V6),
    "raw-icmp": lambda: sendto(I4, RAW, socket.IPPROTO_ICMP, V4, 0, PING),
    "raw-icmp-v6": lambda: sendto(I6, RAW, socket.IPPROTO_ICMPV6, V6, 0, PING6),
    "raw-gre": lambda: sendto(I4, RAW, 47, V4, 0, b"xxxx"),
    "raw-unknown": lambda: sendto(I4, RAW, 253, V4, 0, b"xxxx"),
    "ip-options": lambda: sendto(I4, UDP, 0, V4, option=(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\x01\x01\x01\x00")),
    "routing-header-udp": lambda: sendto(I6, UDP, 0, PROXY_V6, 53, option=routing_header()),
    "routing-header-to-loopback": lambda: sendto(I6, UDP, 0, "::1", PORT, option=routing_header()),
    "routing-header-tcp": lambda: routed_tcp(PROXY_V6, GATEWAY),
}


def main():
    if len(sys.argv) == 1:
        print("\n".join(PROBES))
        return
    signal.alarm(5)
    start = time.monotonic()
    try:
        PROBES[sys.argv[1]]()
        result = "sent"
    except OSError as error:
        result = errno.errorcode.get(error.errno, type(error).__name__)
    print(round((time.monotonic() - start) * 1000), result)


main()
