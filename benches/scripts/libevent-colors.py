#!/usr/bin/env python3
"""Measures what a color per connection brings to a libevent program.

    cargo build --release -p dapple-capi
    cc -O2 -I io/capi/include io/capi/examples/cpu.c -levent_core -o cpu
    benches/scripts/libevent-colors.py ./cpu target/release/libdapple_event.so [--rounds 5]

The program is io/capi/examples/cpu.c, and redis-benchmark its client. It runs on libevent, as two
processes on libevent, on libdapple_event, and on libdapple_event with colors. The rounds are
interleaved; their medians are printed."""

import argparse
import csv
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import time

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program")
parser.add_argument("preloaded", metavar="library")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--clients", type=int, default=16)
parser.add_argument("--work", type=int, nargs="*", default=[50_000, 110_000, 215_000],
                    help="rounds of arithmetic per request")
options = parser.parse_args()
preload = {"LD_PRELOAD": str(pathlib.Path(options.preloaded).resolve())}
# The environment, the arguments, and the number of processes, which share the clients.
MODES = {
    "libevent": ({}, [], 1),
    "libevent, 2 processes": ({}, [], 2),
    "dapple, no color": (preload, [], 1),
    "dapple, colors, 1 worker": ({**preload, "DAPPLE_WORKERS": "1"}, ["-c"], 1),
    "dapple, colors, 2 workers": ({**preload, "DAPPLE_WORKERS": "2"}, ["-c"], 1),
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(mode, work):
    env, arguments, programs = MODES[mode]
    ports = [free_port() for _ in range(programs)]
    servers = [subprocess.Popen([options.program, str(port), *arguments],
                                env={**os.environ, **env, "WORK": str(work)}) for port in ports]
    time.sleep(0.3)
    n = max(2_000, 600_000_000 // work) // programs
    asks = ["redis-benchmark", "-c", str(options.clients // programs), "-n", str(n), "-t",
            "ping_mbulk", "--csv", "-p"]
    clients = [subprocess.Popen([*asks, str(port)], stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL, text=True) for port in ports]
    rows = [list(csv.reader(client.communicate()[0].splitlines()))[-1] for client in clients]
    took = 0
    for server in servers:
        server.send_signal(signal.SIGTERM)
        _, _, usage = os.wait4(server.pid, 0)
        took += usage.ru_utime + usage.ru_stime
    # Requests per second, p50 and p99 in ms, and requests per CPU second of the servers.
    rps, p50, p99 = (sum(float(row[i]) for row in rows) for i in (1, 4, 6))
    return rps, p50 / programs, p99 / programs, n * programs / took


for work in options.work:
    results = {mode: [] for mode in MODES}
    for round in range(options.rounds):
        modes = list(MODES) if round % 2 == 0 else list(reversed(MODES))
        for mode in modes:
            results[mode].append(run(mode, work))
    base = statistics.median(r[0] for r in results["libevent"])
    took = 1e6 / statistics.median(r[3] for r in results["libevent"])
    print(f"\n{took:.0f} us per request")
    for mode, all in results.items():
        rps, p50, p99, per_cpu = (statistics.median(r[i] for r in all) for i in range(4))
        print(f"  {mode:28} {rps:9,.0f}/s {rps / base:5.2f} x  p50 {p50:5.2f} ms  p99 {p99:5.2f} ms"
              f"  {per_cpu:9,.0f} per CPU second", flush=True)
