# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets that are older than the firewall: no hook saw how they were made, set or connected. Made first; then, for
every line of input, each sends that line, and what came of it is one line of output.
"""

import errno
import socket
import struct
import sys

V4, V6, PORT = "192.0.2.1", "2001:db8::1", 4242
I4, I6, TCP, UDP = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
SEGMENTS = struct.pack("!6BH", 0, 4, 4, 1, 1, 0, 0) + socket.inet_pton(I6, "::1") + socket.inet_pton(I6, V6)


def connected(family, kind, protocol, address):
    s = socket.socket(family, kind, protocol)
    s.connect((address, PORT))
    return s


def routed():
    s = socket.socket(I6, UDP)
    s.setsockopt(socket.IPPROTO_IPV6, 57, SEGMENTS)
    return s


tcp, tcp6 = connected(I4, TCP, 0, V4), connected(I6, TCP, 0, V6)
udp = connected(I4, UDP, 0, V4)
ping, route = socket.socket(I4, UDP, socket.IPPROTO_ICMP), routed()
SENDERS = {
    "tcp": tcp.send,
    "tcp6": tcp6.send,
    "udp": udp.send,
    "ping": lambda data: ping.sendto(struct.pack("!BBHHH", 8, 0, 0, 1, 1) + data, (V4, 0)),
    "route": lambda data: route.sendto(data, ("::1", PORT)),
}
try:
    SENDERS["lite"], SENDERS["lite6"] = connected(I4, UDP, 136, V4).send, connected(I6, UDP, 136, V6).send
except OSError as error:
    # Newer kernels have no UDP-Lite any more.
    if error.errno != errno.EPROTONOSUPPORT:
        raise
print("ready", *SENDERS, flush=True)
for line in sys.stdin:
    name, marker = line.split()
    try:
        try:
            SENDERS[name](marker.encode())
        except ConnectionRefusedError:
            # The answer to the line before, kept for the next call.
            SENDERS[name](marker.encode())
        result = "sent"
    except OSError as error:
        result = errno.errorcode[error.errno]
    print(result, flush=True)
