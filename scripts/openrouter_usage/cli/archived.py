"""Opens the archive for a verb, and makes the report of `stats --source account` from it."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from datetime import datetime

from openrouter_usage.archive.known import chosen
from openrouter_usage.archive.report import GROUPINGS, Wanted, account_report
from openrouter_usage.archive_file import Archive
from openrouter_usage.cli.books import unread_notes
from openrouter_usage.errors import SettingsError
from openrouter_usage.files import archive_beside
from openrouter_usage.period import UTC, Period
from openrouter_usage.report import Report
from openrouter_usage.settings import ledger_file


def open_archive() -> Archive:
    """Open the archive beside the ledger; SettingsError when the ledger has taken its name."""
    ledger = ledger_file()
    path = archive_beside(ledger)
    if path == ledger:
        raise SettingsError(
            f"the ledger is named {path.name}, which is the archive's name",
            hint="name another file with OPENROUTER_USAGE_FILE",
        )
    return Archive(path)


def archived_report(options: Namespace, period: Period | None, title: str, now: datetime) -> Report:
    """Sum the archived days of the period that the options pick; SettingsError for what nobody can know of them."""
    if options.by not in GROUPINGS:
        raise SettingsError(
            f"OpenRouter's figures of an account name no {options.by}",
            hint=f"--by {', '.join(GROUPINGS[:-1])} or {GROUPINGS[-1]}; tracked calls have it: leave --source out",
            code="usage",
        )
    if options.tz not in (None, UTC):
        raise SettingsError(
            "the days of OpenRouter's figures are UTC, and cannot be divided anew", hint="leave --tz out", code="usage"
        )
    archive = open_archive()
    contents = archive.read()
    account = chosen(contents.accounts, options.account or "")
    is_open = period is not None and not options.window and not options.since
    wanted = Wanted(title, period, is_open, options.by, options.top, options.trend)
    report = account_report(account, contents.accounts[account], wanted, now)
    return replace(report, source=str(archive.path), notes=(*report.notes, *unread_notes(contents.unread)))
