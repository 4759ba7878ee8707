"""The processes of the budget's benchmark, and the sandbox that bills them, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import IO

from benchmarks.spender import MODEL, PRICE
from tests.sandbox import Account, Model, Reply, Sandbox

ROOT = Path(__file__).resolve().parent.parent
# A short call of a small model; long enough that calls of several processes are under way together.
CALL_S = 0.2


@dataclass(frozen=True, slots=True)
class Pool:
    """Processes that wait to be told what to do."""

    processes: list[subprocess.Popen[str]]

    def run(self, count: int, *work: object) -> None:
        """Let the first so many processes do one thing at the same time; RuntimeError when one of them fails."""
        some = self.processes[:count]
        for process in some:
            _pipe(process.stdin).write(json.dumps(work) + "\n")
            _pipe(process.stdin).flush()
        for process in some:
            if _pipe(process.stdout).readline() != "done\n":
                raise RuntimeError(f"{work[0]} failed in one of {count} processes; its traceback is above")


@contextlib.contextmanager
def pool(count: int, environment: dict[str, str]) -> Iterator[Pool]:
    """Start processes, and end them with the block."""
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-m", "benchmarks.spender"]
        yield Pool([stack.enter_context(_started(command, environment)) for _ in range(count)])


class Bill:
    """Asks the sandbox what it has billed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Read where it listens."""
        self._process = process
        address = json.loads(_pipe(process.stdout).readline())
        self.url, self.key = address["url"], address["key"]

    def take(self) -> Decimal:
        """Give what was billed in USD since the last time."""
        _pipe(self._process.stdin).write("\n")
        _pipe(self._process.stdin).flush()
        return Decimal(json.loads(_pipe(self._process.stdout).readline()))


@contextlib.contextmanager
def billed() -> Iterator[Bill]:
    """Serve a sandbox whose every call costs the same, until the block ends."""
    with _started([sys.executable, "-m", "benchmarks.spenders"], None) as process:
        yield Bill(process)


@contextlib.contextmanager
def _started(command: list[str], environment: dict[str, str] | None) -> Iterator[subprocess.Popen[str]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)
    try:
        yield process
    finally:
        _pipe(process.stdin).close()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _pipe(process.stdout).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def main() -> None:
    """Serve, and write the bill of the last race for every line that is read."""
    models = [Model(MODEL, "Ten cents a call", "0", "0", more={"request": str(PRICE)})]
    account = Account.simple(models=models, total_credits=Decimal(10**6), reply=Reply(delay_s=CALL_S))
    with Sandbox(account) as sandbox:
        print(json.dumps({"url": sandbox.url, "key": account.keys[0].secret}), flush=True)
        told = Decimal(0)
        for _ in iter(sys.stdin.readline, ""):
            sandbox.wait_until(lambda: not account.in_flight)
            print(json.dumps(str(account.bill - told)), flush=True)
            told = account.bill


if __name__ == "__main__":
    main()
