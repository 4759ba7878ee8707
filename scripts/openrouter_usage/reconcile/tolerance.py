"""How much may stay unexplained: a share of the account's spend, or an amount; pure."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.errors import InvalidValue
from openrouter_usage.money import EXACT, format_usd, plain, usd


class Tolerance(NamedTuple):
    """A share of the account's spend in percent, or an amount in USD."""

    amount: Decimal
    is_share: bool

    def allows(self, difference: Decimal, account: Decimal) -> bool:
        """Tell whether a difference is small enough beside what the account spent."""
        if not self.is_share:
            return difference <= self.amount
        return EXACT.multiply(difference, Decimal(100)) <= EXACT.multiply(self.amount, account)

    def __str__(self) -> str:
        """Write it the way it was given."""
        return f"{plain(self.amount)}%" if self.is_share else format_usd(self.amount)


def read_tolerance(text: str) -> Tolerance:
    """Read `1%` or `0.05`; InvalidValue for anything else, and for less than nothing."""
    is_share = text.endswith("%")
    try:
        amount = usd(text[:-1] if is_share else text)
    except InvalidValue:
        amount = Decimal(-1)
    if amount < 0 or (is_share and amount > 100):
        raise InvalidValue("a tolerance is a share such as 1%, or an amount in USD such as 0.05")
    return Tolerance(amount, is_share)
