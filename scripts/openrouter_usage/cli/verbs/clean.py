"""Remove calls before a day, or calls dated in the future, from the ledger; the old file stays beside it as `.1`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from datetime import date, datetime

from openrouter_usage.budgets import Budget
from openrouter_usage.called import as_called
from openrouter_usage.cli.opening import open_ledger
from openrouter_usage.cli.program import Parser, checked, complain, read_day, write
from openrouter_usage.errors import SettingsError
from openrouter_usage.figures.limits import dated_ahead_from
from openrouter_usage.gateway.keys import every_budget
from openrouter_usage.home.settings import shared_ledger
from openrouter_usage.ledger.clean import Cleaned, clean, other_names, take_out
from openrouter_usage.money import Json, format_usd
from openrouter_usage.period import iso, midnight, month, today, week
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import named, plural, safe

EXAMPLES = """examples:
  cost_tracker.py clean --before 2026-01-01          shows what would be removed
  cost_tracker.py clean --before 2026-01-01 --yes    removes it
  cost_tracker.py clean --ahead --yes                removes calls that a wrong clock dated in the future
"""
PROGRAM = as_called("cost_tracker.py clean")
_LINKED = "the ledger has {} (hard links): --yes would be refused, because cleaning would make two ledgers"


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--before", metavar="DATE", type=checked(read_day), help="the first UTC day that stays")
    which.add_argument("--ahead", action="store_true", help="calls that are dated in the future")
    parser.add_argument("--yes", action="store_true", help="confirm; nothing is changed without it")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be removed, even with --yes")


def run(options: Namespace, *, now: datetime) -> int:
    """Print what is removed, or would be."""
    dry = options.dry_run or not options.yes
    ledger = open_ledger(PROGRAM)
    if shared_ledger() is not None:
        raise SettingsError(
            "`clean` works on a ledger file, and OPENROUTER_LEDGER names a shared ledger",
            hint="unset OPENROUTER_LEDGER to clean this machine's file",
        )
    if options.ahead:
        start = dated_ahead_from(now)
        done = take_out(ledger.engine, lambda entry: entry.ts >= start, dry_run=dry)
        which = f"dated {start.date()} UTC or later"
    else:
        start = midnight(options.before)
        _check(options.before, now)
        done = clean(ledger.engine, start, dry_run=dry)
        which = f"before {options.before} UTC"
    others = other_names(ledger.path)
    notes = [_LINKED.format(plural(others, "other name"))] if others else []
    for text in notes:
        complain(PROGRAM, text, "delete the other names first")
    if options.json:
        bounds: dict[str, Json] = {"before": None, "from": None, "from" if options.ahead else "before": iso(start)}
        write(_as_json(done, bounds, dry, now, notes))
    else:
        write(_as_text(done, which, dry, is_sure=options.yes))
    return 0


def _check(before: date, now: datetime) -> None:
    """Refuse a day in the future, and one that would make a budget forget what is spent."""
    running = month(now)
    if before > today(now).first_day:
        raise SettingsError(
            f"{before} is in the future, so calls of today would be removed too",
            hint=f"choose a day up to {today(now).first_day}, which is today in UTC",
            code="usage",
        )
    for name, first in (("total", None), ("monthly", running.first_day), ("weekly", week(now).first_day)):
        if first is not None and before <= first:
            continue
        owner = next((each.owner for each in _budgets() if getattr(each.caps, name) is not None), None)
        if owner is not None:
            of = f" of {owner.kind} {named(owner.name)}" if owner.name else ""
            since = f"since {first}" if first else "of all time"
            raise SettingsError(
                f"the calls {since} count against the {name} budget{of}, so they must stay while it is set",
                hint=f"choose a day up to {first}" if first else "take the total away first: budget clear",
            )


def _budgets() -> tuple[Budget, ...]:
    return every_budget()


def _as_json(done: Cleaned, bounds: dict[str, Json], dry: bool, now: datetime, notes: Sequence[str]) -> str:
    figures: dict[str, Json] = {
        "removed": done.removed,
        "removed_usd": done.usage.cost,
        "removed_byok_usd": done.usage.byok_cost,
        "removed_unknown_cost_calls": done.usage.unknown,
        "kept": done.kept,
    }
    old_file = str(done.kept_as) if done.kept_as else None
    data: dict[str, Json] = {**bounds, "dry_run": dry, **figures, "old_file": old_file}
    return envelope("clean", now, data, notes=notes)


def _as_text(done: Cleaned, which: str, dry: bool, *, is_sure: bool) -> str:
    byok = f" + {format_usd(done.usage.byok_cost)} BYOK" if done.usage.byok_cost else ""
    unknown = f" + {done.usage.unknown:,} unknown" if done.usage.unknown else ""
    cost = f"{plural(done.removed, 'call')} {which} ({format_usd(done.usage.cost)}{byok}{unknown})"
    if dry:
        how = "; nothing was changed" if is_sure else "; add --yes to confirm"
        return f"{cost} would be removed, {plural(done.kept, 'line')} left{how}\n"
    if not done.removed:
        return f"nothing {which}; the ledger is unchanged\n"
    old_file = safe(str(done.kept_as), 300)
    return f"{cost} removed, {plural(done.kept, 'line')} left; the old file is {old_file}\n"
