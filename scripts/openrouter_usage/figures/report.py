"""A report of the ledger: totals, groups by cost, days as a trend, and a period cut into equal pieces; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.figures.breakdown import Breakdown, added, break_down
from openrouter_usage.figures.caching import CachingReport
from openrouter_usage.figures.fees import FeesReport
from openrouter_usage.money import ZERO, subtract
from openrouter_usage.period import UTC, Period, midnight
from openrouter_usage.text import named

# -- Cuts a period into hours, days, weeks, months or years, and stacks what each model cost in them; pure.

MOST_NAMES = 6
_MOST_BARS = 92  # a quarter of a year by days
_HOUR = timedelta(hours=1)
_MOMENT = timedelta(microseconds=1)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Slot(NamedTuple):
    """A piece of a period: a long name, a short one for an axis, and what it covers; all of a day, week ... or less."""

    name: str
    label: str
    period: Period
    is_whole: bool = True


class Bar(NamedTuple):
    """What a slot cost: in all, by each name of the timeline, and by all others together.

    The spend of `unknown_days` of it is not known, and is in none of these.
    """

    slot: Slot
    total: Usage
    parts: tuple[Usage, ...]
    others: Usage
    unknown_days: int = 0

    @property
    def is_unknown(self) -> bool:
        """Check whether nothing at all is known of it."""
        return self.unknown_days == len(self.slot.period.utc_days) > 0


class Timeline(NamedTuple):
    """Bars without a gap between them; `parts` and `others` of each add up to its total.

    `names` are the models of the highest cost in credits, the highest first; `other_names` counts those that are left.
    """

    unit: str
    names: tuple[str, ...]
    other_names: int
    bars: tuple[Bar, ...]

    @property
    def groups(self) -> tuple[Usage, ...]:
        """Sum each name over all bars."""
        return tuple(_sum(bar.parts[number] for bar in self.bars) for number in range(len(self.names)))

    @property
    def others(self) -> Usage:
        """Sum what has no name of its own over all bars."""
        return _sum(bar.others for bar in self.bars)

    @property
    def total(self) -> Usage:
        """Sum everything."""
        return _sum(bar.total for bar in self.bars)


def _sum(usages: Iterator[Usage]) -> Usage:
    return sum(usages, NOTHING)


def cut_up(period: Period, zone: tzinfo) -> tuple[str, tuple[Slot, ...]]:
    """Cut a period at the days of a zone, or at what makes fewer pieces of a long one; a single day by its hours."""
    first = period.start.astimezone(zone).date()
    # The end itself belongs to the next day; taken off in UTC, because a wall clock may skip that moment.
    last = (period.end.astimezone(UTC) - _MOMENT).astimezone(zone).date()
    days = (last - first).days + 1
    if days == 1:
        return "hour", tuple(_hours(period, zone))
    unit = next((unit for unit, length in _LENGTHS.items() if days <= length * _MOST_BARS), "year")
    return unit, tuple(_slots(period, zone, unit, first, last))


_LENGTHS = {"day": 1, "week": 7, "month": 30}


def _hours(period: Period, zone: tzinfo) -> Iterator[Slot]:
    start = period.start
    while start < period.end:
        local = start.astimezone(zone)
        # In UTC, so that the hour which a clock shows twice is two, and the one it leaves out is none.
        full = start + _HOUR - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        end = min(full, period.end)
        clock = f"{local:%H:%M}"
        yield Slot(f"{local:%Y-%m-%d} {clock} {local:%Z}", clock, Period(start, end, "hour"), end - start == _HOUR)
        start = end


def _slots(period: Period, zone: tzinfo, unit: str, first: date, last: date) -> Iterator[Slot]:
    begin = _BEGINNINGS[unit](first)
    while begin <= last:
        following = _BEGINNINGS[unit](begin + timedelta(days={"day": 1, "week": 7, "month": 31, "year": 366}[unit]))
        whole = Period(midnight(begin, zone), midnight(following, zone), unit)
        part = Period(max(whole.start, period.start), min(whole.end, period.end), unit)
        # A zone that moved across the date line has left out a day.
        if part.start < part.end:
            name = _name(unit, max(begin, first), min(following - timedelta(days=1), last), part == whole)
            yield Slot(name, _label(unit, max(begin, first)), part, part == whole)
        begin = following


_BEGINNINGS: dict[str, Callable[[date], date]] = {
    "day": lambda day: day,
    "week": lambda day: day - timedelta(days=day.weekday()),
    "month": lambda day: day.replace(day=1),
    "year": lambda day: day.replace(month=1, day=1),
}


def _name(unit: str, first: date, last: date, is_whole: bool) -> str:
    if is_whole and unit in ("month", "year"):
        return first.isoformat()[: 7 if unit == "month" else 4]
    return first.isoformat() if first == last else f"{first} to {last}"


def _label(unit: str, day: date) -> str:
    month = _MONTHS[day.month - 1]
    return {"month": f"{month} {day.year}", "year": str(day.year)}.get(unit, f"{month} {day.day}")


def stack(unit: str, slots: Sequence[Slot], groups: Sequence[Mapping[str, Usage]], most: int = MOST_NAMES) -> Timeline:
    """Stack the groups of each slot: the dearest have a name of their own, and the same one in each bar."""
    sums = added(group for found in groups for group in found.items())
    costly = [name for name, usage in sums.items() if usage.cost > ZERO]
    names = tuple(sorted(costly, key=lambda name: (sums[name].cost.copy_negate(), name))[:most])
    bars = []
    for slot, found in zip(slots, groups, strict=True):
        others = sum((usage for name, usage in found.items() if name not in names), NOTHING)
        parts = tuple(found.get(name, NOTHING) for name in names)
        bars.append(Bar(slot, sum(parts, others), parts, others))
    return Timeline(unit, names, len(sums) - len(names), tuple(bars))


def is_to_come(bar: Bar, now: datetime) -> bool:
    """Check whether a bar lies in the future, so that it says nothing yet."""
    return bar.slot.period.start > now and not bar.total.requests


# -- Makes a report of the ledger's sums: the total, its groups by cost, and the days as a trend; pure.

MOST_BARS = 31


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
    """The calls of a period, broken down; the `trend`, by day, adds up to the same.

    `held` is the most, in USD, that the calls of open holds may still cost; None when that is not known. `unsettled`
    calls, of whatever period, have no certain cost, and OpenRouter can be asked about them; those that are `ahead`, in
    USD, are dated in the future. `file` is where the breakdown's source is kept: the ledger, or the archive with
    OpenRouter's own figures of an `account`.
    """

    title: str
    zone: tzinfo
    breakdown: Breakdown
    trend: Breakdown | None = None
    beside: Beside | None = None
    open_holds: int = 0
    held: Decimal | None = ZERO
    unsettled: int = 0
    ahead_calls: int = 0
    ahead: Decimal = ZERO
    file: str = ""
    account: str | None = None
    caching: CachingReport | None = None
    fees: FeesReport | None = None
    notes: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Where the figures come from, in words that a file's name can follow."""
        source = self.breakdown.source
        if self.account and self.breakdown.coverage and self.breakdown.coverage.joined:
            return f"{source}, account {named(self.account)}, in"
        return f"{source}, archived for {named(self.account)} in" if self.account else source


def every_day(groups: Mapping[str, Usage], most: int = MOST_BARS) -> Breakdown:
    """Return the last days with calls and those between them, the quiet ones too; what came earlier is added up."""
    if not groups:
        return break_down({}, "day", most=most)
    last = date.fromisoformat(max(groups))
    first = max(date.fromisoformat(min(groups)), last - timedelta(days=most - 1))
    names = ((first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1))
    return break_down(dict.fromkeys(names, NOTHING) | dict(groups), "day", most=most, top=most)
