"""Reads a ledger's lines in their order, and what they say of its holds and calls, without the program's help."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from openrouter_usage.budgets import MACHINE, Owner

ZERO = Decimal(0)


@dataclass
class Audit:
    """What a ledger says: USD by generation, USD still held by hold, and the most that was ever committed."""

    settled: dict[str, Decimal] = field(default_factory=dict)
    held: dict[str, Decimal] = field(default_factory=dict)
    generations: dict[str, str] = field(default_factory=dict)
    most: Decimal = ZERO
    ends: dict[str, int] = field(default_factory=dict)
    damaged: int = 0
    # How well each generation's cost is known: not at all, as an estimate, or for certain.
    known: dict[str, int] = field(default_factory=dict)

    @property
    def spent(self) -> Decimal:
        """What is settled."""
        return sum(self.settled.values(), ZERO)

    @property
    def committed(self) -> Decimal:
        """What is settled, and what is still held."""
        return self.spent + sum(self.held.values(), ZERO)


def audit(ledger: Path, owner: Owner = MACHINE) -> Audit:
    """Walk through a ledger, or one owner's calls in it; `most` is what was committed at its worst moment."""
    found = Audit()
    for number, line in enumerate(ledger.read_bytes().splitlines()):
        try:
            values = json.loads(line, parse_float=Decimal)
        except ValueError:
            found.damaged += 1
            continue
        is_of = owner.made(values.get("session", ""), values.get("tags", {}).items())
        if not is_of and (values.get("kind") == "hold" or values.get("hold", "") not in found.ends):
            continue
        _take(found, values, f"line {number}")
        found.most = max(found.most, found.committed)
    return found


def _take(found: Audit, values: dict[str, Any], name: str) -> None:
    hold = values.get("hold", "")
    if values.get("kind") == "hold":
        found.ends.setdefault(hold, 0)
        if not found.ends[hold]:
            found.held[hold] = Decimal(values.get("max_cost", 0))
            found.generations[hold] = values.get("generation", "")
        return
    if hold:
        found.ends[hold] = found.ends.get(hold, 0) + 1
        found.held.pop(hold, None)
    if "kind" not in values:
        _settle(found, values.get("id") or name, values.get("cost"), values.get("cost_source"))


def _settle(found: Audit, name: str, cost: Any, source: str | None) -> None:
    """Let a line of a call count if it knows better than those before, or as well and more."""
    known = 0 if cost is None else 1 if source == "estimated" else 2
    told = known, Decimal(cost or 0)
    if told >= (found.known.get(name, 0), found.settled.get(name, ZERO)):
        found.known[name], found.settled[name] = told
