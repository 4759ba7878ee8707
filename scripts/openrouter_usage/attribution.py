"""What the local ledger knows of the running week, for the summary of a key that may not ask /activity."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.period import week
from openrouter_usage.settings import ledger_file
from openrouter_usage.summary.breakdown import share_out
from openrouter_usage.summary.model import Breakdown

SOURCE = "local ledger"


def local_breakdown(now: datetime, *, top: int | None, by: str) -> tuple[Breakdown | None, str]:
    """Break the ledger's running UTC week down; None and a reason, "" for an empty ledger, when there is nothing."""
    period = week(now)
    try:
        path = ledger_file()
        if _is_missing(path):
            return None, ""
        from openrouter_usage.ledger.books import Ledger  # late: without a ledger no database has to be loaded

        ledger = Ledger(path, lock_timeout_s=2.0)
        totals = ledger.totals(period, by)
        ledger.close()
    except OpenRouterUsageError as error:
        return None, f"the local ledger does not help: {error.message}"
    if not totals.total.requests:
        return None, ""
    from openrouter_usage.report import group_name  # late as well: most runs have no ledger to show

    groups = {group_name(name, by): usage for name, usage in totals.groups.items()}
    return share_out(groups, period, days=7, top=top, by=by)._replace(source=SOURCE), ""


def _is_missing(path: Path) -> bool:
    """Tell whether there surely is no ledger; what is wrong with a path is for the ledger to say."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False
