"""The archive on disk: one line a completed day, appended under a lock with the ledger's care, never rewritten."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from openrouter_usage.entry import Unread, UnreadLine
from openrouter_usage.errors import LedgerError
from openrouter_usage.figures.archive import (
    LONGEST_DAY,
    ArchivedDay,
    Change,
    Days,
    changes,
    known_days,
    read_day,
    refuse_others,
    write_day,
)
from openrouter_usage.files import locked, sync_folder
from openrouter_usage.ledger import locks
from openrouter_usage.ledger.file import LedgerFile
from openrouter_usage.ledger.scan import lines_of

_NOUN = "archive"


class Contents(NamedTuple):
    """What holds of each account's days, and the lines that are kept and not counted."""

    accounts: dict[str, Days]
    unread: tuple[UnreadLine, ...]


class Added(NamedTuple):
    """The days that were written, and what is in the archive since."""

    changes: list[Change]
    contents: Contents


class Archive:
    """The archive of one file; every method raises LedgerError when the file cannot be read or written."""

    def __init__(self, path: Path, *, lock_timeout_s: float = 30.0) -> None:
        """Name the file; nothing is opened before it is used."""
        self.path = path
        self._wait_s = lock_timeout_s

    def read(self) -> Contents:
        """Read all of it; no lock is needed, because a day does not count before its line is whole."""
        with contextlib.closing(LedgerFile(self.path, noun=_NOUN)) as file:
            return _read(file)

    def add(
        self,
        days: Sequence[ArchivedDay],
        *,
        may_be_another: bool = False,
        check: Callable[[Days], None] = lambda known: None,
    ) -> Added:
        """Write those days of one account that are news, at once, unless `check` raises for what is known of it.

        SettingsError when the archive is another account's, unless that is meant.
        """
        with contextlib.closing(LedgerFile(self.path, noun=_NOUN)) as file:
            file.make_folder()
            with self._locked():
                is_new = file.status() is None
                contents = _read(file)
                if days and not may_be_another:
                    refuse_others(contents.accounts, days[0].account)
                known = contents.accounts.setdefault(days[0].account, {}) if days else {}
                check(known)
                news = changes(days, known)
                if news:
                    file.append(b"".join(write_day(change.day) for change in news), durable=True)
                    known.update((change.day.day, change.day) for change in news)
                if news and is_new:
                    with contextlib.suppress(OSError):  # the lines are safe, and their name will be in a moment
                        sync_folder(self.path.parent)
                return Added(news, contents)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep every other program from writing between a look at what is known and the lines that follow from it."""
        path = self.path.with_suffix(".lock")
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(path, self._wait_s))
            except TimeoutError:
                raise locks.locked(self.path, [str(path)], self._wait_s, noun=_NOUN) from None
            except OSError as error:
                raise LedgerError(
                    f"the archive cannot be locked: {error.strerror or error}",
                    hint=f"check the owner and mode of {path.name} in its folder, and the disk",
                ) from None
            yield


def _read(file: LedgerFile) -> Contents:
    days: list[ArchivedDay] = []
    unread: list[UnreadLine] = []
    for at, line, is_whole in _lines(file):
        record = read_day(line)
        if isinstance(record, ArchivedDay):
            days.append(record)
        elif isinstance(record, Unread):
            unread.append(UnreadLine(at, record.why if is_whole else "without an end", record.is_damaged))
    return Contents(known_days(days), tuple(unread))


def _lines(file: LedgerFile) -> Iterator[tuple[int, bytes, bool]]:
    """Return each line, where it begins, and whether it has an end; the last one may have none."""
    status = file.status()
    end, rest = status.st_size if status else 0, 0
    for start, text, stop in file.blocks(0, end):
        yield from ((at, line, True) for at, line in lines_of(text, start))
        rest = stop
    if rest < end:
        yield rest, file.read(rest, min(end - rest, LONGEST_DAY + 1)), False
