#!/usr/bin/env python3
"""Runs unchanged programs of Debian on libevent and on libdapple_event.

    programs.py --library target/release/libdapple_event.so [--rounds 9] [--only memcached ...]

Both must give the same answers. The CPU time of the program per request is compared. Each round
runs a program on both, one after the other. A program that is not installed is reported and
skipped; with DAPPLE_CLIENTS=require that is a failure."""

import argparse
import atexit
import contextlib
import hashlib
import http.client
import os
import pathlib
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

LOCAL = "127.0.0.1"


def free_port():
    with socket.socket() as s:
        s.bind((LOCAL, 0))
        return s.getsockname()[1]


def wait_for(port, seconds=60):
    until = time.monotonic() + seconds
    while True:
        try:
            s = socket.create_connection((LOCAL, port), 1)
            s.settimeout(60)
            return s
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def cpu_seconds(pid):
    """Returns the CPU seconds of the threads of a process and of its children."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0]) / 1e9
        with open(f"/proc/{pid}/task/{task}/children") as f:
            total += sum(map(cpu_seconds, f.read().split()))
    return total


class Server:
    """A program that runs on one of the two libraries, and the CPU time that it takes."""

    def __init__(self, library, command, port=None, **env):
        env = dict(os.environ, **env)
        if library:
            env["LD_PRELOAD"] = library
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        if port:
            wait_for(port).close()
        self.begin = self.cpu()

    def cpu(self):
        return cpu_seconds(self.process.pid)

    def took(self):
        return self.cpu() - self.begin

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise RuntimeError("it did not end")
        if status not in (0, -number):
            raise RuntimeError(f"it ended with {status}")


def each(n, f):
    """Runs f(0) to f(n - 1) on threads."""
    failed = []

    def run(i):
        try:
            f(i)
        except Exception as error:  # raised again after the joins
            failed.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    if failed:
        raise failed[0]


def read_until(f, end):
    while True:
        line = f.readline()
        if not line:
            raise RuntimeError("the connection was closed")
        if line == end:
            return


# Each program has the names of the tools that it needs, and a function that runs it once:
# (folder, library, scale) -> (requests, CPU seconds, answers).


def memcached(folder, library, scale):
    port = free_port()
    user = ["-u", "root"] if os.getuid() == 0 else []
    server = Server(library, ["memcached", "-l", LOCAL, "-p", str(port), "-t", "2", *user], port)
    requests, answers = 2_000 * scale, {}

    def client(i):
        with wait_for(port) as s, s.makefile("rb") as f:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            told = hashlib.sha256()
            for n in range(requests):
                key, value = f"key-{i}-{n % 50}", f"value {n}".encode() * (n % 20 + 1)
                if n < 50 or n % 10 == 0:
                    s.sendall(b"set %s 0 0 %d\r\n%s\r\n" % (key.encode(), len(value), value))
                    told.update(f.readline())
                s.sendall(b"get %s\r\n" % key.encode())
                head = f.readline()
                body = f.read(int(head.split()[-1]) + 2) if head.startswith(b"VALUE") else b""
                told.update(head + body)
                if f.readline() != b"END\r\n":
                    raise RuntimeError("memcached gave an unexpected answer")
            answers[i] = told.hexdigest()

    each(8, client)
    took = server.took()
    server.end()
    return 8 * requests, took, sorted(answers.values())


def unbound(folder, library, scale):
    port = free_port()
    names = [f"host{n}.example." for n in range(200)]
    data = "\n".join(f'local-data: "{n} IN A 10.0.{i // 250}.{i % 250}"' for i, n in enumerate(names))
    with open(f"{folder}/unbound.conf", "w") as f:
        f.write(f"""server:
  interface: {LOCAL}@{port}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: "{folder}/unbound.pid"
  use-syslog: no
  logfile: "{folder}/unbound.log"
  num-threads: 1
  local-zone: "example." static
  {data.replace(chr(10), chr(10) + "  ")}
remote-control:
  control-enable: no
""")
    with open(f"{folder}/queries", "w") as f:
        f.writelines(f"{n} A\n" for n in names)
    server = Server(library, ["unbound", "-d", "-c", f"{folder}/unbound.conf"], port)
    out = subprocess.run(
        ["dnsperf", "-s", LOCAL, "-p", str(port), "-d", f"{folder}/queries", "-n", str(40 * scale),
         "-c", "8", "-q", "64"], capture_output=True, text=True, check=True).stdout
    took = server.took()
    completed = next(int(l.split()[2]) for l in out.splitlines() if "Queries completed" in l)
    codes = next(l.split(":")[1].split()[0] for l in out.splitlines() if "Response codes" in l)
    with contextlib.closing(socket.create_connection((LOCAL, port))) as s:
        query = b"\0\1\1\0\0\1\0\0\0\0\0\0\5host7\7example\0\0\1\0\1"
        s.sendall(len(query).to_bytes(2, "big") + query)
        over_tcp = s.recv(512)
    server.end()
    return completed, took, [completed, codes, over_tcp.hex()]


def postgres():
    """Returns a PostgreSQL that runs as long as the script."""
    if not hasattr(postgres, "port"):
        folder = tempfile.mkdtemp(prefix="pg")
        binaries = sorted(os.path.join("/usr/lib/postgresql", v, "bin")
                          for v in os.listdir("/usr/lib/postgresql"))[-1]
        shutil.chown(folder, "postgres") if os.getuid() == 0 else None
        as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        run = lambda *c: subprocess.run([*as_user, *c], check=True, stdout=subprocess.DEVNULL)
        run(f"{binaries}/initdb", "-A", "trust", "-U", "postgres", f"{folder}/data")
        postgres.port = free_port()
        run(f"{binaries}/pg_ctl", "-w", "-D", f"{folder}/data", "-l", f"{folder}/log", "-o",
            f"-p {postgres.port} -k {folder} -h {LOCAL}", "start")

        def stop():
            run(f"{binaries}/pg_ctl", "-D", f"{folder}/data", "-m", "fast", "stop")
            shutil.rmtree(folder)

        postgres.stop = stop
        subprocess.run(["pgbench", "-q", "-i", "-s", "1", "-h", LOCAL, "-p", str(postgres.port),
                        "-U", "postgres", "postgres"], check=True, stderr=subprocess.DEVNULL)
    return postgres.port


def pgbouncer(folder, library, scale):
    port, behind = free_port(), postgres()
    with open(f"{folder}/pgbouncer.ini", "w") as f:
        f.write(f"""[databases]
postgres = host={LOCAL} port={behind} user=postgres
[pgbouncer]
listen_addr = {LOCAL}
listen_port = {port}
auth_type = any
pool_mode = transaction
unix_socket_dir =
logfile = {folder}/pgbouncer.log
ignore_startup_parameters = extra_float_digits
""")
    shutil.chown(f"{folder}/pgbouncer.ini", "postgres") if os.getuid() == 0 else None
    os.chmod(folder, 0o777)
    user = ["-u", "postgres"] if os.getuid() == 0 else []
    server = Server(library, ["pgbouncer", *user, f"{folder}/pgbouncer.ini"], port)
    out = subprocess.run(
        ["pgbench", "-n", "-S", "-c", "8", "-t", str(500 * scale), "-h", LOCAL, "-p", str(port),
         "-U", "postgres", "postgres"], capture_output=True, text=True, check=True).stdout
    took = server.took()
    count = next(l.split(":")[1].split("/")[0] for l in out.splitlines() if "actually processed" in l)
    told = subprocess.run(["psql", "-h", LOCAL, "-p", str(port), "-U", "postgres", "-Atc",
                           "select count(*), sum(aid) from pgbench_accounts", "postgres"],
                          capture_output=True, text=True, check=True).stdout
    server.end(signal.SIGINT)
    return int(count), took, [count.strip(), told]


def transmission(folder, library, scale):
    port = free_port()
    command = ["transmission-daemon", "-f", "-g", f"{folder}/config", "-p", str(port), "-T",
               "-a", LOCAL, "-w", folder, "--no-portmap", "--no-dht", "--no-lpd", "-P", str(free_port())]
    server = Server(library, command, port)
    requests, answers = 100 * scale, set()

    def client(_):
        c = http.client.HTTPConnection(LOCAL, port, timeout=20)
        c.request("GET", "/transmission/rpc")
        first = c.getresponse()
        first.read()
        session = first.headers["X-Transmission-Session-Id"]
        body = '{"method":"session-get","arguments":{"fields":["rpc-version","peer-limit-global"]}}'
        for _ in range(requests):
            c.request("POST", "/transmission/rpc", body, {"X-Transmission-Session-Id": session})
            answer = c.getresponse()
            answers.add((answer.status, answer.read()))
        c.close()

    each(4, client)
    took = server.took()
    server.end()
    return 4 * requests, took, sorted((status, body.decode()) for status, body in answers)


def sslsplit(folder, library, scale):
    port, behind = free_port(), socket.create_server((LOCAL, 0))
    server = Server(
        library, ["sslsplit", "-D", "-u", "root" if os.getuid() == 0 else os.environ["USER"], "tcp",
                  LOCAL, str(port), LOCAL, str(behind.getsockname()[1])])

    def serve():
        def echo(s):
            with s:
                while data := s.recv(1 << 16):
                    s.sendall(data)
        while True:
            try:
                s, _ = behind.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(s,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    wait_for(port).close()
    trips, answers = 300 * scale, {}

    def client(i):
        told = hashlib.sha256()
        with wait_for(port) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for n in range(trips):
                message = bytes([n % 251]) * (n * 37 % 3_000 + 1)
                s.sendall(message)
                got = b""
                while len(got) < len(message):
                    part = s.recv(1 << 16)
                    if not part:
                        raise RuntimeError("the relay has closed the connection")
                    got += part
                told.update(got)
        answers[i] = told.hexdigest()

    each(4, client)
    took = server.took()
    behind.close()
    server.end()
    return 4 * trips, took, sorted(answers.values())


def coturn(folder, library, scale):
    port = free_port()
    server = Server(
        library,
        ["turnserver", "-n", "-L", LOCAL, "-p", str(port), "--relay-ip", LOCAL, "-m", "1",
         "--no-tls", "--no-dtls", "--no-udp", "--no-cli", "--no-auth", "-r", "here",
         "--log-file", "/dev/null",
         "--pidfile", f"{folder}/pid", "--userdb", f"{folder}/db"],
        port)
    requests, answers = 1_500 * scale, {}

    def client(i):
        """Asks for the client's own address by STUN over TCP (RFC 8489), many times at once."""
        cookie, at_once = 0x2112a442, 50
        with wait_for(port) as s, s.makefile("rb") as answer:
            own, own_port = s.getsockname()
            mapped = struct.pack(
                "!HHBBHI", 0x20, 8, 0, 1, own_port ^ cookie >> 16,
                int.from_bytes(socket.inet_aton(own), "big") ^ cookie)
            told = 0
            for n in range(0, requests, at_once):
                asks = (struct.pack("!HHIIII", 1, 0, cookie, i, n, k) for k in range(at_once))
                s.sendall(b"".join(asks))
                for k in range(at_once):
                    kind, length, *rest = struct.unpack("!HHIIII", answer.read(20))
                    body = answer.read(length)
                    if (kind, rest) != (0x101, [cookie, i, n, k]) or mapped not in body:
                        raise RuntimeError(f"{kind:#x} {rest} {body!r}")
                    told += 1
        answers[i] = told

    each(4, client)
    took = server.took()
    server.end()
    return 4 * requests, took, answers


def tmux(folder, library, scale):
    env = dict(os.environ, TMUX_TMPDIR=folder, TERM="screen", PS1="$ ", LC_ALL="C.UTF-8")
    if library:
        env["LD_PRELOAD"] = library

    def run(*arguments):
        done = subprocess.run(["tmux", "-f", "/dev/null", *arguments], env=env, capture_output=True,
                              text=True, timeout=60)
        return done.stdout + done.stderr

    # The programs in the terminal do not run on the library.
    shell = "env -u LD_PRELOAD sh"
    run("new-session", "-d", "-s", "test", "-x", "80", "-y", "24", shell)
    pid = int(run("display-message", "-p", "#{pid}"))
    # The CPU time excludes children, which are the programs in the terminal.
    cpu = lambda: int(open(f"/proc/{pid}/schedstat").read().split()[0]) / 1e9
    begin = cpu()
    lines = 20_000 * scale
    run("send-keys", "-t", "test", f"i=0; while [ $i -lt 20 ]; do seq 1 {lines // 20}; i=$((i+1)); done; tmux wait-for -S done", "Enter")
    run("wait-for", "done")
    took = cpu() - begin
    run("split-window", "-t", "test", shell)
    until = time.monotonic() + 20
    while not run("capture-pane", "-p", "-t", "test.1").strip() and time.monotonic() < until:
        time.sleep(0.05)
    run("send-keys", "-t", "test", "echo in the second; tmux wait-for -S again", "Enter")
    run("wait-for", "again")
    time.sleep(0.3)
    panes = [run("capture-pane", "-p", "-t", f"test.{n}") for n in (0, 1)]
    listed = subprocess.run("tmux -f /dev/null list-windows -F '#{window_panes} #{window_layout}' | cat",
                            shell=True, env=env, capture_output=True, text=True).stdout
    run("kill-server")
    return lines, took, [*panes, listed]


PROGRAMS = {
    "memcached": (["memcached"], memcached),
    "unbound": (["unbound", "dnsperf"], unbound),
    "pgbouncer": (["pgbouncer", "pgbench", "psql"], pgbouncer),
    "transmission": (["transmission-daemon"], transmission),
    "coturn": (["turnserver"], coturn),
    "sslsplit": (["sslsplit"], sslsplit),
    "tmux": (["tmux"], tmux),
}

# sslsplit stops relaying now and then, on libevent as well, so it is only run by hand.
BY_HAND = ["sslsplit"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--library", dest="preloaded", metavar="FILE",
                        required=True)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--scale", type=int, default=1,
                        help="length of a round, as a multiple of a short one")
    parser.add_argument("--only", nargs="*", choices=PROGRAMS,
                        default=[name for name in PROGRAMS if name not in BY_HAND])
    options = parser.parse_args()
    library = str(pathlib.Path(options.preloaded).resolve())
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    failed = []
    # At its end, the script stops PostgreSQL and removes its folder.
    atexit.register(lambda: postgres.stop() if hasattr(postgres, "stop") else None)
    for name in options.only:
        needs, run = PROGRAMS[name]
        missing = [n for n in needs if not shutil.which(n)]
        if missing:
            print(f"{name}: skipped, because {missing[0]} is not installed")
            if os.environ.get("DAPPLE_CLIENTS") == "require":
                failed.append(name)
            continue
        costs, answers = {None: [], library: []}, {}
        try:
            for round in range(options.rounds):
                both = [None, library] if round % 2 == 0 else [library, None]
                for on in both:
                    with tempfile.TemporaryDirectory(prefix="dapple-programs-") as folder:
                        requests, took, told = run(folder, on, options.scale)
                    costs[on].append(took / requests * 1e6)
                    answers[on] = told
                if answers[None] != answers[library]:
                    raise RuntimeError(f"answers differ: {answers[None]} and {answers[library]}")
        except Exception as error:
            print(f"{name}: FAILED on {'the library' if on else 'libevent'}: {error!r}")
            failed.append(name)
            continue
        theirs, ours = (statistics.median(costs[on]) for on in (None, library))
        ratio = statistics.median(a / b if b else 1 for a, b in zip(costs[None], costs[library]))
        print(f"{name}: the same; {theirs:.1f} us of CPU time on libevent, {ours:.1f} here: {ratio:.3f} x"
              if options.rounds > 1 else f"{name}: the same", flush=True)
    sys.exit(", ".join(failed) or 0)


main()
