"""Opens the ledger or the archive for a verb: notices go to standard error, and long reading shows its progress."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from datetime import date, datetime, time

from openrouter_usage.called import as_called
from openrouter_usage.cli.asking import account_by, before_of, period_of, refuse_zone
from openrouter_usage.cli.program import complain, progress
from openrouter_usage.errors import SettingsError
from openrouter_usage.figures.account_days import GROUPINGS, Wanted, account_report, archived_days, with_ledger
from openrouter_usage.figures.account_days import joined_report as joined_report_of
from openrouter_usage.figures.archive import Days, chosen
from openrouter_usage.figures.limits import dated_ahead_from
from openrouter_usage.figures.report import Report
from openrouter_usage.files import archive_beside
from openrouter_usage.home.settings import ledger_file, shared_ledger
from openrouter_usage.jobs.archive import Archive
from openrouter_usage.jobs.breakdown import tracked_days, unread_notes
from openrouter_usage.jobs.price_list import canonical_names
from openrouter_usage.ledger import engines
from openrouter_usage.ledger.ledger import Ahead, Health, Ledger
from openrouter_usage.money import Json, format_usd
from openrouter_usage.period import EVER, UTC, Period, Stretch, spoken
from openrouter_usage.text import named, plural, quoted, safe
from openrouter_usage.vocabulary import Where, parts_of

# -- Opening the ledger for a verb: notices and progress go to standard error.

_MOST_DOUBTFUL = 3
_WORTH_SHOWING = 16 * 1024 * 1024

_opened: list[Ledger] = []


def open_ledger(program: str) -> Ledger:
    """Open the ledger that the environment names; `close_ledgers` has to follow."""
    ledger = engines.open_ledger(notice=lambda text: complain(program, text), progress=_show_progress)
    _opened.append(ledger)
    return ledger


def open_ledger_quietly(lock_timeout_s: float, *, may_be_new: bool = False) -> Ledger | None:
    """Open the ledger for a look that must not wait or say anything; None where there is none yet."""
    if shared_ledger() is not None:
        return engines.open_ledger(lock_timeout_s=lock_timeout_s)
    path = ledger_file()
    if not may_be_new and not path.exists():
        return None
    return Ledger(path, lock_timeout_s=lock_timeout_s)


def close_ledgers() -> None:
    """Close all open ledgers: the program exits at once, and SQLite would leave its log unmerged."""
    while _opened:
        _opened.pop().close()


def _show_progress(done: int, size: int) -> None:
    if size >= _WORTH_SHOWING:
        progress(f"reading the ledger: {100 * done // size}%", is_over=done >= size)


def unsettled_notes(health: Health) -> list[str]:
    """Return notes on recorded calls without a certain cost that OpenRouter knows, and on implausible bills."""
    notes = []
    if health.unsettled:
        notes.append(
            f"{plural(health.unsettled, 'call')} in the ledger whose cost is unknown or estimated can be looked up;"
            f" run: {as_called('cost_tracker.py settle')}"
        )
    for entry in health.doubtful[:_MOST_DOUBTFUL]:
        notes.append(
            f"{named(entry.id)} has the implausible bill {quoted(entry.told)}: under a budget nothing"
            " is sent until you have looked at the bill; then run: "
            f"{as_called('cost_tracker.py settle')} --id {safe(entry.id)}"
        )
    return notes


def ahead_notes(ahead: Ahead | None) -> list[str]:
    """Return notes on calls dated in the future: what they cost, and how to remove them from every later budget."""
    if ahead is None:
        return []
    return [
        f"{plural(ahead.usage.requests, 'call')} dated in the future, up to {spoken(ahead.last)}, with"
        f" {format_usd(ahead.usage.cost)}: a clock was wrong, and every budget until then counts them;"
        f" `{as_called('cost_tracker.py settle')}` asks OpenRouter when they were made, `clean --ahead` removes them"
    ]


def where_kept(ledger: Ledger) -> tuple[str, dict[str, Json]]:
    """Return which ledger the figures are of, in words and as data; a shared one is asked who this program is to it."""
    member = ledger.whoami()
    data: dict[str, Json] = {"name": ledger.source, "is_shared": ledger.is_shared}
    data |= {"member": member.name if member else None, "version": member.version if member else None}
    return f"{ledger.shown}{f', as {member}, version {member.version}' if member else ''}", data


# -- The archive for a verb, and the report of `stats --source account`.


def open_archive() -> Archive:
    """Open the archive beside the ledger; SettingsError when the ledger has taken its name."""
    ledger = ledger_file()
    path = archive_beside(ledger)
    if path == ledger:
        raise SettingsError(
            f"the ledger has the name {path.name}, which belongs to the archive",
            hint="set OPENROUTER_USAGE_FILE to another file",
        )
    return Archive(path)


def archived_report(options: Namespace, period: Period | None, title: str, now: datetime, where: Where = ()) -> Report:
    """Return the report of the archived days that the options pick; SettingsError for a grouping that they lack."""
    unknown = [word for word in (*parts_of(options.by), *(each.kind for each in where)) if word not in GROUPINGS]
    if unknown:
        raise SettingsError(
            f"OpenRouter's figures of an account cannot be grouped by {unknown[0]}",
            hint=f"--by {', '.join(GROUPINGS[:-1])} or {GROUPINGS[-1]}; for tracked calls: --source ledger",
            code="usage",
        )
    refuse_zone(options)
    archive = open_archive()
    contents = archive.read()
    account = chosen(contents.accounts, options.account or "")
    is_open = period is not None and not options.period and not options.since
    wanted = Wanted(title, period, is_open, options.by, options.top, options.trend, where)
    report = account_report(account, contents.accounts[account], wanted, now)
    return replace(report, file=str(archive.path), notes=(*report.notes, *unread_notes(contents.unread)))


def joined_report(ledger: Ledger, options: Namespace, title: str, now: datetime, where: Where = ()) -> Report:
    """Return the report of the archived days, and of the ledger's calls on every other day."""
    account_by(options)
    refuse_zone(options)
    archive = open_archive()
    contents = archive.read()
    account = chosen(contents.accounts, options.account or "") if contents.accounts or options.account else ""
    known = contents.accounts.get(account, {})
    span = _span(ledger, period_of(options, now), known, now)
    earlier = before_of(options, now) if options.compare else None
    whole = span if earlier is None else Stretch(min(span.first, earlier.first), max(span.last, earlier.last))
    found = with_ledger(archived_days(known, whole, where), tracked_days(ledger, whole, options.by, where))
    wanted = Wanted(f"{title}, account and ledger", span.period, False, options.by, options.top, options.trend, where)
    report = joined_report_of(
        found,
        span,
        earlier,
        account=account,
        wanted=wanted,
        name_of=canonical_names(found.slugs),
        is_running=span.last == now.astimezone(UTC).date(),
    )
    health, ahead = ledger.health(), ledger.ahead(dated_ahead_from(now))
    notes = (*report.notes, *unread_notes(contents.unread), *unread_notes(health.unread), *ahead_notes(ahead))
    return replace(report, file=f"{archive.path} and {ledger.source}" if known else ledger.source, notes=notes)


def _span(ledger: Ledger, period: Period | None, known: Days, now: datetime) -> Stretch:
    """Return the days of a period up to the running one, from the first that is known where it has no beginning."""
    running = now.astimezone(UTC).date()
    if period and any(end.astimezone(UTC).time() != time() for end in (period.start, period.end)):
        raise SettingsError(
            "OpenRouter's figures cover whole UTC days",
            hint="give days, such as 2026-11-22, not moments",
            code="usage",
        )
    last = min(period.last_day, running) if period else running
    if period and period.first_day > running:
        raise SettingsError(
            f"the period is in the future: today is {running} (UTC)", hint="choose an earlier day", code="usage"
        )
    if period and period.start > EVER.start:
        return Stretch(period.first_day, last)
    met = [*known, *map(date.fromisoformat, ledger.totals(period, "day").groups)]
    return Stretch(min((day for day in met if day <= last), default=last), last)
