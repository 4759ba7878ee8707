"""Makes a report of archived days: what is known is summed, what is not is named, and never taken for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from typing import NamedTuple

from openrouter_usage.answers.account import ActivityRow
from openrouter_usage.archive.day import ACTIVITY, ANALYTICS, ArchivedDay
from openrouter_usage.archive.known import Days, missing, spoken_stretches
from openrouter_usage.errors import SettingsError
from openrouter_usage.period import DAY, UTC, Period, today
from openrouter_usage.report import MOST_BARS, Report, cut, ranked
from openrouter_usage.stretch import Stretch
from openrouter_usage.summary.model import Share
from openrouter_usage.text import plural
from openrouter_usage.usage import NOTHING, Usage

GROUPINGS = ("model", "day", "provider")
NameOf = Callable[[ActivityRow], str]


class Wanted(NamedTuple):
    """What a report is to be about; with `is_open` its period begins where the archive does."""

    title: str
    period: Period | None
    is_open: bool
    by: str
    top: int | None
    has_trend: bool


def account_report(account: str, known: Days, wanted: Wanted, now: datetime) -> Report:
    """Sum the archived days of an account; SettingsError for a period of which no day can be known."""
    span = _span(wanted, known, now)
    days = {day: known[day] for day in span.days() if day in known}
    if not days:
        raise SettingsError(
            f"nothing is archived of {span}, so what was spent is not known",
            hint=f"{Stretch(min(known), max(known))} is archived; for older days: cost_tracker.py sync --backfill 365",
            code="not_archived",
        )
    groups = _groups(days, wanted.by, _model_names(known))
    rows, more_count, more = cut(ranked(groups, wanted.by), wanted.by, wanted.top)
    trend, earlier_days, earlier = _trend(days) if wanted.has_trend else ((), 0, NOTHING)
    gaps = missing(span, known)
    sources = " and ".join(source for source in (ACTIVITY, ANALYTICS) if any(d.source == source for d in days.values()))
    return Report(
        title=wanted.title,
        period=wanted.period,
        zone=UTC,
        by=wanted.by,
        total=sum(groups.values(), NOTHING),
        rows=rows,
        more_count=more_count,
        more=more,
        trend=trend,
        earlier_days=earlier_days,
        earlier=earlier,
        origin=f"OpenRouter's {sources}",
        account=account,
        missing=tuple(gap.period for gap in gaps),
        notes=tuple(_notes(wanted, days, gaps, known, now)),
    )


def _span(wanted: Wanted, known: Days, now: datetime) -> Stretch:
    """Give the completed days of a period; SettingsError when it is of parts of days, or of days that are not over."""
    period, running = wanted.period, today(now).first_day
    # A clock that is behind must not hide what is known.
    latest = max(running - DAY, *known)
    if period is None:
        return Stretch(min(known), latest)
    if any(end.astimezone(UTC).time() != time() for end in (period.start, period.end)):
        raise SettingsError(
            "OpenRouter's figures are of whole UTC days",
            hint="give days, such as 2026-11-22, not moments",
            code="usage",
        )
    first, last = min(known) if wanted.is_open else period.first_day, min(period.last_day, latest)
    if wanted.is_open and first > last:
        raise SettingsError(
            f"nothing is archived before {first}",
            hint="for older days: cost_tracker.py sync --backfill 365",
            code="not_archived",
        )
    if first > last:
        raise SettingsError(
            f"no day of this period is over yet: {running} is running (UTC), and is archived tomorrow",
            hint="for the running day: stats without --source account, or stats.py",
            code="not_archived",
        )
    return Stretch(first, last)


def _model_names(known: Mapping[date, ArchivedDay]) -> NameOf:
    """Give each row's model; a dated slug stands for the one model that /activity has shown it to be, if it has."""
    met: dict[str, set[str]] = {}
    for day in known.values():
        for row in day.rows if day.source == ACTIVITY else ():
            met.setdefault(row.slug, set()).add(row.model)
    sure = {slug: next(iter(models)) for slug, models in met.items() if slug and len(models) == 1}
    return lambda row: sure.get(row.slug, row.model) if row.model == row.slug else row.model


def _groups(days: Days, by: str, model_of: NameOf) -> dict[str, Usage]:
    """Sum by one grouping; a day without spend is a group of its own, for that is known as well."""
    if by == "day":
        return {day.isoformat(): archived.total for day, archived in days.items()}
    name_of: NameOf = model_of if by == "model" else lambda row: row.provider
    groups: dict[str, Usage] = {}
    for row in (row for archived in days.values() for row in archived.rows):
        groups[name_of(row)] = groups.get(name_of(row), NOTHING) + row.usage
    return groups


def _trend(days: Days) -> tuple[tuple[Share, ...], int, Usage]:
    """Give the last days that are known, then what came earlier; one that is not known has no bar."""
    shares = [Share(day.isoformat(), days[day].total) for day in sorted(days)]
    earlier = shares[:-MOST_BARS]
    spent = sum(1 for share in earlier if share.usage != NOTHING)
    return tuple(shares[-MOST_BARS:]), spent, sum((share.usage for share in earlier), NOTHING)


def _notes(wanted: Wanted, days: Days, gaps: list[Stretch], known: Days, now: datetime) -> Iterator[str]:
    if gaps:
        yield f"not complete: {spoken_stretches(gaps)} not known and in no sum; sync --backfill 365 may still find them"
    period, running = wanted.period, today(now)
    if period is None or (period.start < running.end and running.start < period.end):
        yield f"completed UTC days only: {running.first_day} is still running and not in these"
    if period is None or wanted.is_open:
        yield f"the archive begins with {min(known)}; what was spent before that is not known"
    backfilled = sum(1 for archived in days.values() if archived.source == ANALYTICS)
    if backfilled:
        yield f"{plural(backfilled, 'day')} from /analytics/query, which tells no provider of days so old"
