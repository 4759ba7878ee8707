"""One process of a storm over several budgets at once: it holds, and settles, releases or forgets, call after call.

Bills are anything up to the worst case, and so often above what a `measured` budget holds.
"""

from __future__ import annotations

import json
import random
import sys
import uuid
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "scripts"))

from openrouter_usage.budgets import MACHINE, MEASURED, STRICT, Budget, Owner, applying
from openrouter_usage.entry import Caps, Entry, Hold
from openrouter_usage.errors import BudgetExceeded
from openrouter_usage.figures.limits import Asked, check_all
from openrouter_usage.ledger.ledger import Ledger

CENT = Decimal("0.01")
BUDGETS = (
    # More than the two projects have, or it would be reached before them, and `measured` not be tried.
    Budget(MACHINE, Caps(daily=Decimal(4))),
    Budget(Owner("client", "a"), Caps(monthly=Decimal(1)), MEASURED),
    Budget(Owner("client", "b"), Caps(weekly=Decimal("0.8"))),
    Budget(Owner("project", "*"), Caps(daily=Decimal("1.2")), MEASURED),
    Budget(Owner("session", "s"), Caps(total=Decimal("0.5"))),
)
NAMES = ("a", "b", "")


def main(path: Path, calls: int, seed: int, now: datetime) -> None:
    """Make the calls; what is refused is not made."""
    chance, ledger = random.Random(seed), Ledger(path)
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(calls):
        pairs = {"client": chance.choice(NAMES), "project": chance.choice(NAMES)}
        tags = tuple((name, value) for name, value in pairs.items() if value)
        session = chance.choice(("s", "t", ""))
        most = CENT * chance.randint(1, 10)
        measured = most * chance.randint(1, 10) / 10
        hold = Hold(uuid.uuid4().hex, now, "a/model", most, session=session, tags=tags, measured=measured)
        under = tuple(applying(BUDGETS, session, tags))
        try:
            ledger.hold(hold, lambda books: check_all(under, Asked(most, measured), books, now))  # noqa: B023
        except BudgetExceeded:
            continue
        what = chance.random()
        if what < 0.75:
            bill = most * chance.randint(0, 10) / 10
            name = f"gen-{hold.id}"
            ledger.settle(Entry(now, "a/model", 1, 1, bill, name, session=session, tags=tags, hold=hold.id))
        elif what < 0.9:
            ledger.release(hold.id, now)
    ledger.close()


def passed(ledger: Path) -> Iterator[tuple[str, str, Decimal, Decimal]]:
    """Give, for each budget: whose it is, its policy, by how much its cap was passed at worst, and what was said possible.

    Read from the lines alone, in their order. Under `strict` what is held in full may not pass the cap either.
    """
    lines = [json.loads(line, parse_float=Decimal) for line in ledger.read_bytes().splitlines()]
    named = [budget for budget in BUDGETS if budget.owner.name != "*"]
    named += [budget._replace(owner=Owner("project", name)) for budget in BUDGETS for name in "ab" if budget.owner.name == "*"]
    for budget in named:
        (cap,) = (cap for cap in budget.caps if cap is not None)
        spent, held, worst, said = Decimal(0), dict[str, Decimal](), Decimal(0), Decimal(0)
        for line in lines:
            if not _is_of(budget.owner, line) and line.get("hold") not in held:
                continue
            if line.get("kind") == "hold":
                held[line["hold"]] = Decimal(line["max_cost"])
                said = max(said, spent + sum(held.values()) - cap)
            else:
                held.pop(line.get("hold", ""), None)
                spent += Decimal(line.get("cost", 0))
            reached = spent + (sum(held.values()) if budget.policy == STRICT else 0)
            worst = max(worst, reached - cap)
        yield str(budget.owner), budget.policy, worst, said


def _is_of(owner: Owner, line: dict[str, Any]) -> bool:
    return owner.made(line.get("session", ""), line.get("tags", {}).items())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), datetime.fromisoformat(sys.argv[4]))
