"""Which alerts are due: thresholds of limits, a low balance, a short runway, a spike; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from statistics import median
from typing import NamedTuple

from openrouter_usage.money import ZERO, format_usd

THRESHOLDS = (100, 80, 50)


class Rules(NamedTuple):
    """What the user wants to be told about; amounts in USD, None is not asked for."""

    daily_limit: Decimal | None = None
    weekly_limit: Decimal | None = None
    monthly_limit: Decimal | None = None
    balance_below: Decimal | None = None
    runway_days: Decimal | None = None
    spike: Decimal | None = None

    @property
    def any(self) -> bool:
        """Tell whether anything is asked for."""
        return any(rule is not None for rule in self)


class Spending(NamedTuple):
    """How things stand: USD of the running UTC day, week and month, and where the figures come from."""

    today: Decimal | None
    week: Decimal | None
    month: Decimal | None
    starts: tuple[date, date, date]
    balance: Decimal | None
    runway_days: Decimal | None
    past_days: tuple[Decimal, ...]
    source: str


class Alert(NamedTuple):
    """One thing to tell; `marks` are what fires only once, the most severe first."""

    marks: tuple[str, ...]
    text: str
    is_critical: bool


class Verdict(NamedTuple):
    """What is due now, what is no longer true and so may fire again, and what could not be judged."""

    due: tuple[Alert, ...]
    rearmed: tuple[str, ...]
    unknown: tuple[str, ...]


def judge(rules: Rules, now: Spending, fired: Sequence[str]) -> Verdict:
    """Compare the rules with how things stand; what has fired in a window is not due again in it."""
    due: list[Alert] = []
    unknown: list[str] = []
    for name, limit, spent, start in _windows(rules, now):
        if spent is None:
            unknown.append(f"the {name} spend is not known")
        else:
            due += _crossed(name, limit, spent, start, source=now.source, fired=fired)
    states = {"balance": _low_balance(rules, now, unknown), "runway": _short_runway(rules, now, unknown)}
    due += [alert for alert in states.values() if alert is not None and alert.marks[0] not in fired]
    rearmed = tuple(name for name, alert in states.items() if alert is None and name in fired)
    due += _spike(rules, now, fired, unknown)
    return Verdict(tuple(due), rearmed, tuple(unknown))


def _windows(rules: Rules, now: Spending) -> Iterator[tuple[str, Decimal, Decimal | None, date]]:
    limits = (rules.daily_limit, rules.weekly_limit, rules.monthly_limit)
    for name, limit, spent, start in zip(("daily", "weekly", "monthly"), limits, now[:3], now.starts, strict=True):
        if limit is not None:
            yield name, limit, spent, start


def _crossed(
    name: str, limit: Decimal, spent: Decimal, start: date, *, source: str, fired: Sequence[str]
) -> Iterator[Alert]:
    """Give one alert for the highest threshold that was newly reached; the lower ones are said with it."""
    reached = [step for step in THRESHOLDS if spent * 100 >= limit * step and (spent or not limit)]
    marks = tuple(f"{name}:{start}:{step}" for step in reached)
    if marks and marks[0] not in fired:
        text = f"{format_usd(spent)} of the {name} {format_usd(limit)} is spent ({reached[0]}% reached; {source}, UTC)"
        yield Alert(marks, text, reached[0] == 100)


def _low_balance(rules: Rules, now: Spending, unknown: list[str]) -> Alert | None:
    if rules.balance_below is None:
        return None
    if now.balance is None:
        unknown.append("the balance is not known")
        return None
    if now.balance >= rules.balance_below:
        return None
    text = f"the balance is {format_usd(now.balance)}, below {format_usd(rules.balance_below)}"
    return Alert(("balance",), text, now.balance <= 0)


def _short_runway(rules: Rules, now: Spending, unknown: list[str]) -> Alert | None:
    if rules.runway_days is None:
        return None
    if now.runway_days is None:
        unknown.append("how long the balance lasts is not known")
        return None
    if now.runway_days >= rules.runway_days:
        return None
    return Alert(("runway",), f"the balance lasts {now.runway_days:f} days at the last 7 days' pace", False)


def _spike(rules: Rules, now: Spending, fired: Sequence[str], unknown: list[str]) -> Iterator[Alert]:
    if rules.spike is None:
        return
    usual = median(now.past_days) if now.past_days else None
    if now.today is None or usual is None:
        unknown.append("a usual day is not known")
        return
    mark = f"spike:{now.starts[0]}"
    if usual > ZERO and now.today > rules.spike * usual and mark not in fired:
        times = f"{rules.spike.normalize():f}"
        yield Alert(
            (mark,), f"today's {format_usd(now.today)} is more than {times} x the usual {format_usd(usual)}", False
        )


def read_rules(kept: Mapping[str, object]) -> dict[str, object]:
    """Give the kept rules by name, those of other versions left out."""
    return {name: kept[name] for name in Rules._fields if kept.get(name) is not None}
