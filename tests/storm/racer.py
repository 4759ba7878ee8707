"""One process of a race: for each ledger it is told of, it holds money until there is no more, and says how often.

It also says how often the ledger could not be used, which refuses a call as well.
"""

from __future__ import annotations

import sys
import uuid
from datetime import datetime
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "scripts"))

from openrouter_usage.entry import Caps, Hold
from openrouter_usage.errors import BudgetExceeded, LedgerError
from openrouter_usage.figures.limits import check
from openrouter_usage.ledger.ledger import Ledger


def take_all(ledger: Ledger, caps: Caps, price: Decimal, now: datetime) -> tuple[int, int]:
    """Hold `price` USD again and again until it is refused; give how often it was granted, and how often it failed."""
    granted = failed = 0
    while failed < 1_000:
        try:
            ledger.hold(Hold(uuid.uuid4().hex, now, "a/model", price), lambda books: check(caps, price, books, now))
            granted += 1
        except BudgetExceeded:
            break
        except LedgerError:
            failed += 1
    return granted, failed


def main(cap: Decimal, price: Decimal, now: datetime) -> None:
    """Race for each ledger on standard input."""
    for path in iter(sys.stdin.readline, ""):
        ledger = Ledger(Path(path.strip()))
        print(*take_all(ledger, Caps(daily=cap), price, now), flush=True)
        ledger.close()


if __name__ == "__main__":
    main(Decimal(sys.argv[1]), Decimal(sys.argv[2]), datetime.fromisoformat(sys.argv[3]))
