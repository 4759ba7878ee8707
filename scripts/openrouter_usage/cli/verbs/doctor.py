"""Check keys, network, clock, ledger and files, and say what is wrong and what to do; changes nothing."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime

from openrouter_usage.checkup.examine import Checkup, check_up, words_for
from openrouter_usage.cli.output import complain, write
from openrouter_usage.cli.parser import Parser, whole_number
from openrouter_usage.diagnosis.finding import Finding, Level, gravest
from openrouter_usage.errors import OpenRouterUsageError, SettingsError
from openrouter_usage.exactjson import Json
from openrouter_usage.period import UTC
from openrouter_usage.render.as_json import envelope
from openrouter_usage.render.findings import findings_data, findings_text
from openrouter_usage.text import plural

EXAMPLES = """examples:
  cost_tracker.py doctor
  cost_tracker.py doctor --share                     to be shown in public
  cost_tracker.py doctor --offline
  cost_tracker.py doctor --move-credentials          shows what would be moved
  cost_tracker.py doctor --move-credentials --yes    moves it

ends with the exit code of the first problem, and with 0 when there are only notes and warnings
"""
PROGRAM = "cost_tracker.py doctor"


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("--share", action="store_true", help="hide paths, keys, labels, hosts and ids")
    parser.add_argument("--offline", action="store_true", help="ask nobody")
    parser.add_argument(
        "--timeout", type=whole_number(1, 600), default=15, metavar="S", help="seconds to wait for an answer (15)"
    )
    parser.add_argument(
        "--move-credentials",
        action="store_true",
        help="move credentials.env from the skill folder, where updates delete it, into ~/.openrouter",
    )
    parser.add_argument("--yes", action="store_true", help="really move it")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be moved, even with --yes")


def run(options: Namespace, *, now: datetime | None = None) -> int:
    """Print every finding; the exit code is that of the first of the gravest."""
    now = now or datetime.now(UTC)
    if options.move_credentials:
        return _move(options, now)
    if options.yes or options.dry_run:
        raise SettingsError(
            "--yes and --dry-run go with --move-credentials", hint=f"see {PROGRAM} --help", code="usage"
        )
    found = check_up(now, is_shared=options.share, is_offline=options.offline, timeout_s=options.timeout)
    worst = gravest(found.findings)
    write(_as_json(options, found, worst, now) if options.json else findings_text(found.findings))
    if worst is None:
        return 0
    count = sum(finding.level is Level.PROBLEM for finding in found.findings)
    complain(PROGRAM, f"{plural(count, 'problem')}: {worst.area}: {worst.text}", worst.remedy)
    return worst.exit_code


def _as_json(options: Namespace, found: Checkup, worst: Finding | None, now: datetime) -> str:
    data = findings_data(found.findings, found.asked, is_shared=options.share, is_offline=options.offline)
    error = OpenRouterUsageError(worst.text, hint=worst.remedy, code=worst.code) if worst else None
    return envelope("checkup", now, data, error=error)


def _move(options: Namespace, now: datetime) -> int:
    """Move the credentials file, or say what would be moved; without --yes nothing is changed."""
    import os

    from openrouter_usage.legacy import move_credentials
    from openrouter_usage.settings import find_home

    is_dry = options.dry_run or not options.yes
    home = find_home()
    if home is None:
        raise SettingsError("there is no home folder to move the keys to", hint="set HOME")
    words = words_for(dict(os.environ), home, is_shared=options.share)
    moved = move_credentials(home, dry_run=is_dry)
    names, source, target = ", ".join(moved.names), words.path(moved.source), words.path(moved.target)
    if options.json:
        listed: list[Json] = list(moved.names)
        data: dict[str, Json] = {"dry_run": is_dry, "found": moved.is_found, "names": listed}
        write(envelope("move", now, {**data, "source": source, "target": target}))
    elif not moved.is_found:
        write(f"there is no {source}: nothing to move\n")
    elif is_dry:
        write(f"{names or 'nothing new'} would be moved from {source} to {target}; --yes does it\n")
    else:
        write(f"{names or 'nothing new'} moved to {target}; {source} is deleted\n")
    return 0
