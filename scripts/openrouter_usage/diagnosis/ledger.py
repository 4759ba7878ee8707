"""What is made of the ledger, of what belongs to it, and of the files and the disk they are on; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from shlex import quote
from typing import NamedTuple

from openrouter_usage.diagnosis.findings import Finding, note, ok, problem, warning
from openrouter_usage.entry import Entry, Hold, UnreadLine
from openrouter_usage.errors import LedgerError, Refused
from openrouter_usage.money import format_usd, total
from openrouter_usage.period import spoken
from openrouter_usage.text import ago, named, plural, quoted, safe

LITTLE_ROOM, NO_ROOM = 100 * 1000 * 1000, 1000 * 1000
# A call that runs for longer than this has most likely ended without saying so.
RUNNING = timedelta(minutes=10)
_MOST_LINES, _MOST_FILES = 5, 3


def size_finding(path: str, bytes_long: int | None) -> Finding:
    """Name the ledger, with its size; None when there is none."""
    if bytes_long is None:
        return ok("ledger", f"there is no ledger yet at {safe(path, 300)}: no call was tracked")
    return ok("ledger", f"the ledger {safe(path, 300)} has {size(bytes_long)}")


def line_findings(unread: Sequence[UnreadLine], *, duplicates: int, notices: Sequence[str]) -> list[Finding]:
    """Judge the lines of the ledger; `notices` is what its reader was told on the way."""
    told = []
    damaged, foreign = _told_apart(unread)
    if damaged:
        text = f"{plural(len(damaged), 'damaged line')} not counted, at {_places(damaged)}"
        remedy = "tail -c +N with that byte plus one shows it; correct or delete it while nothing runs"
        told.append(warning("ledger", text, remedy))
    if foreign:
        text = f"{plural(len(foreign), 'line')} of a kind from elsewhere, kept and not counted, at {_places(foreign)}"
        told.append(note("ledger", text))
    if duplicates:
        told.append(note("ledger", f"{plural(duplicates, 'line')} superseded: reported again, and counted once"))
    told += [note("ledger", safe(notice, 600)) for notice in notices]
    return told or [ok("ledger", "every line is understood")]


def archive_findings(
    path: str, unread: Sequence[UnreadLine], *, days: int, accounts: int, is_writable: bool
) -> list[Finding]:
    """Judge the archive of OpenRouter's own figures."""
    told = []
    where = safe(path, 300)
    if not is_writable:
        text = f"the archive {where} cannot be written: it may not be changed"
        told.append(problem("ledger", text, "check its owner and mode", kind=LedgerError))
    damaged, foreign = _told_apart(unread)
    if damaged:
        text = f"{plural(len(damaged), 'damaged line')} of the archive {where} not counted, at {_places(damaged)}"
        remedy = "run: cost_tracker.py sync --backfill 365, which asks for their days again; then delete these lines"
        told.append(warning("ledger", text, remedy))
    if foreign:
        text = f"{plural(len(foreign), 'line')} of a kind from elsewhere in the archive, kept and not counted, at "
        told.append(note("ledger", text + _places(foreign)))
    whose = f" of {accounts:,} accounts" if accounts > 1 else ""
    return told or [ok("ledger", f"the archive {where} has {plural(days, 'day')}{whose}")]


def _told_apart(unread: Sequence[UnreadLine]) -> tuple[list[UnreadLine], list[UnreadLine]]:
    return [line for line in unread if line.is_damaged], [line for line in unread if not line.is_damaged]


def _places(lines: Sequence[UnreadLine]) -> str:
    """Write where lines begin, and why they are not counted."""
    shown = ", ".join(f"byte {line.offset:,} ({safe(line.why)})" for line in lines[:_MOST_LINES])
    rest = len(lines) - _MOST_LINES
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def link_findings(path: str, others: int) -> list[Finding]:
    """Judge the other names that the ledger has on its disk."""
    if not others:
        return []
    text = f"the ledger {safe(path, 300)} has {plural(others, 'other name')} (hard links)"
    return [warning("ledger", text, "delete the other names: `clean` is refused, for it would make two ledgers of one")]


def hold_findings(holds: Sequence[Hold], unsettled: int, now: datetime) -> list[Finding]:
    """Judge the calls that are running or ended in doubt, and the number of those booked without a certain cost."""
    told = [] if holds or unsettled else [ok("ledger", "no call is unsettled")]
    if holds:
        told.append(_held(holds, now))
    if unsettled:
        text = f"{plural(unsettled, 'call')} booked with an unknown or estimated cost, which can be looked up"
        told.append(warning("ledger", text, "run: cost_tracker.py settle"))
    return told


def _held(holds: Sequence[Hold], now: datetime) -> Finding:
    known = [(hold.max_cost, hold) for hold in holds if hold.max_cost is not None]
    if known:
        most, largest = max(known, key=lambda pair: pair[0])
        is_all = len(known) == len(holds)
        rest = "" if is_all else f" for {len(known):,} of them, for the rest not known"
        amount = f"{format_usd(total(cost for cost, _ in known))} held{rest}"
        amount += f"; the largest{'' if is_all else ' known'} is {format_usd(most)}, "
    else:
        largest = min(holds, key=lambda hold: hold.ts)
        amount = "held: not known; the oldest is "
    text = (
        f"{plural(len(holds), 'call')} running or unsettled, {amount}"
        f"{named(largest.model)}, {named(largest.generation or largest.id)}, since {spoken(largest.ts)}"
    )
    if all(now - hold.ts < RUNNING for hold in holds):
        return note("ledger", text)
    return warning("ledger", text, "run: cost_tracker.py settle")


def doubtful_findings(doubtful: Sequence[Entry]) -> list[Finding]:
    """Judge the calls with a bill that nobody can believe, and nobody has looked at yet."""
    if not doubtful:
        return []
    first = doubtful[0]
    text = f"{plural(len(doubtful), 'call')} with a bill that nobody can believe ({quoted(first.told)})"
    remedy = "look at it on OpenRouter, then run: cost_tracker.py settle --id ID; under a budget nothing is sent before"
    return [problem("ledger", f"{text}, the first is {named(first.id)}", remedy, kind=Refused)]


def ahead_finding(count: int, cost: Decimal, last: datetime) -> Finding:
    """Judge the calls that are dated in the future, up to `last`, and what they cost in USD."""
    text = f"{plural(count, 'call')} dated in the future, up to {spoken(last)}, with {format_usd(cost)}"
    remedy = "set the clock; cost_tracker.py settle asks OpenRouter when they were made, clean --ahead takes them out"
    return warning("ledger", f"{text}: every budget until then counts them", remedy)


def index_finding(bytes_long: int | None, why: str, *, is_blocked: bool) -> Finding:
    """Judge the index: its size, None when there is none, and why it is of no use; blocked when that stays so."""
    if bytes_long is None:
        return note("ledger", "the ledger has no index yet: the next report makes it")
    if is_blocked:
        remedy = "check its owner and mode; it can be deleted while nothing runs"
        return problem("ledger", f"the index cannot be used: {safe(why, 300)}", remedy, kind=LedgerError)
    if why:
        text = f"the index ({size(bytes_long)}) is damaged: {safe(why, 300)}"
        return warning("ledger", text, "nothing is lost: the next report makes it anew from the ledger")
    return ok("ledger", f"the index is readable, {size(bytes_long)}")


def spool_finding(lines: int, *, bytes_long: int, oldest: datetime | None, now: datetime) -> Finding:
    """Judge what waits to be written to the ledger."""
    since = f", the oldest for {ago((now - oldest).total_seconds())}" if oldest else ""
    text = f"{plural(lines, 'line')} ({size(bytes_long)}) in the spool, not yet in the ledger{since}"
    return warning("ledger", text, "make room or mend the folder, then run: cost_tracker.py stats")


def size(count: int) -> str:
    """Write a number of bytes the way people say it."""
    amount, unit = float(count), "bytes"
    for larger in ("KB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{count:,} {'byte' if count == 1 else 'bytes'}" if unit == "bytes" else f"{amount:.1f} {unit}"


class Seen(NamedTuple):
    """A file or folder: its mode, whether it is this user's (or root's), and whether keys are in it."""

    path: str
    mode: int
    is_ours: bool = True
    is_link: bool = False
    is_secret: bool = False

    def is_open(self, bits: int) -> bool:
        """Check whether one of these bits of the mode is set."""
        return bool(self.mode & bits)


_CHOWN, _CHMOD = "chown it to you, or delete it", "chmod go-rwx"
# The gravest first: a file is told once.
_WRONG: tuple[tuple[Callable[[Seen], bool], Callable[..., Finding], str, str], ...] = (
    (lambda one: one.is_secret and not one.is_ours, problem, "belongs to another user, and keys are in it", _CHOWN),
    (lambda one: one.is_secret and one.is_open(0o022), problem, "can be changed by others, and keys are in it", _CHMOD),
    (lambda one: not one.is_ours, warning, "belongs to another user", _CHOWN),
    (lambda one: one.is_open(0o022), warning, "can be changed by others", _CHMOD),
    (lambda one: one.is_secret and one.is_open(0o044), warning, "can be read by others, and keys are in it", _CHMOD),
    (lambda one: one.is_open(0o055), warning, "can be read by others", _CHMOD),
)


def mode_findings(seen: Sequence[Seen]) -> list[Finding]:
    """Judge who may read and change what; POSIX only, elsewhere there is nothing to see."""
    told = []
    rest = [one for one in seen if not one.is_link]
    for is_wrong, judged, text, remedy in _WRONG:
        found = [one for one in rest if is_wrong(one)]
        rest = [one for one in rest if not is_wrong(one)]
        if found:
            paths = [safe(one.path, 300) for one in found[:_MOST_FILES]]
            more = f" and {len(found) - _MOST_FILES:,} more" if len(found) > _MOST_FILES else ""
            todo = f"run: {remedy} {' '.join(map(quote, paths))}" if remedy is _CHMOD else remedy
            told.append(judged("files", f"{', '.join(paths)}{more} {text}", todo))
    links = [one for one in seen if one.is_link]
    if links:
        names = ", ".join(safe(one.path, 300) for one in links[:_MOST_FILES])
        told.append(
            note("files", f"{names} {'is a link' if len(links) == 1 else 'and others are links'}, not followed")
        )
    if seen and not told:
        told.append(ok("files", f"nobody else can read or change any of {len(seen):,} files and folders"))
    return told


def disk_findings(free: int | None, *, shared: str) -> list[Finding]:
    """Judge the disk of the ledger: the bytes that are free, None if unknown, and the file system others share."""
    told = []
    if shared:
        text = f"the ledger is on a network or user-space file system ({safe(shared, 300)})"
        remedy = "locks may not hold there, and budgets rest on them: name a local file with OPENROUTER_USAGE_FILE"
        told.append(warning("files", text, remedy))
    if free is None:
        return told
    text = f"{size(free)} are free where the ledger is"
    if free < NO_ROOM:
        return [*told, problem("files", text, "make room: no call can be written down", kind=LedgerError)]
    if free < LITTLE_ROOM:
        return [*told, warning("files", text, "make room before the disk is full")]
    return [*told, ok("files", text)]
