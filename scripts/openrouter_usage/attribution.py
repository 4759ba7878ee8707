"""What the local ledger knows of a running period, for the summary of a key that may not ask for its own breakdown."""

from __future__ import annotations

from pathlib import Path

from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.period import Period
from openrouter_usage.settings import ledger_file
from openrouter_usage.summary.breakdown import share_out
from openrouter_usage.summary.model import LOCAL, Breakdown


def local_breakdown(period: Period, *, top: int | None, by: str) -> tuple[Breakdown | None, str]:
    """Break a period of the ledger down; None and a reason, "" for a ledger without calls, when there is nothing."""
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
    return share_out(groups, period, days=(period.end - period.start).days, top=top, by=by)._replace(source=LOCAL), ""


def _is_missing(path: Path) -> bool:
    """Tell whether there surely is no ledger; what is wrong with a path is for the ledger to say."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False
