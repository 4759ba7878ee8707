"""Which alerts are due: thresholds of limits, a low balance, a short runway, a spike; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from statistics import median
from typing import NamedTuple

from openrouter_usage.budgets import Owner
from openrouter_usage.called import as_called
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.figures.forecast import is_said_to_last, lasting
from openrouter_usage.figures.limits import Scope
from openrouter_usage.money import EXACT, ZERO, format_usd, plain
from openrouter_usage.period import month, today, week
from openrouter_usage.text import named, plural

THRESHOLDS = (100, 80, 50)


class Rules(NamedTuple):
    """What the user wants to be told about; amounts in USD, None is not asked for.

    `budgets` is the lowest share of a budget, in percent, that is told; with it refused calls are told as well.
    """

    daily_limit: Decimal | None = None
    weekly_limit: Decimal | None = None
    monthly_limit: Decimal | None = None
    balance_below: Decimal | None = None
    runway_days: Decimal | None = None
    spike: Decimal | None = None
    budgets: Decimal | None = None

    @property
    def asks_openrouter(self) -> bool:
        """Check whether a rule is about more than this machine's own budgets."""
        return any(rule is not None for rule in self._replace(budgets=None))

    @property
    def number(self) -> int:
        """Return how many rules are set."""
        return sum(rule is not None for rule in self)


class Refusals(NamedTuple):
    """The calls that one budget refused on the running UTC day; `scope` is its cap, or `brake` or `repeats`."""

    owner: Owner
    scope: str
    number: int


class Spending(NamedTuple):
    """How things stand: USD of the running UTC day, week and month, whose they are and where they come from.

    `balance` is the smallest of what is known to be left, and `balance_of` says what that is; `runway_of` and `pace`
    say the same of `runway_days`. `reasons` tell why a figure is not known, `remarks` what a known figure leaves out,
    `troubles` why the source is not a better one; `unasked` is why OpenRouter, which was to be asked, told nothing
    at all, so that no alert proves nothing.
    """

    taken_at: datetime
    today: Decimal | None
    week: Decimal | None
    month: Decimal | None
    balance: Decimal | None
    runway_days: Decimal | None
    past_days: tuple[Decimal, ...]
    source: str
    reasons: tuple[str, ...] = ()
    troubles: tuple[OpenRouterUsageError, ...] = ()
    unasked: OpenRouterUsageError | None = None
    balance_of: str = "the balance"
    runway_of: str = "the balance"
    pace: str = "the last 7 days' pace"
    remarks: tuple[str, ...] = ()
    # Of the budgets of this machine and of a team, and the ledger that they are of.
    scopes: tuple[Scope, ...] = ()
    books: str = "this machine's ledger"
    refusals: tuple[Refusals, ...] = ()

    @property
    def starts(self) -> tuple[date, date, date]:
        """The first days of the running UTC day, week and month."""
        return today(self.taken_at).first_day, week(self.taken_at).first_day, month(self.taken_at).first_day


class Alert(NamedTuple):
    """One thing to tell; `marks` are what fires only once, the most severe first.

    `still` is what to say of it as long as it lasts and has been told.
    """

    marks: tuple[str, ...]
    text: str
    is_critical: bool
    still: str = ""


class Told(NamedTuple):
    """An alert that holds and was told before, and when."""

    alert: Alert
    told_at: datetime


class Verdict(NamedTuple):
    """What is due now, what is no longer true and so may fire again, what could not be judged, and what was told."""

    due: tuple[Alert, ...]
    rearmed: tuple[str, ...]
    unknown: tuple[str, ...]
    standing: tuple[Told, ...] = ()


def judge(
    rules: Rules, now: Spending, fired: Mapping[str, datetime], known: Mapping[str, datetime] | None = None
) -> Verdict:
    """Compare the rules with how things stand; what has fired in a window is not due again in it.

    `fired` is what was told where the alerts go now, `known` what was told anywhere, and last when.
    """
    unknown: list[str] = []
    holding: list[Alert] = []
    for name, limit, spent, start in _windows(rules, now):
        if spent is None:
            unknown.append(f"the {name} spend is not known")
        else:
            holding += _crossed(name, limit, spent, start, source=now.source)
    states = {**_low_balance(rules, now, unknown), **_short_runway(rules, now, unknown)}
    holding += [alert for alert in states.values() if alert is not None]
    holding += _spike(rules, now, unknown)
    if rules.budgets is not None:
        holding += [alert for scope in now.scopes for alert in _used(scope, rules.budgets, now.books)]
        holding += [_refused(refusals, now.starts[0]) for refusals in now.refusals]
    known = fired if known is None else known
    rearmed = [mark for mark, moment in known.items() if _is_over(mark, moment, states, now)]
    due = [alert for alert in holding if alert.marks[0] not in fired]
    standing = [Told(alert, fired[alert.marks[0]]) for alert in holding if alert.marks[0] in fired]
    return Verdict(tuple(due), tuple(rearmed), tuple(unknown), tuple(standing))


def _is_over(mark: str, fired_at: datetime, states: Mapping[str, Alert | None], now: Spending) -> bool:
    """Check whether a state that was told has ended since; figures from before it was told say nothing about that."""
    kept = [state for state in states if state.partition(":")[0] == mark.partition(":")[0]]
    ended = bool(kept) and (mark not in states or states[mark] is None)
    return ended and now.taken_at > fired_at


def _windows(rules: Rules, now: Spending) -> Iterator[tuple[str, Decimal, Decimal | None, date]]:
    limits = (rules.daily_limit, rules.weekly_limit, rules.monthly_limit)
    sums = (now.today, now.week, now.month)
    for name, limit, spent, start in zip(("daily", "weekly", "monthly"), limits, sums, now.starts, strict=True):
        if limit is not None:
            yield name, limit, spent, start


def _crossed(name: str, limit: Decimal, spent: Decimal, start: date, *, source: str) -> Iterator[Alert]:
    """Return one alert for the highest threshold that is reached; the lower ones are said with it."""
    reached = [step for step in THRESHOLDS if spent > 0 and spent >= _percent(step, limit)]
    # The limit is part of the mark: under another one, every threshold is a new one.
    marks = tuple(f"{name}:{start}:{plain(limit)}:{step}" for step in reached)
    if marks:
        said = f"{format_usd(spent)} of the {name} {format_usd(limit)} is spent"
        text, still = (f"{said} ({word}{reached[0]}% reached; {source}, UTC)" for word in ("", "still "))
        yield Alert(marks, text, reached[0] == 100, still)


def _used(scope: Scope, least: Decimal, books: str) -> Iterator[Alert]:
    """Return one alert for the highest threshold of a budget that is reached by what is spent."""
    if scope.period is None:
        return
    reached = [step for step in THRESHOLDS if step >= least and 0 < scope.spent >= _percent(step, scope.cap)]
    start = scope.period.first_day
    marks = tuple(
        f"cap:{scope.owner.kind}:{scope.owner.name}:{scope.name}:{start}:{plain(scope.cap)}:{step}" for step in reached
    )
    if marks:
        budget = f"the {scope.name} budget{_of(scope.owner)}, {format_usd(scope.cap)},"
        said = f"{format_usd(scope.spent)} of {budget} is spent"
        text, still = (f"{said} ({word}{reached[0]}% reached; {books}, UTC)" for word in ("", "still "))
        yield Alert(marks, text, reached[0] == 100, still)


def _refused(refusals: Refusals, day: date) -> Alert:
    """Return the alert for calls that one budget refused; once a day for each cap and each brake."""
    what = "a brake" if refusals.scope in ("brake", "repeats") else f"the {refusals.scope} budget"
    calls = plural(refusals.number, "call")
    text, still = (
        as_called(
            f"{what}{_of(refusals.owner)} refused {calls} {word}today (UTC); `cost_tracker.py budget log` lists them"
        )
        for word in ("", "so far ")
    )
    return Alert((f"refused:{day}:{refusals.owner.kind}:{refusals.owner.name}:{refusals.scope}",), text, False, still)


def _of(owner: Owner) -> str:
    return f" of {owner.kind} {named(owner.name)}" if owner.name else ""


def _percent(step: int, limit: Decimal) -> Decimal:
    return EXACT.multiply(limit, Decimal(step).scaleb(-2))


def _low_balance(rules: Rules, now: Spending, unknown: list[str]) -> dict[str, Alert | None]:
    """Return the alert by its mark, None when all is well; nothing when it is not asked for, or not known."""
    least = rules.balance_below
    if least is not None and now.balance is None:
        unknown.append("the balance is not known")
    if least is None or now.balance is None:
        return {}
    mark = f"balance:{plain(least)}"
    text, still = (
        f"{now.balance_of} is {format_usd(now.balance)}, {word}below {format_usd(least)}" for word in ("", "still ")
    )
    return {mark: Alert((mark,), text, now.balance <= 0, still) if now.balance < least else None}


def _short_runway(rules: Rules, now: Spending, unknown: list[str]) -> dict[str, Alert | None]:
    least = rules.runway_days
    if least is not None and now.runway_days is None:
        unknown.append("how long the balance lasts is not known")
    if least is None or now.runway_days is None:
        return {}
    mark = f"runway:{plain(least)}"
    if now.runway_days >= least:
        return {mark: None}
    days = f"{plain(least)} day{'' if least == 1 else 's'}"
    if not now.runway_days:
        lasts = "is used up"
    elif is_said_to_last(now.runway_days, least):
        lasts = f"lasts just under {days}"
    else:
        lasts = f"lasts {lasting(now.runway_days)}"
    text, still = (f"{now.runway_of} {lasts} at {now.pace}, {word}less than {days}" for word in ("", "still "))
    return {mark: Alert((mark,), text, False, still)}


def _spike(rules: Rules, now: Spending, unknown: list[str]) -> Iterator[Alert]:
    if rules.spike is None:
        return
    usual = median(now.past_days) if now.past_days else None
    if now.today is None or usual is None:
        unknown.append("a usual day is not known")
        return
    mark = f"spike:{now.starts[0]}:{plain(rules.spike)}"
    if usual > ZERO and now.today > EXACT.multiply(rules.spike, usual):
        text, still = (
            f"today's {format_usd(now.today)} is {word}more than {plain(rules.spike)} x the usual {format_usd(usual)} "
            f"({now.source}, UTC)"
            for word in ("", "still ")
        )
        yield Alert((mark,), text, False, still)
