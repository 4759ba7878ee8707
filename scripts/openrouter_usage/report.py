"""Makes a report of the ledger's sums: the total, its groups by cost, and the days as a trend; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.money import ZERO, subtract
from openrouter_usage.period import Period, days
from openrouter_usage.summary.model import Share, dearest_first
from openrouter_usage.text import named
from openrouter_usage.usage import NOTHING, Usage

DEFAULT_TOP = 20
MOST_BARS = 31
_NAMELESS = {"session": "(no session)", "provider": "(unknown provider)", "tag": "(no tags)"}


@dataclass(frozen=True, slots=True)
class Beside:
    """The same span by OpenRouter's UTC days, shown beside the user's own."""

    period: Period
    total: Usage


class Compared(NamedTuple):
    """What OpenRouter counted from the beginning of a window to its answer, and what the ledger saw in that time."""

    period: Period
    whose: str
    billed: Decimal
    seen: Usage

    @property
    def unattributed(self) -> Decimal:
        """What the ledger has not seen; below zero when it saw more, such as calls of other keys."""
        return subtract(self.billed, self.seen.cost)


@dataclass(frozen=True, slots=True)
class Report:
    """The calls of a period; `rows` and `more` add up to `total`, and so does the trend with `earlier`.

    `held` is the most, in USD, that the calls of open holds may still cost; None when that is not known. `unsettled`
    booked calls, of whatever period, have no certain cost, and OpenRouter can be asked about them; those that are
    `ahead`, in USD, are dated in the future. `source` is a file, `origin` what is in it. Where that is OpenRouter's own
    figures of an `account`, they are not known in the `missing` spans, which are in no sum.
    """

    title: str
    period: Period | None
    zone: tzinfo
    by: str
    total: Usage
    rows: tuple[Share, ...]
    more_count: int = 0
    more: Usage = NOTHING
    trend: tuple[Share, ...] = ()
    earlier_days: int = 0
    earlier: Usage = NOTHING
    beside: Beside | None = None
    open_holds: int = 0
    held: Decimal | None = ZERO
    unsettled: int = 0
    ahead_calls: int = 0
    ahead: Decimal = ZERO
    source: str = ""
    origin: str = "local ledger"
    account: str | None = None
    missing: tuple[Period, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def whence(self) -> str:
        """The words before the file's name."""
        return f"{self.origin}, archived for {named(self.account)} in" if self.account else self.origin


def period_of_day(report: Report, name: str) -> Period:
    """Give what a day of the report covers: all of it in the report's zone, or as much as the report does."""
    day = date.fromisoformat(name)
    whole = days(day, day, name, report.zone)
    if report.period is None:
        return whole
    return Period(max(whole.start, report.period.start), min(whole.end, report.period.end), name)


def group_name(name: str, by: str) -> str:
    """Give a group's name, and one to the calls that have none."""
    return name or _NAMELESS.get(by, name)


def ranked(groups: Mapping[str, Usage], by: str) -> list[Share]:
    """Order groups: days by date, everything else by credits, and give the nameless one a name."""
    shares = [Share(group_name(name, by), usage) for name, usage in groups.items()]
    if by == "day":
        return sorted(shares, key=lambda share: share.name)
    return sorted(shares, key=dearest_first)


def cut(shares: list[Share], by: str, top: int | None = None) -> tuple[tuple[Share, ...], int, Usage]:
    """Return the groups to show, how many more there are, and what those add up to.

    Of what is ranked, the smallest are left out. Days are all shown, or else the last `top` of them: nobody asks for a
    report to see how it began.
    """
    if by == "day":
        start = 0 if top is None else max(0, len(shares) - top)
        kept, rest = shares[start:], shares[:start]
    else:
        most = DEFAULT_TOP if top is None else top
        kept, rest = shares[:most], shares[most:]
    return tuple(kept), len(rest), sum((share.usage for share in rest), NOTHING)


def every_day(groups: Mapping[str, Usage], most: int = MOST_BARS) -> tuple[tuple[Share, ...], int, Usage]:
    """Give the last days with calls and those between them, the quiet ones too; then what came earlier."""
    if not groups:
        return (), 0, NOTHING
    last, first = date.fromisoformat(max(groups)), date.fromisoformat(min(groups))
    first = max(first, last - timedelta(days=most - 1))
    names = [(first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)]
    earlier = [usage for name, usage in groups.items() if name < names[0]]
    return tuple(Share(name, groups.get(name, NOTHING)) for name in names), len(earlier), sum(earlier, NOTHING)
