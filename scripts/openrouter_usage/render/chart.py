"""The chart of a report as one SVG that needs nothing else, and the tables that hold the same figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from openrouter_usage.entry import Usage
from openrouter_usage.figures.page import Content, budget_lines
from openrouter_usage.figures.report import Bar, Timeline, is_to_come
from openrouter_usage.money import ZERO, format_usd, plain, share
from openrouter_usage.period import spoken
from openrouter_usage.render.amounts import averages, credits_and_byok
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
    fits,
    plot,
    scale_of,
    tag,
    text,
)
from openrouter_usage.text import named, plural, safe

# -- What a page shows, and how its bars are told of.


def money(usage: Usage) -> str:
    """Write what calls cost, with BYOK apart, and those of unknown cost named."""
    unknown = f" + {plural(usage.unknown, 'call')} of unknown cost" if usage.unknown else ""
    return credits_and_byok(usage.cost, usage.byok_cost) + unknown


def summary(content: Content) -> str:
    """Write the sum of all calls, with those of unknown cost named."""
    if not content.has_days:
        return "not known"
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
    if report.breakdown.is_local:
        source = f"{report.breakdown.source} {safe(report.file, 90)}, tracked calls only"
    elif report.breakdown.coverage and report.breakdown.coverage.joined:
        source = f"{report.breakdown.source}: account and ledger joined, each day counted once"
    elif content.has_days:
        source = f"OpenRouter's {report.breakdown.source}, all calls of the account"
    else:
        source = "OpenRouter's /key and /credits"
    return f"Source: {source}, in USD; made {content.now:%Y-%m-%d %H:%M} UTC."


def others_name(timeline: Timeline) -> str:
    """Name what is stacked without a colour of its own."""
    return f"{plural(timeline.other_names, 'other model')}"


def bar_name(bar: Bar, now: datetime) -> str:
    """Name a piece of the period, and say when it is not all of it, or not over yet."""
    period = bar.slot.period
    if is_to_come(bar, now):
        return f"{bar.slot.name} (to come)"
    if bar.is_unknown:
        return f"{bar.slot.name} (not known)"
    if bar.unknown_days:
        return f"{bar.slot.name} ({plural(bar.unknown_days, 'day')} of it not known)"
    if period.start <= now < period.end:
        return f"{bar.slot.name} (so far)"
    return bar.slot.name if bar.slot.is_whole else f"{bar.slot.name} (in part)"


def has_bars_to_come(content: Content) -> bool:
    """Check whether the period reaches into the future."""
    return any(is_to_come(bar, content.now) for bar in content.timeline.bars)


def cap_marks(content: Content, columns: Sequence[Column]) -> tuple[Decimal, ...]:
    """Return the budgets that are drawn as lines among the bars."""
    return tuple(scope.cap for scope in budget_lines(content) if fits(scope.cap, columns))


def cap_names(content: Content) -> Iterator[str]:
    """Name the budgets of the length of a bar, and say which ones are too high to be drawn."""
    columns = credit_columns(content, LIGHT)
    for scope in budget_lines(content):
        where = "" if fits(scope.cap, columns) else ", above the chart"
        yield f"{scope.name} budget {format_usd(scope.cap)}{where}"


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
        head = f"{bar_name(bar, content.now)}: {'not known' if bar.is_unknown else money(bar.total)}"
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
    return Column(
        bar.slot.label,
        told,
        amount,
        tuple(stacked),
        is_to_come=is_to_come(bar, content.now),
        is_unknown=bar.is_unknown,
    )


# -- The figures of the page as tables: what the charts show, for those who cannot see them, and with exact amounts.

_UNITS = {"hour": "Hour", "day": "Day", "week": "Week", "month": "Month", "year": "Year"}


class Cell(NamedTuple):
    """What stands in a cell of a table, and the exact amount of it, if it is one; nothing much is written quietly."""

    words: str
    usd: Decimal | None = None
    is_quiet: bool = False


class Row(NamedTuple):
    """A row that begins with what it is about."""

    name: str
    cells: tuple[Cell, ...]
    is_quiet: bool = False


def amount(value: Decimal) -> Cell:
    """Write a cell with an amount: rounded to look at, exact beside it."""
    return Cell(format_usd(value), value, not value)


def count(value: int) -> Cell:
    """Write a cell with a count."""
    return Cell(f"{value:,}", None, not value)


def table(caption: str, head: Sequence[str], rows: Iterable[Row], foot: Iterable[Row] = ()) -> str:
    """Write a table that is scrolled by itself where it is wider than the page, with the keyboard too.

    Each cell knows the head of its column, for a phone has no room for columns.
    """
    heads = "".join(tag("th", _breakable(name), scope="col") for name in head)
    inside = tag(
        "table",
        tag("caption", text(caption)),
        tag("thead", tag("tr", heads)),
        tag("tbody", *(_row(each, head) for each in rows)),
        tag("tfoot", *(_row(each, head) for each in foot)),
    )
    return tag("div", inside, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _breakable(name: str) -> str:
    """Write a name that may go on in a new line after the author of a model."""
    return text(name, 200).replace("/", "/<wbr>")


def _row(found: Row, head: Sequence[str]) -> str:
    cells = []
    for name, cell in zip(head[1:], found.cells, strict=True):
        exact: Attributes = {} if cell.usd is None else {"data_usd": plain(cell.usd)}
        quiet: Attributes = {"class_": "quiet"} if cell.is_quiet else {}
        cells.append(tag("td", text(cell.words), **quiet, **exact, data_head=safe(name, 60)))
    quiet = {"class_": "quiet"} if found.is_quiet else {}
    return tag("tr", tag("th", text(found.name), scope="row"), *cells, **quiet)


Columns = tuple[tuple[str, Callable[[Usage], Cell]], ...]


def _shown(columns: Columns, whole: Usage) -> Columns:
    """Return the columns but for those in which nothing stands at all."""
    rare = {
        "BYOK": whole.byok_cost,
        "Unknown cost": whole.unknown,
        "Estimated": whole.estimated,
        "Cached": whole.cached_tokens,
    }
    return tuple((name, cell) for name, cell in columns if rare.get(name, 1))


def by_model(content: Content) -> str:
    """Write what each model cost, and all of them."""
    found = content.report.breakdown
    whole = found.total
    columns: Columns = (
        ("Credits", lambda usage: amount(usage.cost)),
        ("Share", lambda usage: Cell(share(usage.cost, whole.cost))),
        ("BYOK", lambda usage: amount(usage.byok_cost)),
        ("Calls", lambda usage: count(usage.requests)),
        ("A call", _each),
        ("Input tokens", lambda usage: count(usage.prompt_tokens)),
        ("Cached", lambda usage: count(usage.cached_tokens)),
        ("Output tokens", lambda usage: count(usage.completion_tokens)),
        ("Unknown cost", lambda usage: count(usage.unknown)),
        ("Estimated", lambda usage: count(usage.estimated)),
    )
    columns = _shown(columns, whole)
    rows = [Row(named(name), _figures(usage, columns)) for name, usage in found.rows]
    if found.more_count:
        rows.append(Row(f"and {found.more_count:,} more", _figures(found.more, columns)))
    head = ("Model", *(name for name, _ in columns))
    return table("Credits by model, in USD", head, rows, [Row("All", _figures(whole, columns))])


def _figures(usage: Usage, columns: Columns) -> tuple[Cell, ...]:
    return tuple(cell(usage) for _, cell in columns)


def _each(usage: Usage) -> Cell:
    """Write what a call of known cost cost on average."""
    each = averages(usage)[0]
    return Cell("–") if each is None else Cell(format_usd(each), None, not each)


def by_time(content: Content) -> str:
    """Write what each piece of the period cost, in total and by model; the future has no figures."""
    timeline = content.timeline
    over = [bar for bar in timeline.bars if not is_to_come(bar, content.now)]
    columns: Columns = (
        ("Credits", lambda usage: amount(usage.cost)),
        ("BYOK", lambda usage: amount(usage.byok_cost)),
        ("Calls", lambda usage: count(usage.requests)),
        ("Unknown cost", lambda usage: count(usage.unknown)),
    )
    columns = _shown(columns, timeline.total)
    head = [_UNITS[timeline.unit], *(name for name, _ in columns), *map(named, timeline.names)]
    if timeline.other_names:
        head.append(others_name(timeline))
    rows = [_piece(bar, content, columns, len(head) - 1) for bar in over]
    foot = (*_figures(timeline.total, columns), *_parts(timeline.groups, timeline.others, content))
    caption = f"Credits per {timeline.unit}, in USD; days of {content.report.zone}"
    left_out = len(timeline.bars) - len(over)
    if left_out:
        caption += f"; {plural(left_out, timeline.unit)} to come left out"
    return table(caption, head, rows, [Row("All", foot)])


def _piece(bar: Bar, content: Content, columns: Columns, width: int) -> Row:
    name = bar_name(bar, content.now)
    if bar.is_unknown:
        return Row(name, (Cell("?"),) * width, True)
    cells = (*_figures(bar.total, columns), *_parts(bar.parts, bar.others, content))
    return Row(name, cells, not bar.total.requests)


def _parts(parts: Sequence[Usage], others: Usage, content: Content) -> Iterator[Cell]:
    yield from (amount(usage.cost) for usage in parts)
    if content.timeline.other_names:
        yield amount(others.cost)


def compared(content: Content) -> str:
    """Write what OpenRouter said beside what the ledger has seen of it."""
    rows = []
    for part in content.compared:
        missing, surplus = max(part.unattributed, ZERO), max(part.unattributed.copy_negate(), ZERO)
        cells = map(amount, (part.billed, part.seen.cost, missing, surplus))
        name = f"{part.period.label}, from {part.period.start:%Y-%m-%d} UTC"
        rows.append(Row(name, (*cells, count(part.seen.unknown))))
    head = ("Window", "OpenRouter", "In the ledger", "Not attributed", "More in the ledger", "Unknown cost")
    return table("What OpenRouter said, and what the ledger knows of it, in USD", head, rows)


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
    marks = cap_marks(content, credits)
    width = axis_width(scale_of(credits, marks), scale_of(byok))
    _bars(sheet, credits, _BARS if total.cost else _NO_BARS, width, marks)
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


def _bars(sheet: _Sheet, columns: list[Column], height: float, width: int, marks: tuple[Decimal, ...] = ()) -> None:
    left, top = _MARGIN + width, sheet.y
    sheet.block(_MARGIN, 0, *axis(scale_of(columns, marks), Space(height, width), LIGHT))
    sheet.block(left, 0, *plot(columns, Space(height, float(_WIDTH - _MARGIN - left)), LIGHT, marks))
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
    for words in cap_names(content):
        yield words, LIGHT.over


def _amount(usage: Usage, content: Content) -> str:
    return f"{format_usd(usage.cost)} ({share(usage.cost, content.report.breakdown.total.cost)})"


def _remarks(content: Content) -> Iterator[str]:
    report, total = content.report, content.report.breakdown.total
    if not content.has_days:
        yield from content.unknown
    elif not total.requests:
        yield "No calls in this period."
    if total.unknown:
        yield f"{plural(total.unknown, 'call')} of unknown cost (marked below the bars) are in no sum."
    if total.estimated:
        yield f"{plural(total.estimated, 'call')} estimated: in the sums, not billed figures."
    if report.open_holds:
        most = "at a cost not known yet" if report.held is None else f"up to {format_usd(report.held)}"
        yield f"{plural(report.open_holds, 'call')} running or unsettled, {most}, not in these."
    yield provenance(content)
