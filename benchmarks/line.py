"""Times stats.py --line in a status bar: figures that are fresh, and old ones with a normal, a slow and a dead server.

Every contender is a fresh process with a home of its own. Before each run, the figures of the three are made old and
a question is allowed again, so each run may start the process that renews them: the worst case, as a bar asks once a
minute at most. The goal is about the slow runs: the 99th percentile, against that of fresh figures in the same
rounds.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from benchmarks.summary import ROOT, load
from benchmarks.timing import interleaved, ratio, shown, table
from openrouter_usage.files import lock_at_once
from tests.sandbox import DEMO_KEY, DEMO_MGMT_KEY, Fault, Sandbox, demo_account

WARM, NORMAL, SLOW, DEAD = "fresh figures", "old, normal server", "old, slow server (2 s)", "old, dead server"
AT_MOST = 1.5
_OLD = timedelta(minutes=5)
_LONGEST_REFRESH_S = 20.0


class Bar:
    """A home in which the line was shown once, and the server that it asks."""

    def __init__(self, home: Path, sandbox: Sandbox) -> None:
        """Show the line once, so that there are figures."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENROUTER_", "PYTHON"))}
        keys = {
            "OPENROUTER_BASE_URL": sandbox.url,
            "OPENROUTER_API_KEY": DEMO_KEY,
            "OPENROUTER_MGMT_KEY": DEMO_MGMT_KEY,
        }
        self.environment = {**kept, **keys, "HOME": str(home)}
        self.show()
        (self.snapshot,) = (home / ".openrouter" / "cache").glob("summary-*.json")
        self.lock = self.snapshot.with_suffix(".lock")

    def show(self) -> float:
        """Show the line and return the seconds; RuntimeError unless it shows today's spend."""
        began = time.perf_counter()
        ended = subprocess.run(
            [sys.executable, "scripts/stats.py", "--line"],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.perf_counter() - began
        if ended.returncode or "$4.55" not in ended.stdout:
            raise RuntimeError(f"the line ended with {ended.returncode}: {ended.stdout}{ended.stderr[-500:]}")
        return took

    def at_age(self, age: timedelta) -> float:
        """Show the line when the figures have this age and a question is allowed; then let the renewal go by."""
        self.wait()
        kept, moment = self.snapshot.read_text(encoding="utf-8"), (datetime.now(timezone.utc) - age).isoformat()
        self.snapshot.write_text(re.sub(r'"taken_at": ?"[^"]*"', f'"taken_at": "{moment}"', kept), encoding="utf-8")
        os.utime(self.lock, (time.time() - 61,) * 2)
        took = self.show()
        self.wait()
        return took

    def wait(self) -> None:
        """Wait until nobody asks: what it takes to renew the figures belongs to no line."""
        deadline = time.monotonic() + _LONGEST_REFRESH_S
        with self.lock.open("r+b") as file:
            while not lock_at_once(file.fileno()):
                if time.monotonic() > deadline:
                    raise RuntimeError("the figures are still being renewed")
                time.sleep(0.02)


def main() -> int:
    """Run the rounds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="timed rounds (15; 200 for the goal)")
    rounds = max(1, parser.parse_args().rounds)
    with tempfile.TemporaryDirectory(prefix="openrouter-bench-") as scratch, ExitStack() as stack:
        bars: dict[str, Bar] = {}
        for number, name in enumerate((WARM, NORMAL, SLOW, DEAD)):
            home = Path(scratch) / str(number)
            home.mkdir()
            sandbox = Sandbox(demo_account())
            sandbox.__enter__()
            with closing(ExitStack()) as ended:
                ended.push(sandbox.__exit__)
                bars[name] = Bar(home, sandbox)
                if name == SLOW:
                    sandbox.misbehave("*", Fault.delay(2))
                if name != DEAD:
                    stack.push(ended.pop_all())
        ages = {WARM: timedelta(), NORMAL: _OLD, SLOW: _OLD, DEAD: _OLD}

        def contender(name: str) -> Callable[[], float]:
            return lambda: bars[name].at_age(ages[name])

        seconds = interleaved({name: contender(name) for name in bars}, rounds)
    print(f"\n{rounds} rounds, Python {platform.python_version()}, {os.cpu_count()} cores, load {load()}\n")
    print("\n".join([*table(seconds), "", *percentiles(seconds)]))
    return 0


def percentiles(seconds: dict[str, list[float]]) -> list[str]:
    """Write the 99th percentile of each contender, and its ratio to that of fresh figures, as a Markdown table."""

    def at(name: str) -> float:
        return sorted(seconds[name])[math.ceil(0.99 * len(seconds[name])) - 1]

    lines = ["| contender | p99 | of fresh figures' p99 | goal | | median of the rounds' ratios |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for name in (NORMAL, SLOW, DEAD):
        of_warm = at(name) / at(WARM)
        verdict = "met" if of_warm <= AT_MOST else "missed"
        paired = ratio(seconds, name, WARM)
        lines.append(f"| {name} | {shown(at(name))} | {of_warm:.2f} | {AT_MOST:.2f} | {verdict} | {paired:.2f} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
