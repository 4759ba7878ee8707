"""Merges several lines about one call, so that nothing known is lost and the call counts once; pure.

The result does not depend on the order of the lines, and a line that says nothing new changes nothing. That is what
lets any program append to the ledger, and lets an index, an export and an import agree on what a call cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from openrouter_usage.entry import UNKNOWN_MODEL, Entry, write_line
from openrouter_usage.money import ZERO

_NAMES = ("provider", "session", "tags", "finish_reason", "hold")
_FACTS = ("streamed", "latency_ms", "cache_discount", "tool_cost", "file_cost")
_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


def merged(entries: Sequence[Entry]) -> Entry:
    """Return one entry for lines with the same id.

    OpenRouter's own cost (billed or late) beats an estimate, and an estimate beats an unknown cost. Of two own costs
    the larger one counts, because an answer that says 0 may only lack the figure. Time and tokens come with the cost;
    names are kept as the answer itself gave them.
    """
    if len(entries) == 1:
        return entries[0]
    by_money, by_names = sorted(entries, key=_by_money), sorted(entries, key=_by_names)
    first = by_money[0]
    values: dict[str, object] = {name: _first(by_names, name, bool) for name in _NAMES}
    values |= {name: _first(by_names, name, _is_known) for name in _FACTS}
    values |= {name: _tokens(by_money, name) for name in _TOKENS}
    values["model"] = _first(by_names, "model", lambda model: model != UNKNOWN_MODEL)
    values["byok_cost"] = _byok_cost(by_money)
    values["told"] = max(entry.told for entry in entries)
    values["seen"] = any(entry.seen for entry in entries)
    return replace(first, **values)  # type: ignore[arg-type]  # each value is one of that field


def completing(entry: Entry, known: Entry, *, may_lower: bool = True, may_redate: bool = False) -> Entry | None:
    """Return the line that adds the knowledge of `entry` to the recorded call `known`; None when it adds nothing.

    A call with a certain cost keeps its names, and a cost above 0 to the last digit. It keeps its time too, by which
    its budget was judged, unless it `may_redate`. Without `may_lower` no line makes less count than before.
    """
    line = entry if may_redate else replace(entry, ts=known.ts)
    if known.is_certain:
        kept = (*_NAMES, *_FACTS, "model") if entry.cost_source == "late" else (*_NAMES, *_FACTS, "model", *_TOKENS)
        noted: dict[str, Any] = {name: value for name in kept if (value := getattr(known, name)) or value is False}
        line = replace(line, **{**noted, "hold": entry.hold})
    if known.is_certain and known.cost:
        line = replace(line, cost=known.cost, cost_source=line.cost_source if line.is_certain else known.cost_source)
    elif not may_lower and known.cost is not None and line.cost is not None and line.cost < known.cost:
        line = replace(line, cost=known.cost, cost_source=known.cost_source)
    after = merged([known, line])
    source = known.cost_source if after.is_certain == known.is_certain else after.cost_source
    return None if replace(after, hold=known.hold, cost_source=source) == known else line


def _is_known(value: object) -> bool:
    return value is not None


def _first(entries: Iterable[Entry], name: str, is_known: Callable[[object], bool]) -> object:
    """Return a field of the first entry that knows it, or else the last entry's."""
    value: object = None
    for entry in entries:
        value = getattr(entry, name)
        if is_known(value):
            break
    return value


def _tokens(entries: Iterable[Entry], name: str) -> int | None:
    """Return the first count above 0: a 0 often stands for an unknown count."""
    counts = [count for entry in entries if (count := getattr(entry, name)) is not None]
    return next((count for count in counts if count), counts[0] if counts else None)


def _byok_cost(by_money: Sequence[Entry]) -> Decimal | None:
    """Return the first BYOK cost that does not merely repeat the call's cost in credits."""
    first = by_money[0]
    if first.byok_cost is not None or not first.cost:
        return next((entry.byok_cost for entry in by_money if entry.byok_cost is not None), None)
    told = (entry.byok_cost for entry in by_money if entry.byok_cost is not None)
    return next((amount for amount in told if amount != first.cost), None)


def _by_money(entry: Entry) -> tuple[bool, bool, Decimal, bool, Decimal, bool, datetime, bytes]:
    cost, byok = entry.cost or ZERO, entry.byok_cost or ZERO
    return (
        not entry.is_certain,
        entry.cost is None,
        # Not by a minus sign, which would round to the caller's decimal context.
        cost.copy_negate(),
        entry.byok_cost is None,
        byok.copy_negate(),
        # OpenRouter's own record knows the time of the call better than the clock of this computer.
        entry.cost_source != "late",
        entry.ts,
        write_line(entry),
    )


def _by_names(entry: Entry) -> tuple[bool, bool, datetime, bytes]:
    return (not entry.is_certain, entry.cost_source == "late", entry.ts, write_line(entry))
