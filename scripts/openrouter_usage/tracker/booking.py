"""One call in the books: money held before it is sent, and exactly one end afterwards."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from openrouter_usage.answers.call import CallUsage
from openrouter_usage.answers.generation import Generation
from openrouter_usage.budget import Caps, check
from openrouter_usage.entry import Entry, Hold
from openrouter_usage.errors import LedgerError, NotFound, OpenRouterUsageError
from openrouter_usage.ledger import spool
from openrouter_usage.ledger.books import Ledger
from openrouter_usage.lines import write_line
from openrouter_usage.money import ZERO
from openrouter_usage.tracker.session import count_in_sessions, open_sessions

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
        self._model = model
        self._session = session
        self._tags = tuple(sorted(tags.items()))
        self._sessions = open_sessions()
        self._began = clock()
        self.hold: Hold | None = None
        self.entry: Entry | None = None
        # The line that is not in the ledger although the call was made; None when all is well.
        self.unsaved: bytes | None = None

    def open(self, max_cost: Decimal | None) -> None:
        """Set `max_cost` USD aside; BudgetExceeded when it does not fit, LedgerError when it cannot be written."""
        if self._ledger is None:
            return
        hold = Hold(uuid.uuid4().hex, self._began, self._model, max_cost, session=self._session)
        try:
            self._ledger.hold(hold, lambda books: check(self._caps, max_cost or ZERO, books, self._began))
        except LedgerError as error:
            if self._caps.any:
                raise
            logger.warning("the call is made without an entry beforehand: %s", error.message)
            return
        self.hold = hold

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
        """End the hold of a call that was answered and whose cost nobody tells: all that was held counts."""
        held = self.hold.max_cost if self.hold else None
        known = replace(usage, cost=held)
        entry = known.entry(self._clock(), requested=self._model, session=self._session)
        source = "" if held is None else "estimated"
        return self._write(replace(entry, cost_source=source, streamed=streamed or None, latency_ms=latency_ms))

    def _write(self, entry: Entry) -> Entry:
        self.entry = entry = replace(entry, hold=self.hold.id if self.hold else "", tags=self._tags)
        if self._ledger is None:
            return entry
        try:
            written = self._ledger.settle(entry) if self.hold else self._ledger.append(entry, durable=True)
        except LedgerError as error:
            # The call is made and paid; its line waits in another place until the ledger can take it.
            self.unsaved = write_line(entry)
            spool.save(self._ledger.path, self.unsaved)
            logger.warning("a call is not in the ledger yet: %s: %s", error.message, self.unsaved.decode().strip())
            written = True
        if written:
            count_in_sessions(entry, self._sessions)
        return entry

    def release(self) -> None:
        """End the hold of a call for which nothing can have been billed."""
        if self._ledger is None or self.hold is None:
            return
        try:
            self._ledger.release(self.hold.id, self._clock())
        except LedgerError as error:
            logger.warning("the hold %s stays open: %s", self.hold.id, error.message)

    def end_after(self, error: OpenRouterUsageError) -> None:
        """End the hold of a call that failed: released, or left open where it may have been billed."""
        if error.may_have_arrived:
            self.name_generation(error.generation)
        else:
            self.release()


def looked_up(look_up: LookUp, generation: str) -> Generation | None:
    """Ask for a generation; None when OpenRouter does not know it yet, or cannot be asked."""
    try:
        return look_up(generation) if generation else None
    except NotFound:
        return None
    except OpenRouterUsageError as error:
        logger.warning("%s could not be looked up: %s", generation, error.message)
        return None
