"""A breakdown: who or what spent the money of a period, in rows that add up; a summary and a report hold the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, tzinfo
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.entry import NOTHING, Usage, summed
from openrouter_usage.money import subtract
from openrouter_usage.openrouter.answers.account import ActivityRow
from openrouter_usage.period import UTC, Period, days
from openrouter_usage.vocabulary import IN_CIRCLE, IN_ORDER, days_named, joined, names_of, parts_of, places_in_circle

LOCAL, SHARED = "local ledger", "shared ledger"
_NAMELESS = {
    "session": "(no session)",
    "provider": "(unknown provider)",
    "tag": "(no tags)",
    "client": "(no client)",
    "agent": "(no agent)",
    "project": "(no project)",
    "app": "(no app)",
    "workspace": "(no workspace)",
    "member": "(no member)",
    "machine": "(no machine)",
}


class Share(NamedTuple):
    """One row: a name, and what it used."""

    name: str
    usage: Usage


class Joined(NamedTuple):
    """What the account and the ledger have each given to a sum; no call is in both.

    Of the days that the account told of, `tracked` is what the ledger has seen, and is part of the account's; on the
    days in `above` that is more than the account has. `unknown` calls of those days have no known cost in the ledger.
    """

    account: Usage
    ledger: Usage
    tracked: Usage
    above: tuple[Period, ...] = ()
    unknown: int = 0


class Coverage(NamedTuple):
    """Which source told of which days of a chosen period; each day is in one place only.

    `title` is how people call the period, `zone` the one that its days are of. The `missing` days are in no sum.
    Where the running day is among the days, `live` is its part of the sum, as known at `live_until`.
    """

    title: str
    zone: str
    sources: tuple[tuple[str, tuple[Period, ...]], ...]
    missing: tuple[Period, ...] = ()
    live: Usage | None = None
    live_until: datetime | None = None
    joined: Joined | None = None

    def source_of(self, day: date) -> str:
        """Return the source that told of a day; "" for one that is not known."""
        found = (name for name, spans in self.sources for span in spans if span.first_day <= day <= span.last_day)
        return next(found, "")


class Change(NamedTuple):
    """What one group used in an earlier period, and in this one."""

    name: str
    before: Usage
    after: Usage

    @property
    def difference(self) -> Decimal:
        """What it costs more than before, in USD of credits; below zero for less."""
        return subtract(self.after.cost, self.before.cost)


class Comparison(NamedTuple):
    """The same in the period before, `changes` with the largest one first; `unknown_days` of it are in no sum.

    With `is_uneven` a day that is still running stands beside a whole one.
    """

    period: Period
    whole: Change
    changes: tuple[Change, ...]
    unknown_days: int = 0
    is_uneven: bool = False


def compare(
    period: Period, after: Mapping[str, Usage], before: Mapping[str, Usage], *, unknown_days: int = 0
) -> Comparison:
    """Set the groups of a period before beside the same groups of this one."""
    names = dict.fromkeys((*after, *before))
    changes = [Change(name, before.get(name, NOTHING), after.get(name, NOTHING)) for name in names]
    changes.sort(key=lambda each: (-abs(each.difference), each.name))
    whole = Change("", sum(before.values(), NOTHING), sum(after.values(), NOTHING))
    return Comparison(period, whole, tuple(changes), unknown_days)


class Breakdown(NamedTuple):
    """Who or what spent the money of a period; `rows` and `more` add up to `total`, in USD.

    The rows stand dearest first, days newest first, weekdays and hours by the clock; `more_count` groups are left out
    of them. Without a `period` it is all that `source` has. `unattributed` is what the key spent in the period beyond
    that, where the rows come from the local ledger; `truncated` means that OpenRouter cut its answer short. `coverage`
    tells which source had which day, where the period was chosen by its days.
    """

    by: str
    period: Period | None
    rows: tuple[Share, ...]
    more_count: int
    more: Usage
    total: Usage
    source: str = ""
    unattributed: Decimal | None = None
    truncated: bool = False
    coverage: Coverage | None = None
    compared: Comparison | None = None

    @property
    def oldest_first(self) -> Breakdown:
        """The same with days, weeks or months in their order; of any other grouping as it is."""
        parts = parts_of(self.by)
        if parts[0] not in IN_ORDER:
            return self
        if len(parts) == 1:
            return self._replace(rows=self.rows[::-1])
        return self._replace(rows=tuple(sorted(self.rows, key=lambda row: names_of(row.name)[0])))

    @property
    def is_in_order(self) -> bool:
        """Check whether the rows follow one another in time, alone."""
        return self.by in IN_ORDER

    @property
    def missing(self) -> tuple[Period, ...]:
        """The days of the period that no source knows, and which are in no sum."""
        return self.coverage.missing if self.coverage else ()

    @property
    def days(self) -> int:
        """The number of days in the period; 0 where it has no beginning and no end."""
        return self.period.day_count if self.period else 0

    def period_of(self, name: str, zone: tzinfo = UTC) -> Period | None:
        """Return what a row covers: a day, week or month of the zone, as far as the period does; else the period."""
        named = zip(parts_of(self.by), names_of(name), strict=False)
        found = next((span for part, each in named if (span := days_named(part, each))), None)
        if found is None:
            return self.period
        whole = days(found.first, found.last, name, zone)
        if self.period is None:
            return whole
        return whole._replace(start=max(whole.start, self.period.start), end=min(whole.end, self.period.end))

    @property
    def is_local(self) -> bool:
        """Check whether the local ledger stands in for OpenRouter's own breakdown."""
        return self.source in (LOCAL, SHARED)

    @property
    def is_completed(self) -> bool:
        """Check whether it covers the last completed UTC days, and so has nothing of today."""
        if self.coverage is not None or self.period is None:
            return False
        return self.source == "/activity" or self.period.label == f"{self.days}d"


def break_down(
    groups: Mapping[str, Usage],
    by: str,
    *,
    most: int,
    top: int | None = None,
    period: Period | None = None,
    source: str = "",
) -> Breakdown:
    """Order groups and keep the first `top` of them, the rest added up.

    Without `top`, all days, weeks, months, weekdays and hours are kept, and of any other grouping `most`. Of days the
    last ones stay: nobody asks for a breakdown to see how it began.
    """
    shares = [Share(name, usage) for name, usage in groups.items()]
    is_in_order, first = by in IN_ORDER, parts_of(by)[0]
    if is_in_order:
        shares.sort(key=lambda share: share.name, reverse=True)
    else:
        shares.sort(key=dearest_first)
    shown = top if top is not None else len(shares) if is_in_order or by in IN_CIRCLE else most
    # The dearest ones stay, and stand under their day, or in the order of the clock.
    if not is_in_order and first in IN_ORDER:
        shares[:shown] = sorted(shares[:shown], key=lambda share: names_of(share.name)[0], reverse=True)
    elif first in IN_CIRCLE:
        shares[:shown] = sorted(shares[:shown], key=lambda share: places_in_circle(by, share.name))
    rest = summed(share.usage for share in shares[shown:])
    whole = rest + summed(share.usage for share in shares[:shown])
    return Breakdown(by, period, tuple(shares[:shown]), max(0, len(shares) - shown), rest, whole, source)


def dearest_first(share: Share) -> tuple[object, ...]:
    """Return what shares are ordered by: credits; of equals BYOK money, then calls, then the name.

    Credits and BYOK are never added, so a model that cost nothing but BYOK stands among those that cost no credits.
    """
    usage = share.usage
    # A minus sign would round to the caller's decimal context.
    return (usage.cost.copy_negate(), usage.byok_cost.copy_negate(), -usage.requests, share.name)


def added(groups: Iterable[tuple[str, Usage]]) -> dict[str, Usage]:
    """Add up what has the same name."""
    sums: dict[str, Usage] = {}
    for name, usage in groups:
        sums[name] = sums[name] + usage if name in sums else usage
    return sums


def with_names(groups: Mapping[str, Usage], by: str) -> dict[str, Usage]:
    """Return the groups with a name for the calls that have none, such as "(no session)"."""
    parts = parts_of(by)
    if len(parts) == 1:
        nameless = _NAMELESS.get(by, "")
        return added((name or nameless, usage) for name, usage in groups.items())
    nameless_of = [_NAMELESS.get(part, "") for part in parts]
    named = ((tuple(map(_or, names_of(name), nameless_of)), usage) for name, usage in groups.items())
    return added((joined(names), usage) for names, usage in named)


def _or(name: str, nameless: str) -> str:
    return name or nameless


# What /activity can be broken down by.
GROUPS: dict[str, Callable[[ActivityRow], str]] = {
    "model": lambda row: row.model,
    "provider": lambda row: row.provider,
    "day": lambda row: row.day.isoformat(),
}


def activity_groups(rows: Iterable[ActivityRow], period: Period, by: str) -> dict[str, Usage]:
    """Sum /activity's rows of whole UTC days by one grouping.

    Rows of a running day are none of the period's, though OpenRouter promises that there are none: they would be
    counted again in Today.
    """
    group = GROUPS[by]
    return added((group(row), row.usage) for row in rows if period.first_day <= row.day <= period.last_day)
