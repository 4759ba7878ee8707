"""What the figures lead to: the month's end, how long what is left will last, days out of the ordinary; pure.

Each forecast comes with the sentence that says how it was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.answers.account import ActivityRow, TodaySpend
from openrouter_usage.answers.key import KeyInfo
from openrouter_usage.answers.parts import Gap, Parts
from openrouter_usage.money import EXACT, ZERO, add, format_usd, multiply, ratio, rounded, total
from openrouter_usage.period import completed_days, midnight, spoken
from openrouter_usage.summary.model import Summary
from openrouter_usage.summary.pace import Pace, account_pace, days_left, key_pace, lasting

USUAL_DAYS = 30
RECENT_DAYS = 7
SPIKE = 3
_SIX, _TENTH = Decimal("0.000001"), Decimal("0.1")


class Outlook(NamedTuple):
    """What is left somewhere, at which pace it is used, and for how many days it lasts, to 60 digits; None is unknown.

    A limit that starts anew at some moment is not used up later than that. `is_bound`: it lasts at least so long, for
    others spend at the pace too.
    """

    name: str
    left: Decimal
    pace: Pace | None
    days: Decimal | None
    starts_anew_at: datetime | None = None
    is_bound: bool = False

    def outlasts_its_window(self, now: datetime) -> bool:
        """Check whether it starts anew before it can be used up."""
        anew = self.starts_anew_at
        if anew is None or self.days is None:
            return False
        return Decimal(int((anew - now).total_seconds())) <= multiply(self.days, 86_400)


class MonthEnd(NamedTuple):
    """What the running UTC month will have cost in USD, rounded to a millionth, if the pace stays.

    `whose` is "account" or "key"; `so_far` ends with the last completed day where today's spend is not known.
    """

    amount: Decimal
    so_far: Decimal
    pace: Pace
    whose: str
    has_today: bool = True


class Spike(NamedTuple):
    """A UTC day on which the account spent at least `SPIKE` times as much as on a usual one."""

    day: date
    amount: Decimal
    times: Decimal


class Forecast(NamedTuple):
    """What can be said of the time to come; `usual` is the account's median day, None where it is not known."""

    month_end: MonthEnd | None
    outlooks: tuple[Outlook, ...]
    usual: Decimal | None
    spikes: tuple[Spike, ...]


def forecast(parts: Parts, summary: Summary) -> Forecast:
    """Look ahead from `parts.taken_at`, at one pace: the account's where it is known, else the key's own.

    Of one key among several the account's pace is a bound: what is left of its limit lasts at least so long.
    """
    now = parts.taken_at
    rows = parts.activity if parts.activity is not None and not isinstance(parts.activity, Gap) else None
    key = parts.key if isinstance(parts.key, KeyInfo) and not parts.key.is_management_key else None
    usual, spikes = (None, ()) if rows is None else _spikes(rows, parts.today, now)
    if rows is not None:
        pace: Pace | None = account_pace(rows, now)
        month_end = _month_end_of_account(summary, rows, parts.today, account_pace(rows, now))
    else:
        pace = key_pace(key, now) if key else None
        month_end = _month_end(summary, pace)
    return Forecast(month_end, _outlooks(summary, pace, is_account=rows is not None), usual, spikes)


def _month_end(summary: Summary, pace: Pace | None) -> MonthEnd | None:
    so_far = summary.month.usage
    if so_far is None or pace is None:
        return None
    amount = add(so_far, _spent_from(summary.taken_at, summary, pace))
    return MonthEnd(amount, so_far, pace, summary.scope)


def _month_end_of_account(
    summary: Summary, rows: tuple[ActivityRow, ...], running: TodaySpend | Gap | None, pace: Pace
) -> MonthEnd | None:
    """Return what the account's month leads to; the month of one key beside it would need a pace of its own."""
    now, month = summary.taken_at, summary.month.period
    if summary.scope == "account" and summary.month.usage is not None:
        return _month_end(summary, pace)
    so_far = total(row.usage.cost for row in rows if month.first_day <= row.day < now.date())
    has_today = isinstance(running, TodaySpend) and not running.truncated
    if isinstance(running, TodaySpend) and has_today:
        so_far = add(so_far, running.usage.cost)
    since = now if has_today else midnight(now.date())
    return MonthEnd(add(so_far, _spent_from(since, summary, pace)), so_far, pace, "account", has_today)


def _spent_from(moment: datetime, summary: Summary, pace: Pace) -> Decimal:
    left_s = Decimal(int((summary.month.period.end - moment).total_seconds()))
    return rounded(ratio(multiply(pace.usd_per_day, left_s), 86_400), _SIX)


def _outlooks(summary: Summary, pace: Pace | None, *, is_account: bool) -> tuple[Outlook, ...]:
    """Return how long each of what binds lasts, the smallest first."""
    limits = {"balance": None, "key_limit": summary.key_limit, "budget": summary.budget}
    found = []
    for name, left in summary.left:
        limit = limits[name]
        days = days_left(left, pace) if pace else None
        resets_at = limit.resets_at if limit else None
        found.append(Outlook(name.replace("_", " "), left, pace, days, resets_at, is_account and limit is not None))
    return tuple(found)


def _spikes(
    rows: tuple[ActivityRow, ...], running: TodaySpend | Gap | None, now: datetime
) -> tuple[Decimal, tuple[Spike, ...]]:
    """Find the recent days that cost far more than the median one; days without calls count as nothing."""
    spent = dict.fromkeys(completed_days(now, USUAL_DAYS).utc_days, ZERO)
    for row in rows:
        if row.day in spent:
            spent[row.day] = add(spent[row.day], row.usage.cost)
    usual = _median(list(spent.values()))
    recent = {day: spent[day] for day in completed_days(now, RECENT_DAYS).utc_days}
    # The sum of an answer that was cut short is no figure of the day.
    if isinstance(running, TodaySpend) and not running.truncated:
        recent[now.date()] = running.usage.cost
    return usual, tuple(_above(recent, usual))


def _median(amounts: list[Decimal]) -> Decimal:
    # `statistics` would do the same, and takes longer to load than all of this house.
    middle = sorted(amounts)[(len(amounts) - 1) // 2 : len(amounts) // 2 + 1]
    return EXACT.divide(add(middle[0], middle[-1]), Decimal(2))


def _above(recent: Mapping[date, Decimal], usual: Decimal) -> list[Spike]:
    if not usual:
        return []
    high = {day: amount for day, amount in recent.items() if amount >= EXACT.multiply(usual, Decimal(SPIKE))}
    return [Spike(day, amount, rounded(ratio(amount, usual), _TENTH)) for day, amount in sorted(high.items())]


def said_of_month_end(found: MonthEnd) -> str:
    """Write a forecast of the month as a sentence."""
    whose = "this key" if found.whose == "key" else "the account"
    so_far = "so far" if found.has_today else "on its completed days"
    return (
        f"At {format_usd(found.pace.shown)} a day ({found.pace.how}) {whose} will have spent about "
        f"{format_usd(found.amount)} by the end of the UTC month, {format_usd(found.so_far)} of it {so_far}"
    )


def said_of_outlook(outlook: Outlook, now: datetime) -> str:
    """Write how long something lasts as a sentence."""
    if outlook.pace is None:
        return f"The {outlook.name} lasts: unknown (too little is known of the pace)"
    pace = said_of_pace(outlook.pace)
    if outlook.left <= 0:
        return f"The {outlook.name} is used up; the pace is {pace}"
    if outlook.pace.usd_per_day < 0:
        return f"The {outlook.name} lasts: unknown (more was given back than spent): {pace}"
    if outlook.days is None:
        return f"The {outlook.name} lasts as long as nothing is spent: {pace}"
    anew = outlook.starts_anew_at
    if anew and outlook.outlasts_its_window(now):
        return f"The {outlook.name} is not used up before it starts anew, {spoken(anew)}, at {pace}"
    bound = "at least " if outlook.is_bound else ""
    return f"The {outlook.name} lasts {bound}{lasting(outlook.days)} at {pace}"


def said_of_pace(pace: Pace) -> str:
    """Write a pace with how it was found."""
    return f"{format_usd(pace.shown)} a day ({pace.how})"


def said_of_spike(spike: Spike, usual: Decimal) -> str:
    """Write a day out of the ordinary as a sentence."""
    return (
        f"On {spike.day} (UTC) the account spent {format_usd(spike.amount)}, {spike.times:f} times the median day of "
        f"{format_usd(usual)} (last {USUAL_DAYS} completed UTC days)"
    )
