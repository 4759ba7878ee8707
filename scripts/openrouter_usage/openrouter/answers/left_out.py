"""What of an answer could not be understood, or cannot be true: it is left out and named, and the rest is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import NamedTuple, TypeVar

from openrouter_usage.text import plural

T = TypeVar("T")
CODE = "left_out"


class LeftOut(NamedTuple):
    """One row or field that is not used, why, and the UTC day that it is of where that could be read."""

    why: str
    day: date | None = None


class Rows(tuple[T, ...]):
    """The rows of an answer that can be used, and those that were left out."""

    left_out: tuple[LeftOut, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[T], left_out: Iterable[LeftOut]) -> Rows[T]:
        """Keep rows, and what was left out beside them."""
        made = cls(rows)
        made.left_out = tuple(left_out)
        return made


def left_out_of(answer: object) -> tuple[LeftOut, ...]:
    """Return what was left out of an answer, nothing where it does not say."""
    found = getattr(answer, "left_out", ())
    return found if isinstance(found, tuple) else ()


def told(left_out: Sequence[LeftOut], noun: str) -> str:
    """Write how much was left out, and why; the same reason once."""
    reasons = list(dict.fromkeys(one.why for one in left_out))
    more = f" (and {plural(len(reasons) - 1, 'other reason')})" if len(reasons) > 1 else ""
    return f"{plural(len(left_out), noun)} left out: {reasons[0]}{more}"


def days_of(left_out: Iterable[LeftOut]) -> Iterator[date | None]:
    """Return the days that are not whole without what was left out; None where such a day is not known."""
    return (one.day for one in left_out)
