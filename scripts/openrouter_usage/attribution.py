"""What the local ledger knows of what OpenRouter counted: of a running period, and of the last answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.period import Period
from openrouter_usage.settings import ledger_file, load_settings
from openrouter_usage.summary.breakdown import share_out
from openrouter_usage.summary.model import LOCAL, Breakdown, Summary
from openrouter_usage.usage import NOTHING, Usage

if TYPE_CHECKING:
    from openrouter_usage.report import Compared


def local_breakdown(
    period: Period, *, top: int | None, by: str, days: Iterable[date] = ()
) -> tuple[Breakdown | None, str]:
    """Break a period of the ledger down; None and a reason, "" for a ledger without calls, when there is nothing.

    With `by` day, the `days` are rows also where the ledger has no call of them.
    """
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

    quiet = {day.isoformat(): NOTHING for day in days} if by == "day" else {}
    groups = quiet | {group_name(name, by): usage for name, usage in totals.groups.items()}
    if by == "model":
        from openrouter_usage.model_names import grouped
        from openrouter_usage.prices import canonical_names

        groups = grouped(groups, canonical_names(groups))
    return share_out(groups, period, days=period.day_count, top=top, by=by)._replace(source=LOCAL), ""


def compared_with_kept(seen: Callable[[Period], Usage], now: datetime) -> tuple[tuple[Compared, ...], str]:
    """Set OpenRouter's last answers, if any are kept, beside what `seen` sums of the ledger; else say why not."""
    from openrouter_usage.snapshot import load_snapshot, snapshot_file
    from openrouter_usage.summary.build import build_summary

    try:
        settings = load_settings()
        parts = load_snapshot(snapshot_file(settings), settings.base_url.url)
    except OpenRouterUsageError as error:
        return (), f"Not known: {error.message}."
    if parts is None or parts.taken_at > now:
        return (), "Not known: no figures of OpenRouter are kept here; stats.py asks for them."
    found = tuple(_compared(build_summary(parts), seen))
    return found, "" if found else "Not known: OpenRouter did not say what was spent."


def _compared(summary: Summary, seen: Callable[[Period], Usage]) -> Iterator[Compared]:
    from openrouter_usage.report import Compared

    whose = "the whole account" if summary.scope == "account" else "one key"
    for window in (summary.today, summary.week, summary.month):
        # At midnight nothing of the day is over yet.
        if window.usage is not None and window.period.start < summary.taken_at:
            period = window.period._replace(end=summary.taken_at)
            yield Compared(period, whose, window.usage, seen(period))


def _is_missing(path: Path) -> bool:
    """Tell whether there surely is no ledger; what is wrong with a path is for the ledger to say."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False
