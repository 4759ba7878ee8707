"""Puts single calls beside each other by their ids: the one way to know, and not to guess, which belong together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.entry import Entry
from openrouter_usage.money import ZERO, add, subtract, total
from openrouter_usage.period import DAY, UTC
from openrouter_usage.reconcile.compare import Comparison, Line
from openrouter_usage.reconcile.names import Names
from openrouter_usage.usage import NOTHING, Usage

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
