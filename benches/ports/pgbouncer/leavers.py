#!/usr/bin/env python3
"""Checks clients that leave in the middle of a handshake.

    leavers.py COLORED

COLORED is the folder that build.sh has filled. Some clients send a part of the handshake, and some
send nonsense. All close their sockets while PgBouncer computes, half of them with a reset.
PgBouncer closes others, because they have a millisecond to log in. Meanwhile the configuration is
reloaded, and further clients log in. Afterwards clients can still log in, and no descriptor is left
open. At the end PgBouncer is told to stop while handshakes run."""

import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

from servers import LOCAL, Folder, PgBouncer, Postgres, certificates

SECONDS = 3
CLIENTS = 6
SSL_REQUEST = struct.pack("!II", 8, 80877103)


def hello():
    """Returns the first message of a handshake."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sent = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), sent).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return sent.read()


class Leaver(threading.Thread):
    def __init__(self, port, seed, ends):
        super().__init__(daemon=True)
        self.port, self.ends, self.gone, self.failed = port, ends, 0, None
        self.draw, self.hello = random.Random(seed), hello()

    def run(self):
        while not self.ends.is_set():
            try:
                self.gone += self.leaves()
            except OSError as error:
                # The server may have ended, or closed the connection first.
                self.failed = error

    def leaves(self):
        """Returns whether a handshake had begun."""
        with socket.create_connection((LOCAL, self.port), 20) as s:
            s.sendall(SSL_REQUEST)
            if s.recv(1) != b"S":
                return False
            message = self.hello
            match self.draw.randrange(4):
                case 0:
                    message = message[:self.draw.randrange(len(message))]
                case 1:
                    message = self.draw.randbytes(200)
            s.sendall(message)
            time.sleep(self.draw.random() * 0.004)
            if self.draw.random() < 0.5:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return True


def leavers(port):
    ends = threading.Event()
    threads = [Leaver(port, seed, ends) for seed in range(CLIENTS)]
    for leaver in threads:
        leaver.start()
    return ends, threads


def log_in(port):
    connection = f"host={LOCAL} port={port} user=postgres password=secret sslmode=require"
    command = ["psql", connection, "-Atc", "select 42"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.stdout == "42\n", answer.stderr


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def begin(port):
    """Begins a handshake and waits for the answer, so that the server has opened what it opens at
    the first one."""
    for _ in range(100):
        try:
            with socket.create_connection((LOCAL, port), 20) as s:
                s.sendall(SSL_REQUEST)
                if s.recv(1) == b"S":
                    s.sendall(hello())
                    s.recv(1)
                    return
        except OSError:
            # The server closed the connection, because the handshake took too long.
            time.sleep(0.01)
    raise AssertionError("no handshake begins")


def while_others_leave(server, what):
    """Has clients leave a server, and checks that no descriptor of theirs is left."""
    [process] = server.processes
    begin(server.port)
    time.sleep(1)
    before = descriptors(process)
    ends, threads = leavers(server.port)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        what(process)
    ends.set()
    for leaver in threads:
        leaver.join()
    for _ in range(100):
        if descriptors(process) <= before:
            break
        time.sleep(0.05)
    after = descriptors(process)
    assert after <= before, f"{before} descriptors before, {after} after"
    gone = sum(leaver.gone for leaver in threads)
    assert gone > 20, [leaver.failed for leaver in threads]
    print(f"{gone} clients left in the middle of a handshake")


def goes_on(server):
    """Checks that clients can log in while others leave, and afterwards."""
    def reload_and_log_in(process):
        process.send_signal(signal.SIGHUP)
        log_in(server.port)

    # This login precedes the count, which so includes what a login leaves open.
    log_in(server.port)
    while_others_leave(server, reload_and_log_in)
    log_in(server.port)


def is_closed_first(server):
    """Checks clients whose time to log in ends while their handshake runs: they are closed."""
    def is_there(process):
        assert process.poll() is None, process.returncode
        time.sleep(0.1)

    while_others_leave(server, is_there)


def ends_meanwhile(server):
    ends, _ = leavers(server.port)
    time.sleep(0.5)
    ended = server.ends()
    ends.set()
    # The status of a fast exit, which SIGTERM asks for.
    assert ended == [1], ended


def main():
    [_, colored] = sys.argv
    with Folder() as folder, Postgres(folder) as postgres:
        certificate = certificates(folder)["RSA-3072"]
        rounds = [(goes_on, ""), (is_closed_first, "client_login_timeout = 0.001")]
        for what, more in rounds + 10 * [(ends_meanwhile, "")]:
            with PgBouncer(folder, colored, 2, 1, certificate, postgres.port, more) as server:
                what(server)


main()
