"""Checks alerts and delivers each one exactly once, however many processes check at the same time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from openrouter_usage.alerts import Alert, Rules, Spending, Verdict, judge
from openrouter_usage.answers.parts import Gap
from openrouter_usage.errors import OpenRouterUsageError, SettingsError
from openrouter_usage.exactjson import Json, dumps, loads
from openrouter_usage.files import locked, make_private_folder, replace_file
from openrouter_usage.latest import latest
from openrouter_usage.ledger.books import Ledger
from openrouter_usage.period import completed_days, month, today, week
from openrouter_usage.settings import Settings, ledger_file
from openrouter_usage.summary.build import build_summary
from openrouter_usage.summary.pace import account_pace, days_left

_MOST_KEPT = 1_000


class Outcome(NamedTuple):
    """What was told, and what could not be judged."""

    told: tuple[Alert, ...]
    unknown: tuple[str, ...]


def spending(settings: Settings, now: datetime, *, timeout_s: float) -> Spending:
    """Ask OpenRouter how things stand; where it cannot be asked, the local ledger, and the source says so."""
    try:
        settings.require_key()
        found = latest(settings, now, timeout_s=timeout_s)
        if found.error:
            raise found.error
    except OpenRouterUsageError as error:
        return _from_ledger(now, error)
    summary = build_summary(found.parts)
    rows = (
        found.parts.activity if found.parts.activity is not None and not isinstance(found.parts.activity, Gap) else ()
    )
    balance = summary.balance.balance if summary.balance else None
    runway = days_left(balance, account_pace(rows, now)) if balance is not None and rows else None
    period = completed_days(now, 7)
    days = {row.day: Decimal(0) for row in rows if row.day >= period.first_day}
    for row in rows:
        if row.day in days:
            days[row.day] += row.usage.cost
    whose = "the account" if summary.scope == "account" else "this key"
    windows = (summary.today.usage, summary.week.usage, summary.month.usage)
    return Spending(*windows, _starts(now), balance, runway, tuple(days.values()), f"{whose}, from OpenRouter")


def _starts(now: datetime) -> tuple[date, date, date]:
    return today(now).first_day, week(now).first_day, month(now).first_day


def _from_ledger(now: datetime, error: OpenRouterUsageError) -> Spending:
    ledger = Ledger(ledger_file())
    if not ledger.path.exists():
        raise error
    spent_today, spent_week, spent_month = (ledger.totals(window(now)).total.cost for window in (today, week, month))
    past = ledger.totals(completed_days(now, 7), "day").groups
    source = "tracked calls, from the local ledger, for OpenRouter could not be asked"
    days = tuple(usage.cost for usage in past.values())
    return Spending(spent_today, spent_week, spent_month, _starts(now), None, None, days, source)


def check(folder: Path, rules: Rules, now: Spending, tell: Callable[[Alert], None]) -> Outcome:
    """Tell what is due and remember it; what `tell` raises an error for is due again the next time."""
    path = folder / "alerts.json"
    try:
        make_private_folder(folder)
        # Everybody waits for the one who is telling, so that nobody tells the same again.
        with locked(folder / "alerts.lock"):
            fired = _load(path)
            verdict = judge(rules, now, fired)
            return Outcome(_tell_all(path, verdict, fired, tell), verdict.unknown)
    except OSError as error:
        raise SettingsError(f"the alerts cannot be kept in {path}: {error.strerror}", hint="check the disk") from None


def _tell_all(path: Path, verdict: Verdict, fired: list[str], tell: Callable[[Alert], None]) -> tuple[Alert, ...]:
    fired = [mark for mark in fired if mark not in verdict.rearmed]
    if verdict.rearmed:
        _save(path, fired)
    for alert in verdict.due:
        tell(alert)
        fired = [*fired, *(mark for mark in alert.marks if mark not in fired)]
        # After each one: should the next delivery fail, this one is not told again.
        _save(path, fired)
    return verdict.due


def _load(path: Path) -> list[str]:
    try:
        kept = loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return []
    marks: Json = kept.get("fired") if isinstance(kept, dict) else []
    return [mark for mark in marks if isinstance(mark, str)] if isinstance(marks, list) else []


def _save(path: Path, fired: list[str]) -> None:
    replace_file(path, [dumps({"fired": fired[-_MOST_KEPT:]}) + "\n"])
