"""Stops a program that makes the same request over and over; pure, and for one process."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from datetime import datetime, timedelta

from openrouter_usage.budgets import Budget, Owner
from openrouter_usage.errors import Repeated

WINDOW = timedelta(minutes=1)
_MOST_KNOWN = 10_000


class Repeats:
    """When which request was let through: of a request only a hash is known."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._seen: OrderedDict[tuple[Owner, bytes], deque[datetime]] = OrderedDict()

    def check(self, budgets: Iterable[Budget], digest: bytes, now: datetime) -> None:
        """Count a request under each budget with this brake; Repeated, and nothing is counted, where one is full."""
        braking = [budget for budget in budgets if budget.repeats is not None]
        for budget in braking:
            times = self._seen.get((budget.owner, digest))
            while times and now - times[0] >= WINDOW:
                times.popleft()
            if times and budget.repeats is not None and len(times) >= budget.repeats:
                raise Repeated(budget.repeats, kind=budget.owner.kind, name=budget.owner.name)
        for owner in {budget.owner for budget in braking}:
            times = self._seen.setdefault((owner, digest), deque())
            times.append(now)
            self._seen.move_to_end((owner, digest))
        while len(self._seen) > _MOST_KNOWN:
            self._seen.popitem(last=False)
