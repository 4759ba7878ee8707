"""What is made of the ledger, its index, its open holds and what waits to be written to it; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.diagnosis.finding import Finding, note, of_error, ok, problem, warning
from openrouter_usage.diagnosis.words import Words
from openrouter_usage.entry import Entry, Hold
from openrouter_usage.errors import LedgerError, OpenRouterUsageError, Refused
from openrouter_usage.money import format_usd, total
from openrouter_usage.period import spoken
from openrouter_usage.text import ago, named, plural, quoted

AREA = "ledger"
# A call that runs for longer than this has most likely ended without saying so.
RUNNING = timedelta(minutes=10)
_SHOWN = 5


class Line(NamedTuple):
    """A line that is not counted: where it begins, why, and whether it is damaged or from elsewhere."""

    offset: int
    why: str
    is_damaged: bool


class State(NamedTuple):
    """What is in a ledger beside its sums; `notices` is what the reader was told on the way.

    `unsettled` booked calls can be looked up, `doubtful` ones have an unbelievable bill, and `ahead` ones, with what
    they cost and up to when, are dated in the future.
    """

    size: int
    unread: tuple[Line, ...]
    duplicates: int
    holds: tuple[Hold, ...]
    notices: tuple[str, ...] = ()
    unsettled: int = 0
    doubtful: tuple[Entry, ...] = ()
    ahead: tuple[int, Decimal, datetime] | None = None


class Index(NamedTuple):
    """The index: its size, None when there is none, and why it is of no use; `is_blocked` when that stays so."""

    size: int | None = None
    why: str = ""
    is_blocked: bool = False


class Spool(NamedTuple):
    """What waits to be written to the ledger: files, their lines and bytes, and since when."""

    files: int = 0
    lines: int = 0
    size: int = 0
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True)
class Books:
    """A ledger by its path; no state when it cannot be read, None as well when there is no file yet."""

    path: str
    exists: bool
    state: State | None
    error: OpenRouterUsageError | None
    lock: OpenRouterUsageError | None
    unwritable: str
    index: Index
    spool: Spool
    other_names: int = 0


def findings(books: Books, now: datetime, words: Words) -> list[Finding]:
    """Judge the books."""
    told = [_file(books, words)]
    if books.lock:
        told.append(of_error(AREA, books.lock, words))
    if books.other_names:
        told.append(_linked(books, words))
    if books.unwritable and not books.error:
        told.append(_unwritable(books, words))
    if books.state and books.exists:
        told += [*_lines(books.state, words), *_holds(books.state, now, words)]
        told += [*_unsettled(books.state), *_doubtful(books.state, words), *_ahead(books.state)]
    if books.exists:
        told += _index(books.index, words)
    if books.spool.files:
        told.append(_spool(books.spool, now))
    return told


def _file(books: Books, words: Words) -> Finding:
    where = words.path(books.path)
    if books.error:
        return of_error(AREA, books.error, words)
    if not books.exists:
        return ok(AREA, f"there is no ledger yet at {where}: no call was tracked")
    return ok(AREA, f"the ledger {where} has {size(books.state.size if books.state else 0)}")


def _unwritable(books: Books, words: Words) -> Finding:
    text = f"the ledger {words.path(books.path)} cannot be written: {words.text(books.unwritable)}"
    remedy = "check its owner and mode and those of its folder, or set OPENROUTER_USAGE_FILE"
    return problem(AREA, text, remedy, kind=LedgerError)


def _linked(books: Books, words: Words) -> Finding:
    text = f"the ledger {words.path(books.path)} has {plural(books.other_names, 'other name')} (hard links)"
    remedy = "delete the other names: `clean` is refused, for it would make two ledgers of one"
    return warning(AREA, text, remedy)


def _lines(state: State, words: Words) -> list[Finding]:
    told = []
    damaged = [line for line in state.unread if line.is_damaged]
    foreign = [line for line in state.unread if not line.is_damaged]
    if damaged:
        text = f"{plural(len(damaged), 'damaged line')} not counted, at {places(damaged, words)}"
        remedy = "tail -c +N with that byte plus one shows it; correct or delete it while nothing runs"
        told.append(warning(AREA, text, remedy))
    if foreign:
        text = f"{plural(len(foreign), 'line')} of a kind from elsewhere, kept and not counted, at "
        told.append(note(AREA, text + places(foreign, words)))
    if state.duplicates:
        told.append(note(AREA, f"{plural(state.duplicates, 'line')} superseded: reported again, and counted once"))
    told += [note(AREA, words.text(notice)) for notice in state.notices]
    return told or [ok(AREA, "every line is understood")]


def places(lines: Sequence[Line], words: Words) -> str:
    """Write where lines begin, and why they are not counted."""
    shown = ", ".join(f"byte {line.offset:,} ({words.text(line.why)})" for line in lines[:_SHOWN])
    rest = len(lines) - _SHOWN
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def _unsettled(state: State) -> list[Finding]:
    if not state.unsettled:
        return []
    text = f"{plural(state.unsettled, 'call')} booked with an unknown or estimated cost, which can be looked up"
    return [warning(AREA, text, "run: cost_tracker.py settle")]


def _doubtful(state: State, words: Words) -> list[Finding]:
    if not state.doubtful:
        return []
    first = state.doubtful[0]
    which = "" if words.is_shared else f", the first is {named(first.id)}"
    text = f"{plural(len(state.doubtful), 'call')} with a bill that nobody can believe ({quoted(first.told)}){which}"
    remedy = "look at it on OpenRouter, then run: cost_tracker.py settle --id ID; under a budget nothing is sent before"
    return [problem(AREA, text, remedy, kind=Refused)]


def _ahead(state: State) -> list[Finding]:
    if state.ahead is None:
        return []
    count, cost, last = state.ahead
    text = f"{plural(count, 'call')} dated in the future, up to {spoken(last)}, with {format_usd(cost)}"
    remedy = "set the clock; cost_tracker.py settle asks OpenRouter when they were made, clean --ahead takes them out"
    return [warning(AREA, f"{text}: every budget until then counts them", remedy)]


def _holds(state: State, now: datetime, words: Words) -> list[Finding]:
    holds = state.holds
    if not holds:
        return [] if state.unsettled else [ok(AREA, "no call is unsettled")]
    known = [(hold.max_cost, hold) for hold in holds if hold.max_cost is not None]
    if known:
        most, largest = max(known, key=lambda pair: pair[0])
        is_all = len(known) == len(holds)
        rest = "" if is_all else f" for {len(known):,} of them, for the rest not known"
        amount = f"{format_usd(total(cost for cost, _ in known))} held{rest}"
        amount += f"; the largest{'' if is_all else ' known'} is {format_usd(most)}"
    else:
        largest = min(holds, key=lambda hold: hold.ts)
        amount = "held: not known; the oldest is"
    which = "" if words.is_shared else f", {named(largest.generation or largest.id)}"
    text = (
        f"{plural(len(holds), 'call')} running or unsettled, {amount}{', ' if known else ' '}"
        f"{named(largest.model)}{which}, since {spoken(largest.ts)}"
    )
    if all(now - hold.ts < RUNNING for hold in holds):
        return [note(AREA, text)]
    return [warning(AREA, text, "run: cost_tracker.py settle")]


def _index(index: Index, words: Words) -> list[Finding]:
    if index.size is None:
        return [note(AREA, "the ledger has no index yet: the next report makes it")]
    if index.is_blocked:
        remedy = "check its owner and mode; it can be deleted while nothing runs"
        return [problem(AREA, f"the index cannot be used: {words.text(index.why)}", remedy, kind=LedgerError)]
    if index.why:
        text = f"the index ({size(index.size)}) is damaged: {words.text(index.why)}"
        return [warning(AREA, text, "nothing is lost: the next report makes it anew from the ledger")]
    return [ok(AREA, f"the index is readable, {size(index.size)}")]


def _spool(spool: Spool, now: datetime) -> Finding:
    since = f", the oldest for {ago((now - spool.oldest).total_seconds())}" if spool.oldest else ""
    text = f"{plural(spool.lines, 'line')} ({size(spool.size)}) in the spool, not yet in the ledger{since}"
    return warning(AREA, text, "make room or mend the folder, then run: cost_tracker.py stats")


def size(count: int) -> str:
    """Write a number of bytes the way people say it."""
    amount, unit = float(count), "bytes"
    for larger in ("KB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{count:,} {'byte' if count == 1 else 'bytes'}" if unit == "bytes" else f"{amount:.1f} {unit}"
