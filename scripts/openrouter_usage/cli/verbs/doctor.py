"""Check keys, network, clock, ledger and files, and say what is wrong and what to do; changes nothing."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from datetime import datetime

from openrouter_usage.called import as_called
from openrouter_usage.cli.program import Parser, complain, whole_number, write
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.figures.doctor import Finding, Level, gravest
from openrouter_usage.jobs.doctor import check_up
from openrouter_usage.money import Json
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import plural

EXAMPLES = """examples:
  cost_tracker.py doctor
  cost_tracker.py doctor --offline

the exit code is that of the first problem, or 0 when there are only notes and warnings
"""
PROGRAM = as_called("cost_tracker.py doctor")
_SIGNS = {Level.OK: "✔", Level.NOTE: "ℹ", Level.WARNING: "⚠", Level.PROBLEM: "✘"}
_LAST_LINE = "Read this report before you share it: it shows paths, key labels and host names."


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument("--offline", action="store_true", help="check without network")
    parser.add_argument(
        "--timeout", type=whole_number(1, 600), default=15, metavar="S", help="seconds to wait for an answer (15)"
    )


def run(options: Namespace, *, now: datetime) -> int:
    """Print every finding; return the exit code of the first of the most severe."""
    findings = check_up(now, is_offline=options.offline, timeout_s=options.timeout)
    worst = gravest(findings)
    if options.json:
        error = OpenRouterUsageError(worst.text, hint=worst.remedy, code=worst.code) if worst else None
        write(envelope("checkup", now, _data(findings, is_offline=options.offline), error=error))
    else:
        write(_text(findings))
    if worst is None:
        return 0
    count = plural(_count(findings, Level.PROBLEM), "problem")
    complain(PROGRAM, f"{count}: {worst.area}: {worst.text}", worst.remedy)
    return worst.exit_code


def _count(findings: Sequence[Finding], level: Level) -> int:
    return sum(finding.level is level for finding in findings)


def _text(findings: Sequence[Finding]) -> str:
    """Write one line for each finding, below one that counts them."""
    counts = [(_count(findings, level), level) for level in (Level.PROBLEM, Level.WARNING, Level.NOTE)]
    told = ", ".join(plural(count, level.name.lower()) for count, level in counts if count) or "all is well"
    return "\n".join([f"🩺 OpenRouter check-up: {told}", *map(_line, findings), _LAST_LINE]) + "\n"


def _line(finding: Finding) -> str:
    remedy = f" -- {finding.remedy}" if finding.remedy else ""
    return f"{_SIGNS[finding.level]} {finding.area}: {finding.text}{remedy}"


def _data(findings: Sequence[Finding], *, is_offline: bool) -> dict[str, Json]:
    worst = gravest(findings)
    listed: list[Json] = [
        {
            "area": finding.area,
            "level": finding.level.name.lower(),
            "text": finding.text,
            "remedy": finding.remedy or None,
            "code": finding.code or None,
        }
        for finding in findings
    ]
    return {
        "worst": max((finding.level for finding in findings), default=Level.OK).name.lower(),
        "exit_code": worst.exit_code if worst else 0,
        "counts": {level.name.lower(): _count(findings, level) for level in Level},
        "findings": listed,
        "offline": is_offline,
    }
