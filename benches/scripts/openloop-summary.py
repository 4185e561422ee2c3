#!/usr/bin/env python3
"""Summarizes openloop's JSON files: each system's latency as a multiple of that of M/G/k.

    openloop-summary.py FILE.json...

A point is a setup, a distribution, a mean, a spread of keys and a load. For each point and system,
the median over the rounds is divided by the median of M/G/k on the same schedules. A line gives the
geometric mean of these ratios over all points of a setup and a load, because a single point is
noisy on a shared machine. The policies of dapple do the same with one worker; their differences
show the noise that remains.
"""
import json
import math
import statistics
import sys


def geometric_mean(values):
    return math.exp(statistics.fmean(math.log(v) for v in values))


def main(files):
    if not files:
        sys.exit(__doc__)
    points = {}
    for name in files:
        with open(name, encoding="utf-8") as file:
            for r in json.load(file)["records"]:
                point = (r["setup"], r["distribution"], r["mean_us"], r["keys"], r["load_percent"])
                points.setdefault(point, {})[r["system"]] = r["median"]
    reference = "M/G/k"
    groups = {}
    for (setup, _, _, keys, load), systems in points.items():
        for system, figures in systems.items():
            if system != reference and reference in systems:
                row = groups.setdefault((setup, keys, load), {}).setdefault(system, [])
                row.append((figures, systems[reference]))
    for (setup, keys, load), systems in sorted(groups.items()):
        count = len(next(iter(systems.values())))
        print(f"\n{setup}, {keys} keys, load {load} %: times M/G/k, geometric mean of {count} points")
        print(f"  {'system':<20} {'p50':>7} {'p99':>7} {'p99.9':>7}")
        for system, pairs in systems.items():
            ratios = [geometric_mean([a[p] / b[p] for a, b in pairs]) for p in ("p50", "p99", "p99.9")]
            print(f"  {system:<20} " + " ".join(f"{r:7.2f}" for r in ratios))


main(sys.argv[1:])
