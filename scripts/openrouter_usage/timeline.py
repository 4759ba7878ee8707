"""Cuts a period into hours, days, weeks, months or years, and stacks what each model cost in them; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple

from openrouter_usage.money import ZERO
from openrouter_usage.period import UTC, Period, midnight
from openrouter_usage.usage import NOTHING, Usage

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
    """What a slot cost: in all, by each name of the timeline, and by all others together."""

    slot: Slot
    total: Usage
    parts: tuple[Usage, ...]
    others: Usage


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
    # The end itself belongs to the next day; taken off in UTC, for no wall clock is sure to be there.
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
    sums = added(groups)
    costly = [name for name, usage in sums.items() if usage.cost > ZERO]
    names = tuple(sorted(costly, key=lambda name: (sums[name].cost.copy_negate(), name))[:most])
    bars = []
    for slot, found in zip(slots, groups, strict=True):
        others = sum((usage for name, usage in found.items() if name not in names), NOTHING)
        parts = tuple(found.get(name, NOTHING) for name in names)
        bars.append(Bar(slot, sum(parts, others), parts, others))
    return Timeline(unit, names, len(sums) - len(names), tuple(bars))


def added(groups: Sequence[Mapping[str, Usage]]) -> dict[str, Usage]:
    """Add up groups of the same name."""
    sums: dict[str, Usage] = {}
    for found in groups:
        for name, usage in found.items():
            sums[name] = sums.get(name, NOTHING) + usage
    return sums


def is_to_come(bar: Bar, now: datetime) -> bool:
    """Tell whether a bar lies in the future, so that it says nothing yet."""
    return bar.slot.period.start > now and not bar.total.requests
