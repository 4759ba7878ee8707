"""Reads what other programs logged, and books the bills of the calls whose generation ids are in the logs."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from openrouter_usage.entry import UNKNOWN_MODEL, Entry
from openrouter_usage.errors import BadAnswer, Denied, NotFound, OpenRouterUsageError, Unbelievable
from openrouter_usage.figures.logs.logged import Logged, moment
from openrouter_usage.figures.model_names import without_prefix
from openrouter_usage.files import state_of
from openrouter_usage.jobs.log_book import BOOKED, REFUSED, UNKNOWN, LogBook, Read, Waiting
from openrouter_usage.jobs.log_reading import Found, is_known, read_store
from openrouter_usage.jobs.log_stores import Store
from openrouter_usage.money import total

if TYPE_CHECKING:
    from openrouter_usage.ledger.ledger import Ledger
    from openrouter_usage.openrouter.answers.generation import Generation

# -- Reading: what is new in each file, in transactions of some size.

_ROOM = 64 * 1024 * 1024
# Less is read before other processes have begun.
_WORTH_SHARING = 64 * 1024 * 1024
_MOST_WORKERS = 4
_FILES_AT_ONCE = 8
Progress = Callable[[int, int], None]


class ReadFiles(NamedTuple):
    """How many files there are, how many of them had something new, and how many files were found of each client."""

    files: int
    new: int
    by_client: Mapping[str, int]


def read_logs(book: LogBook, stores: Iterable[Store], progress: Progress = lambda done, size: None) -> ReadFiles:
    """Read what is new in some stores into the book; `progress` gets how many bytes of how many were read."""
    known = book.files()
    found: dict[str, int] = {}
    changed = []
    for store in stores:
        found[store.client] = found.get(store.client, 0) + 1
        if not is_known(store, known.get(os.fsencode(store.path))):
            changed.append(store)
    size = sum(store.status.st_size for store in changed)
    done = room = 0
    reads = [known.get(os.fsencode(store.path)) for store in changed]
    is_much = size >= _WORTH_SHARING and len(changed) > 1 and (os.cpu_count() or 1) > 1
    # Elsewhere a process begins by loading the program again, or may not be forked off one that uses the network.
    is_much = is_much and sys.platform == "linux"
    for number, (store, told) in enumerate(zip(changed, (_shared if is_much else _alone)(changed, reads), strict=True)):
        if not room:
            book.begin()
        path = os.fsencode(store.path)
        (book.add_sums if told.are_sums else book.add)(store.client, told.calls)
        book.note_file(path, store.client, told.read, told.skipped, from_start=told.from_start)
        room += store.status.st_size + 1
        done += store.status.st_size
        if room > _ROOM or number == len(changed) - 1:
            book.commit()
            room = 0
            progress(done, size)
    return ReadFiles(sum(found.values()), len(changed), found)


def _alone(stores: list[Store], reads: list[Read | None]) -> Iterator[Found]:
    return map(read_store, stores, reads)


def _shared(stores: list[Store], reads: list[Read | None]) -> Iterator[Found]:
    """Read files in as many processes as there are processors, a few at a time, and return what they told in order."""
    from collections import deque
    from concurrent.futures import Future, ProcessPoolExecutor
    from itertools import islice
    from multiprocessing import get_context

    workers = min(os.cpu_count() or 1, _MOST_WORKERS)
    starts = range(0, len(stores), _FILES_AT_ONCE)
    parts = iter([(stores[at : at + _FILES_AT_ONCE], reads[at : at + _FILES_AT_ONCE]) for at in starts])
    pool = ProcessPoolExecutor(workers, mp_context=get_context("fork"), initializer=_ignore_interrupts)
    try:
        # Not all at once: what waits to be written takes memory.
        first = islice(parts, 2 * workers)
        running: deque[Future[list[Found]]] = deque(pool.submit(_read_some, *part) for part in first)
        while running:
            found = running.popleft().result()
            running.extend(pool.submit(_read_some, *part) for part in islice(parts, 1))
            yield from found
    finally:
        pool.shutdown(cancel_futures=True)


def _read_some(stores: list[Store], reads: list[Read | None]) -> list[Found]:
    return [found._replace(calls=list(found.calls)) for found in map(read_store, stores, reads)]


def _ignore_interrupts() -> None:
    # ^C is for the process that writes; it ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


# -- Asking: what calls cost whose ids were logged, at most two a second, the oldest first.

_PAUSE_S = 0.5
_AT_ONCE = 5_000
# OpenRouter knows a call some seconds later; what is older than this and unknown stays so.
_YOUNG = timedelta(minutes=15)
_MOST_FAILURES = 5


class Asked(NamedTuple):
    """What became of the calls that were asked about.

    `booked` are entries with OpenRouter's bill, `unknown` those without a believable one, `refused` the number
    that belong to another account, `left` the number that still waits, `error` what ended the run early.
    """

    booked: tuple[Entry, ...] = ()
    unknown: tuple[Entry, ...] = ()
    refused: int = 0
    left: int = 0
    error: OpenRouterUsageError | None = None


_COMPARED = "ledger that was compared"


def is_compared(book: LogBook, ledger: Path) -> bool:
    """Check whether the calls that wait, and the ledger, are those of the last comparison: then nothing comes of it."""
    return not ledger.exists() or book.note(_COMPARED) == _state(book, ledger)


def _state(book: LogBook, ledger: Path) -> str:
    return f"{state_of(ledger)} {book.waiting_count()}" if ledger.exists() else ""


def settle_known(book: LogBook, ledger: Ledger) -> int:
    """Let calls wait no longer that the ledger has with a certain cost, whoever booked them; return their number."""
    settled = 0
    for some in _chunks(waiting.call.id for waiting in book.waiting()):
        known = ledger.certain(some)
        if known:
            book.settle(sorted(known), BOOKED)
            settled += len(known)
    book.write_note(_COMPARED, _state(book, ledger.path))
    return settled


def _chunks(identities: Iterable[str]) -> Iterator[list[str]]:
    # All of them at first, for a list that is changed while it is read has no end.
    wanted = list(identities)
    for begin in range(0, len(wanted), _AT_ONCE):
        yield wanted[begin : begin + _AT_ONCE]


class Asking:
    """One run of questions about generations, which can be broken off at any moment and goes on where it was."""

    def __init__(
        self,
        book: LogBook,
        ledger: Ledger,
        ask: Callable[[str], Generation],
        now: datetime,
        *,
        progress: Progress = lambda done, size: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Ask with `ask`; it is `now` (UTC)."""
        self._book, self._ledger, self._ask, self._now = book, ledger, ask, now
        self._progress, self._clock, self._sleep = progress, clock, sleep
        self._next_s = clock()
        self._booked: list[Entry] = []
        self._unknown: list[Entry] = []
        self._refused = 0
        self._failures = 0

    def run(self) -> Asked:
        """Ask about every call that waits; what ends the run early is kept as its error."""
        waiting = list(self._book.waiting())
        # The hold of a call that runs, or ended badly, is for `settle`.
        held = {hold.generation for hold in self._ledger.health().holds}
        wanted = [each for each in waiting if each.call.id not in held]
        error: OpenRouterUsageError | None = None
        for number, each in enumerate(wanted):
            self._progress(number, len(wanted))
            self._wait()
            try:
                self._one(each)
            except OpenRouterUsageError as problem:
                error = problem
                break
        self._progress(len(wanted), len(wanted))
        left = len(waiting) - len(self._booked) - len(self._unknown) - self._refused
        return Asked(tuple(self._booked), tuple(self._unknown), self._refused, left, error)

    def _wait(self) -> None:
        now_s = self._clock()
        if self._next_s > now_s:
            self._sleep(self._next_s - now_s)
        self._next_s = max(self._next_s, now_s) + _PAUSE_S

    def _one(self, waiting: Waiting) -> None:
        """Ask about one call and book it; raises what concerns all calls, such as a key that does not work."""
        call = waiting.call
        try:
            entry = self._ask(call.id).entry(moment(call.at_s), session=call.session, requested=call.model)
        except Unbelievable as error:
            entry = replace(logged_entry(waiting), told=error.told)
            self._book_call(entry, BOOKED)
            self._unknown.append(entry)
            return
        except NotFound as error:
            if not error.is_told:
                raise
            if moment(call.at_s) < self._now - _YOUNG:
                entry = logged_entry(waiting)
                self._book_call(entry, UNKNOWN)
                self._unknown.append(entry)
            return
        except Denied as error:
            self._count_failure(error)
            if error.code != "forbidden":
                raise
            self._book.settle([call.id], REFUSED)
            self._refused += 1
            return
        except BadAnswer as error:
            self._count_failure(error)
            return
        self._failures = 0
        entry = replace(entry, tags=tags_of(waiting))
        self._book_call(entry, BOOKED)
        self._booked.append(entry)

    def _count_failure(self, error: OpenRouterUsageError) -> None:
        """Note a failure of one call; several in a row are none of single calls."""
        self._failures += 1
        if self._failures >= _MOST_FAILURES:
            raise error

    def _book_call(self, entry: Entry, state: int) -> None:
        # The ledger first: what is broken off in between is found there the next time.
        self._ledger.append(entry, durable=True)
        self._book.settle([entry.id], state)


def logged_entry(waiting: Waiting) -> Entry:
    """Return a call as its program logged it: its cost is an estimate at most."""
    call = waiting.call
    return Entry(
        ts=moment(call.at_s),
        model=without_prefix(call.model) or UNKNOWN_MODEL,
        prompt_tokens=call.prompt_tokens,
        completion_tokens=call.completion_tokens,
        cost=call.cost,
        id=call.id,
        cached_tokens=call.cached_tokens or None,
        cache_write_tokens=call.cache_write_tokens or None,
        cost_source="" if call.cost is None else "estimated",
        session=call.session,
        tags=tags_of(waiting),
    )


def tags_of(waiting: Waiting) -> tuple[tuple[str, str], ...]:
    """Return who made a call for which work, as tags."""
    call: Logged = waiting.call
    found = {"agent": call.agent, "client": waiting.client, "project": call.project}
    return tuple((name, value) for name, value in found.items() if value)


def total_booked(entries: Iterable[Entry]) -> Decimal:
    """Return what calls cost together, in USD of credits."""
    return total(entry.cost for entry in entries if entry.cost is not None)
