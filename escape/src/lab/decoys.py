# SPDX-License-Identifier: GPL-3.0-or-later
"""The decoys of the lab's host: `decoys.py LOG`. Daemons that act for who asks, at the places where such daemons are, a
home full of keys, and processes with a secret. Whatever reaches one of them is one line of JSON in LOG.

It begins as root, makes what only root can, and goes on as the workload's own user.
"""
import array
import ctypes
import json
import os
import socket
import struct
import sys
import threading
import time

USER, KEEPER, GROUP = 12345, 12346, 12347
env, SECRET, HOME = os.environ, os.environ["SECRET"], os.environ["DECOY_HOME"]
log_file, log_lock = open(sys.argv[1], "a", buffering=1), threading.Lock()
libc = ctypes.CDLL(None, use_errno=True)


def arrived(what, at, data=b""):
    with log_lock:
        log_file.write(json.dumps({"what": what, "at": at, "data": data.decode("latin-1")}) + "\n")


def start(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()


def stream(listener, name):
    """Takes what it is told, and gives who connects a socket that leads out."""
    def serve(client):
        arrived("connection", name)
        if name == "descriptors":
            out = socket.socket()
            socket.send_fds(client, [b"x"], [out.fileno()])
        with client:
            try:
                while data := client.recv(65536):
                    arrived("bytes", name, data)
                    client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            except OSError:
                pass

    while True:
        start(serve, listener.accept()[0])


def datagrams(sock, name):
    while True:
        arrived("datagram", name, sock.recv(65536))


def listen(family, address, name, kind=socket.SOCK_STREAM):
    sock = socket.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if family == socket.AF_UNIX and address[:1] != "\0":
        os.makedirs(os.path.dirname(address), exist_ok=True)
    sock.bind(address)
    if family == socket.AF_UNIX and address[:1] != "\0":
        os.chmod(address, 0o777)
    if kind == socket.SOCK_STREAM:
        sock.listen(64)
        start(stream, sock, name)
    else:
        start(datagrams, sock, name)


def queue():
    """A reader of a System V message queue."""
    number = libc.msgget(0x6B77, 0o1666)
    buffer = ctypes.create_string_buffer(8 + 4096)
    while True:
        length = libc.msgrcv(number, buffer, 4096, 0, 0)
        if length < 0:
            return
        arrived("message", "sysv", buffer.raw[8:8 + length])


def posix_queue():
    """A reader of a POSIX message queue."""
    real_time = ctypes.CDLL("librt.so.1", use_errno=True)
    attributes = (ctypes.c_long * 8)(0, 8, 512)
    number = real_time.mq_open(b"/keyward-decoy", os.O_RDONLY | os.O_CREAT, 0o666, attributes)
    buffer = ctypes.create_string_buffer(512)
    while number >= 0:
        length = real_time.mq_receive(number, buffer, 512, None)
        if length < 0:
            return
        arrived("message", "posix", buffer.raw[:length])


def shared_memory():
    """A page that others may write to."""
    number = libc.shmget(0x6B77, 4096, 0o1666)
    libc.shmat.restype = ctypes.c_void_p
    page = libc.shmat(number, None, 0)
    if number < 0 or page in (None, ctypes.c_void_p(-1).value):
        return
    libc.shmctl(number, 0, None)
    while True:
        data = ctypes.string_at(page, 256).rstrip(b"\0")
        if data:
            arrived("memory", "sysv", data)
            ctypes.memset(page, 0, 4096)
        time.sleep(0.02)


def keep(path, content, mode=0o600):
    path = os.path.join(HOME, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(content)
    os.chmod(path, mode)


def fill_home():
    for path, content in {
        ".aws/credentials": "[default]\naws_secret_access_key = {}\n",
        ".azure/msal_token_cache.json": '{{"secret": "{}"}}',
        ".cargo/credentials.toml": '[registry]\ntoken = "{}"\n',
        ".claude/.credentials.json": '{{"accessToken": "{}"}}',
        ".codex/auth.json": '{{"OPENAI_API_KEY": "{}"}}',
        ".config/gcloud/application_default_credentials.json": '{{"refresh_token": "{}"}}',
        ".config/gh/hosts.yml": "github.com:\n  oauth_token: {}\n",
        ".docker/config.json": '{{"auths": {{"x": {{"auth": "{}"}}}}}}',
        ".git-credentials": "https://x:{}@github.com\n",
        ".gnupg/private-keys-v1.d/key.key": "{}",
        ".kube/config": "token: {}\n",
        ".netrc": "machine x password {}\n",
        ".npmrc": "//registry.example/:_authToken={}\n",
        ".pypirc": "password = {}\n",
        ".ssh/id_ed25519": "{}\n",
    }.items():
        keep(path, content.format(SECRET))
    keep(".bashrc", "# nothing\n", 0o644)
    keep(".profile", "# nothing\n", 0o644)
    keep(".config/systemd/user/decoy.service", "[Service]\n", 0o644)


SCRIPT = "import os, time; held = bytearray(os.environ['SECRET'].encode()); time.sleep(100000)"


def victims(names):
    """Processes of the same user with the secret in their environment and memory; another when one has ended."""
    running = {}
    while True:
        for name in set(names) - set(running.values()):
            pid = os.fork()
            if pid == 0:
                os.setsid()
                libc.prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG: it does not outlive the lab
                os.execve("/usr/bin/python3", [name, "-c", SCRIPT, HOME], {"SECRET": SECRET})
            running[pid] = name
        pid, status = os.waitpid(-1, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            arrived("stopped", running[pid])
            os.kill(pid, 18)
        else:
            arrived("ended", running.pop(pid))


def main():
    # Where the sockets of such daemons are. /run is the lab's own. There is no nscd: the C library would believe it.
    unix = {
        "/run/docker.sock": "docker", "/run/containerd/containerd.sock": "containerd", "/run/podman/podman.sock": "podman",
        "/run/buildkit/buildkitd.sock": "buildkit", "/run/crio/crio.sock": "crio", "/run/libvirt/libvirt-sock": "libvirt",
        "/run/dbus/system_bus_socket": "system bus", "/run/avahi-daemon/socket": "avahi",
        "/run/systemd/private": "systemd", "/run/systemd/resolve/io.systemd.Resolve": "resolved",
        "/run/systemd/journal/dev-log": "log", f"/run/user/{USER}/bus": "session bus",
        f"/run/user/{USER}/pipewire-0": "pipewire", f"/run/user/{USER}/wayland-0": "wayland",
        f"/run/user/{USER}/podman/podman.sock": "user podman", f"/run/user/{USER}/keyring/ssh": "keyring",
        f"/run/user/{USER}/gnupg/S.gpg-agent": "gpg agent", "/run/screen/S-user/decoy": "screen",
    }
    for path in list(unix):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        listen(socket.AF_UNIX, path, unix[path])
    with open(os.path.join(env["SYSTEM"], "secret"), "w") as file:
        file.write(SECRET)
    os.chmod(os.path.join(env["SYSTEM"], "secret"), 0o600)
    # For a group that the user is in.
    with open(os.path.join(env["SYSTEM"], "group-secret"), "w") as file:
        file.write(SECRET)
    os.chown(file.name, KEEPER, GROUP)
    os.chmod(file.name, 0o040)
    # A CI runner's own directory: jobs work below it, as the same user.
    for name in (".runner", ".credentials", ".credentials_rsaparams"):
        path = os.path.join(os.path.dirname(env["WORK"]), name)
        with open(path, "w") as file:
            file.write(SECRET)
        os.chown(path, USER, USER)
        os.chmod(path, 0o600)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    fill_home()
    port = int(env["HS"])
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        listen(family, (address, port), "daemon")
        listen(family, (address, port), "daemon", socket.SOCK_DGRAM)
    # The lab's nonce keeps those apart that have no directory of their own.
    nonce = os.path.basename(os.path.dirname(HOME))
    for path, name in {
        os.path.join(HOME, ".decoy.sock"): "home", os.path.join(HOME, ".gnupg/S.gpg-agent"): "gpg agent",
        f"/tmp/{nonce}-ssh/agent.1": "ssh agent", f"/tmp/{nonce}-tmux/default": "tmux",
        f"/tmp/.X11-unix/X{nonce[-4:]}": "X11", f"/tmp/{nonce}-descriptors": "descriptors",
        "\0" + nonce: "abstract", "\0/tmp/.X11-unix/X77": "abstract X11", "\0/tmp/dbus-" + nonce: "abstract bus",
    }.items():
        listen(socket.AF_UNIX, path, name)
    listen(socket.AF_UNIX, f"/tmp/{nonce}-log", "datagrams", socket.SOCK_DGRAM)
    for reader in (queue, posix_queue, shared_memory):
        start(reader)
    key = libc.syscall(248, b"user", b"keyward-decoy", SECRET.encode(), len(SECRET), -4)
    if key > 0:
        libc.syscall(250, 15, key, 3600)
    start(victims, ["Runner.Worker", "Runner.Listener", *env["VICTIMS"].split()])
    arrived("ready", "")
    threading.Event().wait()


main()
