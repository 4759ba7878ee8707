"""What the figures lead to: the pace, the month's end, how long credits will last, unusual days; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from openrouter_usage.entry import Usage
from openrouter_usage.figures.summary import Forecast, MonthEnd, Outlook, Pace, Spike, Summary
from openrouter_usage.money import EXACT, ZERO, add, format_usd, multiply, ratio, rounded, total
from openrouter_usage.openrouter.answers.account import ActivityRow, Gap, Parts, TodaySpend
from openrouter_usage.openrouter.answers.key import KeyInfo
from openrouter_usage.period import EVER, Period, Stretch, completed_days, midnight, spoken, week
from openrouter_usage.text import named, plural

if TYPE_CHECKING:
    from openrouter_usage.budgets import Budget
    from openrouter_usage.figures.limits import AllBooks, Scope

# -- How fast money is spent, and how long what is left will last; pure.

PACE_DAYS = 7
_TENTH = Decimal("0.1")
_HOURS = 24


def account_pace(rows: tuple[ActivityRow, ...], now: datetime) -> Pace:
    """Return the account's pace over the last seven completed UTC days."""
    period = completed_days(now, PACE_DAYS)
    spent = total(row.usage.cost for row in rows if period.first_day <= row.day <= period.last_day)
    per_day = ratio(spent, PACE_DAYS)
    return Pace(per_day, f"the account's last {PACE_DAYS} completed UTC days, {period.first_day} to {period.last_day}")


def key_pace(key: KeyInfo, now: datetime) -> Pace | None:
    """Return one key's pace in the running UTC week; None while the week is younger than a day or unknown."""
    elapsed_s = Decimal(int((now - week(now).start).total_seconds()))
    if key.weekly.usage is None or elapsed_s < 86_400:
        return None
    per_day = ratio(multiply(key.weekly.usage, 86_400), elapsed_s)
    return Pace(per_day, f"this key's running UTC week, since {week(now).first_day}")


def days_left(left: Decimal, pace: Pace) -> Decimal | None:
    """Return for how many days, to 60 digits, what is left will last; None at a pace of nothing, or less than that."""
    if pace.usd_per_day <= 0:
        return None
    return ratio(max(left, ZERO), pace.usd_per_day)


def lasting(days: Decimal) -> str:
    """Write how long something lasts: about 2.5 days, about 5 hours, less than an hour."""
    if days >= 1:
        return f"about {rounded(days, _TENTH):,f} days"
    hours = rounded(multiply(days, _HOURS), Decimal(1))
    if hours == _HOURS:
        return "about a day"
    return "less than an hour" if hours < 1 else f"about {hours} hour{'' if hours == 1 else 's'}"


def is_said_to_last(days: Decimal, least: Decimal) -> bool:
    """Check whether rounding would write that something lasts for `least` days, although it does not quite."""
    hours = rounded(multiply(days, _HOURS), Decimal(1))
    return days < least <= (rounded(days, _TENTH) if days >= 1 else ratio(hours, _HOURS))


# -- When a budget on tracked calls ends; pure.

_LATEST = 3_660
_DAY_S = 86_400
_HOUR = timedelta(hours=1)


class BudgetPace(NamedTuple):
    """How fast an owner's tracked calls spend; without a pace, `unknown` says why there is none."""

    pace: Pace | None
    unknown: str = ""


class BudgetEnd(NamedTuple):
    """When a cap is reached at a pace.

    `outlook` is "ends" (at `ends_at`), "lasts" (past its reset, or for years), "used_up" or "unknown".
    """

    outlook: str
    pace: BudgetPace
    ends_at: datetime | None = None


def tracked_pace(spent_in: Callable[[Period], Usage], now: datetime) -> BudgetPace:
    """Return the pace of tracked calls over the last seven completed UTC days, or over those since the first call.

    `spent_in` sums the calls of whole UTC days. The pace is unknown without a call in those days, and while the cost of
    one of them is unknown.
    """
    span = completed_days(now, PACE_DAYS)
    spent = spent_in(span)
    days = f"the last {PACE_DAYS} completed UTC days"
    if not spent.requests:
        return BudgetPace(None, f"no tracked call in {days}")
    if spent.unknown:
        return BudgetPace(None, f"{plural(spent.unknown, 'call')} of unknown cost in {days}")
    if not spent_in(EVER._replace(end=span.start)).requests:
        # The days before the first call are no days without spend: nobody looked.
        first = next(day for day in span.utc_days if spent_in(Stretch(day, day).period).requests)
        span = Stretch(first, span.last_day).period
        if span.day_count < PACE_DAYS:
            days = f"the {plural(span.day_count, 'completed UTC day')} since the first call"
    pace = ratio(spent.cost, span.day_count)
    return BudgetPace(Pace(pace, f"tracked calls of {days}, {Stretch(span.first_day, span.last_day)}"))


def budget_end(scope: Scope, pace: BudgetPace, now: datetime) -> BudgetEnd:
    """Return when what a cap leaves is spent at a pace; the cap has to be one of a window or a total."""
    if scope.left <= 0:
        return BudgetEnd("used_up", pace)
    if pace.pace is None or pace.pace.usd_per_day < 0:
        return BudgetEnd("unknown", pace)
    days = days_left(scope.left, pace.pace)
    if days is None or days > _LATEST:
        return BudgetEnd("lasts", pace)
    ends_at = now + timedelta(seconds=int(multiply(days, _DAY_S)))
    if scope.resets_at is not None and ends_at >= scope.resets_at:
        return BudgetEnd("lasts", pace)
    return BudgetEnd("ends", pace, ends_at)


def ends_of(
    budgets: Iterable[Budget], books: AllBooks, now: datetime
) -> Iterator[tuple[Scope, BudgetPace, BudgetEnd | None]]:
    """Yield how each cap of some budgets stands, its owner's pace, and when it ends at that; None without a window."""
    from openrouter_usage.budgets import EVERY  # late: the summary needs none of this
    from openrouter_usage.figures.limits import own_books, standings

    for budget in budgets:
        if budget.owner.name == EVERY or not budget.caps.any:
            continue
        pace = tracked_pace(own_books(budget, books).spent, now)
        for scope in standings([budget], books, now):
            yield scope, pace, budget_end(scope, pace, now) if scope.period else None


def said_of_budget_end(scope: Scope, end: BudgetEnd, now: datetime) -> str:
    """Write when a budget ends as words that follow "it": at $1.20 a day it ends on 2026-11-29, about 14:00 UTC."""
    until = f"until it resets, {spoken(scope.resets_at)}" if scope.resets_at else "for good: a total never resets"
    if end.outlook == "used_up":
        return f"it is used up {until}"
    if end.pace.pace is None:
        return f"when it ends is unknown: {end.pace.unknown}"
    at = f"at {format_usd(end.pace.pace.shown)} a day it"
    if end.outlook == "unknown":
        return f"when it ends is unknown: more was given back than spent, {said_of_pace(end.pace.pace)}"
    if end.ends_at is None:
        how_long = f"past its reset, {spoken(scope.resets_at)}" if scope.resets_at else "for more than ten years"
        return f"{at} lasts {how_long}"
    if end.ends_at - now < _HOUR:
        return f"{at} ends within the hour"
    return f"{at} ends on {_about(end.ends_at, scope.resets_at)}"


def said_of_budget(scope: Scope, end: BudgetEnd, now: datetime) -> str:
    """Write the same as a sentence of its own that names the budget and how the pace was found."""
    of = f"the {scope.owner.kind}'s" if not scope.owner.name else f"{scope.owner.kind} {named(scope.owner.name)}'s"
    pace = end.pace.pace
    has_pace = pace is not None and end.outlook in ("ends", "lasts")
    how = f" ({pace.how})" if pace is not None and has_pace else ""
    return f"Of {of} {scope.name} budget {format_usd(scope.left)} is left; {said_of_budget_end(scope, end, now)}{how}"


def _about(moment: datetime, resets_at: datetime | None) -> str:
    """Write a moment to the hour, and never as one at which the budget has reset already."""
    hour = moment.replace(minute=0, second=0, microsecond=0)
    nearest = hour + _HOUR if moment - hour >= _HOUR / 2 else hour
    if resets_at is not None and nearest >= resets_at:
        nearest = hour
    return nearest.strftime("%Y-%m-%d, about %H:00 UTC")


# -- What the figures lead to: the month's end, how long what is left will last, days out of the ordinary; pure.
#
# Each forecast comes with the sentence that says how it was made.

USUAL_DAYS = 30
RECENT_DAYS = 7
SPIKE = 3
_MICRO = Decimal("0.000001")


def forecast(parts: Parts, summary: Summary) -> Forecast:
    """Return the forecast as of `parts.taken_at`, at one pace: the account's where it is known, else the key's own.

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
    return rounded(ratio(multiply(pace.usd_per_day, left_s), 86_400), _MICRO)


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
    # The sum of an answer that was cut short is not the day's.
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
    resets_at = outlook.resets_at
    if resets_at and outlook.outlasts_its_window(now):
        return f"The {outlook.name} is not used up before it resets, {spoken(resets_at)}, at {pace}"
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
