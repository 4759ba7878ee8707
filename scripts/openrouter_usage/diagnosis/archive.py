"""What is made of the archive of OpenRouter's own figures; pure."""

from __future__ import annotations

from typing import NamedTuple

from openrouter_usage.diagnosis.books import AREA, Line, places
from openrouter_usage.diagnosis.finding import Finding, note, of_error, ok, problem, warning
from openrouter_usage.diagnosis.words import Words
from openrouter_usage.errors import LedgerError
from openrouter_usage.text import plural


class Kept(NamedTuple):
    """An archive by its path: the days that are known of all accounts, and the lines that are not understood."""

    path: str
    days: int = 0
    accounts: int = 0
    unread: tuple[Line, ...] = ()
    is_writable: bool = True
    error: LedgerError | None = None


def findings(kept: Kept | None, words: Words) -> list[Finding]:
    """Judge the archive; without one there is nothing to say."""
    if kept is None:
        return []
    if kept.error:
        return [of_error(AREA, kept.error, words)]
    told = []
    where = words.path(kept.path)
    if not kept.is_writable:
        text = f"the archive {where} cannot be written: it may not be changed"
        told.append(problem(AREA, text, "check its owner and mode", kind=LedgerError))
    damaged = [line for line in kept.unread if line.is_damaged]
    foreign = [line for line in kept.unread if not line.is_damaged]
    if damaged:
        text = f"{plural(len(damaged), 'damaged line')} of the archive {where} not counted, at {places(damaged, words)}"
        remedy = "run: cost_tracker.py sync --backfill 365, which asks for their days again; then delete these lines"
        told.append(warning(AREA, text, remedy))
    if foreign:
        text = f"{plural(len(foreign), 'line')} of a kind from elsewhere in the archive, kept and not counted, at "
        told.append(note(AREA, text + places(foreign, words)))
    whose = f" of {kept.accounts:,} accounts" if kept.accounts > 1 else ""
    return told or [ok(AREA, f"the archive {where} has {plural(kept.days, 'day')}{whose}")]
