"""Makes the breakdown of a chosen period from days that several sources told of; what is not known is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import NamedTuple

from openrouter_usage.answers.account import ActivityRow
from openrouter_usage.answers.parts import Gap
from openrouter_usage.archive.day import ACTIVITY, ANALYTICS, ArchivedDay
from openrouter_usage.archive.known import missing, spoken_stretches
from openrouter_usage.model_names import Canonical, canonical
from openrouter_usage.period import Period
from openrouter_usage.stretch import Stretch, stretches
from openrouter_usage.summary.breakdown import share_out
from openrouter_usage.summary.model import Breakdown, Coverage
from openrouter_usage.usage import NOTHING, Usage

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


class DaysFound(NamedTuple):
    """All that could be found of a span: the days that are known, and for each other day why it is not.

    `live_until` is the moment up to which the running day is known, None where it is not among the days. `names` are
    rows that tell which model a dated slug is.
    """

    span: Stretch
    days: Mapping[date, KnownDay]
    reasons: Mapping[date, Gap]
    live_until: datetime | None
    names: tuple[ActivityRow, ...] = ()
    notes: tuple[str, ...] = ()

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
    found: DaysFound, *, title: str, by: str, top: int | None, name_of: Canonical = canonical
) -> Breakdown | None:
    """Sum the known days by one grouping; None where no day at all is known.

    With `by` day every known day is a row, also one without spend. `name_of` gives dated slugs a model's name where
    /activity has none for them.
    """
    if not found.days:
        return None
    span, known = found.span, found.days
    period = span.period._replace(label=str(span))
    shared = share_out(_sums(found, by, name_of), period, days=span.length, top=top, by=by)
    places = _places(known)
    live = known[span.last].total if found.live_until is not None else None
    gaps = tuple(gap.period for gap in missing(span, known))
    coverage = Coverage(title, "UTC", places, gaps, live, found.live_until)
    return shared._replace(source=" + ".join(source for source, _ in places), coverage=coverage)


def _sums(found: DaysFound, by: str, name_of: Canonical) -> dict[str, Usage]:
    if by == "day":
        return {day.isoformat(): known.total for day, known in found.days.items()}
    rows = [row for day in sorted(found.days) for row in found.days[day].rows]
    names = usual_names([row for row in (*found.names, *rows) if row.model != row.slug]) if by == "model" else {}
    sums: dict[str, Usage] = {}
    for row in rows:
        name = row.provider if by == "provider" else row.model
        if by == "model" and row.slug and row.slug == row.model:
            name = names.get(row.slug) or name_of(row.slug)
        sums[name] = sums.get(name, NOTHING) + row.usage
    return sums


def _places(known: Mapping[date, KnownDay]) -> tuple[tuple[str, tuple[Period, ...]], ...]:
    """Return the days that each source told of, the source of the latest day last."""
    by_source: dict[str, list[date]] = {}
    for day in sorted(known):
        by_source.setdefault(known[day].source, []).append(day)
    return tuple((source, tuple(each.period for each in stretches(days))) for source, days in by_source.items())
