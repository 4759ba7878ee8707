"""When the budgets on tracked calls end, as facts for an explanation."""

from __future__ import annotations

from datetime import datetime

from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.figures.summary import Fact
from openrouter_usage.home.settings import load_budgets, shared_ledger


def budget_ends(now: datetime) -> tuple[tuple[Fact, ...], str]:
    """Return one fact for each cap of a window or a total, the machine's first, and what went wrong, "" for nothing.

    Nothing is opened where no such cap is set, and there is no shared ledger that may have one.
    """
    try:
        if shared_ledger() is None and not any(each.caps.any for each in load_budgets()):
            return (), ""
        return _asked(now), ""
    except OpenRouterUsageError as error:
        return (), f"the budgets are left out: {error.message}"


def _asked(now: datetime) -> tuple[Fact, ...]:
    from openrouter_usage.figures.forecast import ends_of, said_of_budget
    from openrouter_usage.ledger.engines import open_ledger
    from openrouter_usage.ledger.ledger import Committed

    ledger = open_ledger(lock_timeout_s=2.0)
    found: list[Fact] = []

    def look(books: Committed) -> None:
        found.clear()
        for scope, pace, end in ends_of((*ledger.caps(), *load_budgets()), books, now):
            if end is not None:
                paces = (pace.pace.shown,) if pace.pace is not None and end.outlook in ("ends", "lasts") else ()
                found.append(Fact("budget_end", said_of_budget(scope, end, now), (scope.left, *paces)))

    try:
        ledger.committed(look)
    finally:
        ledger.close()
    return tuple(found)
