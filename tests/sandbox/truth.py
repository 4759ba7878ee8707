"""What is true of an account, for tests to compare with what a program says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from .activity import ActivityRow
from .apikey import ZERO, window_start

if TYPE_CHECKING:
    from .account import Account


class Truth:
    """Exact sums over everything the account has spent."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def rows(self, days: int = 30, *, include_today: bool = False) -> Iterator[ActivityRow]:
        """Rows of the last so many completed UTC days, and of the running day when asked."""
        today = self.account.today()
        last = today if include_today else today - timedelta(days=1)
        for row in self.account.rows():
            if today - timedelta(days=days) <= row.date <= last:
                yield row

    def by(self, field: str, days: int = 7, *, value: str = "usage", include_today: bool = False) -> dict[Any, Any]:
        """Sums of one column, grouped by one field of the rows (`model`, `provider_name`, `date`, `key_hash`)."""
        sums: dict[Any, Any] = {}
        for row in self.rows(days, include_today=include_today):
            group = getattr(row, field)
            sums[group] = sums.get(group, 0) + getattr(row, value)
        return sums

    def by_model(self, days: int = 7, **how: Any) -> dict[str, Any]:
        """Spend of each model."""
        return self.by("model", days, **how)

    def by_provider(self, days: int = 7, **how: Any) -> dict[str, Any]:
        """Spend at each provider."""
        return self.by("provider_name", days, **how)

    def by_day(self, days: int = 7, **how: Any) -> dict[date, Any]:
        """Spend of each day that has any."""
        return self.by("date", days, **how)

    def total(self, days: int = 7, *, value: str = "usage", include_today: bool = False) -> Any:
        """One column over all rows."""
        return sum((getattr(row, value) for row in self.rows(days, include_today=include_today)), ZERO)

    def spent_in(self, window: str, *, value: str = "usage") -> Decimal:
        """Spend of the whole account in the running UTC day (`daily`), week (`weekly`) or month (`monthly`)."""
        today = self.account.today()
        start = window_start(window, today)
        return sum((getattr(row, value) for row in self.account.rows() if start <= row.date <= today), ZERO)

    def balance(self) -> Decimal:
        """Credits bought and not yet used."""
        return self.account.total_credits - self.account.total_usage
