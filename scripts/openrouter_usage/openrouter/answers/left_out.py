"""The parts of an answer that are not understood or implausible: left out and named, while the rest is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import NamedTuple, TypeVar

from openrouter_usage.text import plural

T = TypeVar("T")
CODE = "left_out"


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


def told(left_out: Sequence[LeftOut], noun: str) -> str:
    """Return how much was left out, and why; each reason once."""
    reasons = list(dict.fromkeys(one.why for one in left_out))
    more = f" (and {plural(len(reasons) - 1, 'other reason')})" if len(reasons) > 1 else ""
    return f"{plural(len(left_out), noun)} left out: {reasons[0]}{more}"


def days_of(left_out: Iterable[LeftOut]) -> Iterator[date | None]:
    """Return the days that are incomplete without what was left out; None where such a day is unknown."""
    return (one.day for one in left_out)
