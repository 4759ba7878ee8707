"""Runs checks at the same time, so that none waits for another, and none can keep the others from ending."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)  # Python 3.10 has no NamedTuple of any type
class Ended(Generic[T]):
    """How a check ended: with a value, or with an error; with neither when it did not end in time."""

    value: T | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Check(Generic[T]):
    """Something to find out, and for how many seconds it is waited for."""

    run: Callable[[], T]
    wait_s: float


def run_all(checks: Mapping[str, Check[T]]) -> dict[str, Ended[T]]:
    """Run checks in threads of their own and give how each one ended; what hangs is left behind."""
    ended: dict[str, Ended[T]] = {}

    def run(name: str, check: Callable[[], T]) -> None:
        try:
            ended[name] = Ended(check())
        except Exception as error:  # whatever it is, it is a finding
            ended[name] = Ended(error=error)

    begun = time.monotonic()
    threads = {
        name: threading.Thread(target=run, args=(name, check.run), daemon=True) for name, check in checks.items()
    }
    for thread in threads.values():
        try:
            thread.start()
        except RuntimeError:  # no thread can begin here: their number is limited
            thread.run()
    for name, thread in threads.items():
        if thread.ident is not None:
            thread.join(max(0.0, begun + checks[name].wait_s - time.monotonic()))
    return {name: ended.get(name, Ended()) for name in checks}
