"""Archive what OpenRouter says of completed UTC days, which it forgets after 30; for `stats --source account`."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime

from openrouter_usage.answers.analytics import MOST_DAYS
from openrouter_usage.archive.day import ArchivedDay
from openrouter_usage.archive.synced import Synced
from openrouter_usage.archive_file import Added, Archive
from openrouter_usage.cli.archived import open_archive
from openrouter_usage.cli.management import load_managing, require_mgmt_key
from openrouter_usage.cli.output import complain, progress, write
from openrouter_usage.cli.parser import Parser, account_name, whole_number
from openrouter_usage.collect import connect
from openrouter_usage.errors import OpenRouterUsageError, SettingsError
from openrouter_usage.period import UTC
from openrouter_usage.render.synced import as_json, as_text
from openrouter_usage.stretch import Stretch
from openrouter_usage.sync import Asking, Pace, check_not_blank, older_gaps

EXAMPLES = """examples:
  cost_tracker.py sync
  cost_tracker.py sync --quiet                 every day from cron; missed days are caught up for 30 days
  cost_tracker.py sync --backfill 365          older days too, as far as OpenRouter still tells them
  cost_tracker.py stats --source account --since 2026-01-01 --by day

it needs OPENROUTER_MGMT_KEY
"""
PROGRAM = "cost_tracker.py sync"


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument(
        "--backfill",
        type=whole_number(1, MOST_DAYS),
        default=0,
        metavar="DAYS",
        help=f"also ask for what is missing of so many days (at most {MOST_DAYS}), without providers",
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing when nothing is new")
    parser.add_argument("--account", type=account_name, metavar="ID", help="the account that the key must be of")
    parser.add_argument("--timeout", type=whole_number(1, 600), default=30, metavar="S", help="seconds to wait (30)")


def run(options: Namespace, *, now: datetime | None = None) -> int:
    """Archive what is new; what was archived before a failure stays, and is shown."""
    settings = load_managing(PROGRAM)
    client = connect(settings, timeout_s=options.timeout)(require_mgmt_key(settings))
    archive = open_archive()
    now = now or datetime.now(UTC)
    asking = Asking(client, now)
    account = _account(asking.account(), options.account)
    span, days = asking.confirmed_days(account, archive.read().accounts.get(account, {}))
    added = archive.add(days, may_be_another=bool(options.account), check=lambda known: check_not_blank(days, known))
    progressed = _Progress(added)
    if options.backfill:
        _backfill(progressed, asking, archive, span=span, back=options.backfill, days=days)
    synced = _synced(progressed, archive, account, span)
    if options.json:
        write(as_json(synced, now, progressed.error))
    elif progressed.written or progressed.error or not options.quiet:
        write(as_text(synced))
    if progressed.error:
        complain(PROGRAM, f"not everything could be archived: {progressed.error.message}", progressed.error.hint)
        return progressed.error.exit_code
    return 0


def _account(told: str, named: str | None) -> str:
    """Give the account of the key, by OpenRouter's word, or by the user's where OpenRouter has none."""
    if told and named and told != named:
        raise SettingsError(
            f"the management key is of the account {told}, not of {named}",
            hint="nothing was archived; see OPENROUTER_MGMT_KEY, or leave --account out",
            code="other_account",
        )
    if not told and not named:
        raise SettingsError(
            "OpenRouter does not say whose the management key is, and accounts must not be mixed",
            hint="name its account yourself, always the same: sync --account NAME",
            code="other_account",
        )
    return told or str(named)


class _Progress:
    """What was written so far, the days that nobody can tell whole, and what ended the asking early."""

    def __init__(self, added: Added) -> None:
        self.written = list(added.changes)
        self.contents = added.contents
        self.untold: list[Stretch] = []
        self.error: OpenRouterUsageError | None = None

    def add(self, added: Added) -> None:
        self.written += added.changes
        self.contents = added.contents


def _backfill(
    progressed: _Progress, asking: Asking, archive: Archive, *, span: Stretch, back: int, days: list[ArchivedDay]
) -> None:
    """Archive older days piece by piece: what breaks off leaves what was archived before."""
    account, pace, done = days[0].account, Pace(), 0
    known = progressed.contents.accounts[account]
    unsure = older_gaps(span, back, known)
    if not unsure:
        return
    try:
        told = asking.older_sums(Stretch(unsure[0].first, span.last), days, pace)
        gaps = older_gaps(span, back, known, told)
        total = sum(gap.length for gap in gaps)
        for piece, found in asking.older_days(account, gaps, told, pace):
            if found is None:
                progressed.untold.append(piece)
            else:
                progressed.add(archive.add(found))
            done += piece.length
            progress(f"asking for older days: {done:,} of {total:,}", is_over=done == total)
    except OpenRouterUsageError as error:
        progress("", is_over=True)
        progressed.error = error


def _synced(progressed: _Progress, archive: Archive, account: str, span: Stretch) -> Synced:
    contents = progressed.contents
    damaged = [line for line in contents.unread if line.is_damaged]
    return Synced(
        account=account,
        file=str(archive.path),
        asked=span,
        written=tuple(progressed.written),
        known=contents.accounts.get(account, {}),
        untold=tuple(progressed.untold),
        damaged=len(damaged),
        foreign=len(contents.unread) - len(damaged),
        first_damaged=damaged[0].offset if damaged else None,
    )
