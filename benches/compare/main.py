"""Measures the rows of a comparison in turn, several rounds, and prints medians and ratios.

Started by benches/compare.sh, which sees to the programs.
"""

import argparse
import fnmatch
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from processes import Problem, pin_here
from subjects import LOAD_CORE, WORK_CORE, Cluster, Everybody, Floors, Stack, idle_memory
import peers

WARMUP_S = 1
# Set-up of 500 connections, and time to settle what was asked last.
PATIENCE_S = 60
NS, US = 1e9, 1e6


@dataclass
class Row:
    """One kind of work."""

    name: str
    mode: str
    connections: int
    in_flight: int
    item: str = None
    unit: str = "us/reply"


ROWS = [
    Row("http3-304-8x16", "use-cached", 8, 16, "1k.bin"),
    Row("http3-304-500x1", "use-cached", 500, 1, "1k.bin"),
    Row("http3-200-1k-8x16", "full", 8, 16, "1k.bin"),
    Row("http3-bulk-10m-4x1", "full", 4, 1, "10m.bin", "ns/byte"),
    Row("native-use-cached-8x16", "use-cached", 8, 16),
    Row("native-use-cached-500x1", "use-cached", 500, 1),
    Row("native-use-cached-16x64", "use-cached", 16, 64),
    Row("handshakes-64", "connect", 64, 1, unit="us/handshake"),
]
IDLE_ROW = Row("idle-connection", "", 0, 0, unit="bytes")


def subjects_of(row, everybody):
    """Who does this kind of work. The first one is the floor that ratios are taken against."""
    if row.mode == "connect":
        return [everybody.native_floor("handshakes", "connect"), *everybody.us()]
    if row.item is None:
        return [everybody.lane_echo, *everybody.us()]
    floors = [everybody.http3_floor(row.item)]
    if row.unit == "ns/byte":
        floors.insert(0, everybody.relay_floor(row.item))
    return [*floors, *everybody.us_by_http(row.item), *everybody.peer_subjects(row.item)]


def load(options, row, subject):
    """One measurement: work and origin CPU time per unit of the row, and the rate."""
    pids = subject.work + subject.origins
    command = [
        options.understudy, "bench", *subject.target, "--mode", subject.mode or row.mode,
        "--connections", row.connections, "--in-flight", row.in_flight,
        "--duration", f"{options.seconds}s", "--warmup", f"{WARMUP_S}s", "--workers", 1,
        "--json", "--cpu-of", ",".join(map(str, pids)),
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          timeout=options.seconds + WARMUP_S + PATIENCE_S,
                          preexec_fn=lambda: pin_here(LOAD_CORE))
    if done.returncode != 0:
        why = done.stderr.strip().splitlines()[:2] or [f"it ended with {done.returncode}"]
        raise Problem("the load generator failed: " + " ".join(why))
    result = json.loads(done.stdout.strip().splitlines()[-1])
    replies = sum(result["replies"].values()) if row.mode != "connect" else result["requests"]
    replies -= 0 if row.mode != "connect" else result["failed"]
    check(row, subject, result, replies)
    units = replies if row.unit != "ns/byte" else replies * peers.ITEMS[row.item]
    scale = US if row.unit != "ns/byte" else NS

    def cost(pids):
        return scale * sum(result["cpu"][str(pid)]["seconds"] for pid in pids) / units

    return {"work": cost(subject.work), "origins": cost(subject.origins),
            "rate_per_s": result["rate_per_s"]}


def check(row, subject, result, replies):
    """A cost per reply means nothing where the replies are of another kind."""
    if result["failed"] > replies / 1000 or replies == 0:
        raise Problem(f"{result['failed']} of {result['requests']} failed: "
                      f"{result.get('failures')}")
    if subject.mode or row.mode == "connect":
        return
    wanted = row.mode.replace("-", "_")
    if result["replies"].get(wanted, 0) < 0.99 * replies:
        raise Problem(f"the replies are not {row.mode}: {result['replies']}")


def measure(options, everybody, rows):
    """All rows in turn, several rounds; the first one only warms up."""
    work = [(row, subject) for row in rows for subject in subjects_of(row, everybody)]
    samples, failed = defaultdict(list), {}
    for number in range(options.rounds):
        for row, subject in work:
            place = (row.name, subject.name)
            if place in failed:
                continue
            try:
                sample = load(options, row, subject)
            except (Problem, subprocess.TimeoutExpired, KeyError, ValueError) as problem:
                failed[place] = str(problem)
                print(f"compare: {row.name}, {subject.name}: {problem}", file=sys.stderr)
                continue
            if number > 0 or options.rounds == 1:
                samples[place].append(sample)
            print(f"round {number + 1}/{options.rounds}  {row.name:24} {subject.name:24} "
                  f"{sample['work']:9.3f} {row.unit}", file=sys.stderr)
    results = []
    for row, subject in work:
        taken = samples[row.name, subject.name]
        if taken:
            medians = {key: statistics.median(sample[key] for sample in taken)
                       for key in taken[0]}
            spread = [min(s["work"] for s in taken), max(s["work"] for s in taken)]
            results.append({"row": row.name, "subject": subject.name, "unit": row.unit,
                            "rounds": len(taken), "work_range": spread, **medians})
    return results, [f"{row}, {subject}: {why}" for (row, subject), why in failed.items()]


def measure_idle(options, directory):
    """Once each, in fresh processes: memory that was in use before would hide the growth."""
    results, failed = [], []

    def take(name, start):
        try:
            with Stack(directory) as stack:
                process, port = start(stack)
                grown = idle_memory(stack, process, port, options.floors, options.idle,
                                    options.idle_seconds)
        except Problem as problem:
            failed.append(f"{IDLE_ROW.name}, {name}: {problem}")
            print(f"compare: {failed[-1]}", file=sys.stderr)
            return
        print(f"once       {IDLE_ROW.name:24} {name:24} {grown:9.0f} bytes", file=sys.stderr)
        results.append({"row": IDLE_ROW.name, "subject": name, "unit": "bytes", "rounds": 1,
                        "work_range": [grown, grown], "work": grown, "origins": 0.0})

    def cluster(stack):
        ours = Cluster(stack, options.understudy, options.servers)
        return ours.router, ours.port

    take("floor: idle", lambda stack: Floors(stack, options.floors, options.bound_s)
         .start("floor-idle", "idle"))
    take("understudy", cluster)
    return results, failed


def report(results):
    """The table: what it costs, and how that compares."""
    envoy_304 = next((result["work"] for result in results
                      if (result["row"], result["subject"]) == ("http3-304-8x16", "envoy")), None)
    print(f"{'row':24} {'who':24} {'median':>9} {'origins':>8} {'unit':13} {'spread':>7} "
          f"{'/ floor':>8} {'envoy 304 /':>11}")
    row = floor = None
    for result in results:
        if result["row"] != row:
            row, floor = result["row"], result["work"]
        low, high = result["work_range"]
        spread = f"{100 * (high - low) / result['work']:.0f}%"
        against_envoy = ""
        if envoy_304 and result["unit"] == "us/reply":
            against_envoy = f"{envoy_304 / result['work']:.1f}"
        decimals = 0 if result["unit"] == "bytes" else 3
        print(f"{row:24} {result['subject']:24} {result['work']:9.{decimals}f} "
              f"{result['origins']:8.2f} {result['unit']:13} {spread:>7} "
              f"{result['work'] / floor:8.2f} {against_envoy:>11}")


def arguments():
    parser = argparse.ArgumentParser(prog="benches/compare.sh", description=__doc__)
    parser.add_argument("--rounds", type=int, default=4,
                        help="rounds in turn; the first one is dropped (4)")
    parser.add_argument("--seconds", type=int, default=3,
                        help="measured seconds of each turn, after one to warm up (3)")
    parser.add_argument("--only", default="*", metavar="PATTERN",
                        help="rows to measure, such as 'native-*'")
    parser.add_argument("--idle", type=int, default=20_000, metavar="N",
                        help="idle connections of the memory row (20000)")
    parser.add_argument("--idle-seconds", type=int, default=30, metavar="N",
                        help="how long they are idle before memory is read (30)")
    parser.add_argument("--servers", type=int, default=2, metavar="N",
                        help="servers behind our router (2: a primary and an alternate)")
    parser.add_argument("--json-file", type=Path, metavar="FILE", help="also write the results")
    parser.add_argument("--understudy", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--floors", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--peers", type=Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds < 1 or not 1 <= options.idle <= 100_000:
        parser.error("--rounds and --seconds start at 1, --idle goes from 1 to 100000")
    return options


def run(options, directory):
    names = [row.name for row in [*ROWS, IDLE_ROW]]
    rows = [row for row in ROWS if fnmatch.fnmatch(row.name, options.only)]
    with_idle = fnmatch.fnmatch(IDLE_ROW.name, options.only)
    if not rows and not with_idle:
        raise Problem(f"--only {options.only} is none of {', '.join(names)}")
    results, failed, missing = [], [], []
    # An orphaned floor ends by itself some time after the longest run.
    turns = options.rounds * (options.seconds + WARMUP_S + 3) * 4 * len(ROWS)
    options.bound_s = turns + 2 * (options.idle_seconds + 60 + options.idle // 500)
    if rows:
        with Stack(directory) as stack:
            everybody = Everybody(stack, options)
            if any(row.item for row in rows):
                everybody.start_peers()
                everybody.start_http_cluster()
            if any(row.item is None for row in rows):
                everybody.start_cluster()
                everybody.lane_echo = everybody.native_floor("lane-echo", "echo")
            results, failed = measure(options, everybody, rows)
            missing = everybody.missing
    if with_idle:
        idle_results, idle_failed = measure_idle(options, directory)
        results, failed = results + idle_results, failed + idle_failed
    report(results)
    print("\nWork: CPU of proxy, floor, or router and servers together; origins are apart.")
    for text in [*missing, *failed]:
        print(f"not measured: {text}")
    if options.json_file:
        document = {"results": results, "not_measured": [*missing, *failed],
                    "cores": {"work": WORK_CORE, "load": LOAD_CORE}, "rounds": options.rounds,
                    "seconds": options.seconds, "idle_connections": options.idle}
        options.json_file.write_text(json.dumps(document, indent=1) + "\n")
    return 1 if failed else 0


def main():
    # Turns an order to end into an exception, so that every process is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = arguments()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="understudy-compare-") as directory:
        try:
            code = run(options, Path(directory))
        except Problem as problem:
            print(f"compare: {problem}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    print(f"took {time.monotonic() - began:.0f} s", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
