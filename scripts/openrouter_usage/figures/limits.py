"""Decides whether a call fits every budget it falls under, in every window at once; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple, Protocol

from openrouter_usage.budgets import MACHINE, STRICT, Budget, Owner
from openrouter_usage.entry import Caps, Entry, Hold, Usage
from openrouter_usage.errors import Braked, BudgetExceeded, UnbelievableBill
from openrouter_usage.money import ZERO, add, total
from openrouter_usage.period import EVER, FOREVER, Period, month, today, week

# A call begun before midnight may be billed after it; its hold counts in the day that follows as well.
LONGEST_CALL = timedelta(hours=1)


class Books(Protocol):
    """What a decision has to know: settled calls of a period, and the holds that have not ended."""

    def spent(self, period: Period) -> Usage:
        """Sum the settled calls of whole UTC days."""

    def holds(self) -> list[Hold]:
        """Return the holds that have not ended."""

    def since(self, moment: datetime) -> list[Entry]:
        """Return the settled calls from a moment on, which is less than an hour ago."""

    def doubtful(self) -> list[Entry]:
        """Return the calls with an unbelievable bill that nobody has looked at."""


class AllBooks(Books, Protocol):
    """The same of all calls, which can be looked at by owner."""

    def of(self, owner: Owner) -> Books:
        """Return the books of one owner's calls."""


class Asked(NamedTuple):
    """What a call wants held in USD: the most that it can be billed, and what a `measured` budget counts of it."""

    most: Decimal
    measured: Decimal

    def under(self, policy: str) -> Decimal:
        """Return what a budget of a policy counts."""
        return self.most if policy == STRICT else self.measured


class Scope(NamedTuple):
    """How one cap stands: settled, held, and left, in USD; a request has no window.

    `unknown_calls` were made, and nobody knows for how much: they count as nothing. `ahead_calls` are dated in the
    future, by a clock that was wrong; the `ahead` USD of them are part of `spent`. `uncovered` USD is what the running
    calls can be billed at most beyond what is held for them, zero under the policy `strict`.
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
    owner: Owner = MACHINE
    policy: str = STRICT
    uncovered: Decimal = ZERO

    @property
    def left(self) -> Decimal:
        """What may still be held; negative when more was billed than was held."""
        return add(self.cap, -add(self.spent, self.held))

    @property
    def largest_overshoot(self) -> Decimal:
        """The most by which the calls that run now can take what is spent past the cap."""
        return max(ZERO, add(self.uncovered, -self.left))

    @property
    def resets_at(self) -> datetime | None:
        """The moment when the window ends; None for a request, and for a total, which never resets."""
        return None if self.period is None or self.period.end == FOREVER else self.period.end


def scopes(
    caps: Caps,
    books: Books,
    now: datetime,
    *,
    owner: Owner = MACHINE,
    policy: str = STRICT,
    ahead: Usage | None = None,
) -> Iterator[Scope]:
    """Return each cap with what is settled and held against it, the narrowest first.

    `ahead` is what is dated in the future, for whoever knows it already.
    """
    if caps.per_request is not None:
        yield Scope("per-request", caps.per_request, None, ZERO, ZERO, 0, 0, owner=owner, policy=policy)
    windows = (
        ("daily", caps.daily, today(now)),
        ("weekly", caps.weekly, week(now)),
        ("monthly", caps.monthly, month(now)),
        ("total", caps.total, EVER),
    )
    if all(cap is None for _, cap, _ in windows):
        return
    holds, ahead = books.holds(), _ahead(books, now) if ahead is None else ahead
    for name, cap, period in windows:
        if cap is not None:
            counted = [hold for hold in holds if counts_in(hold, period)]
            held = total(counted_of(hold, policy) for hold in counted)
            # Without an end: what was booked before the clock was set back lies in the future, and is spent.
            spent = books.spent(period._replace(end=FOREVER))
            ahead_held = [counted_of(hold, policy) for hold in counted if hold.ts >= dated_ahead_from(now)]
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
                owner,
                policy,
                add(total(hold.max_cost or ZERO for hold in counted), -held),
            )


def counted_of(hold: Hold, policy: str) -> Decimal:
    """Return what a budget of a policy counts of a hold, in USD; nothing where no budget was set when it began."""
    amount = hold.max_cost if policy == STRICT or hold.measured is None else hold.measured
    return ZERO if amount is None else amount


def standings(budgets: Iterable[Budget], books: AllBooks, now: datetime) -> Iterator[Scope]:
    """Return each cap of some budgets with what is settled and held against it."""
    ahead: Usage | None = None
    for budget in budgets:
        if ahead is None and budget.caps.any:
            ahead = _ahead(books, now)
        # Where nobody's calls are dated in the future, no owner's are.
        known = ahead if ahead is not None and not ahead.requests else None
        own = own_books(budget, books)
        yield from scopes(budget.caps, own, now, owner=budget.owner, policy=budget.policy, ahead=known)


def _ahead(books: Books, now: datetime) -> Usage:
    return books.spent(Period(dated_ahead_from(now), FOREVER, "ahead"))


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
    """Raise BudgetExceeded when a call of at most `asked` USD does not fit one of the machine's caps.

    Raises UnbelievableBill under any cap while there is an implausible bill, because then the amount spent is unknown.
    """
    if caps.any:
        _refuse_doubtful(books)
    _refuse(scopes(caps, books, now), Asked(asked, asked))


def check_all(budgets: Iterable[Budget], asked: Asked, books: AllBooks, now: datetime) -> None:
    """Raise BudgetExceeded, which names the owner and the cap, when a call does not fit one of some budgets.

    Raises UnbelievableBill as `check` does.
    """
    in_force = [budget for budget in budgets if budget.is_bounding]
    if in_force:
        _refuse_doubtful(books)
    _refuse(standings(in_force, books, now), asked)
    for budget in in_force:
        _brake(budget, asked, own_books(budget, books), now)


def own_books(budget: Budget, books: AllBooks) -> Books:
    """Return the books of a budget's owner."""
    return books if budget.owner == MACHINE else books.of(budget.owner)


def braked(budget: Budget, books: Books, now: datetime) -> tuple[Decimal, Decimal]:
    """Return what counts against a budget's brake in USD: spent within its stretch, and held for calls that run.

    A call that began earlier may be billed within the stretch, so it counts while it runs.
    """
    if budget.burst is None:
        return ZERO, ZERO
    running = [hold for hold in books.holds() if hold.ts >= now - LONGEST_CALL]
    spent = total(entry.cost for entry in books.since(now - budget.burst.span) if entry.cost is not None)
    return spent, total(counted_of(hold, budget.policy) for hold in running)


def _brake(budget: Budget, asked: Asked, books: Books, now: datetime) -> None:
    wanted = asked.under(budget.policy)
    if budget.burst is None or not wanted:
        return
    spent, held = braked(budget, books, now)
    if add(add(spent, held), wanted) > budget.burst.amount:
        raise Braked(
            spent=spent,
            held=held,
            asked=wanted,
            cap=budget.burst.amount,
            seconds=budget.burst.seconds,
            kind=budget.owner.kind,
            name=budget.owner.name,
            policy=budget.policy,
        )


def _refuse_doubtful(books: Books) -> None:
    doubtful = books.doubtful()
    if doubtful:
        raise UnbelievableBill(doubtful[0].id, doubtful[0].told, len(doubtful))


def _refuse(found: Iterable[Scope], asked: Asked) -> None:
    for scope in found:
        wanted = asked.under(scope.policy)
        if wanted > scope.left and wanted:
            raise BudgetExceeded(
                scope=scope.name,
                spent=scope.spent,
                held=scope.held,
                asked=wanted,
                cap=scope.cap,
                resets_at=scope.resets_at,
                ahead=scope.ahead,
                ahead_calls=scope.ahead_calls,
                kind=scope.owner.kind,
                name=scope.owner.name,
                policy=scope.policy,
            )
