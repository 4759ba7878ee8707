"""Days in a row, and how days fall into such rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import NamedTuple

from openrouter_usage.period import DAY, Period, midnight


class Stretch(NamedTuple):
    """Some days in a row, the last one included."""

    first: date
    last: date

    @property
    def length(self) -> int:
        """How many days."""
        return (self.last - self.first).days + 1

    @property
    def period(self) -> Period:
        """The same as a period."""
        return Period(midnight(self.first), midnight(self.last) + DAY, "days")

    def days(self) -> Iterable[date]:
        """Every day, the first one first."""
        return (self.first + timedelta(days=number) for number in range(self.length))

    def __str__(self) -> str:
        """Write the days for people."""
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


def stretches(ordered: Iterable[date]) -> list[Stretch]:
    """Give the rows that days, in their order, fall into."""
    found: list[Stretch] = []
    for day in ordered:
        if found and found[-1].last == day - DAY:
            found[-1] = Stretch(found[-1].first, day)
        else:
            found.append(Stretch(day, day))
    return found
