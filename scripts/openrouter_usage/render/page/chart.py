"""The chart of a report as one SVG that needs nothing else, on a ground of its own: so it reads on light and dark."""

from __future__ import annotations

from collections.abc import Iterator

from openrouter_usage.money import format_usd, plain, share
from openrouter_usage.render.page.bars import AXIS_BELOW, Column, Space, axis, axis_width, plot, scale_of
from openrouter_usage.render.page.colours import LIGHT
from openrouter_usage.render.page.content import (
    Content,
    boundaries,
    byok_columns,
    credit_columns,
    has_bars_to_come,
    others_name,
    provenance,
    summary,
)
from openrouter_usage.render.page.svg import Attributes, element, text
from openrouter_usage.text import plural, safe
from openrouter_usage.usage import Usage

_WIDTH = 960
_MARGIN = 28
_BARS = 260.0
_BYOK_BARS = 70.0
_NO_BARS = 24.0
_ROW = 22
_LONGEST_NAME = 44
_FONT = "sans-serif"  # any renderer has one


class _Sheet:
    """Takes blocks one below the other and knows how far down they reach."""

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
    title = f"OpenRouter spend, {report.title}"
    sheet.line(title, size=22, colour=LIGHT.ink, weight=600)
    sheet.line(summary(content), size=16, colour=LIGHT.ink)
    sheet.line(f"{boundaries(content)}; a bar for each {content.timeline.unit}")
    sheet.y += 16
    credits, byok = credit_columns(content, LIGHT), byok_columns(content, LIGHT)
    width = axis_width(credits, byok)
    _bars(sheet, credits, _BARS if report.total.cost else _NO_BARS, width)
    _legend(sheet, content)
    if report.total.byok_cost:
        sheet.y += 14
        sheet.line(f"BYOK: {format_usd(report.total.byok_cost)} paid to providers directly, not in the credits above")
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
    return element("svg", *head, ground, *sheet.parts, **about, **size, data_usd=plain(report.total.cost)) + "\n"


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
    return f"{format_usd(usage.cost)} ({share(usage.cost, content.report.total.cost)})"


def _remarks(content: Content) -> Iterator[str]:
    report = content.report
    if not report.total.requests:
        yield "No calls in this period."
    if report.total.unknown:
        yield f"{plural(report.total.unknown, 'call')} of unknown cost (marked below the bars) are in no sum."
    if report.total.estimated:
        yield f"{plural(report.total.estimated, 'call')} estimated: in the sums, not billed figures."
    if report.open_holds:
        most = "at a cost not known yet" if report.held is None else f"up to {format_usd(report.held)}"
        yield f"{plural(report.open_holds, 'call')} running or unsettled, {most}, not in these."
    yield provenance(content)
