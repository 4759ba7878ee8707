"""The parts of a summary as they came: each one an answer, or the gap where it should have been."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from openrouter_usage.answers import left_out
from openrouter_usage.answers.account import ActivityRow, Credits, TodaySpend
from openrouter_usage.answers.key import KeyInfo
from openrouter_usage.answers.left_out import LeftOut
from openrouter_usage.errors import BadAnswer, OpenRouterUsageError


class Gap(NamedTuple):
    """A part that is missing, why, and what would fill it; `passing` when a later try may succeed.

    Of a part that is there `number` says how many rows or fields were left out, as they could not be used.
    """

    part: str
    code: str
    message: str
    hint: str
    exit_code: int
    number: int = 0

    @classmethod
    def of(cls, part: str, error: OpenRouterUsageError) -> Gap:
        """Keep what an error says about a part."""
        return cls(part, error.code, error.message, error.hint, error.exit_code)

    @classmethod
    def of_left_out(cls, part: str, found: Sequence[LeftOut], noun: str) -> Gap:
        """Name what was left out of a part, whose rest is used."""
        return cls(part, left_out.CODE, left_out.told(found, noun), "", BadAnswer.exit_code, len(found))

    @property
    def passing(self) -> bool:
        """Tell whether another try, later, may succeed."""
        return self.exit_code == 5 and self.code not in ("not_found", "bad_answer", left_out.CODE)


class Parts(NamedTuple):
    """What OpenRouter answered at one time; None for a part that was not asked for.

    `managed` tells that a management key was asked, whose /credits can be believed.
    """

    taken_at: datetime
    key: KeyInfo | Gap
    credits: Credits | Gap
    activity: tuple[ActivityRow, ...] | Gap | None = None
    today: TodaySpend | Gap | None = None
    managed: bool = False
    clock_ahead_s: float | None = None

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Every part that should be there and is not."""
        return tuple(part for part in (self.key, self.credits, self.activity, self.today) if isinstance(part, Gap))

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing at all was answered."""
        return all(
            part is None or isinstance(part, Gap) for part in (self.key, self.credits, self.activity, self.today)
        )
