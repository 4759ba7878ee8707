"""A live view in place on a terminal, with its age: stats.py --watch, asked for once a minute, and `top`."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from openrouter_usage.cli.program import terminal_width, write
from openrouter_usage.errors import OpenRouterUsageError, SettingsError, Unreachable
from openrouter_usage.text import ago, columns

EVERY_S = 60
_HOME, _END_OF_LINE, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_COLOUR = re.compile("\x1b\\[\\d*m")
_USUAL_HEIGHT = 24


class View(NamedTuple):
    """What is shown, the moment its figures are of, and why they are old, "" if they are not."""

    text: str
    taken_at: datetime
    problem: str = ""


def refuse_without_terminal(*, can_draw: bool) -> None:
    """Raise SettingsError where nothing can be drawn in place: in a pipe, a file or a dumb terminal."""
    if not can_draw:
        raise SettingsError(
            "--watch refreshes in place, and standard output is not a terminal that can do so",
            hint="leave out --watch, or run it in a terminal",
            code="usage",
        )


def watch(
    show: Callable[[datetime], View],
    clock: Callable[[], datetime],
    *,
    sleep: Callable[[float], None] = time.sleep,
    every_s: int = EVERY_S,
) -> int:
    """Draw what `show` returns until ^C, and return 0; `show` is called every `every_s`, its age is drawn every second.

    A failure to reach OpenRouter leaves the last figures and names the failure; any other error ends the view, and so
    does a failure before there are figures.
    """
    view, asked_at = None, None
    write(f"{_HOME}{_BELOW}")
    while True:
        try:
            now = clock()
            if asked_at is None or not 0 <= (now - asked_at).total_seconds() < every_s:
                view, asked_at = _next(show, view, now), now
                now = clock()
            write(_drawn(view, now, asked_at, every_s))
            sleep(1)
        except KeyboardInterrupt:
            write("\n")
            return 0


def _next(show: Callable[[datetime], View], last: View | None, now: datetime) -> View:
    try:
        return show(now)
    except Unreachable as error:
        return _kept(last, error)


def _kept(last: View | None, error: OpenRouterUsageError) -> View:
    if last is None:
        raise error
    return last._replace(problem=error.message)


def _drawn(view: View | None, now: datetime, asked_at: datetime, every_s: int) -> str:
    if view is None:
        return ""
    age_s = max(0.0, (now - view.taken_at).total_seconds())
    wait_s = max(0, every_s - int((now - asked_at).total_seconds()))
    problem = f"; these figures are old: {view.problem}" if view.problem else ""
    foot = f"As of {ago(age_s)} ago; next in {wait_s} s; ^C ends{problem}"
    return _HOME + "".join(f"{line}{_END_OF_LINE}\n" for line in _fitting(view.text.splitlines(), foot)) + _BELOW


def _fitting(lines: list[str], foot: str) -> list[str]:
    """Return as many lines as the terminal has rows for, and the foot; a screen that scrolls cannot be drawn over."""
    width = terminal_width()
    room = _height() - 1 - _rows(foot, width)
    shown: list[str] = []
    for line in lines:
        room -= _rows(line, width)
        if room < 1 and line is not lines[-1]:
            return [*shown, "... the window is too small for more", foot]
        shown.append(line)
    return [*shown, foot]


def _rows(line: str, width: int) -> int:
    return max(1, -(-columns(_COLOUR.sub("", line)) // width))


def _height() -> int:
    try:
        return os.get_terminal_size().lines or _USUAL_HEIGHT
    except (OSError, ValueError):
        return _USUAL_HEIGHT
