"""Whatever happens in whatever order, crashes and clocks included: no window is overspent, and no hold ends twice."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from openrouter_usage import budgets
from openrouter_usage.entry import Caps, Entry, Hold, Release, read_line, write_line
from openrouter_usage.errors import BudgetExceeded
from openrouter_usage.ledger import clean as cleaning
from openrouter_usage.ledger.ledger import Ledger
from openrouter_usage.openrouter.answers.generation import CallUsage, Generation, read_generation
from openrouter_usage.period import Period, month, today
from openrouter_usage.tracker.booking import Booking
from tests.team import Team

START = datetime(2026, 11, 29, 22, 30, tzinfo=timezone.utc)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ZERO = Decimal(0)
HALF = Decimal("0.5")
CENTS = st.integers(1, 6).map(lambda tens: Decimal(tens) / 10)
WHO = st.integers(0, 1)
SHARES = st.sampled_from(["0", "0.3", "1", "1", "1.5"])
# How far the clock goes between two steps: on, mostly, but now and then somebody sets it.
STEPS = st.sampled_from([timedelta(seconds=40), *[HOUR / 2] * 3, HOUR * 3, DAY, 3 * DAY, -HOUR / 2, -HOUR, -DAY])


@dataclass
class Call:
    """A call as the machine knows it."""

    booking: Booking
    most: Decimal
    number: int
    began: datetime

    @property
    def hold(self) -> str:
        """The id of its hold."""
        assert self.booking.hold is not None
        return self.booking.hold.id


class Budget(RuleBasedStateMachine):
    """Two programs share a ledger and a budget; the machine keeps its own account of both."""

    calls: Bundle[Call] = Bundle("calls")
    ended: Bundle[Call] = Bundle("ended")

    def __init__(self) -> None:
        super().__init__()
        # In memory where there is such a place: no power fails here, and every step is waited for.
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.path = self.folder / "usage.jsonl"
        self.ledgers = [self.opened(), self.opened()]
        self.now = START
        self.caps = Caps()
        self.open: dict[str, Call] = {}
        self.settled: dict[str, Decimal] = {}
        self.moments: set[datetime] = set()
        self.overrun = ZERO
        self.count = 0

    def opened(self) -> Ledger:
        """The ledger, as another program opens it."""
        return Ledger(self.path)

    def teardown(self) -> None:
        for ledger in self.ledgers:
            ledger.close()
        shutil.rmtree(self.folder)

    @initialize(daily=CENTS, more=CENTS)
    def set_caps(self, daily: Decimal, more: Decimal) -> None:
        self.caps = Caps(HALF, daily + HALF, daily + more + HALF)

    @rule(target=calls, step=STEPS, wanted=st.lists(CENTS, min_size=1, max_size=4), who=WHO)
    def begin(self, step: timedelta, wanted: list[Decimal], who: int) -> Any:
        self.now += step
        return multiple(*filter(None, (self.begun(most, who) for most in wanted)))

    def begun(self, most: Decimal, who: int) -> Call | None:
        self.count += 1
        booking = Booking(self.ledgers[who], model="a/model", budgets=(budgets.Budget(caps=self.caps),), clock=lambda: self.now)
        try:
            booking.open(most)
        except BudgetExceeded:
            return None
        call = Call(booking, most, self.count, self.now)
        self.open[call.hold] = call
        return call

    @rule(target=ended, step=STEPS, call=consumes(calls), share=SHARES, named=st.booleans())
    def settle(self, step: timedelta, call: Call, share: str, named: bool) -> Call:
        self.now += step
        cost = call.most * Decimal(share)
        usage = CallUsage(id=f"gen-{call.number}" if named else "", model="a/model", cost=cost, has_usage=True)
        call.booking.settle(usage, streamed=False, latency_ms=1)
        return self.ends(call, cost)

    @rule(target=ended, step=STEPS, call=consumes(calls), how=st.sampled_from(["late", "estimated", "released"]))
    def end(self, step: timedelta, call: Call, how: str) -> Call:
        self.now += step
        if how == "late":
            call.booking.name_generation(f"gen-{call.number}")
            call.booking.settle_late(self.generation(call))
            return self.ends(call, call.most / 2)
        if how == "estimated":
            call.booking.settle_estimated(CallUsage(model="a/model"), streamed=False, latency_ms=1)
            return self.ends(call, call.most)
        call.booking.release()
        return self.ends(call, ZERO)

    @rule(call=ended, how=st.sampled_from(["settle", "estimate", "release", "name"]))
    def end_again(self, call: Call, how: str) -> None:
        """What has ended stays as it is."""
        if how == "settle":
            call.booking.settle(CallUsage(cost=HALF, has_usage=True), streamed=False, latency_ms=1)
        elif how == "estimate":
            call.booking.settle_estimated(CallUsage(), streamed=False, latency_ms=1)
        elif how == "release":
            call.booking.release()
        else:
            call.booking.name_generation(f"gen-{call.number}")

    @rule(call=consumes(calls), who=WHO, times=st.integers(0, 2))
    def crash(self, call: Call, who: int, times: int) -> None:
        """Its program dies; the call is looked up by both programs, by one of them, or by nobody ever."""
        self.ledgers[who] = self.opened()
        generation = self.generation(call)
        for turn in range(times):
            entry = generation.entry(call.began, hold=call.hold)
            assert self.ledgers[(who + turn) % 2].settle(entry) is (turn == 0)
        if times:
            self.ends(call, call.most / 2)

    @rule(keep=st.integers(0, 60))
    def disturb(self, keep: int) -> None:
        """Somebody dies in the middle of a line, or deletes the index."""
        line = write_line(Hold("torn", self.now, "a/model", HALF))
        if keep:
            with self.path.open("ab") as file:
                file.write(line[:keep])
        for path in self.folder.glob("usage.jsonl.index*") if not keep else ():
            path.unlink()

    @rule(before=st.sampled_from([-DAY, timedelta(), DAY]), who=WHO)
    def clean(self, before: timedelta, who: int) -> None:
        if self.path.exists():
            limit = today(self.now + before).start
            gone = {entry.hold for entry in self.ledgers[who].entries() if entry.ts < limit}
            cleaning.clean(self.ledgers[who].engine, limit, dry_run=False)
            self.settled = {hold: cost for hold, cost in self.settled.items() if hold not in gone}

    def generation(self, call: Call) -> Generation:
        """What OpenRouter says of a call, which cost half of what was held."""
        data = {"id": f"gen-{call.number}", "model": "a/model", "total_cost": call.most / 2}
        return read_generation({"data": data}, f"gen-{call.number}")

    def ends(self, call: Call, cost: Decimal) -> Call:
        del self.open[call.hold]
        self.settled[call.hold] = cost
        self.moments |= {self.now, call.began, call.began + HOUR}
        self.overrun += max(ZERO, cost - call.most)
        return call

    @invariant()
    def the_ledger_knows_what_the_machine_knows(self) -> None:
        for ledger in self.ledgers:
            held = {hold.id: hold.max_cost for hold in ledger.health().holds}
            assert held == {hold: call.most for hold, call in self.open.items()}
            assert ledger.totals().total.cost == sum(self.settled.values())

    @invariant()
    def no_window_gets_more_than_its_cap(self) -> None:
        for cap, window in ((self.caps.daily, today), (self.caps.monthly, month)):
            began = {call.began for call in self.open.values()}
            for period in set(map(window, {self.now} | self.moments | began)):
                assert cap is not None and self.spent(period) + self.held(period) <= cap + self.overrun

    def spent(self, period: Period) -> Decimal:
        found: list[Decimal] = []
        self.ledgers[0].committed(lambda books: found.append(books.spent(period).cost))
        return found[0]

    def held(self, period: Period) -> Decimal:
        # A call that began shortly before midnight may be charged after it.
        began = (call for call in self.open.values() if period.start - HOUR <= call.began < period.end)
        return sum((call.most for call in began), ZERO)

    @invariant()
    def every_hold_ends_once(self) -> None:
        ends: dict[str, list[Entry | Release]] = {}
        for record in self.records():
            if isinstance(record, (Entry, Release)):
                ends.setdefault(record.hold, []).append(record)
        assert all(len(found) == 1 for found in ends.values())

    def records(self) -> Iterator[object]:
        lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        return map(read_line, lines)


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody else writes to these ledgers, so nobody has to be waited for.
    monkeypatch.setattr(cleaning, "_GRACE_S", (0.0,))


Budget.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None, report_multiple_bugs=False)
TestBudget = Budget.TestCase


class SharedBudget(Budget):
    """The same with the ledger of a team, whose server has the machine's clock; there is no file to disturb."""

    team: Team

    def __init__(self) -> None:
        self.team.close()
        self.team.empty()
        super().__init__()

    def opened(self) -> Ledger:
        return self.team.ledger()

    @property
    def now(self) -> datetime:
        return self._now

    @now.setter
    def now(self, moment: datetime) -> None:
        self._now = moment
        self.team.at(moment)

    def disturb(self, keep: int) -> None:
        """Nothing of it lies on this machine."""

    def clean(self, before: timedelta, who: int) -> None:
        """Nothing is removed but by an owner of the tables."""

    def records(self) -> Iterator[object]:
        found = self.ledgers[0].entries()
        ended = self.team.sql("SELECT key FROM hold WHERE state = 'released'")
        return iter([*found, *(Release(str(key), self.now) for (key,) in ended)])


SharedBudget.TestCase.settings = settings(max_examples=12, stateful_step_count=25, deadline=None, report_multiple_bugs=False)


@pytest.mark.team
class TestSharedBudget(SharedBudget.TestCase):
    """On a server that tests share."""

    @pytest.fixture(autouse=True)
    def _on_a_server(self, database: Team) -> None:
        SharedBudget.team = database
