"""The calls of a ledger under the names that the guides to OpenRouter use, read only as far as they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any, overload

from openrouter_usage.entry import Entry
from openrouter_usage.exactjson import Json
from openrouter_usage.ledger.books import Ledger


@dataclass(frozen=True)
class CostRecord:
    """One call: `timestamp` is ISO 8601 in UTC, `cost_usd` is what was billed in credits.

    What is not known is None, or "" for a text: an unknown cost is never zero.
    """

    generation_id: str
    model: str
    timestamp: str
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: Decimal | None
    cache_discount: Decimal | None
    provider: str
    latency_ms: int | None

    def to_dict(self) -> dict[str, Json]:
        """Return the ten fields by name; amounts stay exact, so write them with `to_json`."""
        return dict(vars(self))


def record_of(entry: Entry) -> CostRecord:
    """Return an entry of the ledger under the names of the guides."""
    values: dict[str, Any] = entry.to_dict()
    return CostRecord(**values)


class CostHistory(Sequence[CostRecord]):
    """The calls of a ledger as CostRecords, in the order of the file, each generation once.

    Nothing is kept in memory: every use reads the ledger as it is then, and a loop reads one line after another.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Show the calls of `ledger`."""
        self._ledger = ledger

    def __iter__(self) -> Iterator[CostRecord]:
        """Read one call after another."""
        return map(record_of, self._ledger.entries())

    def __len__(self) -> int:
        """Count the calls; that takes no reading of the file."""
        return self._ledger.totals().total.requests

    def __reversed__(self) -> Iterator[CostRecord]:
        """Read all calls, the last one first."""
        return reversed(list(self))

    @overload
    def __getitem__(self, index: int) -> CostRecord: ...

    @overload
    def __getitem__(self, index: slice) -> list[CostRecord]: ...

    def __getitem__(self, index: int | slice) -> CostRecord | list[CostRecord]:
        """Return one call, or a list of those in a slice; IndexError when there are fewer."""
        entries = self._ledger.entries()
        if isinstance(index, slice):
            return list(map(record_of, list(entries)[index]))
        if index >= 0:
            found = list(islice(entries, index, index + 1))
        else:
            # The file has to be read to its end, but no more than the last few calls are kept.
            last = deque(entries, maxlen=-index)
            found = [last[0]] if len(last) == -index else []
        if not found:
            raise IndexError("the ledger has fewer calls")
        return record_of(found[0])

    def __repr__(self) -> str:
        """Say how many calls there are, and in which file."""
        return f"<{len(self):,} calls in {self._ledger.path}>"
