"""What a page shows, and how its bars are told of."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.budget import Scope
from openrouter_usage.money import format_usd
from openrouter_usage.period import spoken
from openrouter_usage.render.amounts import credits_and_byok
from openrouter_usage.render.page.bars import Column
from openrouter_usage.render.page.colours import Colours
from openrouter_usage.report import Compared, Report
from openrouter_usage.text import named, plural, safe
from openrouter_usage.timeline import Bar, Timeline, is_to_come
from openrouter_usage.usage import Usage


class Content(NamedTuple):
    """A report with its bars, the budget as it stands, and what OpenRouter last said beside the ledger."""

    report: Report
    timeline: Timeline
    now: datetime
    scopes: tuple[Scope, ...] = ()
    compared: tuple[Compared, ...] = ()
    not_compared: str = ""


def money(usage: Usage) -> str:
    """Write what calls cost, with BYOK apart, and those of unknown cost named."""
    unknown = f" + {plural(usage.unknown, 'call')} of unknown cost" if usage.unknown else ""
    return credits_and_byok(usage.cost, usage.byok_cost) + unknown


def summary(content: Content) -> str:
    """Write the sum of all calls, with those of unknown cost named."""
    usage = content.report.total
    unknown = f", {usage.unknown:,} of unknown cost" if usage.unknown else ""
    return f"{credits_and_byok(usage.cost, usage.byok_cost)} in {plural(usage.requests, 'call')}{unknown}"


def boundaries(content: Content) -> str:
    """Write whose days are shown, and when the first begins and the last ends."""
    period, zone = content.report.period, content.report.zone
    return f"Days of {zone}: from {spoken(period.start)} until {spoken(period.end)}" if period else f"Days of {zone}"


def provenance(content: Content) -> str:
    """Write where the figures come from, and when."""
    source = safe(content.report.source, 90)
    return f"Source: local ledger {source}, tracked calls only, in USD; made {content.now:%Y-%m-%d %H:%M} UTC."


def others_name(timeline: Timeline) -> str:
    """Name what is stacked without a colour of its own."""
    return f"{plural(timeline.other_names, 'other model')}"


def bar_name(bar: Bar, now: datetime) -> str:
    """Name a piece of the period, and say when it is not all of it, or not over yet."""
    period = bar.slot.period
    if is_to_come(bar, now):
        return f"{bar.slot.name} (to come)"
    if period.start <= now < period.end:
        return f"{bar.slot.name} (so far)"
    return bar.slot.name if bar.slot.is_whole else f"{bar.slot.name} (in part)"


def has_bars_to_come(content: Content) -> bool:
    """Tell whether the period reaches into the future."""
    return any(is_to_come(bar, content.now) for bar in content.timeline.bars)


def credit_columns(content: Content, colours: Colours) -> list[Column]:
    """Give the bars of credits, stacked by model."""
    timeline = content.timeline
    paints = (*colours.models[: len(timeline.names)], colours.other)
    names = (*map(named, timeline.names), others_name(timeline))
    columns = []
    for bar in timeline.bars:
        stacked = [(usage.cost, paint) for usage, paint in zip((*bar.parts, bar.others), paints, strict=True)]
        costs = zip(names, (*bar.parts, bar.others), strict=True)
        told = [f"{name}: {format_usd(usage.cost)}" for name, usage in costs if usage.cost]
        head = f"{bar_name(bar, content.now)}: {money(bar.total)}"
        column = _column(content, bar, "\n".join([head, *told]), bar.total.cost, stacked)
        columns.append(column._replace(has_unknown=bar.total.unknown > 0))
    return columns


def byok_columns(content: Content, colours: Colours) -> list[Column]:
    """Give the bars of what was paid to providers directly."""
    columns = []
    for bar in content.timeline.bars:
        amount = bar.total.byok_cost
        told = f"{bar_name(bar, content.now)}: {format_usd(amount)} BYOK"
        columns.append(_column(content, bar, told, amount, [(amount, colours.byok)]))
    return columns


def _column(content: Content, bar: Bar, told: str, amount: Decimal, stacked: list[tuple[Decimal, str]]) -> Column:
    return Column(bar.slot.label, told, amount, tuple(stacked), is_to_come=is_to_come(bar, content.now))
