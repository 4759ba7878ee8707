"""Replay long agent sessions under a cap: which policy refuses calls that would have fitted, and which overshoots.

Each day is made up by `sessions.py`, so its true bill is known. It is replayed with a cap of 1.2 times that bill in
total, under which no call needs to be refused, and with one of 0.6 times, which has to stop it. The contenders:

* bytes: every byte of the request as a token at the highest price, and `max_tokens` of answer;
* strict: the gateway's worst case;
* measured: what the gateway holds under that policy.

A refused call is not made, and the session goes on. Calls overlap as they were made up, and everything is decided by
the program's own code. Like the gateway, `strict` and `measured` let a call wait a while for those that run.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from benchmarks.sessions import LISTED, PRICES, Step, day, office
from openrouter_usage.budgets import MEASURED, STRICT, Budget, Owner
from openrouter_usage.entry import Caps, Entry, Hold, Usage
from openrouter_usage.errors import BudgetExceeded
from openrouter_usage.figures.limits import Asked, check_all, standings
from openrouter_usage.figures.pricing import PriceList, price_list
from openrouter_usage.gateway import paths
from openrouter_usage.gateway.bound import Bounded, bounded, measured
from openrouter_usage.gateway.memory import Memory, Recalled
from openrouter_usage.gateway.waits import ROOM_S
from openrouter_usage.money import Json, loads
from openrouter_usage.openrouter.answers.generation import CallUsage
from openrouter_usage.openrouter.answers.models import read_models
from openrouter_usage.period import Period

MORNING = datetime(2026, 11, 23, 8, tzinfo=timezone.utc)
ZERO = Decimal(0)
CONTENDERS = ("bytes", "strict", "measured")
DAYS: dict[str, Callable[[int], list[Step]]] = {
    "a long session": lambda seed: day(seed, sessions=1, steps=160, fan_out=0),
    "a day with subagents": lambda seed: day(seed, sessions=4, steps=60, fan_out=4),
    "a session with subagents": lambda seed: day(seed, sessions=1, steps=60, fan_out=4),
    "a megabyte with each step": lambda seed: day(
        seed, sessions=1, steps=200, fan_out=1, density=5.0, compact_at=190_000, larger=4
    ),
    "five desks, one cap": lambda seed: office(seed, desks=5, sessions=2, steps=50, fan_out=3),
}


class Outcome(NamedTuple):
    """What became of one replay; amounts in USD.

    `false` calls were refused although they, and all that ran, would have fitted. `unused` is what the cap had left, in
    truth, when that happened first. `printed` is the largest overshoot that was said to be possible.
    """

    calls: int
    refused: int
    false: int
    unused: Decimal
    overshoot: Decimal
    printed: Decimal
    spent: Decimal


class Known(NamedTuple):
    """A step as the program sees it: its request, and what it can cost at most by each way of counting."""

    step: Step
    body: dict[str, Json]
    by_bytes: Decimal
    worst: Bounded


class _Running(NamedTuple):
    end: float
    number: int
    hold: Hold
    step: Step
    recalled: Recalled | None


class Replay:
    """One day under one cap and one policy; its books are in memory, and decided by the program's own check."""

    def __init__(self, cap: Decimal, contender: str, listed: PriceList, patience_s: float) -> None:
        """Begin with nothing spent; a call that only other calls keep from fitting waits for them so long."""
        self._cap, self._contender, self._listed, self._patience_s = cap, contender, listed, patience_s
        self._memory = Memory()
        self._budget = Budget(caps=Caps(total=cap), policy=MEASURED if contender == "measured" else STRICT)
        self._running: list[_Running] = []
        self._calls = self._refused = self._false = 0
        self._spent = self._overshoot = self._printed = self._unused = ZERO

    # -- the books -------------------------------------------------------------------------------------------------

    def spent(self, period: Period) -> Usage:
        """Return all that was billed: a day is over before its window is."""
        return Usage(cost=self._spent) if period.start <= MORNING else Usage()

    def holds(self) -> list[Hold]:
        """Return what runs."""
        return [each.hold for each in self._running]

    def since(self, moment: datetime) -> list[Entry]:
        """Return nothing: there is no brake."""
        return []

    def doubtful(self) -> list[Entry]:
        """Return nothing: every bill is believed."""
        return []

    def of(self, owner: Owner) -> Replay:
        """Return the same: everything is the machine's."""
        return self

    # -- the day ---------------------------------------------------------------------------------------------------

    def take(self, known: Known) -> None:
        """Make a call, or refuse it."""
        step, self._calls = known.step, self._calls + 1
        moment = step.start
        while True:
            self._end_until(moment)
            now = MORNING + timedelta(seconds=int(moment))
            asked, recalled = self._asked(known, now)
            try:
                check_all([self._budget], asked, self, now)
                break
            except BudgetExceeded as error:
                soon = min((each.end for each in self._running), default=float("inf"))
                has_room = self._spent + asked.under(self._budget.policy) <= error.cap
                if has_room and soon <= step.start + self._patience_s:
                    moment = soon
                    continue
                self._refuse(step)
                return
        hold = Hold(f"h{self._calls}", now, "m", asked.most, measured=asked.measured)
        end = moment + step.end - step.start
        heapq.heappush(self._running, _Running(end, self._calls, hold, step, recalled))
        possible = [scope.largest_overshoot for scope in standings([self._budget], self, now)]
        self._printed = max(self._printed, *possible)

    def _asked(self, known: Known, now: datetime) -> tuple[Asked, Recalled | None]:
        if self._contender == "bytes":
            return Asked(known.by_bytes, known.by_bytes), None
        if self._contender == "strict":
            return Asked(known.worst.max_cost, known.worst.max_cost), None
        step, body = known.step, known.body
        recalled = self._memory.recall(
            paths.MESSAGES, body, client="c", session=step.session, agent=step.agent, model="m", now=now
        )
        likely = measured(paths.MESSAGES, body, self._listed, known.worst, recalled)
        return Asked(known.worst.max_cost, likely), recalled

    def _refuse(self, step: Step) -> None:
        self._refused += 1
        truly = self._spent + sum(each.step.bill for each in self._running)
        if truly + step.bill <= self._cap:
            self._unused = self._unused if self._false else self._cap - truly
            self._false += 1

    def _end_until(self, moment: float) -> None:
        while self._running and self._running[0].end <= moment:
            ended = heapq.heappop(self._running)
            step = ended.step
            self._spent += step.bill
            self._overshoot = max(self._overshoot, self._spent - self._cap)
            if ended.recalled is not None:
                usage = CallUsage(
                    prompt_tokens=step.prompt_tokens,
                    completion_tokens=step.answer_tokens,
                    cached_tokens=step.cached_tokens,
                    cost=step.bill,
                )
                self._memory.learn(ended.recalled, usage)

    def outcome(self) -> Outcome:
        """Let what runs end, and return what became of the day."""
        self._end_until(float("inf"))
        return Outcome(
            self._calls, self._refused, self._false, self._unused, self._overshoot, self._printed, self._spent
        )


def known(step: Step, listed: PriceList) -> Known:
    """Read a step's request, and bound it."""
    raw = step.body
    body = loads(raw)
    assert isinstance(body, dict)
    by_bytes = Decimal(PRICES["input_cache_write"]) * len(raw)
    by_bytes += Decimal(PRICES["completion"]) * step.head["max_tokens"]
    return Known(step, body, by_bytes, bounded(paths.MESSAGES, body, raw, listed))


def replayed(steps: Sequence[Step], caps: Sequence[Decimal]) -> dict[tuple[Decimal, str], Outcome]:
    """Replay a day under each cap and each policy, side by side."""
    listed = price_list(read_models(loads(json.dumps(LISTED))), MORNING)
    # What counted bytes refused at once; the gateway waits a while for calls that are about to end.
    patience = {"bytes": 0.0, "strict": ROOM_S, "measured": ROOM_S}
    replays = {(cap, each): Replay(cap, each, listed, patience[each]) for cap in caps for each in CONTENDERS}
    for step in steps:
        seen = known(step, listed)
        for replay in replays.values():
            replay.take(seen)
    return {which: replay.outcome() for which, replay in replays.items()}


def main() -> int:
    """Replay every day and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=2, metavar="N", help="made-up days of each shape (2)")
    options = parser.parse_args()
    refusals = dict.fromkeys(CONTENDERS, 0)
    print("| day | cap | policy | calls | refused | would have fitted | cap unused then | overshoot | said possible |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, make in DAYS.items():
        for seed in range(max(1, options.days)):
            steps = make(seed)
            bill = sum((step.bill for step in steps), ZERO)
            times = {bill * each: each for each in (Decimal("1.2"), Decimal("0.6"))}
            for (cap, contender), got in replayed(steps, list(times)).items():
                refusals[contender] += got.false if times[cap] > 1 else 0
                unused = f"{got.unused / cap:.0%}" if got.false else "–"
                print(
                    f"| {name} ({seed}) | {times[cap]} × ${bill:.2f} | {contender} | {got.calls:,} | {got.refused:,} | "
                    f"{got.false:,} | {unused} | ${got.overshoot:.2f} | ${got.printed:.2f} |",
                    flush=True,
                )
    told = ", ".join(f"{name} {count:,}" for name, count in refusals.items())
    print(f"\nRefused under 1.2 times the bill although they would have fitted: {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
