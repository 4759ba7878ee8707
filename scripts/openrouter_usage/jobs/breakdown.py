"""Who and what spent the money: today by model and key from the analytics API, and from the local ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from openrouter_usage.called import as_called
from openrouter_usage.entry import NOTHING, Hold, UnreadLine, Usage
from openrouter_usage.errors import OpenRouterUsageError
from openrouter_usage.figures.breakdown import LOCAL, SHARED, Breakdown, added, break_down, compare, with_names
from openrouter_usage.figures.options import ACCOUNT_GROUPINGS, DEFAULT_TOP
from openrouter_usage.home.credentials import ApiKey
from openrouter_usage.home.settings import Settings, ledger_file, load_settings, shared_ledger
from openrouter_usage.jobs.summary import at_once, connect
from openrouter_usage.money import format_usd, total
from openrouter_usage.period import UTC, Period, Stretch, completed_days, today
from openrouter_usage.text import plural, safe
from openrouter_usage.vocabulary import Filter, Where, joined, names_of

if TYPE_CHECKING:
    from openrouter_usage.figures.account_days import Tracked
    from openrouter_usage.figures.report import Compared
    from openrouter_usage.figures.summary import Summary
    from openrouter_usage.ledger.ledger import Health, Ledger
    from openrouter_usage.ledger.sums import Groups, Totals
    from openrouter_usage.openrouter.answers.account import ActivityRow, Gap, Parts
    from openrouter_usage.openrouter.answers.analytics import AccountFees, Analytics, Spend

T = TypeVar("T")

# -- Asks the analytics API what the summary's own endpoints cannot tell: today by model, and who spent it.

SOURCE = "/analytics/query"
_DIMENSIONS = {"model": ("model",), "provider": ("provider",), "key": ("api_key_id",), "workspace": ("workspace",)}


class Question(NamedTuple):
    """What is asked about a period: its total, or what each model, provider, key or workspace spent in it."""

    period: Period
    by: str = ""


def questions(
    now: datetime, *, by: str, days: int, only_today: bool, zone: tzinfo | None, explain: bool
) -> dict[str, Question]:
    """Return what the options of a summary ask beyond its usual endpoints: `breakdown`, `zone` and `today`."""
    running = today(now, zone or UTC)._replace(label=f"today, {zone or UTC}")
    asked = {}
    if only_today or by in ACCOUNT_GROUPINGS:
        asked["breakdown"] = Question(running if only_today else completed_days(now, days), by)
    if zone is not None:
        asked["zone"] = Question(running)
    if explain:
        asked["today"] = Question(today(now))
    return asked


def ask(
    settings: Settings, key: ApiKey, asked: Mapping[str, Question], now: datetime, *, timeout_s: float
) -> dict[str, Analytics | Gap]:
    """Ask all questions at the same time, with a management key; what fails becomes a Gap."""
    client = connect(settings, timeout_s=timeout_s)(key)

    def one(question: Question) -> Analytics:
        period = question.period
        return client.analytics(period._replace(end=min(period.end, now)), *_DIMENSIONS.get(question.by, ()))

    return at_once({name: lambda q=q: one(q) for name, q in asked.items()}, timeout_s=timeout_s)  # type: ignore[misc]


def ask_fees(settings: Settings, key: ApiKey, span: Stretch, now: datetime, *, timeout_s: float) -> AccountFees:
    """Ask which fees are in what the account spent on some days."""
    from openrouter_usage.openrouter.answers.analytics import LISTED_DAYS

    is_recent = (today(now).first_day - span.first).days <= LISTED_DAYS
    period = span.period._replace(end=min(span.period.end, now))
    return connect(settings, timeout_s=timeout_s)(key).fees(period, is_recent=is_recent)


def account_breakdown(
    answer: Analytics, question: Question, rows: Iterable[ActivityRow], *, top: int | None
) -> Breakdown:
    """Make a breakdown of an answer; models get the names that /activity has for them, where it has any."""
    from openrouter_usage.figures.account_days import usual_names
    from openrouter_usage.jobs.price_list import canonical_names

    usual = usual_names(rows)
    name_of = canonical_names(spend.names[0] for spend in answer.rows if spend.names)

    def name(of: Spend) -> str:
        found = of.names[0] if of.names else question.period.first_day.isoformat()
        return usual.get(found) or name_of(found) if question.by == "model" else found

    groups = added((name(spend), spend.usage) for spend in answer.rows)
    found = break_down(groups, question.by, most=DEFAULT_TOP, top=top, period=question.period, source=SOURCE)
    return found._replace(truncated=answer.truncated)


# -- What the ledger knows of what OpenRouter counted: of a running period, and of the last answers.


def ledger_name() -> str:
    """Return what the ledger of the settings is called where a figure names its source."""
    return LOCAL if shared_ledger() is None else SHARED


def source_of(ledger: Ledger) -> str:
    """Return what a ledger is called where a figure names its source."""
    return SHARED if ledger.is_shared else LOCAL


def local_breakdown(
    period: Period,
    *,
    top: int | None,
    by: str,
    days: Iterable[date] = (),
    where: Where = (),
    before: Period | None = None,
) -> tuple[Breakdown | None, str]:
    """Break a period of the ledger down; None and a reason, "" for a ledger without calls, when there is nothing.

    With `by` day, the `days` are rows also where the ledger has no call of them. The period `before` is set beside it.
    """

    def sums(ledger: Ledger) -> tuple[Totals, Groups]:
        found = named_totals(ledger, before, by, where=where).groups if before else {}
        return named_totals(ledger, period, by, where=where), found

    found, problem = _of_ledger(sums)
    totals, earlier = found or (None, {})
    if totals is None or not totals.total.requests:
        return None, problem
    quiet = {day.isoformat(): NOTHING for day in days} if by == "day" else {}
    groups = quiet | with_names(totals.groups, by)
    compared = compare(before, groups, with_names(earlier, by)) if before else None
    shown = break_down(groups, by, most=DEFAULT_TOP, top=top, period=period, source=ledger_name())
    return shown._replace(compared=compared), ""


def local_tracked_days(span: Stretch, by: str, where: Where) -> tuple[Tracked, str]:
    """Return the same as `tracked_days` of the ledger that the settings name, and why it has nothing to tell."""
    from openrouter_usage.figures.account_days import Tracked

    found, problem = _of_ledger(lambda ledger: tracked_days(ledger, span, by, where))
    return found or Tracked(ledger_name(), by, {}), problem


def _of_ledger(work: Callable[[Ledger], T]) -> tuple[T | None, str]:
    """Return what `work` asks of the ledger; None where it cannot tell, and why, "" where there is no ledger."""
    try:
        if shared_ledger() is None and _is_missing(ledger_file()):
            return None, ""
        from openrouter_usage.ledger.engines import open_ledger

        ledger = open_ledger(lock_timeout_s=2.0)
        found = work(ledger)
        ledger.close()
    except OpenRouterUsageError as error:
        return None, f"the {ledger_name()} does not help: {error.message}"
    return found, ""


def named_totals(ledger: Ledger, period: Period | None, by: str, zone: tzinfo = UTC, where: Where = ()) -> Totals:
    """Sum the calls of a period that filters take; models have, and are picked by, their canonical names."""
    return with_models_named(ledger.totals(period, by, zone, with_aliases(ledger, period, where)), by)


def with_models_named(totals: Totals, by: str) -> Totals:
    """Return sums by a grouping with the canonical names of models."""
    from openrouter_usage.figures.model_names import grouped_by, models_in
    from openrouter_usage.jobs.price_list import canonical_names
    from openrouter_usage.ledger.sums import Totals

    name_of = canonical_names(models_in(totals.groups, by))
    return Totals(totals.total, grouped_by(totals.groups, by, name_of))


def tracked_days(ledger: Ledger, span: Stretch, by: str, where: Where) -> Tracked:
    """Return what a ledger has seen of each of some UTC days, for a breakdown of it and the account's figures."""
    from openrouter_usage.figures.account_days import Tracked, ledger_question

    asked = ledger_question(by)
    found = with_names(named_totals(ledger, span.period, asked, where=where).groups, asked)
    by_day: dict[date, dict[str, Usage]] = {}
    for name, usage in found.items():
        day, *names = names_of(name)
        by_day.setdefault(date.fromisoformat(day), {})[joined(names)] = usage
    return Tracked(source_of(ledger), by, by_day)


def with_aliases(ledger: Ledger, period: Period | None, where: Where) -> Where:
    """Return filters that take the models of a period also by their canonical names."""
    if not any(each.kind == "model" for each in where):
        return where
    from openrouter_usage.jobs.price_list import canonical_names

    met = ledger.totals(period, "model").groups
    name_of = canonical_names(met)
    return tuple(_with_aliases(each, met, name_of) if each.kind == "model" else each for each in where)


def _with_aliases(each: Filter, met: Iterable[str], name_of: Callable[[str], str]) -> Filter:
    """Return a filter that takes a model also by its canonical name."""
    aliases = tuple(name for name in met if each.takes(name_of(name)) and not each.takes(name))
    return each._replace(patterns=(*each.patterns, *aliases))


def kept_summary(now: datetime) -> tuple[Summary | None, str]:
    """Return the summary of OpenRouter's last answers, if any are kept, with its forecast; else say why not."""
    from openrouter_usage.jobs.snapshot import load_snapshot, snapshot_file

    try:
        settings = load_settings()
        parts = load_snapshot(snapshot_file(settings), settings.base_url.url)
    except OpenRouterUsageError as error:
        return None, f"Not known: {error.message}."
    if parts is None or parts.taken_at > now:
        return None, as_called("Not known: no figures of OpenRouter are kept here; stats.py asks for them.")
    return foreseeing_summary(parts), ""


def foreseeing_summary(parts: Parts) -> Summary:
    """Build the usual summary of some answers, with its forecast."""
    from openrouter_usage.figures.forecast import forecast
    from openrouter_usage.figures.summary import build_summary

    summary = build_summary(parts)
    return summary._replace(ahead=forecast(parts, summary))


def compared_with(summary: Summary, seen: Callable[[Period], Usage]) -> tuple[tuple[Compared, ...], str]:
    """Set what OpenRouter said of its running windows beside what `seen` sums of the ledger; else say why not."""
    found = tuple(_compared(summary, seen))
    return found, "" if found else "Not known: OpenRouter did not say what was spent."


def _compared(summary: Summary, seen: Callable[[Period], Usage]) -> Iterator[Compared]:
    from openrouter_usage.figures.report import Compared

    whose = "the whole account" if summary.scope == "account" else "one key"
    for window in (summary.today, summary.week, summary.month):
        # At midnight nothing of the day is over yet.
        if window.usage is not None and window.period.start < summary.taken_at:
            period = window.period._replace(end=summary.taken_at)
            yield Compared(period, whose, window.usage, seen(period))


def _is_missing(path: Path) -> bool:
    """Check whether there surely is no ledger; what is wrong with a path is for the ledger to say."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


# -- What a reader has to know of a ledger beside its sums: that it is empty, what is held, lines that do not count.


def held(holds: tuple[Hold, ...]) -> Decimal | None:
    """Return the most that open holds may still cost; None when unknown."""
    amounts = [hold.max_cost for hold in holds if hold.max_cost is not None]
    return total(amounts) if len(amounts) == len(holds) else None


def health_notes(health: Health) -> tuple[str, ...]:
    """Return notes on what no sum counts: an empty ledger, open holds, lines that were not understood."""
    notes = [] if health.size else ["no calls yet: `call`, CostTracker, track_cost and `import` record them"]
    if health.holds:
        amount = held(health.holds)
        most = "of unknown cost" if amount is None else f"up to {format_usd(amount)}"
        notes.append(f"{plural(len(health.holds), 'call')} running or unsettled, {most}, not included; see: settle")
    return (*notes, *unread_notes(health.unread))


def unread_notes(unread: Sequence[UnreadLine]) -> list[str]:
    """Return notes on how many lines of a file are not counted, and where the first one is."""
    notes = []
    damaged = [line for line in unread if line.is_damaged]
    foreign = [line for line in unread if not line.is_damaged]
    if damaged:
        notes.append(f"{plural(len(damaged), 'damaged line')} not counted, {_first(damaged)} ({safe(damaged[0].why)})")
    if foreign:
        notes.append(f"{plural(len(foreign), 'line')} of an unknown kind kept and not counted, {_first(foreign)}")
    return notes


def _first(lines: list[UnreadLine]) -> str:
    return f"{'' if len(lines) == 1 else 'the first '}at byte {lines[0].offset:,}"
