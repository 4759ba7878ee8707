"""The ledger beside one key's own counters, where no management key may ask for more; pure."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.money import subtract
from openrouter_usage.period import Period
from openrouter_usage.usage import Usage


class Beside(NamedTuple):
    """A running UTC window: what the key spent by /key, None where it is unknown, and what the ledger has."""

    period: Period
    key: Decimal | None
    ledger: Usage

    @property
    def attributed(self) -> Decimal:
        """What both have, in USD."""
        return min(self.key or Decimal(0), self.ledger.cost)

    @property
    def unexplained(self) -> Decimal:
        """What only the key has, in USD."""
        return subtract(self.key or Decimal(0), self.attributed)

    @property
    def surplus(self) -> Decimal:
        """What only the ledger has, in USD; calls of other keys are among it."""
        return subtract(self.ledger.cost, self.attributed)


def judged(windows: tuple[Beside, ...], span_days: int) -> Beside:
    """Give the narrowest window (day, week, month) that has room for so many days, else the widest."""
    for window, reach in zip(windows, (1, 7), strict=False):
        if span_days <= reach:
            return window
    return windows[-1]
