"""Archived days as a report, and as the breakdown of a period; unknown days are named, never taken for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, time
from typing import NamedTuple

from openrouter_usage.called import as_called
from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.errors import SettingsError
from openrouter_usage.figures.archive import (
    ACTIVITY,
    ANALYTICS,
    UNKNOWN_PROVIDER,
    ArchivedDay,
    Days,
    missing,
    spoken_stretches,
)
from openrouter_usage.figures.breakdown import Breakdown, Coverage, Joined, added, break_down, compare, with_names
from openrouter_usage.figures.model_names import Canonical, canonical
from openrouter_usage.figures.options import DEFAULT_TOP, REPORT_TOP
from openrouter_usage.figures.report import MOST_BARS, Report
from openrouter_usage.openrouter.answers.account import ActivityRow, Gap
from openrouter_usage.period import DAY, UTC, Period, Stretch, stretches, today
from openrouter_usage.text import plural
from openrouter_usage.vocabulary import (
    KEY_GROUPINGS,
    TIMES,
    Where,
    account_dimensions,
    both_know,
    joined,
    names_of,
    parts_of,
    time_name,
)

# -- Makes a report of archived days: what is known is summed, what is not is named, and never taken for nothing.

# What an account's archived days can be grouped by, and by what their rows can be picked.
GROUPINGS = ("model", "provider", "day", "week", "month", "weekday")
NameOf = Callable[[ActivityRow], str]


class Wanted(NamedTuple):
    """What a report is to be about; with `is_open` its period begins where the archive does."""

    title: str
    period: Period | None
    is_open: bool
    by: str
    top: int | None
    has_trend: bool
    where: Where = ()


def account_report(account: str, known: Days, wanted: Wanted, now: datetime) -> Report:
    """Sum the archived days of an account; SettingsError for a period of which no day can be known."""
    span = _span(wanted, known, now)
    days = {day: known[day] for day in span.days() if day in known}
    if not days:
        raise SettingsError(
            f"nothing is archived for {span}, so what was spent is not known",
            hint=f"{Stretch(min(known), max(known))} is archived; "
            + as_called("for older days: cost_tracker.py sync --backfill 365"),
            code="not_archived",
        )
    model_of = _model_names(known)
    if asks_for_providers(wanted.where):
        # Such a day is not known by provider, so it is named as missing and not shown as one without spend.
        known = {day: archived for day, archived in known.items() if not _hides_provider(archived)}
        days = {day: archived for day, archived in days.items() if day in known}
        if not days:
            raise SettingsError(
                f"no archived day of {span} names its providers",
                hint="leave out --provider",
                code="not_archived",
            )
    days = {day: _picked(archived, wanted.where, model_of) for day, archived in days.items()}
    groups = with_names(_groups(days, wanted.by, model_of), wanted.by)
    gaps = missing(span, known)
    sources = " and ".join(source for source in (ACTIVITY, ANALYTICS) if any(d.source == source for d in days.values()))
    found = break_down(
        groups,
        wanted.by,
        most=REPORT_TOP,
        top=wanted.top,
        period=wanted.period,
        source=f"OpenRouter's {sources}",
    )
    coverage = Coverage(wanted.title, "UTC", _places(days), tuple(gap.period for gap in gaps))
    return Report(
        title=wanted.title,
        zone=UTC,
        breakdown=found._replace(coverage=coverage),
        trend=_trend(days) if wanted.has_trend else None,
        account=account,
        notes=tuple(_notes(wanted, days, gaps, known, now)),
    )


def _span(wanted: Wanted, known: Days, now: datetime) -> Stretch:
    """Return the completed days of a period; SettingsError for parts of days, and for days that are not over."""
    period, running = wanted.period, today(now).first_day
    # A clock that is behind must not hide what is known.
    latest = max(running - DAY, *known)
    if period is None:
        return Stretch(min(known), latest)
    if any(end.astimezone(UTC).time() != time() for end in (period.start, period.end)):
        raise SettingsError(
            "OpenRouter's figures cover whole UTC days",
            hint="give days, such as 2026-11-22, not moments",
            code="usage",
        )
    first, last = min(known) if wanted.is_open else period.first_day, min(period.last_day, latest)
    if wanted.is_open and first > last:
        raise SettingsError(
            f"nothing is archived before {first}",
            hint=as_called("for older days: cost_tracker.py sync --backfill 365"),
            code="not_archived",
        )
    if first > last:
        raise SettingsError(
            f"no day of this period is over yet: {running} is running (UTC), and is archived tomorrow",
            hint=as_called("for the running day: stats without --source account, or stats.py"),
            code="not_archived",
        )
    return Stretch(first, last)


def _model_names(known: Mapping[date, ArchivedDay]) -> NameOf:
    """Return each row's model; a dated slug stands for the one model that /activity has shown it to be, if it has."""
    met: dict[str, set[str]] = {}
    for day in known.values():
        for row in day.rows if day.source == ACTIVITY else ():
            met.setdefault(row.slug, set()).add(row.model)
    sure = {slug: next(iter(models)) for slug, models in met.items() if slug and len(models) == 1}
    return lambda row: sure.get(row.slug, row.model) if row.model == row.slug else row.model


def _provider(row: ActivityRow) -> str:
    return row.provider


def asks_for_providers(where: Where) -> bool:
    """Check whether spend of which the provider is not known may or may not be asked for."""
    return any(each.kind == "provider" and not each.takes(UNKNOWN_PROVIDER) for each in where)


def _hides_provider(day: ArchivedDay) -> bool:
    return any(row.provider == UNKNOWN_PROVIDER and row.usage != NOTHING for row in day.rows)


def _picked(day: ArchivedDay, where: Where, model_of: NameOf) -> ArchivedDay:
    """Return a day with the rows that filters take."""
    names: dict[str, NameOf] = {"model": model_of, "provider": _provider}
    rows = (row for row in day.rows if all(each.takes(names[each.kind](row)) for each in where))
    return replace(day, rows=tuple(rows)) if where else day


def _groups(days: Days, by: str, model_of: NameOf) -> dict[str, Usage]:
    """Sum by one or two groupings; a day without spend is a group too, because its spend is known."""
    names: dict[str, NameOf] = {"model": model_of, "provider": _provider}
    parts = parts_of(by)
    if len(parts) == 1 and by in TIMES:
        return added((time_name(by, day), archived.total) for day, archived in days.items())

    def name(day: date, row: ActivityRow) -> str:
        return joined(names[part](row) if part in names else time_name(part, day) for part in parts)

    return added((name(day, row), row.usage) for day, archived in days.items() for row in archived.rows)


def _trend(days: Days) -> Breakdown:
    """Return the last days that are known, and what came earlier; one that is not known has no bar."""
    last = sorted(days)[-MOST_BARS:]
    totals = {day: archived.total for day, archived in days.items()}
    spent = {day.isoformat(): total for day, total in totals.items() if day >= last[0] or total != NOTHING}
    return break_down(spent, "day", most=MOST_BARS, top=MOST_BARS)


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


# -- Makes the breakdown of a chosen period from days that several sources told of; what is not known is named.

LIVE = f"{ANALYTICS} (live)"


class KnownDay(NamedTuple):
    """What one source said of one UTC day, whole; no rows means that nothing was spent.

    A row of what a key or a workspace spent has that name in place of the model's.
    """

    source: str
    rows: tuple[ActivityRow, ...]

    @property
    def total(self) -> Usage:
        """All rows summed."""
        return sum((row.usage for row in self.rows), NOTHING)


class Told(NamedTuple):
    """What each source said of days: those that /activity covers for certain, archived ones, and analytics rows.

    The analytics API says that of the days in `summed` there was spend on the `spent` ones alone; None where it did not
    say. `is_blank` tells that /activity had no row at all, and was not asked a second time.
    """

    activity: Mapping[date, tuple[ActivityRow, ...]]
    is_blank: bool
    archived: Mapping[date, ArchivedDay]
    analytics: Mapping[date, tuple[ActivityRow, ...]]
    summed: Stretch | None
    spent: frozenset[date]

    def known(self, day: date, running: date) -> KnownDay | None:
        """Return what the best source says of a day, None where no source can be believed."""
        candidates = list(self._candidates(day, running))
        is_spent = any(candidate.rows for candidate in candidates)
        for candidate in candidates:
            if candidate.rows or self._is_empty(day, candidate, is_spent=is_spent):
                return candidate
        return None

    def _candidates(self, day: date, running: date) -> Iterator[KnownDay]:
        """Yield what was said of a day, the answer that knows most first."""
        if day in self.activity:
            yield KnownDay(ACTIVITY, self.activity[day])
        if day in self.archived:
            yield KnownDay(f"archive of {self.archived[day].source}", self.archived[day].rows)
        if day in self.analytics:
            yield KnownDay(LIVE if day == running else ANALYTICS, self.analytics[day])

    def _is_empty(self, day: date, said: KnownDay, *, is_spent: bool) -> bool:
        """Check whether an answer without spend is proven: by the sums, or as far as no other answer speaks against it.

        Without the sums, the analytics API's silence about a day proves nothing.
        """
        if self.summed is not None and self.summed.first <= day <= self.summed.last:
            return day not in self.spent
        is_trusted = said.source not in (ANALYTICS, LIVE) and not (said.source == ACTIVITY and self.is_blank)
        return is_trusted and not is_spent


class Part(NamedTuple):
    """What a UTC day had come to at the moment `until`."""

    day: date
    until: datetime
    known: KnownDay


class Tracked(NamedTuple):
    """What a ledger, `source`, has seen of UTC days, as groups of `ledger_question`'s groupings after the day."""

    source: str
    by: str
    days: Mapping[date, Mapping[str, Usage]]


class DaysFound(NamedTuple):
    """All that could be found of a span: the days that are known, and for each other day why it is not.

    `live_until` is the moment up to which the running day is known, None where it is not among the days. `names` are
    rows that tell which model a dated slug is. With `tracked`, days that the account does not tell are the ledger's.
    `part` is one of them up to the hour at which the running day is.
    """

    span: Stretch
    days: Mapping[date, KnownDay]
    reasons: Mapping[date, Gap]
    live_until: datetime | None
    names: tuple[ActivityRow, ...] = ()
    notes: tuple[str, ...] = ()
    dimensions: tuple[str, ...] = ()
    tracked: Tracked | None = None
    part: Part | None = None

    def is_of_ledger(self, day: date) -> bool:
        """Check whether a day that is known is the ledger's."""
        return self.tracked is not None and self.days[day].source == self.tracked.source

    @property
    def slugs(self) -> set[str]:
        """Every dated slug that stands in place of a model's name."""
        rows = (row for known in self.days.values() for row in known.rows)
        return {row.slug for row in rows if row.slug == row.model}

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """One Gap for each reason, naming the days that it keeps unknown."""
        by_reason: dict[tuple[str, str], tuple[Gap, list[date]]] = {}
        for day in sorted(self.reasons):
            gap = self.reasons[day]
            by_reason.setdefault((gap.code, gap.message), (gap, []))[1].append(day)
        return tuple(
            gap._replace(part="days", message=f"{spoken_stretches(stretches(unknown))}, in no sum: {gap.message}")
            for gap, unknown in by_reason.values()
        )


def usual_names(rows: Iterable[ActivityRow]) -> dict[str, str]:
    """Return the model that each dated slug stands for: of several the plainest, then the dearest."""
    return {row.slug: row.model for row in sorted(rows, key=lambda row: (":" not in row.model, row.usage.cost))}


def period_breakdown(
    found: DaysFound,
    *,
    title: str,
    by: str,
    top: int | None,
    name_of: Canonical = canonical,
    where: Where = (),
    most: int = DEFAULT_TOP,
) -> Breakdown | None:
    """Sum the known days by one grouping; None where no day at all is known.

    With `by` day every known day is a row, also one without spend. `name_of` gives dated slugs a model's name where
    /activity has none for them.
    """
    if not found.days:
        return None
    span, known = found.span, found.days
    period = span.period._replace(label=str(span))
    places = _places(known)
    source = " + ".join(name for name, _ in places)
    groups = _sums(found, by, name_of, where)
    shared = break_down(groups, by, most=most, top=top, period=period, source=source)
    live = _picked_total(found, known[span.last].rows, name_of, where) if found.live_until is not None else None
    gaps = tuple(gap.period for gap in missing(span, known))
    coverage = Coverage(title, "UTC", places, gaps, live, found.live_until, _joined(found, name_of, where))
    return shared._replace(coverage=coverage)


def compared_periods(
    found: DaysFound,
    span: Stretch,
    earlier: Stretch | None,
    *,
    title: str,
    by: str,
    top: int | None,
    name_of: Canonical,
    where: Where,
    is_running: bool,
    most: int = DEFAULT_TOP,
) -> Breakdown | None:
    """Sum the days of a span, with those of an earlier one, if any, beside them.

    While the span is running these are as many days, the last of them up to the same hour where that is known.
    """
    now = _within(found, span)
    shared = period_breakdown(now, title=title, by=by, top=top, name_of=name_of, where=where, most=most)
    if shared is None or earlier is None:
        return shared
    if is_running:
        earlier = Stretch(earlier.first, min(earlier.last, earlier.first + (span.length - 1) * DAY))
    then, period = _within(found, earlier), earlier.period
    part = found.part
    has_part = part is not None and found.tracked is None and earlier.last == part.day
    if part and has_part and is_running:
        then = then._replace(days={**then.days, part.day: part.known})
        period = period._replace(end=part.until)
    unknown = earlier.length - len(then.days)
    after, before = (_sums(each, by, name_of, where) for each in (now, then))
    compared = compare(period, after, before, unknown_days=unknown)
    return shared._replace(compared=compared._replace(is_uneven=is_running and not has_part))


def days_by_model(found: DaysFound, span: Stretch, *, name_of: Canonical, where: Where) -> dict[date, dict[str, Usage]]:
    """Return what each model cost on each known day of a span, also on those without spend."""
    now = _within(found, span)
    days: dict[date, dict[str, Usage]] = {day: {} for day in now.days}
    for name, usage in _sums(now, "day,model", name_of, where).items():
        day, model = names_of(name)
        days[date.fromisoformat(day)][model] = usage
    return days


def _within(found: DaysFound, span: Stretch) -> DaysFound:
    """Return what was found of some of the days."""
    is_live = found.live_until is not None and span.last == found.span.last
    return found._replace(
        span=span,
        days={day: known for day, known in found.days.items() if span.first <= day <= span.last},
        reasons={day: gap for day, gap in found.reasons.items() if span.first <= day <= span.last},
        live_until=found.live_until if is_live else None,
    )


def _sums(found: DaysFound, by: str, name_of: Canonical, where: Where) -> dict[str, Usage]:
    parts = parts_of(by)
    if found.tracked and is_finer(by):
        return _finer_sums(found, found.tracked, by, name_of, where)
    if len(parts) == 1 and by in TIMES and not where:
        return added((time_name(by, day), known.total) for day, known in found.days.items())
    name = _namer(found, "", where, name_of) if found.tracked else _namer(found, by, where, name_of)
    sums: dict[str, Usage] = {}
    if len(parts) == 1 and by in TIMES:
        sums = {time_name(by, day): NOTHING for day in found.days}
    for day in sorted(found.days):
        # The ledger has already picked what it tells.
        filters = () if found.is_of_ledger(day) else where
        for row in found.days[day].rows:
            if all(each.takes(name(each.kind, row)) for each in filters):
                group = joined(time_name(part, day) if part in TIMES else name(part, row) for part in parts)
                sums[group] = sums.get(group, NOTHING) + row.usage
    return with_names(sums, by) if found.tracked else sums


def _picked_total(found: DaysFound, rows: Iterable[ActivityRow], name_of: Canonical, where: Where) -> Usage:
    name = _namer(found, "", where, name_of)
    taken = (row.usage for row in rows if all(each.takes(name(each.kind, row)) for each in where))
    return sum(taken, NOTHING)


def _namer(found: DaysFound, by: str, where: Where, name_of: Canonical) -> Callable[[str, ActivityRow], str]:
    """Return what names a row by model, provider, key or workspace; the rows hold what `account_dimensions` asks."""
    asked = found.dimensions or account_dimensions(by or "model", where)
    rows = [*found.names, *(row for known in found.days.values() for row in known.rows)]
    usual = usual_names([row for row in rows if row.model != row.slug])

    def name(part: str, row: ActivityRow) -> str:
        is_first = part == asked[0] if set(asked) & set(KEY_GROUPINGS) else part == "model"
        if part == "model":
            model = row.model if is_first else row.provider
            slug = row.slug if is_first else model
            return (usual.get(slug) or name_of(slug)) if slug and slug == model else model
        return row.model if is_first else row.provider

    return name


def _places(known: Mapping[date, KnownDay | ArchivedDay]) -> tuple[tuple[str, tuple[Period, ...]], ...]:
    """Return the days that each source told of, the source of the latest day last."""
    by_source: dict[str, list[date]] = {}
    for day in sorted(known):
        by_source.setdefault(known[day].source, []).append(day)
    return tuple((source, tuple(each.period for each in stretches(days))) for source, days in by_source.items())


# -- Joins the account's days with what the ledger has seen of them: each day counts by one of the two, never by both.

NOT_TRACKED = "(not tracked)"


def is_finer(by: str) -> bool:
    """Check whether a breakdown needs what only the ledger tells, such as sessions or hours."""
    return both_know(by) != parts_of(by)


def ledger_question(by: str) -> str:
    """Return by what the ledger has to be asked for a breakdown of both: the day comes first."""
    return f"day,{by if is_finer(by) else 'model,provider'}"


def with_ledger(found: DaysFound, tracked: Tracked) -> DaysFound:
    """Let the ledger tell of the days that the account does not, where it has calls of them."""
    span = found.span
    only = {day: groups for day, groups in tracked.days.items() if day not in found.days and day in set(span.days())}
    days = {day: KnownDay(tracked.source, tuple(_ledger_rows(day, groups, tracked.by))) for day, groups in only.items()}
    reasons = {day: gap for day, gap in found.reasons.items() if day not in only}
    return found._replace(days=found.days | days, reasons=reasons, tracked=tracked)  # type: ignore[operator]  # dicts


def _ledger_rows(day: date, groups: Mapping[str, Usage], by: str) -> Iterator[ActivityRow]:
    for name, usage in groups.items():
        model, provider = ("", "") if is_finer(by) else names_of(name)
        yield ActivityRow(day, model, provider, usage)


def _finer_sums(found: DaysFound, tracked: Tracked, by: str, name_of: Canonical, where: Where) -> dict[str, Usage]:
    """Sum the ledger's groups; what the account has beyond them on a day that it told of is not tracked.

    That may be less than nothing, where the ledger has calls of another account, so that all adds up to the account.
    """
    parts, known_to_both = parts_of(by), both_know(by)
    name = _namer(found, "", where, name_of)
    sums: dict[str, Usage] = {}

    def count(group: str, usage: Usage) -> None:
        sums[group] = sums.get(group, NOTHING) + usage

    for day, known in found.days.items():
        is_ledgers = found.is_of_ledger(day)
        for group, seen in tracked.days.get(day, {}).items():
            usage = seen if is_ledgers else _as_account(seen)
            count(group, usage)
            if not is_ledgers:
                of = zip(parts, names_of(group), strict=True)
                count(joined(each if part in known_to_both else NOT_TRACKED for part, each in of), NOTHING - usage)
        for row in () if is_ledgers else known.rows:
            if all(each.takes(name(each.kind, row)) for each in where):
                rest = (part if part in known_to_both else "" for part in parts)
                names = (time_name(part, day) if part in TIMES else part and name(part, row) for part in rest)
                count(joined(each or NOT_TRACKED for each in names), row.usage)
    return {group: usage for group, usage in sums.items() if usage != NOTHING}


def _as_account(usage: Usage) -> Usage:
    """Leave out what an account's figures do not count, and whose cost they have in their sum."""
    return usage._replace(cache_write_tokens=0, unknown=0, estimated=0)


def archived_days(known: Days, span: Stretch, where: Where) -> DaysFound:
    """Return what the archive knows of a span."""
    hides = asks_for_providers(where)
    days = {
        day: KnownDay(f"archive of {known[day].source}", known[day].rows)
        for day in span.days()
        if day in known and not (hides and _hides_provider(known[day]))
    }
    names = tuple(row for day in known.values() if day.source == ACTIVITY for row in day.rows)
    reasons = {day: _NOT_ARCHIVED for day in span.days() if day not in days}
    return DaysFound(span, days, reasons, None, names, (), ("model", "provider"))


_NOT_ARCHIVED = Gap("days", "not_archived", "not archived, and the ledger has no call of them", "", 2)


def joined_report(
    found: DaysFound,
    span: Stretch,
    earlier: Stretch | None,
    *,
    account: str,
    wanted: Wanted,
    name_of: Canonical,
    is_running: bool,
) -> Report:
    """Sum the days of a span, each by the account or by the ledger; SettingsError where neither knows a day of it."""
    shown = compared_periods(
        found,
        span,
        earlier,
        title=wanted.title,
        by=wanted.by,
        top=wanted.top,
        name_of=name_of,
        where=wanted.where,
        is_running=is_running,
        most=REPORT_TOP,
    )
    if shown is None:
        raise SettingsError(
            f"nothing is archived for {span}, and the ledger has no call of it, so what was spent is not known",
            hint=as_called("run: cost_tracker.py sync (from cron, every day)"),
            code="not_archived",
        )
    within = _within(found, span)
    trend = break_down(_sums(within, "day", name_of, wanted.where), "day", most=MOST_BARS, top=MOST_BARS)
    gaps = missing(span, within.days)
    unknown = f"not complete: {spoken_stretches(gaps)} not known and in no sum"
    return Report(
        title=wanted.title,
        zone=UTC,
        breakdown=shown,
        trend=trend if wanted.has_trend else None,
        account=account or None,
        notes=(unknown,) if gaps else (),
    )


def _joined(found: DaysFound, name_of: Canonical, where: Where) -> Joined | None:
    """Return what each of the two has given, None where the account alone was asked."""
    tracked = found.tracked
    if tracked is None:
        return None
    account = ledger = both = NOTHING
    above = []
    for day, known in sorted(found.days.items()):
        seen = sum(tracked.days.get(day, {}).values(), NOTHING)
        if found.is_of_ledger(day):
            ledger += seen
            continue
        whole = _picked_total(found, known.rows, name_of, where)
        account, both = account + whole, both + seen
        if seen.cost > whole.cost or seen.requests > whole.requests:
            above.append(day)
    spans = tuple(each.period for each in stretches(above))
    return Joined(account, ledger, _as_account(both), spans, both.unknown)
