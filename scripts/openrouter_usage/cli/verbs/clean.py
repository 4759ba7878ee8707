"""Take calls before a day out of the ledger; the old file stays beside it as `.1`."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime

from openrouter_usage.cli.books import open_ledger
from openrouter_usage.cli.output import write
from openrouter_usage.cli.parser import Parser, checked
from openrouter_usage.exactjson import Json
from openrouter_usage.ledger.clean import clean
from openrouter_usage.money import format_usd
from openrouter_usage.period import UTC, iso, midnight, parse_day
from openrouter_usage.render.as_json import envelope
from openrouter_usage.text import plural

EXAMPLES = """examples:
  cost_tracker.py clean --before 2026-01-01          shows what would go
  cost_tracker.py clean --before 2026-01-01 --yes    takes it out
"""


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument(
        "--before", required=True, metavar="DATE", type=checked(parse_day), help="the first UTC day that stays"
    )
    parser.add_argument("--yes", action="store_true", help="really do it; without, nothing is changed")
    parser.add_argument("--dry-run", action="store_true", help="only show what would go, even with --yes")


def run(options: Namespace) -> int:
    """Print what goes, or would go."""
    dry = options.dry_run or not options.yes
    before = midnight(options.before)
    ledger = open_ledger("cost_tracker.py clean")
    done = clean(ledger.engine, before, dry_run=dry)
    kept_as = str(done.kept_as) if done.kept_as else None
    if options.json:
        figures: dict[str, Json] = {"removed": done.removed, "removed_usd": done.usage.cost, "kept": done.kept}
        write(
            envelope(
                "clean", datetime.now(UTC), {"before": iso(before), "dry_run": dry, **figures, "old_file": kept_as}
            )
        )
        return 0
    cost = f"{plural(done.removed, 'call')} before {options.before} UTC ({format_usd(done.usage.cost)})"
    if dry:
        write(f"{cost} would be taken out, {done.kept:,} lines would stay; --yes does it\n")
    elif not done.removed:
        write(f"nothing before {options.before} UTC; the ledger is as it was\n")
    else:
        write(f"{cost} taken out, {done.kept:,} lines stay; the old file is {kept_as}\n")
    return 0
