"""Gathers what a page shows: of the ledger, all sums as of one moment; or of the account, as OpenRouter tells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.figures.breakdown import (
    Breakdown,
    Comparison,
    added,
    break_down,
    compare,
    with_names,
)
from openrouter_usage.figures.options import REPORT_TOP
from openrouter_usage.figures.page import MOST_ROWS, Cap, Content, Live, known_timeline
from openrouter_usage.figures.report import Report, Slot, cut_up, stack
from openrouter_usage.home.settings import Settings, find_home, load_budgets
from openrouter_usage.jobs.breakdown import (
    compared_with,
    foreseeing_summary,
    health_notes,
    held,
    kept_summary,
    source_of,
    tracked_days,
    with_aliases,
    with_models_named,
)
from openrouter_usage.jobs.price_list import canonical_names
from openrouter_usage.ledger.ledger import Committed, Ledger
from openrouter_usage.ledger.sums import Totals
from openrouter_usage.period import UTC, Period, Stretch, side_by_side
from openrouter_usage.text import plural
from openrouter_usage.vocabulary import ChosenPeriod, Where, joined, time_name

if TYPE_CHECKING:
    from openrouter_usage.figures.account_days import DaysFound
    from openrouter_usage.figures.summary import Summary
    from openrouter_usage.home.credentials import ApiKey
    from openrouter_usage.openrouter.answers.analytics import Analytics

# Who spent the money, as far as the calls in a ledger say it.
_GROUPINGS = ("client", "session", "project", "provider")
_SHARED_GROUPINGS = ("member", "machine", *_GROUPINGS)
_OF_CALLS = ("client", "session", "project")
_HOURS = "weekday,hour"


class Asked(NamedTuple):
    """What a page is about; `before` is the period before, None where there is none to compare with."""

    title: str
    period: Period
    zone: tzinfo = UTC
    where: Where = ()
    top: int | None = None
    before: Period | None = None


# -- The page of a ledger.


def ledger_page(
    ledger: Ledger,
    asked: Asked,
    now: datetime,
    *,
    live: Live | None = None,
    ask: Callable[[], Summary] | None = None,
) -> Content:
    """Gather the page of a ledger; what OpenRouter says of the account is what it last said, or what `ask` returns."""
    period, zone = asked.period, asked.zone
    unit, slots = cut_up(period, zone)
    found, by, before = _sums(ledger, asked, slots)
    timeline = stack(unit, slots, [totals.groups for totals in found])
    by_model = added(group for totals in found for group in totals.groups.items())
    source = source_of(ledger)
    summary, why_no_summary = _asked_summary(ask) if ask else kept_summary(now)
    compared, why_not = ((), why_no_summary) if summary is None else _compared(ledger, summary)
    health = ledger.health()
    return Content(
        Report(
            title=asked.title,
            zone=zone,
            breakdown=break_down(by_model, "model", most=REPORT_TOP, top=asked.top, period=period, source=source),
            open_holds=len(health.holds),
            held=held(health.holds),
            file=ledger.source if ledger.is_shared else _without_home(ledger.path),
            notes=health_notes(health),
        ),
        timeline,
        now,
        caps=_caps(ledger, now),
        compared=compared,
        why_not_compared=why_not,
        before=_before(by_model, before, asked),
        groups=tuple(_broken_down(by, period=period, source=source)),
        hours=by[_HOURS].groups if unit != "hour" else None,
        summary=summary,
        why_no_summary=why_no_summary,
        unknown=tuple(_nameless(by)),
        is_filtered=bool(asked.where),
        live=live,
    )


def _sums(
    ledger: Ledger, asked: Asked, slots: tuple[Slot, ...]
) -> tuple[list[Totals], dict[str, Totals], Mapping[str, Usage] | None]:
    """Return the sums of the pieces by model, of the whole by other groupings, and of the period before by model."""
    others = (*(_SHARED_GROUPINGS if ledger.is_shared else _GROUPINGS), _HOURS)
    wanted = [*((slot.period, "model") for slot in slots), *((asked.period, by) for by in others)]
    before = asked.before
    if before:
        wanted.append((before, "model"))
    # All sums of the page come from here, so that they are of one moment and add up.
    where = with_aliases(ledger, asked.period, asked.where)
    found = [
        with_models_named(totals, by)
        for (_, by), totals in zip(wanted, ledger.totals_of(wanted, asked.zone, where), strict=True)
    ]
    whole = found[len(slots) : len(slots) + len(others)]
    return found[: len(slots)], dict(zip(others, whole, strict=True)), found[-1].groups if before else None


def _before(after: Mapping[str, Usage], before: Mapping[str, Usage] | None, asked: Asked) -> Comparison | None:
    return None if before is None or asked.before is None else compare(asked.before, after, before)


def _broken_down(by: Mapping[str, Totals], *, period: Period, source: str) -> list[Breakdown]:
    """Return who spent the money, by each grouping that some call has a name for."""
    return [
        break_down(with_names(by[kind].groups, kind), kind, most=MOST_ROWS, period=period, source=source)
        for kind in by
        if kind != _HOURS and any(by[kind].groups)
    ]


def _nameless(by: Mapping[str, Totals]) -> list[str]:
    kinds = [kind for kind, totals in by.items() if totals.total.requests and not any(totals.groups)]
    if not kinds:
        return []
    some, last = ", ".join(kinds[:-1]), kinds[-1]
    return [f"No call of the period names its {f'{some} or {last}' if some else last}."]


def _compared(ledger: Ledger, summary: Summary) -> tuple[Any, str]:
    return compared_with(summary, lambda each: ledger.totals(each).total)


def _caps(ledger: Ledger, now: datetime) -> tuple[Cap, ...]:
    """Return how each cap stands now, and when it is reached."""
    from openrouter_usage.figures.forecast import ends_of

    found: list[Cap] = []

    def look(books: Committed) -> None:
        found[:] = [Cap(scope, end) for scope, _, end in ends_of((*ledger.caps(), *load_budgets()), books, now)]

    ledger.committed(look)
    return tuple(found)


def _asked_summary(ask: Callable[[], Summary]) -> tuple[Summary | None, str]:
    try:
        return ask(), ""
    except OpenRouterUsageError as error:
        return None, f"Not known: {error.message}."


def _without_home(path: Path) -> str:
    """Return the ledger's path without the user's name, because a page is made to be shown to others."""
    home = find_home()
    return f"~/{path.relative_to(home).as_posix()}" if home and path.is_relative_to(home) else str(path)


# -- The page of an account.

_NO_DAYS = (
    "Spend by day, model and hour is not known: OpenRouter tells it to management keys only. Create one at "
    "openrouter.ai/settings/management-keys, and set OPENROUTER_MGMT_KEY."
)
_ONLY_TRACKED = "Sessions, clients and projects are known of tracked calls only: report --source ledger."


class AccountPage(NamedTuple):
    """A page of an account, and the error that made OpenRouter's last answers take the place of new ones."""

    content: Content
    error: OpenRouterUsageError | None


def account_page(
    settings: Settings,
    chosen: ChosenPeriod,
    now: datetime,
    *,
    title: str,
    before: Stretch,
    where: Where,
    top: int | None,
    timeout_s: float,
    ledger: Ledger | None = None,
) -> AccountPage:
    """Ask OpenRouter for all of the page at the same time; each part that fails is named as not known.

    With a ledger, that tells of the days that the account does not, and who made the calls: each day counts once.

    Raises MissingKey without a key, Denied when OpenRouter says no, Unreachable when nothing can be had at all.
    """
    from openrouter_usage.jobs.account_days import AccountDays
    from openrouter_usage.jobs.snapshot import latest
    from openrouter_usage.jobs.summary import managing_key

    span = chosen.span(now)
    beside = side_by_side(span, before, now)
    both = ChosenPeriod("", str(beside.whole.first), str(beside.whole.last))
    search = AccountDays(settings, both, by="model", timeout_s=timeout_s, where=where, part_of=beside.part_of)
    period = span.period._replace(end=min(span.period.end, now))
    more = _More(settings, period, has_filters=bool(where), timeout_s=timeout_s)

    def ask(key: ApiKey | None) -> None:
        if key is not None:
            more.ask(key, meanwhile=partial(search.begin, key, now))

    found = latest(settings, now, timeout_s=timeout_s, meanwhile=lambda: ask(settings.mgmt_key))
    parts = found.parts
    key = managing_key(settings, parts)
    if settings.mgmt_key is None:
        ask(key)
    summary = foreseeing_summary(parts)
    unit, slots = _days_of(span)
    notes = [] if found.error is None else [f"OpenRouter's figures are old: {found.error.message}"]
    if key is None:
        return AccountPage(_page_of_key(summary, span, notes, now), found.error)
    from openrouter_usage.figures.account_days import compared_periods, days_by_model, with_ledger

    days = search.finish(key, parts, now)
    name_of = canonical_names(days.slugs)
    groups, hours = more.groups(), more.hours() if unit != "hour" else None
    unknown = [*more.unknown, *([] if ledger else [_ONLY_TRACKED])]
    if ledger is not None:
        joined_with = partial(_joined, days, span, ledger, where=where, name_of=name_of)
        groups = [*filter(None, map(joined_with, _OF_CALLS)), *groups]
        days = with_ledger(days, tracked_days(ledger, days.span, "model", where))
        if hours is not None and any(days.is_of_ledger(day) for day in days.days):
            hours = None
            unknown.append("Hours are left out: some days are told by the ledger, others by the account.")
    whole = compared_periods(
        days, span, before, title=title, by="model", top=top, name_of=name_of, where=where, is_running=beside.is_running
    )
    compared = whole.compared if whole else None
    if compared is not None and 2 * compared.unknown_days > before.length:
        lacks = f"{compared.unknown_days:,} of {plural(before.length, 'day')} of the period before are not known"
        unknown.append(f"Nothing is compared: {lacks}.")
        compared = None
    missing = [gap.message for gap in days.gaps if _touches(days.reasons, span)]
    notes += [f"not complete: {message}" for message in missing]
    notes += [f"{gap.part} is not known: {gap.message}" for gap in summary.gaps if gap.part != "activity"]
    empty = Breakdown("model", span.period, (), 0, NOTHING, NOTHING, source="OpenRouter")
    content = Content(
        Report(title=title, zone=UTC, breakdown=whole or empty, notes=(*notes, *days.notes)),
        known_timeline(unit, slots, days_by_model(days, span, name_of=name_of, where=where)),
        now,
        caps=_caps(ledger, now) if ledger else (),
        has_caps=ledger is not None,
        before=compared,
        groups=tuple(groups),
        hours=hours,
        summary=summary,
        unknown=tuple(unknown),
        has_days=whole is not None,
        is_filtered=bool(where),
    )
    return AccountPage(content, found.error)


def _page_of_key(summary: Summary, span: Stretch, notes: list[str], now: datetime) -> Content:
    """Return what an ordinary key is told: no day of the account."""
    nothing = Breakdown("model", span.period, (), 0, NOTHING, NOTHING, source="OpenRouter")
    # Why the balance and the models are not known stands in their places.
    report = Report(title="this key, and what is left", zone=UTC, breakdown=nothing, notes=tuple(notes))
    timeline, why = known_timeline(*_days_of(span), {}), (_NO_DAYS, _ONLY_TRACKED)
    return Content(report, timeline, now, summary=summary, has_days=False, unknown=why, has_caps=False)


def _joined(
    days: DaysFound, span: Stretch, ledger: Ledger, by: str, *, where: Where, name_of: Callable[[str], str]
) -> Breakdown | None:
    """Return who made the calls, as far as they are tracked; None where no call says it."""
    from openrouter_usage.figures.account_days import compared_periods, with_ledger

    tracked = tracked_days(ledger, days.span, by, where)
    if all(name.startswith("(") for groups in tracked.days.values() for name in groups):
        return None
    both = with_ledger(days, tracked)
    how = {"title": "", "name_of": name_of, "where": where}
    return compared_periods(both, span, None, by=by, top=MOST_ROWS, is_running=False, **how)  # type: ignore[arg-type]


def _days_of(span: Stretch) -> tuple[str, tuple[Slot, ...]]:
    """Cut days into bars; a single day is one, because its models are not known by the hour."""
    unit, slots = cut_up(span.period, UTC)
    if unit != "hour":
        return unit, slots
    day = span.first
    return "day", (Slot(day.isoformat(), f"{day:%b} {day.day}", span.period),)


def _touches(reasons: Mapping[Any, Any], span: Stretch) -> bool:
    return any(span.first <= day <= span.last for day in reasons)


class _More:
    """What is asked of the account beside its days: its hours, and what each key and workspace spent."""

    def __init__(self, settings: Settings, period: Period, *, has_filters: bool, timeout_s: float) -> None:
        """Prepare the questions; no filter is passed on with them, so with filters nothing is asked."""
        self._settings, self._period, self._timeout_s = settings, period, timeout_s
        self._has_filters = has_filters
        self._answers: dict[str, Any] = {}
        self.unknown: list[str] = []

    def ask(self, key: ApiKey, *, meanwhile: Callable[[], None]) -> None:
        """Ask all at the same time, and do `meanwhile` while waiting."""
        from openrouter_usage.jobs.summary import at_once, connect

        client = connect(self._settings, timeout_s=self._timeout_s)(key)
        period = self._period
        tasks: dict[str, Callable[[], Analytics]] = {
            "hours": lambda: client.analytics(period, by_hour=True),
            "key": lambda: client.analytics(period, "api_key_id"),
            "workspace": lambda: client.analytics(period, "workspace"),
        }
        wanted = {} if self._has_filters else tasks
        self._answers = at_once(wanted, timeout_s=self._timeout_s + 1, meanwhile=meanwhile)
        if self._has_filters:
            self.unknown.append("Hours, keys and workspaces are not known with a filter.")

    def _told(self, part: str, words: str) -> Analytics | None:
        """Return an answer that is whole; else note why the part is not known."""
        from openrouter_usage.openrouter.answers.account import Gap

        answer = self._answers.get(part)
        if answer is None:
            return None
        why = answer.message if isinstance(answer, Gap) else ""
        if not why and (answer.truncated or answer.left_out):
            why = "OpenRouter's answer is not whole"
        if why:
            self.unknown.append(f"{words} not known: {why}.")
            return None
        whole: Analytics = answer
        return whole

    def hours(self) -> dict[str, Usage] | None:
        """Return the sums by weekday and hour of UTC, None where they are not known."""
        answer = self._told("hours", "Spend by hour is")
        if answer is None or any(row.day is None or row.hour is None for row in answer.rows):
            return None
        return added(
            (joined((time_name("weekday", row.day), time_name("hour", row.day, row.hour))), row.usage)
            for row in answer.rows
            if row.day is not None and row.hour is not None
        )

    def groups(self) -> list[Breakdown]:
        """Return what each key and workspace spent; a single workspace says nothing."""
        found = []
        for kind, words in (("key", "What each key spent is"), ("workspace", "What each workspace spent is")):
            answer = self._told(kind, words)
            groups = added((row.names[0], row.usage) for row in answer.rows) if answer else {}
            if len(groups) > (kind == "workspace"):
                found.append(break_down(groups, kind, most=MOST_ROWS, period=self._period, source="/analytics/query"))
        return found
