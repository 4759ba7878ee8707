"""What one run of `sync` came to: the days that were written, and what the archive knows since."""

from __future__ import annotations

from typing import NamedTuple

from openrouter_usage.archive.known import Change, Days, missing, whole_span
from openrouter_usage.stretch import Stretch


class Synced(NamedTuple):
    """The outcome for one account; `asked` are the days that /activity was asked about for certain.

    Of the `untold` days the analytics API could not tell everything; `damaged` and `foreign` lines of the archive
    are kept and not counted, and `first_damaged` is the byte at which the first damaged one begins.
    """

    account: str
    file: str
    asked: Stretch
    written: tuple[Change, ...]
    known: Days
    untold: tuple[Stretch, ...] = ()
    damaged: int = 0
    foreign: int = 0
    first_damaged: int | None = None

    @property
    def new(self) -> list[Change]:
        """The days that were not archived before."""
        return [change for change in self.written if change.before is None]

    @property
    def changed(self) -> list[Change]:
        """The days of which something else was archived before."""
        return [change for change in self.written if change.before is not None]

    @property
    def empty(self) -> int:
        """How many of the known days are without spend."""
        return sum(1 for day in self.known.values() if not day.rows)

    @property
    def gaps(self) -> list[Stretch]:
        """The days between the first known one and the last that are not known."""
        return missing(whole_span(self.known), self.known)
