#!/usr/bin/env python3
"""Clients that go in the middle of a handshake, and reloads meanwhile: leavers.py COLORED

COLORED is the folder that build.sh has filled. Some clients send a part of the handshake, some send
nonsense, and all close their sockets, half of them with a reset, while PgBouncer computes. Meanwhile
the configuration is reloaded, and others log in. Afterwards everybody can still log in, no descriptor
is left open, and PgBouncer ends when it is told to."""

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

SECONDS = 5
CLIENTS = 6
SSL_REQUEST = struct.pack("!II", 8, 80877103)


def hello():
    """The first message of a handshake."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sent = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), sent).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return sent.read()


def leave(port, until, seed, gone):
    draw = random.Random(seed)
    while time.monotonic() < until:
        with socket.create_connection((LOCAL, port)) as s:
            s.sendall(SSL_REQUEST)
            if s.recv(1) != b"S":
                return
            message = hello()
            match draw.randrange(4):
                case 0:
                    message = message[:draw.randrange(len(message))]
                case 1:
                    message = draw.randbytes(200)
            s.sendall(message)
            time.sleep(draw.random() * 0.004)
            if draw.random() < 0.5:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.append(seed)


def log_in(port):
    connection = f"host={LOCAL} port={port} user=postgres password=secret sslmode=require"
    answer = subprocess.run(["psql", connection, "-Atc", "select 42"], capture_output=True, text=True)
    assert answer.stdout == "42\n", answer.stderr


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def main():
    [_, colored] = sys.argv
    with Folder() as folder, Postgres(folder) as postgres:
        certificate = certificates(folder)["RSA-3072"]
        server = PgBouncer(folder, colored, 2, 1, certificate, postgres.port)
        [process] = server.processes
        log_in(server.port)
        before, gone = descriptors(process), []
        until = time.monotonic() + SECONDS
        leavers = [threading.Thread(target=leave, args=(server.port, until, seed, gone))
                   for seed in range(CLIENTS)]
        for leaver in leavers:
            leaver.start()
        while time.monotonic() < until:
            process.send_signal(signal.SIGHUP)
            log_in(server.port)
        for leaver in leavers:
            leaver.join()
        for _ in range(100):
            if descriptors(process) <= before:
                break
            time.sleep(0.05)
        after = descriptors(process)
        log_in(server.port)
        ended = server.end()
        with open(f"{folder}/pgbouncer.log") as f:
            told = f.read()
        # What SIGTERM, a fast exit, ends it with.
        assert ended == [1], f"it ended with {ended}:\n{told[-4000:]}"
        assert after <= before, f"{before} descriptors before, {after} after"
        assert len(gone) > 100, gone
        print(f"{len(gone)} clients have gone in the middle of a handshake")


main()
