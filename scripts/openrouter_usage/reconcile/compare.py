"""Puts the ledger beside the account, per UTC day and model; pure, and exact to the last digit."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from openrouter_usage.answers.account import ActivityRow
from openrouter_usage.money import ZERO, add, subtract, total
from openrouter_usage.period import DAY
from openrouter_usage.reconcile.names import Names
from openrouter_usage.usage import NOTHING, Usage

LedgerDays = Mapping[date, Mapping[str, Usage]]
# The calls of a model just before, and just after, the midnight that ends a day.
NearMidnight = Mapping[tuple[date, str], tuple[Decimal, Decimal]]


@dataclass(frozen=True, slots=True)
class Line:
    """One model on one UTC day, by the account and by the ledger; amounts in USD of credits.

    `moved` is what the ledger has under another day or name than the account: negative where it went. `matched` is
    what calls that both know by their ids cost: on the account, in the ledger, and the smaller of both for each call.
    `own` is what this key alone spent by the account; None where that cannot be known.
    """

    day: date
    model: str
    ledger_names: tuple[str, ...]
    account: Usage
    ledger: Usage
    moved: Decimal = ZERO
    matched: tuple[Decimal, Decimal, Decimal] = (ZERO, ZERO, ZERO)
    own: Decimal | None = None

    @property
    def known(self) -> Decimal:
        """What the ledger has that belongs to this day and model."""
        return add(self.ledger.cost, self.moved)

    @property
    def attributed(self) -> Decimal:
        """What both have: call by call where ids tell, of the rest what the sums have in common."""
        on_account, in_ledger, in_both = self.matched
        rest = min(subtract(self.account.cost, on_account), subtract(self.known, in_ledger))
        # Never less than nothing: money that the account gave back is no call of the ledger.
        return max(ZERO, min(self.account.cost, self.known, add(in_both, max(ZERO, rest))))

    @property
    def unexplained(self) -> Decimal:
        """What only the account has."""
        return subtract(self.account.cost, self.attributed)

    @property
    def surplus(self) -> Decimal:
        """What only the ledger has."""
        return subtract(self.known, self.attributed)

    @property
    def is_proven(self) -> bool:
        """Check whether the account bills all calls that the ledger has here, so that their names are its own name."""
        is_paid = bool(self.ledger.cost) or self.account.requests >= self.ledger.requests
        return bool(self.account.requests) and is_paid and not self.surplus and not self.moved

    @property
    def by_others(self) -> Decimal | None:
        """What of the unexplained part other keys spent; the rest is this key's."""
        if self.own is None:
            return None
        elsewhere = max(ZERO, subtract(self.account.cost, self.own))
        not_seen = max(ZERO, subtract(self.own, self.known))
        return max(ZERO, min(elsewhere, subtract(self.unexplained, not_seen)))


@dataclass(frozen=True, slots=True)
class Comparison:
    """All lines of a period, and what they add up to; `knows_own` tells whether this key's part is known."""

    lines: tuple[Line, ...]
    knows_own: bool = False

    @property
    def account(self) -> Usage:
        """All that the account has."""
        return sum((line.account for line in self.lines), NOTHING)

    @property
    def ledger(self) -> Usage:
        """All that the ledger has."""
        return sum((line.ledger for line in self.lines), NOTHING)

    @property
    def attributed(self) -> Decimal:
        """What both have, in USD."""
        return total(line.attributed for line in self.lines)

    @property
    def unexplained(self) -> Decimal:
        """What only the account has, in USD."""
        return total(line.unexplained for line in self.lines)

    @property
    def surplus(self) -> Decimal:
        """What only the ledger has, in USD."""
        return total(line.surplus for line in self.lines)

    @property
    def by_others(self) -> Decimal | None:
        """What of the unexplained part other keys spent; None where that cannot be told."""
        if not self.knows_own:
            return None
        return total(line.by_others for line in self.lines if line.by_others is not None)

    @property
    def difference(self) -> Decimal:
        """What either side has alone, in USD, both ways together."""
        return total(add(line.unexplained.copy_abs(), line.surplus) for line in self.lines)

    @property
    def differing(self) -> list[Line]:
        """The lines where the two differ, the largest difference first."""
        found = [line for line in self.lines if line.unexplained or line.surplus]
        return sorted(found, key=lambda line: (subtract(line.attributed, _larger(line)), line.day, line.model))

    def of(self, known: Container[date], first: date, last: date) -> Comparison:
        """Keep the lines of the days from `first` to `last` that are known."""
        kept = tuple(line for line in self.lines if line.day in known and first <= line.day <= last)
        return replace(self, lines=kept)


def compare(
    account: Iterable[ActivityRow], ledger: LedgerDays, names: Names, *, own: Iterable[ActivityRow] | None = None
) -> Comparison:
    """Make a line of every day and model that either side has; `own` are the rows of this key alone."""
    billed = _grouped(account, names)
    own_billed = None if own is None else _grouped(own, names)
    booked: dict[tuple[date, str], dict[str, Usage]] = {}
    for day, by_name in ledger.items():
        for name, usage in by_name.items():
            booked.setdefault((day, names.group(name)), {})[name] = usage
    lines = []
    for day, model in sorted(billed.keys() | booked.keys()):
        calls = booked.get((day, model), {})
        alone = None if own_billed is None else own_billed.get((day, model), NOTHING).cost
        lines.append(
            Line(
                day,
                model,
                tuple(sorted(calls)),
                billed.get((day, model), NOTHING),
                sum(calls.values(), NOTHING),
                own=alone,
            )
        )
    return Comparison(tuple(lines), own_billed is not None)


def _larger(line: Line) -> Decimal:
    return max(line.account.cost.copy_abs(), line.known)


def _grouped(rows: Iterable[ActivityRow], names: Names) -> dict[tuple[date, str], Usage]:
    sums: dict[tuple[date, str], Usage] = {}
    for row in rows:
        key = (row.day, names.group(row.model))
        sums[key] = sums.get(key, NOTHING) + row.usage
    return sums


def borders(comparison: Comparison) -> Sequence[tuple[date, str]]:
    """Name the days, with a model, at whose end one side has too much and the other too little."""
    by_key = {(line.day, line.model): line for line in comparison.lines}
    found = []
    for line in comparison.lines:
        following = by_key.get((line.day + DAY, line.model))
        if following and ((line.surplus and following.unexplained) or (line.unexplained and following.surplus)):
            found.append((line.day, line.model))
    return found


def across_midnight(comparison: Comparison, near: NearMidnight) -> Comparison:
    """Count calls within minutes of a midnight to the day that the account has them on.

    No more is moved than the calls near that midnight cost, than one day has too much, and the other too little.
    """
    by_key = {(line.day, line.model): line for line in comparison.lines}
    for (day, model), (before, after) in sorted(near.items()):
        here, there = by_key[day, model], by_key[day + DAY, model]
        forward = min(here.surplus, there.unexplained, before)
        backward = min(there.surplus, here.unexplained, after)
        moved = subtract(backward, forward)
        by_key[day, model] = replace(here, moved=add(here.moved, moved))
        by_key[day + DAY, model] = replace(there, moved=subtract(there.moved, moved))
    return replace(comparison, lines=tuple(by_key[line.day, line.model] for line in comparison.lines))
