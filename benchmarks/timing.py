"""Times contenders side by side: interleaved rounds on one machine, medians, and ratios of paired rounds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

Contender = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Goal:
    """How many times another contender's time one contender may take, and what it aims for."""

    contender: str
    against: str
    at_most: float
    aim: float | None = None


def interleaved(contenders: Mapping[str, Contender], rounds: int) -> dict[str, list[float]]:
    """Give each contender's seconds, one figure a round, after one round that is not counted.

    A contender that first has to prepare something measures itself, and returns its seconds as a float.

    Every round runs all of them, each time beginning with another one, so that a slow minute of the
    machine, and a neighbour's warm cache, fall on all alike.
    """
    names = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        show_progress(f"round {number} of {rounds}" if number else "warming up")
        first = number % len(names)
        for name in names[first:] + names[:first]:
            began = time.perf_counter()
            own = contenders[name]()
            took = own if isinstance(own, float) else time.perf_counter() - began
            if number:
                seconds[name].append(took)
    show_progress("")
    return seconds


def ratio(seconds: Mapping[str, list[float]], contender: str, against: str) -> float:
    """Give the median of the ratios of the rounds."""
    return median(a / b for a, b in zip(seconds[contender], seconds[against], strict=True))


def table(seconds: Mapping[str, list[float]]) -> list[str]:
    """Write each contender's median, fastest and slowest round as the lines of a Markdown table."""
    lines = ["| contender | median | fastest | slowest |", "| --- | --- | --- | --- |"]
    for name, took in seconds.items():
        lines.append(f"| {name} | {' | '.join(map(shown, (median(took), min(took), max(took))))} |")
    return lines


def shown(seconds: float) -> str:
    """Write a time in a unit that leaves it at least two digits."""
    return f"{seconds * 1e6:.0f} µs" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"


def goals_table(seconds: Mapping[str, list[float]], goals: list[Goal]) -> list[str]:
    """Write what each goal asks and what was measured as the lines of a Markdown table."""
    lines = ["| contender | against | ratio | goal | aim | |", "| --- | --- | --- | --- | --- | --- |"]
    for goal in goals:
        measured = ratio(seconds, goal.contender, goal.against)
        verdict = "missed" if measured > goal.at_most else "met"
        aim = "" if goal.aim is None else f"{goal.aim:.2f}"
        names = f"{goal.contender} | {goal.against}"
        lines.append(f"| {names} | {measured:.2f} | {goal.at_most:.2f} | {aim} | {verdict} |")
    return lines


def show_progress(text: str) -> None:
    """Show one line on stderr: in place on a terminal, as lines elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
    elif text:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()
