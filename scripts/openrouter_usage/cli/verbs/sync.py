"""Archive OpenRouter's figures of completed UTC days, which it deletes after 30; for `stats --source account`."""

from __future__ import annotations

from argparse import Namespace
from datetime import datetime

from openrouter_usage.called import as_called
from openrouter_usage.cli.management import load_managing, require_mgmt_key
from openrouter_usage.cli.opening import open_archive
from openrouter_usage.cli.program import Parser, account_name, complain, progress, whole_number, write
from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.errors import OpenRouterUsageError, SettingsError
from openrouter_usage.figures.archive import ArchivedDay, Change, Synced, spoken_stretches, whole_span
from openrouter_usage.jobs.archive import Added, Archive
from openrouter_usage.jobs.summary import connect
from openrouter_usage.jobs.sync import Asking, Pace, check_not_blank, older_gaps
from openrouter_usage.money import Json
from openrouter_usage.openrouter.answers.analytics import MOST_DAYS
from openrouter_usage.period import DAY, Stretch, iso
from openrouter_usage.render.amounts import spent
from openrouter_usage.render.envelope import envelope
from openrouter_usage.text import named, plural, safe

# -- The result of `sync` as text and as JSON.

_MOST_CHANGED = 5


def as_text(synced: Synced) -> str:
    """Return what is new, what has changed, what is known and what is not, as text; amounts in USD."""
    lines = [f"OpenRouter's figures of completed UTC days, archived for {named(synced.account)}", *_written(synced)]
    span = whole_span(synced.known)
    if span:
        lines.append(f"Archived: {plural(len(synced.known), 'day')}, {span}, {synced.empty:,} of them without spend")
    lines.append(f"File: {safe(synced.file, 300)}")
    return "\n".join([*lines, *(f"⚠ {note}" for note in notes(synced))]) + "\n"


def _written(synced: Synced) -> list[str]:
    if not synced.written:
        return [f"Nothing new: {synced.asked} is unchanged"]
    lines = []
    if synced.new:
        usage = sum((change.day.total for change in synced.new), NOTHING)
        days = [change.day.day for change in synced.new]
        span = Stretch(min(days), max(days))
        lines.append(
            f"New: {plural(len(days), 'day')}, {span}: {spent(usage)} ({plural(usage.requests, 'call')})",
        )
    # The user may act on the latest changes.
    changed = sorted(synced.changed, key=lambda change: change.day.day)
    rest = len(changed) - _MOST_CHANGED
    lines += [f"Changed: {plural(rest, 'earlier day')}"] if rest > 0 else []
    return [*lines, *map(_changed, changed[-_MOST_CHANGED:])]


def _changed(change: Change) -> str:
    before = change.before.total if change.before else NOTHING
    now = change.day.total
    by = f", now by {change.day.source}" if change.before and change.before.source != change.day.source else ""
    calls = f" ({before.requests:,} to {plural(now.requests, 'call')})" if now.requests != before.requests else ""
    return f"Changed: {change.day.day}: {spent(before)} to {spent(now)}{calls}{by}"


def notes(synced: Synced) -> list[str]:
    """Return notes on unknown days, and on lines of the archive that are not read."""
    found = []
    if synced.gaps:
        found.append(f"{spoken_stretches(synced.gaps)} not known; {_way_out(synced)}")
    if synced.untold:
        why = "OpenRouter cut its answers short, or a row cannot be used"
        found.append(f"{spoken_stretches(list(synced.untold))} not archived: {why}")
    if synced.damaged:
        first = f"{'' if synced.damaged == 1 else 'the first '}at byte {synced.first_damaged:,}"
        found.append(f"{plural(synced.damaged, 'damaged line')} of the archive not counted, {first}")
    if synced.foreign:
        found.append(f"{plural(synced.foreign, 'line')} of an unknown kind kept and not counted")
    return found


def _way_out(synced: Synced) -> str:
    """Return how a gap can still be filled, and until when."""
    today = synced.asked.last + DAY
    back = min((today - synced.gaps[0].first).days, MOST_DAYS)
    is_lost = synced.gaps[-1].last < today - MOST_DAYS * DAY
    return "OpenRouter no longer has them" if is_lost else f"sync --backfill {back} asks for them"


def as_json(synced: Synced, now: datetime, error: OpenRouterUsageError | None) -> str:
    """Return the data of an envelope of kind `sync`; with an error, what was archived before the error."""
    span = whole_span(synced.known)
    data: dict[str, Json] = {
        "account": synced.account,
        "file": synced.file,
        "asked": _ends(synced.asked),
        "days": [_day(change) for change in synced.written],
        "archived": {"days": len(synced.known), "empty_days": synced.empty, **(_ends(span) if span else {})},
        "missing": [{**_ends(gap), "days": gap.length} for gap in synced.gaps],
        "untold_days": sum(stretch.length for stretch in synced.untold),
        "damaged_lines": synced.damaged,
        "foreign_lines": synced.foreign,
    }
    return envelope("sync", now, data, notes=notes(synced), error=error)


def _ends(stretch: Stretch) -> dict[str, Json]:
    return {"start": iso(stretch.period.start), "end": iso(stretch.period.end)}


def _day(change: Change) -> Json:
    before: Json = {**_usage(change.before.total), "source": change.before.source} if change.before else None
    day = change.day
    return {"date": day.day.isoformat(), "source": day.source, **_usage(day.total), "before": before}


def _usage(usage: Usage) -> dict[str, Json]:
    return {"cost_usd": usage.cost, "byok_usd": usage.byok_cost, "requests": usage.requests}


EXAMPLES = """examples:
  cost_tracker.py sync
  cost_tracker.py sync --quiet                 daily from cron; catches up on the last 30 days
  cost_tracker.py sync --backfill 365          older days too, as far as OpenRouter still has them
  cost_tracker.py stats --source account --since 2026-01-01 --by day

needs OPENROUTER_MGMT_KEY
"""
PROGRAM = as_called("cost_tracker.py sync")


def describe(parser: Parser) -> None:
    """Add the arguments of this verb."""
    parser.add_argument(
        "--backfill",
        type=whole_number(1, MOST_DAYS),
        default=0,
        metavar="DAYS",
        help=f"also ask for missing days this far back (at most {MOST_DAYS}), without providers",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing when nothing is new")
    parser.add_argument("--account", type=account_name, metavar="ID", help="the account that the key must belong to")
    parser.add_argument("--timeout", type=whole_number(1, 600), default=30, metavar="S", help="seconds to wait (30)")


def run(options: Namespace, *, now: datetime) -> int:
    """Archive new days; days archived before a failure stay, and are shown."""
    settings = load_managing(PROGRAM)
    client = connect(settings, timeout_s=options.timeout)(require_mgmt_key(settings))
    archive = open_archive()
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
    """Return the account of the key as OpenRouter names it, or as the user does where OpenRouter does not."""
    if told and named and told != named:
        raise SettingsError(
            f"nothing was archived: the management key belongs to the account {told}, not to {named}",
            hint="check OPENROUTER_MGMT_KEY, or leave --account out",
            code="other_account",
        )
    if not told and not named:
        raise SettingsError(
            "OpenRouter does not say which account owns the management key, and accounts must not be mixed",
            hint="choose a name for the account and always use it: sync --account NAME",
            code="other_account",
        )
    return told or str(named)


class _Progress:
    """What was written so far, the days that remain incomplete, and the error that ended the run early."""

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
    """Archive older days piece by piece, so that an error leaves the earlier pieces archived."""
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
