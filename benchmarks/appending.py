"""A long-lived process that writes calls into ledgers, and reports how long that took.

`many` appends as fast as it can; `pairs` times by turns what is to be compared: one bare open-append-fsync-close of a
line, a call logged, a call appended so that it outlasts a power cut, and a call held and settled, in two ledgers.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from cost_tracker import CostTracker

from openrouter_usage.entry import Caps, Entry, Hold, write_line
from openrouter_usage.figures.limits import check

MODEL, SESSION = "anthropic/model-0", "job-0"
CAPS = Caps(daily=Decimal(10**9), monthly=Decimal(10**9))


def main(kind: str, name: str, count: int, *paths: str) -> None:
    """Write `count` calls, each with an id of its own that begins with `name`."""
    trackers = [CostTracker(usage_file=path) for path in paths]
    for tracker in trackers:
        log(tracker, f"{name}-first")  # opens the files and catches up
    print("ready", flush=True)
    sys.stdin.readline()
    if kind == "many":
        for number in range(count):
            log(trackers[0], f"{name}-{number}")
    else:
        print(json.dumps(pairs(trackers, name, count)))


def log(tracker: CostTracker, identity: str) -> Entry:
    return tracker.log_usage(MODEL, 1500, 500, "0.0025", identity, session=SESSION)


def pairs(trackers: list[CostTracker], name: str, count: int) -> dict[str, list[float]]:
    """Give the seconds of each kind of writing, one figure a turn."""
    large, small = trackers
    entry, other = log(large, f"{name}-line"), large.ledger.path.with_name("bare")
    line = write_line(entry)
    kinds: dict[str, Callable[[int], object]] = {
        "bare": lambda number: bare(other, line),
        "logged": lambda number: log(large, f"{name}-{number}"),
        "durable": lambda number: large.ledger.append(replace(entry, id=f"{name}-durable-{number}"), durable=True),
        "two bare": lambda number: (bare(other, line), bare(other, line)),
        "held": lambda number: held(large, entry, f"{name}-held-{number}"),
        "held small": lambda number: held(small, entry, f"{name}-held-{number}"),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(count):
        for kind, write in kinds.items():
            began = time.perf_counter()
            write(number)
            seconds[kind].append(time.perf_counter() - began)
    return seconds


def bare(path: Path, line: bytes) -> None:
    """Append a line so that it outlasts a power cut, with nothing around it."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)


def held(tracker: CostTracker, entry: Entry, name: str) -> None:
    """Set money aside for a call under a daily and a monthly budget, and settle it."""
    most = Decimal("0.05")
    hold = Hold(name, entry.ts, entry.model, most)
    tracker.ledger.hold(hold, lambda books: check(CAPS, most, books, entry.ts))
    tracker.ledger.settle(replace(entry, id=name, hold=name))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
