"""A call's page in the ledger, written by the writer's thread: held, named, and ended once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from decimal import Decimal

from openrouter_usage.budgets import MEASURED, Budget
from openrouter_usage.entry import Entry
from openrouter_usage.errors import BudgetExceeded, LedgerError, OpenRouterUsageError, Refused, Unbelievable
from openrouter_usage.gateway import waits
from openrouter_usage.gateway.writer import Writer
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.openrouter.answers.generation import CallUsage, Generation
from openrouter_usage.tracker.booking import Booking
from openrouter_usage.tracker.record import utc_now


class Room:
    """Tells calls that wait for room in a budget when one that runs has ended."""

    def __init__(self) -> None:
        """Begin with no call running."""
        self._event = asyncio.Event()
        self._running = 0

    @property
    def may_come(self) -> bool:
        """Check whether a call runs that can still make room; what is unsettled may stay so for long."""
        return self._running > 0

    def begin(self) -> None:
        """Count a call that runs."""
        self._running += 1

    def end(self) -> None:
        """Count a call as ended, and wake everybody who waits."""
        self._running -= 1
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, longest_s: float) -> None:
        """Wait until a call of this gateway has ended."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._event.wait(), longest_s)


class Page:
    """One call in the ledger; every method waits for the writer, and none for the disk in the event loop."""

    def __init__(
        self,
        writer: Writer[object],
        ledger: Ledger,
        room: Room,
        *,
        model: str,
        budgets: Iterable[Budget],
        session: str,
        tags: dict[str, str],
    ) -> None:
        """Prepare to book a call of `model` under those of some budgets that it falls under."""
        self._writer = writer
        self._room, self._is_running = room, False
        self._booking = Booking(ledger, model=model, budgets=budgets, clock=utc_now, session=session, tags=tags)
        self._naming: Awaitable[object] | None = None
        self._is_ended = False

    @property
    def is_bounded(self) -> bool:
        """Check whether a budget has to know what this call can cost."""
        return self._booking.is_bounded

    @property
    def is_measured(self) -> bool:
        """Check whether a budget counts what such calls have needed so far."""
        return any(budget.policy == MEASURED and budget.is_bounding for budget in self._booking.budgets)

    async def open(self, max_cost: Decimal | None, *, measured: Decimal | None = None) -> None:
        """Set money aside; BudgetExceeded where it does not fit, LedgerError where a cap is set and nothing is kept.

        Where only what is held for running calls stands in the way, it waits a while for those to end.
        """

        def failed(error: LedgerError) -> None:
            self._booking.hold = None
            if self.is_bounded:
                raise error
            self._booking.warn_of_no_hold(error)

        until = time.monotonic() + waits.ROOM_S
        while True:
            try:
                await self._writer.submit(
                    lambda: self._booking.open(max_cost, measured=measured, remembers=False), failed, of=self
                )
                self._is_running = True
                self._room.begin()
                return
            except Refused as error:
                left = until - time.monotonic()
                can_wait = isinstance(error, BudgetExceeded) and error.is_only_held and self._room.may_come
                if not can_wait or left <= 0:
                    await self.remember(error)
                    raise
                await self._room.wait(left)

    def _end_running(self) -> None:
        if self._is_running:
            self._is_running = False
            self._room.end()

    async def remember(self, error: OpenRouterUsageError) -> None:
        """Write down that this call was refused before the ledger was asked."""
        await asyncio.to_thread(self._booking.remember, error)

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets that the call falls under."""
        return self._booking.budgets

    def name(self, generation: str) -> None:
        """Have the generation written to the hold, without waiting: an end that comes sooner says it as well."""
        if self._booking.hold is None or not generation:
            return

        def run() -> None:
            if not self._is_ended:
                self._booking.name_generation(generation)

        self._naming = self._writer.submit(run, self._forget_name, of=self)

    def _forget_name(self, error: LedgerError) -> None:
        if self._booking.hold is not None:
            self._booking.hold = replace(self._booking.hold, generation="")
        self._booking.warn_of_no_name(error)

    def leave(self, usage: CallUsage, *, streamed: bool) -> None:
        """Have a call whose cost is not known yet left to a look-up, without waiting: its hold stays, and is named."""
        self._end_running()

        def run() -> None:
            if self._booking.hold is None:  # nothing else in the ledger tells of it
                self._booking.settle(usage, streamed=streamed, latency_ms=None)
            else:
                self._booking.leave(usage, latency_ms=None)

        def failed(error: LedgerError) -> None:
            if self._booking.hold is None:
                self._booking.keep_for_later(error)
            else:
                self._forget_name(error)

        self._naming = self._writer.submit(run, failed, of=self)

    async def settle(self, usage: CallUsage, *, streamed: bool, latency_ms: int) -> Entry:
        """End the call with what its answer says it was billed; an unbelievable bill is left to a person."""
        self._is_ended = True

        def run() -> Entry:
            booking = self._booking
            if usage.told:
                return booking.settle_estimated(usage, streamed=streamed, latency_ms=latency_ms)
            return booking.settle(usage, streamed=streamed, latency_ms=latency_ms)

        return await self._end(run)

    async def settle_late(self, found: Generation | Unbelievable, usage: CallUsage, *, streamed: bool) -> Entry:
        """End the call with what OpenRouter says afterwards."""
        self._is_ended = True

        def run() -> Entry:
            if isinstance(found, Unbelievable):
                told = replace(usage, told=found.told)
                return self._booking.settle_estimated(told, streamed=streamed, latency_ms=None)
            return self._booking.settle_late(found)

        return await self._end(run)

    async def _end(self, run: Callable[[], Entry]) -> Entry:
        def failed(error: LedgerError) -> Entry:
            if self._booking.entry is None:
                # The group failed before this call's turn: its own try keeps the line elsewhere if it must.
                return run()
            self._booking.keep_for_later(error)
            return self._booking.entry

        self._booking.entry = None  # what is not known of it yet may stand there
        entry = await self._writer.submit(run, failed, of=self)
        self._end_running()
        assert isinstance(entry, Entry)  # noqa: S101  # what `run` returns
        return entry

    async def release(self) -> None:
        """End the call as one for which nothing can have been billed."""
        self._is_ended = True

        def failed(error: LedgerError) -> None:
            self._booking.release()

        await self._writer.submit(self._booking.release, failed, of=self)
        self._end_running()

    @property
    def is_held(self) -> bool:
        """Check whether the ledger has a hold of this call."""
        return self._booking.hold is not None
