"""Whose money a budget limits, and how: the machine's, or that of one client, project, agent, session or member."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.entry import Caps
from openrouter_usage.errors import InvalidValue
from openrouter_usage.money import plain, usd

# Kinds that a call names by a tag of the same name; the index keeps sums of each.
TAG_KINDS = ("client", "project", "agent", "member")
KINDS = ("machine", *TAG_KINDS, "session")
# As a name: every client (project, ...) that has no budget of its own.
EVERY = "*"
# `strict` counts the worst case of every running call, so that the cap is never passed; `measured` counts what calls
# of this kind have needed so far, so that the running calls can pass the cap by the difference.
STRICT, MEASURED = "strict", "measured"
POLICIES = (STRICT, MEASURED)
_UNITS = {"s": 1, "min": 60, "h": 3600}
LONGEST_BURST_S = 3600
MOST_REPEATS = 1_000


class Owner(NamedTuple):
    """Whose money it is: a kind of `KINDS`, and a name, which the machine has not."""

    kind: str
    name: str = ""

    def made(self, session: str, tags: Iterable[tuple[str, str]]) -> bool:
        """Check whether a call of a session with these tags is this owner's."""
        if self.kind == "machine":
            return True
        if self.kind == "session":
            return bool(session) and session == self.name
        return (self.kind, self.name) in tags

    def __str__(self) -> str:
        """Return the owner in words, such as `client laptop`; "" for the machine."""
        return f"{self.kind} {self.name}" if self.name else ""


MACHINE = Owner("machine")


class Burst(NamedTuple):
    """A brake: the most that may be spent and held, in USD, within any stretch of so many seconds."""

    amount: Decimal
    seconds: int

    @property
    def span(self) -> timedelta:
        """The length of the stretch."""
        return timedelta(seconds=self.seconds)

    def __str__(self) -> str:
        """Return the brake as the user writes it, such as 2.00/10min."""
        unit = next(name for name in ("h", "min", "s") if not self.seconds % _UNITS[name])
        return f"{plain(self.amount)}/{self.seconds // _UNITS[unit]}{unit}"


def read_burst(text: str) -> Burst:
    """Read a brake such as 2.00/10min; InvalidValue for anything else."""
    amount, slash, span = text.strip().partition("/")
    number = span.rstrip("abcdefghijklmnopqrstuvwxyz ").strip()
    unit = span.strip().removeprefix(number).strip()
    if not slash or unit not in _UNITS or not number.isascii() or not number.isdigit():
        raise InvalidValue("a brake is written like 2.00/10min: USD, a slash, and so many s, min or h")
    seconds = int(number[:9]) * _UNITS[unit]
    money = usd(amount)
    if money < 0 or not 0 < seconds <= LONGEST_BURST_S:
        raise InvalidValue("a brake is an amount from 0 on, over at most an hour")
    return Burst(money, seconds)


class Budget(NamedTuple):
    """What one owner may spend: caps in USD, the policy by which running calls count, and brakes.

    `repeats` is how many times the same request may be made within a minute; None is as often as one likes.
    """

    owner: Owner = MACHINE
    caps: Caps = Caps()
    policy: str = STRICT
    burst: Burst | None = None
    repeats: int | None = None

    @property
    def is_bounding(self) -> bool:
        """Check whether the amount of a call matters to it."""
        return self.caps.any or self.burst is not None


def applying(budgets: Iterable[Budget], session: str, tags: Iterable[tuple[str, str]]) -> Iterator[Budget]:
    """Return the budgets that a call falls under, the machine's first; those for every name under that call's own."""
    wanted, pairs = list(budgets), dict(tags)
    named = {budget.owner for budget in wanted}
    for budget in sorted(wanted, key=lambda each: KINDS.index(each.owner.kind)):
        kind, name = budget.owner
        if name == EVERY:
            own = Owner(kind, session if kind == "session" else pairs.get(kind, ""))
            if own.name and own not in named:
                yield budget._replace(owner=own)
        elif budget.owner.made(session, pairs.items()):
            yield budget


def bounding(budgets: Iterable[Budget]) -> bool:
    """Check whether one of some budgets has to know what a call can cost."""
    return any(budget.is_bounding for budget in budgets)
