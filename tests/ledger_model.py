"""What a ledger has to say of its file: worked out from the bytes alone, without the program and without an index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone, tzinfo
from decimal import Context, Decimal, Inexact
from pathlib import Path
from typing import Any

from openrouter_usage.entry import Entry, Usage, checked_entry, write_line
from openrouter_usage.period import Period

UTC = timezone.utc
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
EXACT = Context(prec=200, traps=[Inexact])


@dataclass
class Book:
    """The calls of a file that count, in its order, and the holds that are open."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    holds: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path) -> Book:
        """Read a file line by line; the lines of one id are one call, which stands where the first of them does."""
        book = cls()
        for line in path.read_bytes().split(b"\n") if path.exists() else ():
            try:
                record = json.loads(line, parse_float=Decimal)
                if not 2000 <= moment(record).year < 2200:
                    continue
            except (ValueError, KeyError):
                continue
            if record.get("kind") == "hold":
                book.holds[record["hold"]] = record
            elif record.get("kind") in (None, "release"):
                book.holds.pop(record.get("hold"), None)
                if "model" in record:
                    book.calls.append(record)
        lines: dict[object, list[dict[str, Any]]] = {}
        for call in book.calls:
            lines.setdefault(call.get("id") or id(call), []).append(call)
        book.calls = [whole_call(found) for found in lines.values()]
        return book

    def within(self, period: Period | None) -> Iterator[dict[str, Any]]:
        """Give the calls of a period, or all."""
        return (call for call in self.calls if period is None or period.start <= moment(call) < period.end)

    def totals(self, period: Period | None, by: str, zone: tzinfo = UTC) -> dict[str, Usage]:
        """Sum the calls of a period by one grouping."""
        groups: dict[str, Usage] = {}
        for call in self.within(period):
            name = name_of(call, by, zone)
            groups[name] = _added(groups.get(name, Usage()), call)
        return groups


def whole_call(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """What lines about one call say together, whatever their order."""
    if len(lines) == 1:
        return lines[0]
    amount = lambda call, name: Decimal(call.get(name) or 0)  # noqa: E731
    is_certain = lambda call: call.get("cost") is not None and call.get("cost_source") != "estimated"  # noqa: E731
    text = lambda call: write_line(checked_entry(call))  # noqa: E731
    by_money = sorted(
        lines,
        key=lambda call: (
            not is_certain(call), call.get("cost") is None, -amount(call, "cost"), call.get("byok_cost") is None,
            -amount(call, "byok_cost"), call.get("cost_source") != "late", moment(call), text(call),
        ),
    )  # fmt: skip
    by_names = sorted(
        lines, key=lambda call: (not is_certain(call), call.get("cost_source") == "late", moment(call), text(call))
    )
    whole = {name: next((c[name] for c in by_names if c.get(name)), None) for name in ("session", "provider", "tags")}
    for name in ("prompt", "completion", "cached", "cache_write", "reasoning"):
        whole[f"{name}_tokens"] = next((c[f"{name}_tokens"] for c in by_money if c.get(f"{name}_tokens")), 0)
    first = by_money[0]
    byok = [call["byok_cost"] for call in by_money if call.get("byok_cost") is not None]
    if first.get("cost") and first.get("byok_cost") is None:
        byok = [amount for amount in byok if Decimal(amount) != Decimal(first["cost"])]
    whole["byok_cost"] = byok[0] if byok else None
    kept = {name: first[name] for name in ("id", "ts", "cost", "cost_source") if name in first}
    return {"model": by_names[0]["model"]} | {name: value for name, value in whole.items() if value} | kept


def moment(call: dict[str, Any]) -> datetime:
    """When a call was made."""
    return datetime.fromisoformat(call["ts"].replace("Z", "+00:00"))


def name_of(call: dict[str, Any], by: str, zone: tzinfo) -> str:
    """The group that a call is in."""
    if by == "day":
        return moment(call).astimezone(zone).date().isoformat()
    if by == "tag":
        return " ".join(f"{name}={text}" for name, text in sorted(call.get("tags", {}).items()))
    return str(call.get(by) or "")


def _added(sums: Usage, call: dict[str, Any]) -> Usage:
    figures = {name: getattr(sums, name) + (call.get(name) or 0) for name in sums._fields if name.endswith("_tokens")}
    return Usage(
        requests=sums.requests + 1,
        cost=EXACT.add(sums.cost, Decimal(call.get("cost") or 0)),
        byok_cost=EXACT.add(sums.byok_cost, Decimal(call.get("byok_cost") or 0)),
        unknown=sums.unknown + (call.get("cost") is None),
        estimated=sums.estimated + (call.get("cost_source") == "estimated"),
        **figures,
    )


def an_entry(number: int = 0, **values: Any) -> Entry:
    """A call, one like any other; the same number is the same call."""
    names: dict[str, Any] = {"model": f"vendor/model-{number % 3}", "id": f"gen-{number:06d}"}
    figures: dict[str, Any] = {"prompt_tokens": 100 + number, "completion_tokens": 10, "cost": Decimal("0.0025")}
    return Entry(**{"ts": NOON, **names, **figures, **values})


def line_of(**values: Any) -> bytes:
    """A line as another tool would write it."""
    usual = {"ts": "2026-11-22T10:30:00Z", "model": "google/gemini-2.0-flash-001", "prompt_tokens": 1500}
    return json.dumps({**usual, "completion_tokens": 500, "cost": 0.0025, **values}).encode() + b"\n"
