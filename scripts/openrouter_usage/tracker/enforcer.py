"""BudgetEnforcer: a budget for calls that are made by other means than CostTracker.chat."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from openrouter_usage.budgets import Budget
from openrouter_usage.entry import Caps
from openrouter_usage.figures.limits import check
from openrouter_usage.jobs.loading import load_client
from openrouter_usage.ledger.engines import open_ledger
from openrouter_usage.money import usd
from openrouter_usage.openrouter.answers.generation import Generation
from openrouter_usage.openrouter.retry import LOOK_UPS_AFTER_A_CALL, may_be_billed
from openrouter_usage.tracker.booking import Booking, LookUp
from openrouter_usage.tracker.record import Clock, count_elsewhere, utc_now


def _limit(value: object) -> Decimal | None:
    return None if value is None else usd(value)


class BudgetEnforcer:
    """Refuses calls that may cost more than is left, counting everything in the ledger, whoever made it.

    Limits are USD per UTC day, per call, and per UTC month; None is no limit, zero means nothing.
    """

    def __init__(
        self,
        daily_limit: object = 10.0,
        per_request_limit: object = 0.50,
        monthly_limit: object = None,
        *,
        usage_file: str | Path | None = None,
        api_key: str | None = None,
        clock: Clock = utc_now,
    ) -> None:
        """Set the limits; InvalidValue when one is no amount."""
        limits = (per_request_limit, daily_limit, monthly_limit)
        self.caps = Caps(*map(_limit, limits))
        self.ledger = open_ledger(usage_file)
        self._api_key = api_key
        self._clock = clock

    @property
    def daily_limit(self) -> Decimal | None:
        """The most that may be spent in a UTC day, in USD; None is no limit. It can be set."""
        return self.caps.daily

    @daily_limit.setter
    def daily_limit(self, limit: object) -> None:
        """Set the limit for a UTC day in USD; InvalidValue when it is no amount."""
        self.caps = self.caps._replace(daily=_limit(limit))

    @property
    def per_request_limit(self) -> Decimal | None:
        """The most that one call may cost, in USD; None is no limit. It can be set."""
        return self.caps.per_request

    @per_request_limit.setter
    def per_request_limit(self, limit: object) -> None:
        """Set the limit for one call in USD; InvalidValue when it is no amount."""
        self.caps = self.caps._replace(per_request=_limit(limit))

    @property
    def monthly_limit(self) -> Decimal | None:
        """The most that may be spent in a UTC month, in USD; None is no limit. It can be set."""
        return self.caps.monthly

    @monthly_limit.setter
    def monthly_limit(self, limit: object) -> None:
        """Set the limit for a UTC month in USD; InvalidValue when it is no amount."""
        self.caps = self.caps._replace(monthly=_limit(limit))

    def close(self) -> None:
        """Close the ledger's files; the next use opens them again."""
        self.ledger.close()

    def __enter__(self) -> BudgetEnforcer:
        """Return the enforcer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def estimate_cost(self, model: str, prompt_tokens: int, max_tokens: int) -> Decimal:
        """Return the most that so many tokens cost in USD, from OpenRouter's price list of at most a day's age.

        Raises Unbounded for a model whose price is unknown or varies, and Unreachable without a price list.
        """
        load_client()
        from openrouter_usage.jobs.price_list import estimate_cost

        return estimate_cost(model, prompt_tokens, max_tokens)

    def check_budget(self, model: str, prompt_tokens: int, max_tokens: int) -> None:
        """Raise BudgetExceeded when such a call does not fit now; only `hold` keeps others from taking the room."""
        asked = self.estimate_cost(model, prompt_tokens, max_tokens)
        self.ledger.committed(lambda books: check(self.caps, asked, books, self._clock()))

    def record_cost(self, generation_id: str) -> Decimal:
        """Look up what a call cost, write it to the ledger once and return it in USD.

        Raises NotFound while OpenRouter does not know it: an unknown cost is never taken for zero.
        """
        load_client()
        from openrouter_usage.tracker.booking import record

        recorded = record(self.ledger, self._look_up(generation_id), self._clock())
        count_elsewhere(recorded.entry, is_new=recorded.is_new)
        return recorded.entry.usage.cost

    def _look_up(self, generation_id: str, retries: int = 4) -> Generation:
        load_client()
        from openrouter_usage.tracker.lookup import look_up

        return look_up(generation_id, api_key=self._api_key, retries=retries)

    @contextmanager
    def hold(self, model: str, prompt_tokens: int, max_tokens: int, *, session: str = "") -> Iterator[HeldCall]:
        """Hold the most a call can cost while it is made: `with enforcer.hold(...) as held: held.settle(call())`.

        Raises BudgetExceeded, and nothing is held. A call that is neither settled nor released stays held until
        `settle` finds out, because it may have been billed.
        """
        asked = self.estimate_cost(model, prompt_tokens, max_tokens)
        booking = Booking(
            self.ledger, model=model, budgets=(Budget(caps=self.caps),), clock=self._clock, session=session
        )
        booking.open(asked)
        try:
            yield HeldCall(booking, lambda generation: self._look_up(generation, LOOK_UPS_AFTER_A_CALL))
        except Exception as error:
            # An HTTP client's own error: a status that says no was not billed, anything else may have been.
            status = getattr(error, "status_code", getattr(getattr(error, "response", None), "status_code", None))
            if isinstance(status, int) and status >= 400 and not may_be_billed(status, is_from_openrouter=False):
                booking.release()
            raise


class HeldCall:
    """Money held for one call that somebody else makes."""

    def __init__(self, booking: Booking, look_up: LookUp) -> None:
        """Keep the booking, and how to ask what a call of unknown cost was billed."""
        self._booking = booking
        self._look_up = look_up

    def settle(self, answer: object) -> object:
        """End the hold with what the answer says it cost and return the answer back.

        Takes what `track_cost` understands. An answer of unknown cost, or of one that is not proven to be OpenRouter's
        word, is looked up, and counts with all that was held when OpenRouter does not know it either.
        """
        load_client()
        from openrouter_usage.tracker.observe import is_billed, observe

        usage = observe(answer)
        if usage.cost is not None and is_billed(answer, usage):
            self._booking.settle(usage, streamed=False, latency_ms=None)
            return answer
        self._booking.name_generation(usage.id)
        asked = not usage.told and self._booking.settle_by_asking(self._look_up, usage, streamed=False, latency_ms=None)
        if not asked:
            self._booking.settle_estimated(usage, streamed=False, latency_ms=None)
        return answer

    def release(self) -> None:
        """End the hold of a call that surely was not billed."""
        self._booking.release()
