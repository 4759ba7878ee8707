"""What a check-up found: one line each, how grave it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from openrouter_usage.diagnosis.words import Words
from openrouter_usage.errors import LedgerError, OpenRouterUsageError, SettingsError

# The order in which findings are told; the first of the gravest gives the exit code.
AREAS = ("versions", "settings", "keys", "network", "clock", "ledger", "files")


class Level(IntEnum):
    """How grave a finding is; only a problem makes the program end with another code than 0."""

    OK = 0
    NOTE = 1
    WARNING = 2
    PROBLEM = 3


class Finding(NamedTuple):
    """One line on what was found, and one on what to do; a problem has the exit code and slug of its kind."""

    area: str
    level: Level
    text: str
    remedy: str = ""
    exit_code: int = 0
    code: str = ""


def ok(area: str, text: str) -> Finding:
    """Say that all is well."""
    return Finding(area, Level.OK, text)


def note(area: str, text: str, remedy: str = "") -> Finding:
    """Say what is worth knowing, and does no harm."""
    return Finding(area, Level.NOTE, text, remedy)


def warning(area: str, text: str, remedy: str = "") -> Finding:
    """Say what does harm some day, or a little already."""
    return Finding(area, Level.WARNING, text, remedy)


def problem(area: str, text: str, remedy: str = "", *, kind: type[OpenRouterUsageError] = SettingsError) -> Finding:
    """Say what keeps something from working, with the exit code of that kind of error."""
    return Finding(area, Level.PROBLEM, text, remedy, kind.exit_code, kind.code)


def of_error(area: str, error: OpenRouterUsageError, words: Words, level: Level = Level.PROBLEM) -> Finding:
    """Make a finding of an error that a program would end with."""
    is_problem = level is Level.PROBLEM
    return Finding(
        area,
        level,
        words.text(error.message),
        words.text(error.hint),
        error.exit_code if is_problem else 0,
        error.code if is_problem else "",
    )


def of_bug(area: str, what: str) -> Finding:
    """Make a finding of a check that failed itself."""
    text = f"this check itself failed, which is a bug: {what}"
    return Finding(area, Level.PROBLEM, text, "report it with the output of: doctor --share", 1, "bug")


def too_slow(area: str, seconds: float) -> Finding:
    """Make a finding of a check that did not end: a file system that is gone keeps whoever asks waiting."""
    return problem(
        area,
        f"this check did not end within {seconds:.0f} s",
        "a network folder that is gone hangs like this; if the ledger is very large, run first: cost_tracker.py stats",
        kind=LedgerError if area in ("ledger", "files") else SettingsError,
    )


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Put findings into the order in which they are told."""
    return sorted(findings, key=lambda finding: AREAS.index(finding.area))


def gravest(findings: Iterable[Finding]) -> Finding | None:
    """Give the first problem, None when there is none."""
    return next((finding for finding in findings if finding.level is Level.PROBLEM), None)
