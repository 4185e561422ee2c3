#!/usr/bin/env python3
"""Measures each step in which the key-value server was ported, with redis-benchmark.

    cargo build --release -p dapple-io --examples
    benches/scripts/kv-steps.py [--rounds 3]

Each step runs with one worker and with two. The rounds are interleaved; their medians are printed.
The loads are *tiny* (SET and GET from 16 clients), *piped* (GET, 16 requests at a time), *long*
(STRETCH of about 100 us from 16 clients) and *beside* (GET from 4 clients while 4 others ask for
STRETCH of about 2 ms).
"""

import argparse
import csv
import os
import pathlib
import signal
import statistics
import subprocess
import tempfile

STEPS = ["kv-serial", "kv-work", "kv-connections", "kv-shards"]
LOADS = {
    "tiny, GET": ["-t", "get", "-c", "16", "-n", "100000"],
    "tiny, SET": ["-t", "set", "-c", "16", "-n", "100000"],
    "piped, GET": ["-t", "get", "-c", "16", "-P", "16", "-n", "600000"],
    "long": ["-c", "16", "-n", "8000", "stretch", "key", "80000"],
    "beside": ["-t", "get", "-c", "4", "-n", "4000"],
}
BESIDE = ["-c", "4", "-n", "1000000", "stretch", "key", "1600000"]

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--only", choices=LOADS, nargs="*", default=list(LOADS))
options = parser.parse_args()
examples = pathlib.Path(__file__).resolve().parents[2] / "target/release/examples"


def benchmark(port, arguments, **more):
    return subprocess.Popen(["redis-benchmark", "-p", port, "--csv", *arguments], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **more)


def run(step, workers, load):
    """Returns requests per second, p50 and p99 in ms, and the server's CPU seconds per million
    requests."""
    with tempfile.TemporaryDirectory() as folder:
        command = [examples / step, "127.0.0.1:0", f"{folder}/saved", str(workers)]
        server = subprocess.Popen(command, text=True, stdout=subprocess.PIPE)
        port = server.stdout.readline().rsplit(":", 1)[1].strip()
        subprocess.run(["redis-cli", "-p", port, "set", "key", "value"], check=True,
                       stdout=subprocess.DEVNULL)
        beside = benchmark(port, BESIDE) if load == "beside" else None
        out, _ = benchmark(port, LOADS[load]).communicate(timeout=120)
        row = list(csv.reader(out.splitlines()))[-1]
        if beside:
            beside.kill()
            beside.wait()
        server.send_signal(signal.SIGTERM)
        _, _, usage = os.wait4(server.pid, 0)
    n = int(LOADS[load][LOADS[load].index("-n") + 1])
    cpu = (usage.ru_utime + usage.ru_stime) / n * 1e6
    return float(row[1]), float(row[4]), float(row[6]), cpu


for load in options.only:
    print(f"\n{load:18} {'workers':>7} {'requests/s':>11} {'ratio':>6} {'p50 ms':>8} {'p99 ms':>8}"
          f" {'CPU us':>8}")
    runs = [(step, workers) for step in STEPS for workers in (1, 2)]
    results = {one: [] for one in runs}
    for _ in range(options.rounds):
        for one in runs:
            results[one].append(run(*one, load))
    base = statistics.median(r[0] for r in results[runs[0]])
    for (step, workers), all in results.items():
        rate, p50, p99, cpu = (statistics.median(r[i] for r in all) for i in range(4))
        cpu = "" if load == "beside" else f"{cpu:.1f}"
        print(f"  {step:16} {workers:7} {rate:11,.0f} {rate / base:6.2f} {p50:8.2f} {p99:8.2f}"
              f" {cpu:>8}", flush=True)
