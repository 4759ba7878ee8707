"""Decides whether a call fits: per request, per UTC day and per UTC month at once; pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple, Protocol

from openrouter_usage.entry import Caps, Entry, Hold, Usage
from openrouter_usage.errors import BudgetExceeded, UnbelievableBill
from openrouter_usage.money import ZERO, add, total
from openrouter_usage.period import FOREVER, Period, month, today

# A call begun before midnight may be billed after it; its hold counts in the day that follows as well.
LONGEST_CALL = timedelta(hours=1)


class Books(Protocol):
    """What a decision has to know: settled calls of a period, and the holds that have not ended."""

    def spent(self, period: Period) -> Usage:
        """Sum the settled calls of whole UTC days."""

    def holds(self) -> list[Hold]:
        """Return the holds that have not ended."""

    def doubtful(self) -> list[Entry]:
        """Return the calls with an unbelievable bill that nobody has looked at."""


class Scope(NamedTuple):
    """How one cap stands: settled, held, and left, in USD; a request has no window.

    `unknown_calls` were made, and nobody knows for how much: they count as nothing. `ahead_calls` are dated in the
    future, by a clock that was wrong; the `ahead` USD of them are part of `spent`.
    """

    name: str
    cap: Decimal
    period: Period | None
    spent: Decimal
    held: Decimal
    open_calls: int
    unknown_calls: int
    ahead_calls: int = 0
    ahead: Decimal = ZERO

    @property
    def left(self) -> Decimal:
        """What may still be held; negative when more was billed than was held."""
        return add(self.cap, -add(self.spent, self.held))


def scopes(caps: Caps, books: Books, now: datetime) -> Iterator[Scope]:
    """Return each cap with what is settled and held against it, the narrowest first."""
    if caps.per_request is not None:
        yield Scope("per-request", caps.per_request, None, ZERO, ZERO, 0, 0)
    if caps.daily is None and caps.monthly is None:
        return
    holds, ahead = books.holds(), books.spent(Period(dated_ahead_from(now), FOREVER, "ahead"))
    for name, cap, period in (("daily", caps.daily, today(now)), ("monthly", caps.monthly, month(now))):
        if cap is not None:
            counted = [hold for hold in holds if counts_in(hold, period)]
            held = total(hold.max_cost for hold in counted if hold.max_cost is not None)
            # Without an end: what was booked before the clock was set back lies in the future, and is spent.
            spent = books.spent(period._replace(end=FOREVER))
            ahead_held = [hold.max_cost or ZERO for hold in counted if hold.ts >= dated_ahead_from(now)]
            yield Scope(
                name,
                cap,
                period,
                spent.cost,
                held,
                len(counted),
                spent.unknown,
                ahead.requests + len(ahead_held),
                add(ahead.cost, total(ahead_held)),
            )


def counts_in(hold: Hold, period: Period) -> bool:
    """Check whether a hold can become a charge of a period; an old one blocks its own day, not every later one."""
    return hold.ts >= period.start - LONGEST_CALL


def counted_at(hold: Hold, moment: datetime) -> datetime:
    """Return the moment at which a held call is booked, so that no window gets a charge that was not held in it.

    A clock that was set, or a call that took longer than it may, would else move the charge into another day.
    """
    return min(max(moment, hold.ts), hold.ts + LONGEST_CALL)


def dated_ahead_from(now: datetime) -> datetime:
    """Return the midnight from which on a call is dated in the future, clocks that differ by an hour included."""
    return today(now + LONGEST_CALL).end


def check(caps: Caps, asked: Decimal, books: Books, now: datetime) -> None:
    """Raise BudgetExceeded when a call of at most `asked` USD does not fit one of the caps.

    Raises UnbelievableBill under any cap while there is an implausible bill, because then the amount spent is unknown.
    """
    doubtful = books.doubtful() if caps.any else []
    if doubtful:
        raise UnbelievableBill(doubtful[0].id, doubtful[0].told, len(doubtful))
    for scope in scopes(caps, books, now):
        if asked > scope.left and asked:
            raise BudgetExceeded(
                scope=scope.name,
                spent=scope.spent,
                held=scope.held,
                asked=asked,
                cap=scope.cap,
                resets_at=scope.period.end if scope.period else None,
                ahead=scope.ahead,
                ahead_calls=scope.ahead_calls,
            )
