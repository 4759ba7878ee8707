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


class Pace(NamedTuple):
    """USD spent a day, to 60 digits, and the sentence that says how that was found."""

    usd_per_day: Decimal
    how: str

    @property
    def shown(self) -> Decimal:
        """The pace as it is written: to a millionth, and a smaller one to three digits, so never a false zero."""
        size = self.usd_per_day.copy_abs()
        is_tiny = ZERO < size < _MICRO
        return rounded(self.usd_per_day, Decimal((0, (1,), size.adjusted() - 2)) if is_tiny else _MICRO)


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
    """Give for how many days, to a tenth, what is left will last; None at a pace of nothing, or less than that."""
    if pace.usd_per_day <= 0:
        return None
    return rounded(ratio(max(left, ZERO), pace.usd_per_day), _TENTH)
