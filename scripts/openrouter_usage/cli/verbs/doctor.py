"""Check keys, network, clock, ledger and files, and say what is wrong and what to do; changes nothing."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime

from openrouter_usage.checkup.examine import Checkup, check_up
from openrouter_usage.cli.output import complain, write
from openrouter_usage.cli.parser import Parser, whole_number
from openrouter_usage.diagnosis.finding import Finding, Level, gravest
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.period import UTC
from openrouter_usage.render.as_json import envelope
from openrouter_usage.render.findings import findings_data, findings_text
from openrouter_usage.text import plural

EXAMPLES = """examples:
  cost_tracker.py doctor
  cost_tracker.py doctor --share                     to be shown in public
  cost_tracker.py doctor --offline

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


def run(options: Namespace, *, now: datetime | None = None) -> int:
    """Print every finding; the exit code is that of the first of the gravest."""
    now = now or datetime.now(UTC)
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
