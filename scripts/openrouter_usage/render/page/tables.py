"""The figures of the page as tables: what the charts show, for those who cannot see them, and with exact amounts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from openrouter_usage.money import ZERO, format_usd, plain, share
from openrouter_usage.render.page.content import Content, bar_name, others_name
from openrouter_usage.render.page.svg import tag, text
from openrouter_usage.text import named, plural
from openrouter_usage.timeline import is_to_come
from openrouter_usage.usage import Usage

_UNITS = {"hour": "Hour", "day": "Day", "week": "Week", "month": "Month", "year": "Year"}


def amount(value: Decimal) -> str:
    """Write a cell with an amount: rounded to look at, exact beside it."""
    return tag("td", text(format_usd(value)), data_usd=plain(value))


def count(value: int) -> str:
    """Write a cell with a count."""
    return tag("td", f"{value:,}")


def table(caption: str, head: Sequence[str], rows: Iterable[str], foot: Iterable[str]) -> str:
    """Write a table that is scrolled by itself where it is wider than the page, with the keyboard too."""
    heads = "".join(tag("th", text(name, 200), scope="col") for name in head)
    inside = tag(
        "table",
        tag("caption", text(caption)),
        tag("thead", tag("tr", heads)),
        tag("tbody", *rows),
        tag("tfoot", *foot),
    )
    return tag("div", inside, class_="scroll", tabindex=0, role="region", aria_label=caption)


def row(name: str, *cells: str) -> str:
    """Write a row that begins with what it is about."""
    return tag("tr", tag("th", text(name), scope="row"), *cells)


def by_model(content: Content) -> str:
    """Write what each model cost, and all of them."""
    report = content.report
    head = ("Model", "Credits", "Share", "BYOK", "Calls", "Input tokens", "Output tokens", "Unknown cost", "Estimated")
    whole = report.total.cost
    rows = [row(named(name), *_figures(usage, whole)) for name, usage in report.rows]
    if report.more_count:
        rows.append(row(f"and {report.more_count:,} more", *_figures(report.more, whole)))
    return table("Credits by model, in USD", head, rows, [row("All", *_figures(report.total, whole))])


def _figures(usage: Usage, whole: Decimal) -> Iterator[str]:
    yield amount(usage.cost)
    yield tag("td", text(share(usage.cost, whole)))
    yield amount(usage.byok_cost)
    counts = (usage.requests, usage.prompt_tokens, usage.completion_tokens, usage.unknown, usage.estimated)
    yield from map(count, counts)


def by_time(content: Content) -> str:
    """Write what each piece of the period cost, in all and by model; what is still to come is no figure."""
    timeline = content.timeline
    over = [bar for bar in timeline.bars if not is_to_come(bar, content.now)]
    head = [_UNITS[timeline.unit], "Credits", "BYOK", "Calls", "Unknown cost", *map(named, timeline.names)]
    if timeline.other_names:
        head.append(others_name(timeline))
    rows = [row(bar_name(bar, content.now), *_sums(bar.total, *_parts(bar.parts, bar.others, content))) for bar in over]
    foot = row("All", *_sums(timeline.total, *_parts(timeline.groups, timeline.others, content)))
    caption = f"Credits per {timeline.unit}, in USD; days of {content.report.zone}"
    left_out = len(timeline.bars) - len(over)
    if left_out:
        caption += f"; {plural(left_out, timeline.unit)} to come left out"
    return table(caption, head, rows, [foot])


def _parts(parts: Sequence[Usage], others: Usage, content: Content) -> Iterator[Decimal]:
    yield from (usage.cost for usage in parts)
    if content.timeline.other_names:
        yield others.cost


def _sums(usage: Usage, *parts: Decimal) -> Iterator[str]:
    yield amount(usage.cost)
    yield amount(usage.byok_cost)
    yield count(usage.requests)
    yield count(usage.unknown)
    yield from map(amount, parts)


def compared(content: Content) -> str:
    """Write what OpenRouter said beside what the ledger has seen of it."""
    rows = []
    for part in content.compared:
        missing, surplus = max(part.unattributed, ZERO), max(part.unattributed.copy_negate(), ZERO)
        cells = map(amount, (part.billed, part.seen.cost, missing, surplus))
        rows.append(
            row(f"{part.period.label}, from {part.period.start:%Y-%m-%d} UTC", *cells, count(part.seen.unknown))
        )
    head = ("Window", "OpenRouter", "In the ledger", "Not attributed", "More in the ledger", "Unknown cost")
    return table("What OpenRouter said, and what the ledger knows of it, in USD", head, rows, [])
