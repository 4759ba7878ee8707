"""The ledger beside the account call by call and window by window, and how much may stay unexplained; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.entry import NOTHING, Entry, Usage
from openrouter_usage.errors import InvalidValue
from openrouter_usage.figures.reconcile import Comparison, Line, Names
from openrouter_usage.money import EXACT, ZERO, add, format_usd, plain, subtract, total, usd
from openrouter_usage.period import DAY, UTC, Period

# -- How much may stay unexplained: a share of the account's spend, or an amount; pure.


class Tolerance(NamedTuple):
    """A share of the account's spend in percent, or an amount in USD."""

    amount: Decimal
    is_share: bool

    def allows(self, difference: Decimal, account: Decimal) -> bool:
        """Check whether a difference is small enough beside what the account spent."""
        if not self.is_share:
            return difference <= self.amount
        return EXACT.multiply(difference, Decimal(100)) <= EXACT.multiply(self.amount, account)

    def __str__(self) -> str:
        """Write it the way it was given."""
        return f"{plain(self.amount)}%" if self.is_share else format_usd(self.amount)


def read_tolerance(text: str) -> Tolerance:
    """Read `1%` or `0.05`; InvalidValue for anything else, and for less than nothing."""
    is_share = text.endswith("%")
    try:
        amount = usd(text[:-1] if is_share else text)
    except InvalidValue:
        amount = Decimal(-1)
    if amount < 0 or (is_share and amount > 100):
        raise InvalidValue("a tolerance is a share such as 1%, or an amount in USD such as 0.05")
    return Tolerance(amount, is_share)


# -- The ledger beside one key's own counters, where no management key may ask for more; pure.


class Beside(NamedTuple):
    """A running UTC window: what the key spent by /key, None where it is unknown, and what the ledger has."""

    period: Period
    key: Decimal | None
    ledger: Usage

    @property
    def attributed(self) -> Decimal:
        """What both have, in USD."""
        return min(self.key or Decimal(0), self.ledger.cost)

    @property
    def unexplained(self) -> Decimal:
        """What only the key has, in USD."""
        return subtract(self.key or Decimal(0), self.attributed)

    @property
    def surplus(self) -> Decimal:
        """What only the ledger has, in USD; calls of other keys are among it."""
        return subtract(self.ledger.cost, self.attributed)


def judged(windows: tuple[Beside, ...], span_days: int) -> Beside:
    """Return the narrowest window (day, week, month) that has room for so many days, else the widest."""
    for window, reach in zip(windows, (1, 7), strict=False):
        if span_days <= reach:
            return window
    return windows[-1]


# -- Puts single calls beside each other by their ids: the one way to know, and not to guess, which belong together.

Cell = tuple[date, str]


class Billed(NamedTuple):
    """One generation as the account has it: its UTC day, the dated name of its model, and what it cost."""

    day: date
    slug: str
    usage: Usage


class Listed(NamedTuple):
    """The account's calls by id, a call in more than one row where more than one model answered, and their days."""

    calls: Mapping[str, tuple[Billed, ...]]
    days: frozenset[date]


@dataclass(frozen=True, slots=True)
class ByCall:
    """A comparison call by call, the ids in both, names that were billed as another, and the cost of unknown ones."""

    comparison: Comparison
    ids: frozenset[str]
    renamed: frozenset[tuple[str, str]]
    unknown: Decimal


class _Cells:
    """Amounts that pile up by day and model."""

    def __init__(self) -> None:
        self.moved: dict[Cell, Decimal] = {}
        self.matched: dict[Cell, tuple[Decimal, Decimal, Decimal]] = {}

    def move(self, cell: Cell, amount: Decimal) -> None:
        self.moved[cell] = add(self.moved.get(cell, ZERO), amount)

    def match(self, cell: Cell, on_account: Decimal, in_ledger: Decimal) -> None:
        known = self.matched.get(cell, (ZERO, ZERO, ZERO))
        more = (on_account, in_ledger, min(on_account, in_ledger))
        self.matched[cell] = (add(known[0], more[0]), add(known[1], more[1]), add(known[2], more[2]))

    def onto(self, line: Line) -> Line:
        cell = (line.day, line.model)
        moved = add(line.moved, self.moved.pop(cell, ZERO))
        return replace(line, moved=moved, matched=self.matched.pop(cell, line.matched))


def match_calls(
    comparison: Comparison, listed: Listed, entries: Iterable[Entry], names: Names, *, running: date
) -> ByCall:
    """Count each call of the ledger to the day and the model that the account has it under.

    A call whose id is not among those of its own day and the days beside it is none of the account's; of the running
    day it may still come.
    """
    cells, ids, renamed = _Cells(), set(), set()
    unknown = ZERO
    for entry in entries:
        if not entry.id:
            continue
        booked, cost = (_day(entry), names.group(entry.model)), entry.cost or ZERO
        found = listed.calls.get(entry.id)
        if found is None:
            beside = {booked[0] + number * DAY for number in (-1, 0, 1)}
            if booked[0] != running and beside <= listed.days:
                cells.match(booked, ZERO, cost)
            continue
        ids.add(entry.id)
        if entry.cost is None:
            unknown = add(unknown, total(part.usage.cost for part in found))
        for part, share in _shared(found, cost):
            right = (part.day, names.group(part.slug))
            if booked != right:
                cells.move(booked, subtract(ZERO, share))
                cells.move(right, share)
            if booked[1] != right[1]:
                renamed.add((entry.model, right[1]))
            cells.match(right, part.usage.cost, share)
    return ByCall(_onto(comparison, cells), frozenset(ids), frozenset(renamed), unknown)


def _shared(parts: tuple[Billed, ...], cost: Decimal) -> Iterator[tuple[Billed, Decimal]]:
    """Share a call's cost out among the rows that the account has it in; nearly always that is one."""
    for part in parts[:-1]:
        share = min(cost, part.usage.cost)
        cost = subtract(cost, share)
        yield part, share
    yield parts[-1], cost


def _onto(comparison: Comparison, cells: _Cells) -> Comparison:
    lines = [cells.onto(line) for line in comparison.lines]
    own = ZERO if comparison.knows_own else None
    # What is left belongs to days and models that had no line of their own yet.
    lines += [
        cells.onto(Line(day, model, (), NOTHING, NOTHING, own=own))
        for day, model in sorted(cells.moved.keys() | cells.matched.keys())
    ]
    return replace(comparison, lines=tuple(sorted(lines, key=lambda line: (line.day, line.model))))


def _day(entry: Entry) -> date:
    return entry.ts.astimezone(UTC).date()
