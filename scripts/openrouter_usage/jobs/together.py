"""Runs tasks at the same time, each in a thread of its own, and waits for all of them no longer than it was told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Ended(Generic[T]):
    """How a task ended: with a value or with an error; with neither when it did not end in time."""

    __slots__ = ("error", "value")

    def __init__(self, value: T | None = None, error: BaseException | None = None) -> None:
        """Keep what the task left behind."""
        self.value = value
        self.error = error


def nothing() -> None:
    """Do nothing."""


def run_together(
    tasks: Mapping[str, Callable[[], T]], *, wait_s: float, meanwhile: Callable[[], None] = nothing
) -> dict[str, Ended[T]]:
    """Run tasks and return how each one ended, in the order of the tasks, after at most `wait_s` seconds.

    `meanwhile` is done once while the tasks run. A task that hangs is left behind: neither a look-up of a host's name
    nor a read from a network folder that is gone can be cut short, and neither keeps the program from ending.
    """
    ended: dict[str, Ended[T]] = {}

    def run(name: str, task: Callable[[], T]) -> None:
        try:
            ended[name] = Ended(task())
        except BaseException as error:  # it is the caller's, who is in the other thread
            ended[name] = Ended(error=error)

    deadline = time.monotonic() + wait_s
    threads = []
    for item in tasks.items():
        thread = threading.Thread(target=run, args=item, daemon=True)
        try:
            thread.start()
            threads.append(thread)
        except RuntimeError:  # no thread can begin here: their number is limited, or Python is ending
            run(*item)
    meanwhile()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {name: ended.get(name, Ended()) for name in tasks}
