#!/usr/bin/env python3
"""Measures logins over TLS on PgBouncer: unchanged, and with handshakes on their clients' colors.

    logins.py PLAIN COLORED

PLAIN and COLORED are the folders that build.sh has filled. `cargo build --release -p
dapple-benches` must have built the client. Debian's PostgreSQL runs behind PgBouncer.

For a certificate of RSA with 3,072 bits, and then for one of P-256, the script prints medians of
several rounds for the unchanged PgBouncer, for colors with one worker and with two, and for two
unchanged processes that share the port."""

import argparse
import json
import os
import statistics
import subprocess

from servers import LOCAL, Folder, PgBouncer, Postgres, certificates

TOP = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../..")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plain")
    parser.add_argument("colored")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--millis", type=int, default=2000)
    parser.add_argument("--logins", type=int, default=8, help="number of clients that log in")
    options = parser.parse_args()
    runs = {
        "as it is": (options.plain, 1, 1),
        "colors, 1 worker": (options.colored, 1, 1),
        "colors, 2 workers": (options.colored, 2, 1),
        "two as it is": (options.plain, 1, 2),
    }
    with Folder() as folder, Postgres(folder) as postgres:
        for name, certificate in certificates(folder).items():
            results = {run: [] for run in runs}
            for _ in range(options.rounds):
                for run, (built, workers, processes) in runs.items():
                    with PgBouncer(folder, built, workers, processes, certificate,
                                   postgres.port) as server:
                        pids = ",".join(str(p.pid) for p in server.processes)
                        told = subprocess.run(
                            [f"{TOP}/target/release/loginload", f"{LOCAL}:{server.port}",
                             "--password", "secret", "--logins", str(options.logins),
                             "--millis", str(options.millis), "--server", pids],
                            check=True, capture_output=True, text=True)
                        results[run].append(json.loads(told.stdout))
            medians = {
                run: {key: statistics.median(r[key] for r in all) for key in all[0]}
                for run, all in results.items()
            }
            base = medians["as it is"]["logins_per_s"]
            print(f"\n{name:20} logins/s  ratio  p50, p99 ms  answers p50, p99 ms"
                  "  CPU us/login  cores  client's")
            for run, m in medians.items():
                print(f"  {run:18} {m['logins_per_s']:8.0f} {m['logins_per_s'] / base:6.2f}"
                      f" {m['login_p50_ms']:6.2f} {m['login_p99_ms']:5.2f}"
                      f" {m['answer_p50_ms']:14.2f} {m['answer_p99_ms']:5.2f}"
                      f" {m['server_us_per_login']:13.0f} {m['server_cores']:6.2f}"
                      f" {m['client_cores']:9.2f}", flush=True)


main()
