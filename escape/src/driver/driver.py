# What makes attempts, each in a process of its own, and says of each on one line of JSON what came of it.

OUTPUT = 32768


def attempt(job, output):
    """In a process of its own."""
    libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout.reconfigure(line_buffering=True)
    libc.prctl(15, job["id"].encode(), 0, 0, 0)  # PR_SET_NAME: so the log names it
    values = {**batch["values"], "MARK": job["mark"]}
    values["PH"] = values["PH"] or os.environ.get("OPENAI_API_KEY", "")
    os.environ.update(values)
    if job["shell"]:
        os.execv("/bin/sh", ["sh", "-c", job["shell"]])
    # Where the kit's own functions find them, too.
    globals().update(values, M=job["mark"].encode(), CP=int(values["CP"]), HS=int(values["HS"]))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        exec(compile(job["python"], job["id"], "exec"), globals())
    except BaseException as error:
        print(describe(error))
    sys.stdout.flush()
    os._exit(0)


def health():
    """Whether what is allowed works."""
    if batch["health"] == "host":
        host, port, path = "allowed.test", 80, "/health"
    elif batch["health"] == "gateway":
        host, port, path = *place(batch["values"]["GATE"]), "/v1/models"
    else:
        return None
    try:
        with socket.create_connection((host, port), 10) as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return b" 200 " in s.recv(4096).split(b"\r\n")[0]
    except OSError:
        return False


def make(job):
    with open(os.memfd_create("output"), "rb+", 0) as output:
        begun = time.time()
        pid = os.fork()
        if pid == 0:
            attempt(job, output.fileno())
        deadline = time.monotonic() + job["seconds"]
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                break
            time.sleep(0.003)
        output.seek(0)
        said = output.read(OUTPUT).decode("latin-1")
    line = {"id": job["id"], "begun": begun, "ended": time.time(), "said": said, "healthy": health()}
    fcntl.flock(lock, fcntl.LOCK_EX)
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    fcntl.flock(lock, fcntl.LOCK_UN)


def main():
    global batch, lock
    with open(sys.argv[1]) as file:
        batch = json.load(file)
    workers = batch["workers"]
    pids = []
    for worker in range(workers):
        pid = os.fork()
        if pid == 0:
            libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
            lock = open(sys.argv[1])  # a description of its own: a lock belongs to that
            for job in batch["attempts"][worker::workers]:
                make(job)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)


main()
