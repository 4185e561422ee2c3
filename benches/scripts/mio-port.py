#!/usr/bin/env python3
"""Measures the example server on mio and its port to dapple.

    cargo build --release -p dapple-io --examples
    benches/scripts/mio-port.py [--rounds 5]

16 clients send lines of about 100 us of work each, 50 at a time. The rounds are interleaved; their
medians are printed."""

import argparse
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import threading
import time

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=5)
options = parser.parse_args()
examples = pathlib.Path(__file__).resolve().parents[2] / "target/release/examples"
CLIENTS, BATCHES, LINES, ROUNDS = 16, 20, 50, 80_000


def client(port):
    with socket.create_connection(("127.0.0.1", port)) as s:
        for _ in range(BATCHES):
            s.sendall(f"{ROUNDS}\n".encode() * LINES)
            left = 17 * LINES
            while left:
                left -= len(s.recv(left))


def run(program, cores):
    command = ["taskset", "-c", cores, examples / program, "127.0.0.1:0"]
    server = subprocess.Popen(command, text=True, stdout=subprocess.PIPE)
    port = int(server.stdout.readline().rsplit(":", 1)[1])
    clients = [threading.Thread(target=client, args=(port,)) for _ in range(CLIENTS)]
    began = time.monotonic()
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    took = time.monotonic() - began
    server.send_signal(signal.SIGTERM)
    _, _, usage = os.wait4(server.pid, 0)
    n = CLIENTS * BATCHES * LINES
    return n / took, (usage.ru_utime + usage.ru_stime) / n * 1e6


runs = {
    "on mio": ("mio-before", "0,1"),
    "on dapple, 1 worker": ("mio-after", "0"),
    "on dapple, 2 workers": ("mio-after", "0,1"),
}
results = {name: [] for name in runs}
for _ in range(options.rounds):
    for name, how in runs.items():
        results[name].append(run(*how))
base = statistics.median(rate for rate, _ in results["on mio"])
for name, all in results.items():
    rate, cpu = (statistics.median(r[i] for r in all) for i in range(2))
    print(f"{name:22} {rate:9,.0f}/s {rate / base:5.2f} x  CPU {cpu:6.1f} us")
