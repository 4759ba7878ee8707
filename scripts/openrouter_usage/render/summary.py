"""The summary as a few lines with emoji, for an assistant to relay and a person to read."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.figures.breakdown import Breakdown, Coverage
from openrouter_usage.figures.summary import Summary
from openrouter_usage.money import format_usd
from openrouter_usage.openrouter.answers.account import Gap
from openrouter_usage.period import Period, spoken
from openrouter_usage.render.amounts import (
    as_lines,
    compared_lines,
    joined_lines,
    limit_left,
    more_line,
    source_spans,
    span_words,
    spent,
    token_lines,
    window_amount,
    window_source,
)
from openrouter_usage.render.paint import AS_LINES, Drawing
from openrouter_usage.text import ago, plural, safe
from openrouter_usage.vocabulary import parts_of

if TYPE_CHECKING:
    from openrouter_usage.openrouter.answers.analytics import AccountFees

# -- The summary as a few lines with emoji, for an assistant to relay and a person to read.

TITLE = "💰 OpenRouter Usage"
_MARK = " ⬅ what can still be spent"
_SOON = timedelta(days=7)
_HEADINGS = {
    "model": "Recent Models",
    "provider": "Recent Providers",
    "day": "Recent Days",
    "key": "Recent Keys",
    "workspace": "Recent Workspaces",
}
_PARTS = {
    "key": "Totals and key limit",
    "credits": "Balance",
    "activity": "Spend by model",
    "days": "Spend of some days",
    "today": "Today's account spend",
    "account_today": "Today's account spend",
    "breakdown": "Spend by key, workspace or today",
    "zone_today": "Today in another time zone",
    "fees": "Fees",
}


def as_text(summary: Summary, now: datetime, drawing: Drawing = AS_LINES) -> str:
    """Write the summary as it was known at `summary.taken_at`, read at `now`."""
    # What was asked for comes first, and beside it only what binds.
    is_asked = bool(summary.breakdown and summary.breakdown.coverage)
    funds = _funds(summary, binding=is_asked and bool(summary.bound_by))
    totals = [*_totals(summary), *_zone_day(summary), *funds, *_key_state(summary, has_quota=not is_asked)]
    found = _breakdown(summary.breakdown, drawing) if summary.breakdown else []
    found += _fees(summary.fees) if summary.fees else []
    verdict = [f"Why: {fact.text}." for fact in summary.explanation[:1]]
    lines = [TITLE, *_age(summary, now), *verdict, *(found + totals if is_asked else totals + found)]
    lines += [f"⚠ {_gap(gap)}" for gap in summary.gaps]
    lines += [f"* {_footnote(summary)}"] if _marks_today(summary) else []
    lines += [f"ℹ {note}" for note in summary.notes]
    lines += ["Why these figures differ:"] if summary.explanation[1:] else []
    lines += [f"- {fact.text}." for fact in summary.explanation[1:]]
    return "\n".join(lines) + "\n"


def _fees(found: AccountFees) -> list[str]:
    """Write what credits were taken for beside tokens, as far as OpenRouter told."""
    told = [f"{_FEES[name]} {format_usd(amount)}" for name, amount in found.parts.items() if amount]
    unknown = f"; {' and '.join(_FEES[name] for name in found.left_out)} unknown: told for the last 31 days only"
    return [f"Fees, part of the cost: {', '.join(told) or 'none'}{unknown if found.left_out else ''}"]


_FEES = {
    "usage_web": "web search",
    "usage_web_fetch": "web fetch",
    "usage_file": "files",
    "byok_fees": "BYOK",
    "usage_cache": "caching",
    "usage_data": "data discount",
}


def _age(summary: Summary, now: datetime) -> list[str]:
    age_s = (now - summary.taken_at).total_seconds()
    # A clock that was set back makes figures of the future, which are old as well.
    return [f"As of {spoken(summary.taken_at)}, {ago(age_s)} ago"] if abs(age_s) >= 1 else []


def _marks_today(summary: Summary) -> bool:
    return summary.today.usage is not None


def _totals(summary: Summary) -> list[str]:
    is_told = any(gap.part == "key" and gap.number for gap in summary.gaps)
    if all(window.usage is None for window in summary.windows) and not is_told:
        return []
    mark = "*" if _marks_today(summary) else ""
    names = ("Today", "Week", "Month")
    amounts = [window_amount(w, mark if w is summary.today else "") for w in summary.windows]
    return [" | ".join(f"{name}: {amount}" for name, amount in zip(names, amounts, strict=True))]


def _zone_day(summary: Summary) -> list[str]:
    """Write the running day of the user's own zone, and when it began by OpenRouter's clock."""
    window = summary.zone_day
    if window is None:
        return []
    since = f"since {spoken(window.period.start)}; {window_source(window)}"
    return [f"T{window.period.label[1:]}: {window_amount(window)} ({since})"]


def _footnote(summary: Summary) -> str:
    whose = "this key" if summary.scope == "key" else "the account"
    if summary.breakdown and summary.breakdown.is_completed:
        return (
            f"live totals of {whose}; not yet in the {summary.breakdown.by} breakdown, which covers completed UTC days"
        )
    if summary.breakdown and summary.breakdown.coverage:
        return f"live totals of {whose}, in UTC"
    return f"live totals of {whose}, by UTC day, week (from Monday) and month"


def _funds(summary: Summary, *, binding: bool) -> list[str]:
    """Write what is left, or of it only what is `binding`."""
    marks = {summary.bound_by: _MARK}
    lines = []
    if summary.balance:
        left, bought = format_usd(summary.balance.balance), format_usd(summary.balance.purchased)
        lines.append(f"Balance: {left} / {bought}{marks.get('balance', '')}")
    if summary.key_limit:
        lines.append(f"Key limit: {limit_left(summary.key_limit)}{marks.get('key_limit', '')}")
    if summary.budget:
        lines.append(
            f"Budget ({safe(summary.budget.scope, 40)}): {limit_left(summary.budget)}{marks.get('budget', '')}"
        )
    return [line for line in lines if line.endswith(_MARK)] if binding else lines


def _key_state(summary: Summary, *, has_quota: bool) -> list[str]:
    lines = []
    if summary.expires_at and summary.expires_at - summary.taken_at <= _SOON:
        tense = "expired" if summary.expires_at <= summary.taken_at else "expires"
        lines.append(f"⚠ Key {tense} {spoken(summary.expires_at)}")
    if summary.free_models and has_quota:
        quota = summary.free_models
        lines.append(f"Free models: {quota.used:,} of {quota.limit:,} requests used today (UTC)")
    return lines


def _of_period(breakdown: Breakdown, coverage: Coverage, drawing: Drawing) -> list[str]:
    """Write the breakdown of a chosen period: what it comes to, its rows, and which source had which days."""
    dates = f"{span_words(breakdown)} {coverage.zone}"
    title = f"{coverage.title} ({dates})" if coverage.title else dates
    whose = "Account and ledger" if coverage.joined else "Account"
    lines = [f"{whose} by {' and '.join(parts_of(breakdown.by))}, {title}: {_whole(breakdown, coverage)}"]
    unknown = () if breakdown.more_count else coverage.missing
    lines += _rows(breakdown, drawing, unknown)
    compared = compared_lines(breakdown.compared) if breakdown.compared else []
    if breakdown.total.unknown:
        lines.append(f"{plural(breakdown.total.unknown, 'call')} of unknown cost not in these")
    source = f"Source: {'; '.join(source_spans(breakdown, coverage))}"
    tokens = token_lines(breakdown.total)
    return [lines[0], *compared, *lines[1:], *tokens, *joined_lines(coverage), source]


def _with_calls(usage: Usage) -> str:
    return f"{spent(usage)} ({usage.requests:,})"


def _whole(breakdown: Breakdown, coverage: Coverage) -> str:
    """Write what the period came to: that nothing was spent is said only where every day is known."""
    told = _with_calls(breakdown.total) if breakdown.total != NOTHING else "nothing spent"
    if not coverage.missing:
        return told
    unknown = sum(span.day_count for span in coverage.missing)
    return f"{told} in {breakdown.days - unknown:,} of {plural(breakdown.days, 'day')}, the others are unknown"


def _recent(by: str) -> str:
    return f"Recent Spend by {' and '.join(parts_of(by))}"


def _rows(breakdown: Breakdown, drawing: Drawing, unknown: Iterable[Period] = ()) -> list[str]:
    if drawing.has_table:
        from openrouter_usage.render.aligned import table

        return table(breakdown, unknown, width=drawing.most, paint=drawing.paint)
    return [*as_lines(breakdown, _with_calls, mark="• ", unknown=unknown), *more_line(breakdown, spent)]


def _breakdown(breakdown: Breakdown, drawing: Drawing) -> list[str]:
    if breakdown.coverage:
        return _of_period(breakdown, breakdown.coverage, drawing)
    source = f", from the {breakdown.source}" if breakdown.is_local else ""
    heading = f"{_HEADINGS.get(breakdown.by) or _recent(breakdown.by)} ({span_words(breakdown)}{source}):"
    if not breakdown.rows and not breakdown.more_count:
        period = breakdown.period if breakdown.is_completed else None
        return [
            f"{heading} no usage"
            + (f" in the completed UTC days {period.first_day} to {period.last_day}" if period else "")
        ]
    compared = compared_lines(breakdown.compared) if breakdown.compared else []
    lines = [heading, *compared, *_rows(breakdown, drawing)]
    if breakdown.total.unknown:
        lines.append(f"{plural(breakdown.total.unknown, 'call')} of unknown cost not in these")
    if breakdown.truncated:
        lines.append("⚠ OpenRouter cut this list short: there is more")
    if breakdown.unattributed is not None:
        lines.append(_unattributed(breakdown.unattributed))
    return lines


def _unattributed(amount: Decimal) -> str:
    if amount < 0:
        return (
            f"the ledger has {format_usd(amount.copy_abs())} more than this key spent: "
            "calls of other keys, or figures not yet in"
        )
    return f"not attributed: {format_usd(amount)} (spent by this key, not seen by the ledger)"


def _gap(gap: Gap) -> str:
    remedy = f" ({gap.hint})" if gap.hint else ""
    state = "incomplete" if gap.number else "unavailable"
    return f"{_PARTS.get(gap.part, gap.part)} {state}: {gap.message}{remedy}"
