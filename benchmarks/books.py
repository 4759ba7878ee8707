"""A made ledger, and what is done to it: the program run over it cold, warm and after new calls, and appended to."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.made_ledger import Made

ROOT = Path(__file__).resolve().parent.parent


def measured(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, int, str]:
    """Run a command to its end, and give its seconds, its peak memory in kB and what it printed.

    The system counts the memory of whoever starts a program as the program's own until it is loaded: this
    process has to stay smaller than what it measures.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=dict(environment), stdout=out, stderr=err)
        _, status, used = os.wait4(process.pid, 0)
        took = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise RuntimeError(f"{list(command)[:4]} ended with {process.returncode}: {err.read()[-500:]!r}")
        return took, used.ru_maxrss // (1024 if sys.platform == "darwin" else 1), out.read().decode()


class Books:
    """One ledger in a folder of its own, with its sums known."""

    def __init__(self, folder: Path, now: datetime) -> None:
        """Name the folder; the calls are those of the year before `now`."""
        folder.mkdir()
        self.path = folder / "usage.jsonl"
        self.made = Made(now.strftime("%Y-%m"))
        self.peaks_kb: dict[str, int] = {}
        self._now = now
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENROUTER_", "PYTHON"))}
        self.environment = {**kept, "HOME": str(folder), "TMPDIR": str(folder), "OPENROUTER_USAGE_FILE": str(self.path)}

    def fill(self, calls: int) -> None:
        """Write the ledger and its index."""
        self.made.write(self.path, calls, self._now)
        self.stats("")

    def program(self, *words: str) -> list[str]:
        """Give the command line of a report."""
        return [sys.executable, "scripts/cost_tracker.py", "stats", *words]

    def stats(self, name: str, *words: str) -> float:
        """Time a report, which has to show the right number of calls."""
        picked = next((self.made.names[word] for word in words if word in self.made.names), None)
        return self.timed(name, self.program(*words), of_month="--month" in words, picked=picked)

    def timed(self, name: str, command: Sequence[str], *, of_month: bool = False, picked: int | None = None) -> float:
        """Time a command that has to show the number of calls, and keep its peak memory under a name."""
        took, peak_kb, out = measured(command, self.environment)
        calls = picked or (self.made.month_calls if of_month else self.made.calls)
        if str(calls) not in out.replace(",", ""):
            raise RuntimeError(f"{name} does not show {calls} calls: {out[:500]}")
        self.peaks_kb[name] = max(peak_kb, self.peaks_kb.get(name, 0))
        return took

    def peak_mb(self, name: str) -> float:
        """Give the most memory that was ever used under a name, in MB as the goals count them."""
        return self.peaks_kb[name] * 1024 / 1e6

    def cold(self, name: str) -> float:
        """Time a report that has to make the index first."""
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.path}.index{end}")
        return self.stats(name)

    def caught_up(self, name: str, calls: int) -> float:
        """Time a report after another program has appended the calls of a day."""
        self.made.write(self.path, calls, self._now, days=1)
        return self.stats(name)


class Rates:
    """Processes that stay and append to ledgers."""

    def __init__(self, large: Path, small: Path) -> None:
        """Name the ledgers; what is held and settled is also held and settled in the small one."""
        self._large, self._small = large, small
        self._started = 0

    def _start(self, kind: str, count: int, *paths: Path) -> subprocess.Popen[str]:
        self._started += 1
        words = [kind, f"gen-{kind}-{self._started}", str(count), *map(str, paths)]
        command = [sys.executable, "-m", "benchmarks.appending", *words]
        environment = {**os.environ, "TMPDIR": str(self._large.parent)}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)
        assert process.stdout and process.stdout.readline() == "ready\n"
        return process

    def pairs(self, count: int) -> dict[str, list[float]]:
        """Give the seconds of single appends of each kind, so many of each."""
        process = self._start("pairs", count, self._large, self._small)
        found: dict[str, list[float]] = json.loads(process.communicate("\n")[0])
        return found

    def many(self, processes: int, count: int) -> float:
        """Give the appends a second of some processes at once, each of which makes so many."""
        running = [self._start("many", count, self._large) for _ in range(processes)]
        began = time.perf_counter()
        for process in running:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        ended = [process.communicate()[0] for process in running]
        took = time.perf_counter() - began
        if any(process.returncode for process in running):
            raise RuntimeError(f"appending failed: {ended}")
        return processes * count / took
