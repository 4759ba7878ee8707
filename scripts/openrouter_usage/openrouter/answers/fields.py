"""The fields of an answer, read strictly, and the parts that are left out because they are not understood."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import NamedTuple, TypeVar

from openrouter_usage.entry import LARGEST_COST
from openrouter_usage.errors import BadAnswer, InvalidValue
from openrouter_usage.money import Json, usd
from openrouter_usage.period import parse_moment
from openrouter_usage.text import plural, safe

T = TypeVar("T")
LEFT_OUT = "left_out"
_BOUNDLESS = re.compile(r"[+-]?\d+(\.\d+)?[eE][+-]?\d+", re.ASCII)


class Fields:
    """A JSON object with typed look-ups; `where` names it in messages."""

    __slots__ = ("_values", "where")

    def __init__(self, value: Json, where: str) -> None:
        """Keep a JSON object; BadAnswer for anything else."""
        if not isinstance(value, dict):
            raise BadAnswer(f"OpenRouter's answer to {where} is not understood: an object was expected")
        self._values = value
        self.where = where

    def __contains__(self, name: str) -> bool:
        """Check whether the field is there and not null."""
        return self._values.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        """Return the names of all fields."""
        return iter(self._values)

    def names(self, name: str) -> bool:
        """Check whether the field is there, null or not."""
        return name in self._values

    def get(self, name: str) -> Json:
        """Return the raw value, None when absent."""
        return self._values.get(name)

    def within(self, name: str) -> Fields:
        """Return a field that is itself an object."""
        return Fields(self._values.get(name), self._path(name))

    def each(self, name: str) -> Iterator[Fields]:
        """Return the objects of a field that is a list."""
        values = self._values.get(name)
        if not isinstance(values, list):
            raise self.wrong(name, "a list was expected")
        return (Fields(value, self._path(name)) for value in values)

    def _path(self, name: str) -> str:
        """Return where a field is: `/key (data)`, and what is in it, `/key (data.limit)`."""
        return f"{self.where[:-1]}.{name})" if self.where.endswith(")") else f"{self.where} ({name})"

    def usd(self, name: str) -> Decimal:
        """Return a required amount."""
        amount = self.optional_usd(name)
        if amount is None:
            raise self.wrong(name, "an amount was expected")
        return amount

    def positive_usd(self, name: str) -> Decimal:
        """Return a required amount; BadAnswer for one below zero, which no spend can be."""
        amount = self.usd(name)
        if amount < 0:
            raise self.wrong(name, f"{safe(str(amount), 40)} is below zero")
        return amount

    def optional_usd(self, name: str) -> Decimal | None:
        """Return an amount, None when it is absent or null: unknown, never zero."""
        value = self._values.get(name)
        try:
            return None if value is None else usd(value)
        except InvalidValue as error:
            raise self.wrong(name, str(error)) from None

    def count(self, name: str) -> int:
        """Return a whole number, 0 when absent; counts may come as strings."""
        return self.optional_count(name) or 0

    def optional_count(self, name: str) -> int | None:
        """Return a whole number, None when absent or null; 15.0 is one too, because JSON has one kind of number."""
        value: object = self._values.get(name)
        if isinstance(value, float):  # from a parser that is not ours, or from an object
            value = Decimal(value) if math.isfinite(value) else value
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**15):
            return value
        if isinstance(value, Decimal) and value.is_finite() and value.adjusted() < 15 and value == int(value):
            return int(value)
        if isinstance(value, str) and value.isascii():
            digits, _, rest = value.partition(".")
            if digits.isdigit() and len(digits) < 16 and not rest.strip("0"):
                return int(digits)
        raise self.wrong(name, "a whole number was expected")

    def text(self, name: str) -> str:
        """Return a text, "" when it is absent or something else."""
        value = self._values.get(name)
        return value if isinstance(value, str) else ""

    def flag(self, name: str) -> bool:
        """Check whether a field is the JSON value true."""
        return self._values.get(name) is True

    def moment(self, name: str) -> datetime | None:
        """Return a moment in UTC, None when absent or unreadable."""
        try:
            return parse_moment(self.text(name)) if self.text(name) else None
        except InvalidValue:
            return None

    def wrong(self, name: str, why: str) -> BadAnswer:
        """Return the error that says which field of which answer is wrong, and why."""
        return BadAnswer(f"OpenRouter's answer to {self.where} is not understood: field {safe(name)}: {why}")


def unbelievable(cost: object) -> str:
    """Return the text of an implausible cost in an answer: negative, not finite, or above a million USD.

    Returns "" for a plausible cost, and for what is not a number or has too many decimals: that is unknown.
    """
    if isinstance(cost, bool) or not isinstance(cost, (int, float, Decimal, str)):
        return ""
    try:
        amount = Decimal(cost)
        is_believable = amount.is_finite() and 0 <= amount <= LARGEST_COST
    except InvalidOperation:
        # A number whose exponent is beyond all bounds; any other text is not an amount.
        is_believable = not _BOUNDLESS.fullmatch(str(cost).strip())
    return "" if is_believable else safe(str(cost), 60)


# -- The parts that are not understood or implausible: left out and named, while the rest is used.


class LeftOut(NamedTuple):
    """One row or field that is not used, why, and its UTC day where that could be read."""

    why: str
    day: date | None = None


class Rows(tuple[T, ...]):
    """The rows of an answer that can be used, and those that were left out."""

    left_out: tuple[LeftOut, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[T], left_out: Iterable[LeftOut]) -> Rows[T]:
        """Return rows, together with what was left out."""
        made = cls(rows)
        made.left_out = tuple(left_out)
        return made


def left_out_of(answer: object) -> tuple[LeftOut, ...]:
    """Return what was left out of an answer, nothing where the answer does not keep a record."""
    found = getattr(answer, "left_out", ())
    return found if isinstance(found, tuple) else ()


def left_out_words(left_out: Sequence[LeftOut], noun: str) -> str:
    """Return how much was left out, and why; each reason once."""
    reasons = list(dict.fromkeys(one.why for one in left_out))
    more = f" (and {plural(len(reasons) - 1, 'other reason')})" if len(reasons) > 1 else ""
    return f"{plural(len(left_out), noun)} left out: {reasons[0]}{more}"


def left_out_days(left_out: Iterable[LeftOut]) -> Iterator[date | None]:
    """Return the days that are incomplete without what was left out; None where such a day is unknown."""
    return (one.day for one in left_out)
