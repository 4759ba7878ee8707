"""Puts single calls beside each other by their ids: the one way to know, and not to guess, which belong together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.entry import Entry
from openrouter_usage.money import ZERO, add, subtract
from openrouter_usage.period import UTC
from openrouter_usage.reconcile.compare import Comparison, Line
from openrouter_usage.reconcile.names import Names
from openrouter_usage.usage import NOTHING, Usage

Cell = tuple[date, str]


class Billed(NamedTuple):
    """One generation as the account has it: its UTC day, the dated name of its model, and what it cost."""

    day: date
    slug: str
    usage: Usage


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


def match_calls(comparison: Comparison, billed: Mapping[str, Billed], entries: Iterable[Entry], names: Names) -> ByCall:
    """Count each call of the ledger to the day and the model that the account has it under."""
    cells, ids, renamed = _Cells(), set(), set()
    unknown = ZERO
    for entry in entries:
        found = billed.get(entry.id)
        if not entry.id or found is None:
            continue
        ids.add(entry.id)
        booked, right = (_day(entry), names.group(entry.model)), (found.day, names.group(found.slug))
        cost = entry.cost or ZERO
        if entry.cost is None:
            unknown = add(unknown, found.usage.cost)
        if booked != right:
            cells.move(booked, subtract(ZERO, cost))
            cells.move(right, cost)
        if booked[1] != right[1]:
            renamed.add((entry.model, right[1]))
        cells.match(right, found.usage.cost, cost)
    lines = [cells.onto(line) for line in comparison.lines]
    own = None if any(line.own is None for line in lines) else ZERO
    # What is left belongs to days and models that had no line of their own yet.
    lines += [
        cells.onto(Line(day, model, (), NOTHING, NOTHING, own=own))
        for day, model in sorted(cells.moved.keys() | cells.matched.keys())
    ]
    lines.sort(key=lambda line: (line.day, line.model))
    return ByCall(Comparison(tuple(lines)), frozenset(ids), frozenset(renamed), unknown)


def _day(entry: Entry) -> date:
    return entry.ts.astimezone(UTC).date()
