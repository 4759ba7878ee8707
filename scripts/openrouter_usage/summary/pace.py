"""How fast money is spent, and how long what is left will last; pure."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.answers.account import ActivityRow
from openrouter_usage.answers.key import KeyInfo
from openrouter_usage.money import ZERO, multiply, ratio, rounded, total
from openrouter_usage.period import completed_days, week

PACE_DAYS = 7
_MICRO, _TENTH = Decimal("0.000001"), Decimal("0.1")
_HOURS = 24


class Pace(NamedTuple):
    """USD spent a day, to 60 digits, and the sentence that says how that was found."""

    usd_per_day: Decimal
    how: str

    @property
    def shown(self) -> Decimal:
        """The pace as it is written: to a millionth, and a smaller one to three digits, so never a false zero."""
        return shown(self.usd_per_day)


def shown(number: Decimal) -> Decimal:
    """Round to a millionth, and what is smaller to three digits, so that nothing becomes a false zero."""
    size = number.copy_abs()
    is_tiny = ZERO < size < _MICRO
    return rounded(number, Decimal((0, (1,), size.adjusted() - 2)) if is_tiny else _MICRO)


def account_pace(rows: tuple[ActivityRow, ...], now: datetime) -> Pace:
    """Give the account's pace over the last seven completed UTC days."""
    period = completed_days(now, PACE_DAYS)
    spent = total(row.usage.cost for row in rows if period.first_day <= row.day <= period.last_day)
    per_day = ratio(spent, PACE_DAYS)
    return Pace(per_day, f"the account's last {PACE_DAYS} completed UTC days, {period.first_day} to {period.last_day}")


def key_pace(key: KeyInfo, now: datetime) -> Pace | None:
    """Give one key's pace in the running UTC week; None while the week is younger than a day or unknown."""
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
