#!/usr/bin/env python3
"""Checks that spiped on dapple no longer has faults that it once had.

    faults.py BUILT

BUILT is a folder that build.sh has filled. The cases are addresses that are resolved again and
again, a peer that ends in the middle of a message, and a lack of descriptors, which must end spiped
with status 1 and not with a signal."""

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

LOCAL = "127.0.0.1"


class Spiped:
    def __init__(self, built, folder, target, *more, descriptors=None):
        self.path = os.path.join(folder, "socket")
        key = os.path.join(folder, "key")
        with open(key, "wb") as f:
            f.write(b"secret")
        limit = (descriptors, descriptors)
        command = [f"{built}/spiped/spiped", "-d", "-F", "-s", self.path, "-t", target, "-k", key,
                   "-p", os.devnull, "-n", "0", *more]
        self.process = subprocess.Popen(
            command, env={**os.environ, "DAPPLE_WORKERS": "2"}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: descriptors and resource.setrlimit(resource.RLIMIT_NOFILE, limit))
        for _ in range(500):
            try:
                self.connect().close()
                return
            except OSError:
                time.sleep(0.01)
        raise SystemExit("spiped does not listen")

    def connect(self):
        for _ in range(200):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(20)
            try:
                s.connect(self.path)
                return s
            except BlockingIOError:
                # The queue of connections to accept is full.
                time.sleep(0.01)
        raise OSError("nobody accepts")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.unlink(self.path)

    def ends(self):
        """Ends the process, and returns its status."""
        self.process.terminate()
        return self.process.wait(20)


def resolves_again(built, folder, target):
    with Spiped(built, folder, target, "-r", "1") as spiped:
        time.sleep(3.5)
        assert spiped.process.poll() is None, spiped.process.returncode
        assert spiped.ends() == 0


def ends_in_the_middle(built, folder, target):
    with Spiped(built, folder, target, "-R", "-o", "15") as spiped:
        for size in [0, 20] * 10:
            with spiped.connect() as s:
                s.sendall(bytes(size))
                s.shutdown(socket.SHUT_WR)
                began = time.monotonic()
                while s.recv(100):
                    pass
                took = time.monotonic() - began
                assert took < 5, f"{took} s after {size} bytes"
        assert spiped.ends() == 0


def has_no_descriptors(built, folder, target):
    ended = 0
    for descriptors in range(36, 44):
        with Spiped(built, folder, target, "-R", descriptors=descriptors) as spiped:
            clients = []
            try:
                for _ in range(40):
                    clients.append(spiped.connect())
            except OSError:
                pass
            time.sleep(0.2)
            # It ends if there is no descriptor to accept with. If there is one for half a
            # connection, it closes that connection.
            status = spiped.process.poll()
            assert status in (None, 1), status
            ended += status == 1
            for client in clients:
                client.close()
    assert ended > 0


def main():
    [_, built] = sys.argv
    target = socket.create_server((LOCAL, 0), backlog=100)

    def accept():
        kept = []
        while True:
            kept.append(target.accept())

    threading.Thread(target=accept, daemon=True).start()
    for fault in (resolves_again, ends_in_the_middle, has_no_descriptors):
        with tempfile.TemporaryDirectory() as folder:
            fault(built, folder, f"[{LOCAL}]:{target.getsockname()[1]}")


main()
