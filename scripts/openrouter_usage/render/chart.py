"""The chart of a report as one SVG that needs nothing else, and the tables that hold the same figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.entry import Usage
from openrouter_usage.figures.limits import Scope
from openrouter_usage.figures.report import Bar, Compared, Report, Timeline, is_to_come
from openrouter_usage.money import ZERO, format_usd, plain, share
from openrouter_usage.period import spoken
from openrouter_usage.render.amounts import credits_and_byok
from openrouter_usage.render.svg import (
    AXIS_BELOW,
    LIGHT,
    Attributes,
    Colours,
    Column,
    Space,
    axis,
    axis_width,
    element,
    plot,
    scale_of,
    tag,
    text,
)
from openrouter_usage.text import named, plural, safe

# -- What a page shows, and how its bars are told of.


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
    usage = content.report.breakdown.total
    unknown = f", {usage.unknown:,} of unknown cost" if usage.unknown else ""
    return f"{credits_and_byok(usage.cost, usage.byok_cost)} in {plural(usage.requests, 'call')}{unknown}"


def boundaries(content: Content) -> str:
    """Write whose days are shown, and when the first begins and the last ends."""
    period, zone = content.report.breakdown.period, content.report.zone
    return f"Days of {zone}: from {spoken(period.start)} until {spoken(period.end)}" if period else f"Days of {zone}"


def provenance(content: Content) -> str:
    """Write where the figures come from, and when."""
    report = content.report
    source = f"{report.breakdown.source} {safe(report.file, 90)}"
    return f"Source: {source}, tracked calls only, in USD; made {content.now:%Y-%m-%d %H:%M} UTC."


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
    """Check whether the period reaches into the future."""
    return any(is_to_come(bar, content.now) for bar in content.timeline.bars)


def credit_columns(content: Content, colours: Colours) -> list[Column]:
    """Return the bars of credits, stacked by model."""
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
    """Return the bars of what was paid to providers directly."""
    columns = []
    for bar in content.timeline.bars:
        amount = bar.total.byok_cost
        told = f"{bar_name(bar, content.now)}: {format_usd(amount)} BYOK"
        columns.append(_column(content, bar, told, amount, [(amount, colours.byok)]))
    return columns


def _column(content: Content, bar: Bar, told: str, amount: Decimal, stacked: list[tuple[Decimal, str]]) -> Column:
    return Column(bar.slot.label, told, amount, tuple(stacked), is_to_come=is_to_come(bar, content.now))


# -- The figures of the page as tables: what the charts show, for those who cannot see them, and with exact amounts.

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
    found = content.report.breakdown
    head = ("Model", "Credits", "Share", "BYOK", "Calls", "Input tokens", "Output tokens", "Unknown cost", "Estimated")
    whole = found.total.cost
    rows = [row(named(name), *_figures(usage, whole)) for name, usage in found.rows]
    if found.more_count:
        rows.append(row(f"and {found.more_count:,} more", *_figures(found.more, whole)))
    return table("Credits by model, in USD", head, rows, [row("All", *_figures(found.total, whole))])


def _figures(usage: Usage, whole: Decimal) -> Iterator[str]:
    yield amount(usage.cost)
    yield tag("td", text(share(usage.cost, whole)))
    yield amount(usage.byok_cost)
    counts = (usage.requests, usage.prompt_tokens, usage.completion_tokens, usage.unknown, usage.estimated)
    yield from map(count, counts)


def by_time(content: Content) -> str:
    """Write what each piece of the period cost, in total and by model; the future has no figures."""
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


# -- The chart of a report as one SVG that needs nothing else, on a ground of its own: so it reads on light and dark.

_WIDTH = 960
_MARGIN = 28
_BARS = 260.0
_BYOK_BARS = 70.0
_NO_BARS = 24.0
_ROW = 22
_LONGEST_NAME = 44
_FONT = "sans-serif"  # any renderer has one


class _Sheet:
    """Blocks one below the other, and how far down they reach."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = float(_MARGIN)

    def line(
        self, words: str, *, size: int = 13, colour: str = LIGHT.muted, weight: int = 400, limit: int = 140
    ) -> None:
        """Write a line of text."""
        self.y += size
        style: Attributes = {"x": _MARGIN, "y": self.y, "font_size": size, "font_weight": weight, "fill": colour}
        self.parts.append(element("text", text(words, limit), **style))
        self.y += 0.55 * size

    def block(self, x: float, height: float, *parts: str) -> None:
        """Place a group whose own coordinates begin at its upper left corner."""
        self.parts.append(element("g", *parts, transform=f"translate({x:g} {self.y:g})"))
        self.y += height


def render(content: Content) -> str:
    """Write the chart alone."""
    report, sheet = content.report, _Sheet()
    total = report.breakdown.total
    title = f"OpenRouter spend, {report.title}"
    sheet.line(title, size=22, colour=LIGHT.ink, weight=600)
    sheet.line(summary(content), size=16, colour=LIGHT.ink)
    sheet.line(f"{boundaries(content)}; a bar for each {content.timeline.unit}")
    sheet.y += 16
    credits, byok = credit_columns(content, LIGHT), byok_columns(content, LIGHT)
    width = axis_width(credits, byok)
    _bars(sheet, credits, _BARS if total.cost else _NO_BARS, width)
    _legend(sheet, content)
    if total.byok_cost:
        sheet.y += 14
        sheet.line(f"BYOK: {format_usd(total.byok_cost)} paid to providers directly, not in the credits above")
        sheet.y += 12
        _bars(sheet, byok, _BYOK_BARS, width)
    sheet.y += 4
    for note in _remarks(content):
        sheet.line(note)
    height = round(sheet.y + _MARGIN / 2)
    ground = element("rect", width=_WIDTH, height=height, fill=LIGHT.card)
    head = element("title", text(title)), element("desc", text(f"{summary(content)}. {boundaries(content)}"))
    size: Attributes = {"width": _WIDTH, "height": height, "viewBox": f"0 0 {_WIDTH} {height}"}
    about: Attributes = {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "font_family": _FONT}
    return element("svg", *head, ground, *sheet.parts, **about, **size, data_usd=plain(total.cost)) + "\n"


def _bars(sheet: _Sheet, columns: list[Column], height: float, width: int) -> None:
    left, top = _MARGIN + width, sheet.y
    sheet.block(_MARGIN, 0, *axis(scale_of(columns), Space(height, width), LIGHT))
    sheet.block(left, 0, *plot(columns, Space(height, float(_WIDTH - _MARGIN - left)), LIGHT))
    sheet.y = top + height + AXIS_BELOW + 10


def _legend(sheet: _Sheet, content: Content) -> None:
    """Name the colours, one below the other: nobody can say here how wide a name will be."""
    for words, colour in _entries(content):
        swatch = element("rect", y=4, width=12, height=12, fill=colour)
        name = element("text", text(words), x=20, y=15, font_size=13, fill=LIGHT.ink)
        sheet.block(_MARGIN, _ROW, swatch, name)


def _entries(content: Content) -> Iterator[tuple[str, str]]:
    timeline = content.timeline
    for name, usage, colour in zip(timeline.names, timeline.groups, LIGHT.models, strict=False):
        yield f"{safe(name, _LONGEST_NAME)}: {_amount(usage, content)}", colour
    if timeline.others.cost:
        yield f"{others_name(timeline)}: {_amount(timeline.others, content)}", LIGHT.other
    if has_bars_to_come(content):
        yield "to come", LIGHT.line


def _amount(usage: Usage, content: Content) -> str:
    return f"{format_usd(usage.cost)} ({share(usage.cost, content.report.breakdown.total.cost)})"


def _remarks(content: Content) -> Iterator[str]:
    report, total = content.report, content.report.breakdown.total
    if not total.requests:
        yield "No calls in this period."
    if total.unknown:
        yield f"{plural(total.unknown, 'call')} of unknown cost (marked below the bars) are in no sum."
    if total.estimated:
        yield f"{plural(total.estimated, 'call')} estimated: in the sums, not billed figures."
    if report.open_holds:
        most = "at a cost not known yet" if report.held is None else f"up to {format_usd(report.held)}"
        yield f"{plural(report.open_holds, 'call')} running or unsettled, {most}, not in these."
    yield provenance(content)
