"""One call in the books: money held before it is sent, and exactly one end afterwards."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from openrouter_usage.answers.call import CallUsage
from openrouter_usage.answers.generation import Generation
from openrouter_usage.budget import Caps, check, counted_at
from openrouter_usage.entry import LONGEST_NAME, Entry, Hold, checked_hold, record_values
from openrouter_usage.errors import InvalidValue, LedgerError, NotFound, OpenRouterUsageError, Refused, Unbelievable
from openrouter_usage.ledger import spool
from openrouter_usage.ledger.books import Ledger
from openrouter_usage.lines import write_line
from openrouter_usage.money import ZERO, format_usd
from openrouter_usage.tracker.session import count_in_sessions, open_sessions
from openrouter_usage.tracker.tracked import calls_under_way

Clock = Callable[[], datetime]
LookUp = Callable[[str], Generation]
logger = logging.getLogger("openrouter_usage")


class Booking:
    """The books' side of one call. Under a budget everything raises; without one, trouble is told and passed over."""

    def __init__(
        self,
        ledger: Ledger | None,
        *,
        model: str,
        caps: Caps,
        clock: Clock,
        session: str = "",
        tags: Mapping[str, str] = {},
    ) -> None:
        """Prepare to book a call of `model`; without a ledger nothing is ever written."""
        self._ledger = ledger
        self._caps = caps
        self._clock = clock
        self._model = model[:LONGEST_NAME]
        self._session = session[:LONGEST_NAME]
        self._tags = tuple(sorted(tags.items()))
        self._sessions = open_sessions()
        for call in calls_under_way():
            call.is_accounted_for()
        self._began = clock()
        self.hold: Hold | None = None
        self.entry: Entry | None = None
        self._is_released = False
        # The line that is not in the ledger although the call was made, and where it waits; None when all is well.
        self.unsaved: bytes | None = None
        self.kept_in: Path | None = None

    def open(self, max_cost: Decimal | None) -> None:
        """Set `max_cost` USD aside; BudgetExceeded when it does not fit, LedgerError when it cannot be written."""
        if self._ledger is None:
            return
        hold = Hold(uuid.uuid4().hex, self._began, self._model, max_cost, session=self._session)
        try:
            # A hold that nobody can read again would hold nothing.
            hold = checked_hold(record_values(hold))
            self._ledger.hold(hold, lambda books: check(self._caps, max_cost or ZERO, books, self._began))
        except (LedgerError, InvalidValue) as error:
            if self._caps.any:
                raise
            logger.warning("the call is made without an entry beforehand: %s", error.message)
            return
        except Refused:
            raise
        except BaseException:
            # ^C may come when the line is written already; nothing will be sent for it.
            self.hold = hold
            self.release()
            raise
        self.hold = hold

    @property
    def is_kept(self) -> bool:
        """Tell whether the call is in the ledger, as what it cost or as what is held for it."""
        return self._ledger is not None and self.unsaved is None and (self.entry is not None or self.hold is not None)

    @property
    def remark(self) -> str:
        """Say how a call that failed stands in the books; "" when it cost nothing, or is not booked."""
        if self.entry is not None:
            if self.entry.told:
                return f"its bill is unbelievable; look at it, then run: settle --id {self.entry.id}"
            cost = "an unknown amount" if self.entry.cost is None else format_usd(self.entry.cost)
            return f"the call cost {cost}"
        if self.hold is None or self._is_released:
            return ""
        return "the call may have been billed, and is held until `settle` finds out"

    def name_generation(self, generation: str) -> None:
        """Write down which generation the call is, as soon as that is known."""
        if self._ledger is not None and self.hold is not None and generation and not self.hold.generation:
            self.hold = replace(self.hold, generation=generation)
            try:
                self._ledger.name_generation(self.hold.id, generation)
            except LedgerError as error:
                logger.warning("the generation %s is not written down: %s", generation, error.message)

    def settle(self, usage: CallUsage, *, streamed: bool, latency_ms: int | None) -> Entry:
        """End the hold with what the answer says was used."""
        entry = usage.entry(self._clock(), requested=self._model, session=self._session)
        return self._write(replace(entry, streamed=streamed or None, latency_ms=latency_ms))

    def settle_late(self, generation: Generation) -> Entry:
        """End the hold with what OpenRouter says afterwards."""
        return self._write(generation.entry(self._clock(), session=self._session, requested=self._model))

    def settle_estimated(self, usage: CallUsage, *, streamed: bool, latency_ms: int | None) -> Entry:
        """End the hold of a call whose cost OpenRouter does not tell, or nobody believes: all that was held counts."""
        held = self.hold.max_cost if self.hold else None
        if held is not None and usage.cost is not None:
            held = max(held, usage.cost)
        known = replace(usage, cost=held)
        entry = known.entry(self._clock(), requested=self._model, session=self._session)
        source = "" if held is None else "estimated"
        if usage.told:
            # A person has to look at it, and needs a name for it: a call without an id has its hold's.
            entry = replace(entry, id=entry.id or (self.hold.id if self.hold else ""), told=usage.told)
        return self._write(replace(entry, cost_source=source, streamed=streamed or None, latency_ms=latency_ms))

    def leave(self, usage: CallUsage, *, latency_ms: int | None) -> None:
        """Write down what is known of a stream that nobody ended; what it cost, if unknown, is left to `settle`."""
        if usage.told:
            self.settle_estimated(usage, streamed=True, latency_ms=latency_ms)
            return
        if usage.cost is not None or self.hold is None:
            self.settle(usage, streamed=True, latency_ms=latency_ms)
            return
        self.name_generation(usage.id)
        entry = usage.entry(self._clock(), requested=self._model, session=self._session)
        count_in_sessions(entry, self._sessions)

    def settle_by_asking(self, look_up: LookUp, usage: CallUsage, *, streamed: bool, latency_ms: int | None) -> bool:
        """End the hold with what OpenRouter says when it is asked; False when it does not say yet."""
        try:
            found = looked_up(look_up, usage.id)
        except Unbelievable as error:
            self.settle_estimated(replace(usage, told=error.told), streamed=streamed, latency_ms=latency_ms)
            return True
        if found is not None:
            self.settle_late(found)
        return found is not None

    def _write(self, entry: Entry) -> Entry:
        entry = replace(entry, tags=self._tags)
        if self.hold is not None:
            entry = replace(entry, hold=self.hold.id, ts=counted_at(self.hold, entry.ts))
        self.entry = entry
        if self._ledger is None:
            return entry
        try:
            written = self._ledger.settle(entry) if self.hold else self._ledger.append(entry, durable=True)
        except LedgerError as error:
            # The call is made and paid; its line waits in another place until the ledger can take it.
            self.unsaved = write_line(entry)
            self.kept_in = spool.save(self._ledger.path, self.unsaved)
            logger.warning("a call is not in the ledger yet: %s: %s", error.message, self.unsaved.decode().strip())
            written = True
        if written:
            count_in_sessions(entry, self._sessions)
        return entry

    def release(self) -> None:
        """End the hold of a call for which nothing can have been billed."""
        if self._ledger is None or self.hold is None:
            return
        self._is_released = True
        try:
            self._ledger.release(self.hold.id, self._clock())
        except LedgerError as error:
            self._is_released = False
            logger.warning("the hold %s stays open: %s", self.hold.id, error.message)

    def end_after(self, error: OpenRouterUsageError) -> None:
        """End the hold of a call that failed: released, or left open where it may have been billed."""
        if error.may_have_arrived:
            self.name_generation(error.generation)
        else:
            self.release()


def looked_up(look_up: LookUp, generation: str) -> Generation | None:
    """Ask for a generation; None when OpenRouter does not know it yet, or cannot be asked.

    Raises Unbelievable for a bill that nobody can believe.
    """
    try:
        return look_up(generation) if generation else None
    except NotFound:
        return None
    except Unbelievable:
        raise
    except OpenRouterUsageError as error:
        logger.warning("%s could not be looked up: %s", generation, error.message)
        return None
