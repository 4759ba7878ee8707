"""The parts of the page: figures at a glance, bars over time, shares, the budget, and OpenRouter's own word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from openrouter_usage.budget import Scope
from openrouter_usage.money import ZERO, add, format_usd, plain, share
from openrouter_usage.period import spoken
from openrouter_usage.render.page.bars import AXIS_BELOW, Column, Space, axis, axis_width, plot, scale_of
from openrouter_usage.render.page.colours import THEMED
from openrouter_usage.render.page.content import (
    Content,
    byok_columns,
    credit_columns,
    has_bars_to_come,
    money,
    others_name,
    summary,
)
from openrouter_usage.render.page.scale import part_of
from openrouter_usage.render.page.svg import element, tag, text
from openrouter_usage.render.page.tables import compared
from openrouter_usage.text import named, plural
from openrouter_usage.usage import Usage

_BARS, _BYOK_BARS, _NO_BARS = 240.0, 80.0, 24.0


def tiles(content: Content) -> str:
    """Write the sums at a glance; what is zero and says nothing is left out, but for the credits."""
    usage, report = content.report.total, content.report
    found = [_tile("Credits spent", format_usd(usage.cost), plural(usage.requests, "call"), exact=usage.cost)]
    if usage.byok_cost:
        more = "paid to providers, not in the credits"
        found.append(_tile("BYOK", format_usd(usage.byok_cost), more, exact=usage.byok_cost))
    tokens = f"{usage.prompt_tokens:,} in, {usage.completion_tokens:,} out"
    found.append(_tile("Tokens", f"{usage.total_tokens:,}", tokens))
    if usage.unknown:
        found.append(_tile("Unknown cost", plural(usage.unknown, "call"), "counted, and in no sum", kind="warn"))
    if usage.estimated:
        found.append(_tile("Estimated", plural(usage.estimated, "call"), "in the credits, not billed figures"))
    if report.open_holds:
        held = "not known" if report.held is None else f"up to {format_usd(report.held)}"
        calls = f"{plural(report.open_holds, 'call')} running or unsettled, not in the credits"
        found.append(_tile("Held", held, calls, exact=report.held))
    return tag("dl", *found, class_="tiles")


def _tile(name: str, figure: str, more: str, *, exact: Decimal | None = None, kind: str = "") -> str:
    value = {} if exact is None else {"data_usd": plain(exact)}
    inside = (
        tag("dt", text(name)),
        tag("dd", text(figure), class_="figure", **value),
        tag("dd", text(more), class_="more"),
    )
    return tag("div", *inside, class_=kind) if kind else tag("div", *inside)


def over_time(content: Content) -> str:
    """Draw the credits over time, stacked by model, and BYOK on its own."""
    total, unit = content.report.total, content.timeline.unit
    parts = [tag("h2", f"Spend per {unit}")]
    if not total.requests:
        return tag("section", *parts, tag("p", "No calls in this period."))
    if not total.cost:
        parts.append(tag("p", text(f"No cost is known: {money(total)}.")))
    credits, byok = credit_columns(content, THEMED), byok_columns(content, THEMED)
    width = axis_width(credits, byok)
    told = f"Credits per {unit}, stacked by model: {summary(content)}. The figures are in a table below."
    height = _BARS if total.cost else _NO_BARS
    parts += [_figure(credits, Space(height, width), told), _legend(content)]
    if total.byok_cost:
        told = f"BYOK per {unit}: {format_usd(total.byok_cost)}, paid to providers directly; not in the credits"
        parts += [tag("p", text(told), class_="muted below"), _figure(byok, Space(_BYOK_BARS, width), told)]
    return tag("section", *parts)


def _figure(columns: list[Column], beside: Space, told: str) -> str:
    """Draw bars as wide as there is room, with their amounts beside them."""
    height = beside.height + AXIS_BELOW
    amounts = axis(scale_of(columns), beside, THEMED)
    scale = element("svg", *amounts, width=beside.width or 0, height=height, aria_hidden="true")
    bars = plot(columns, Space(beside.height), THEMED)
    drawing = element("svg", *bars, height=height, class_="plot", role="img", aria_label=told)
    return tag("figure", tag("div", scale, drawing, class_="chart"))


def _swatch(colour: str, *, is_mark: bool = False) -> str:
    paint = {"fill": THEMED.card, "stroke": colour, "stroke_width": 1.5} if is_mark else {"fill": colour}
    place = {"x": 1, "y": 4, "width": 10, "height": 5} if is_mark else {"width": 12, "height": 12}
    return element("svg", element("rect", **place, **paint), class_="swatch", width=12, height=12, aria_hidden="true")


def _legend(content: Content) -> str:
    timeline = content.timeline
    entries = [
        tag("li", _swatch(colour), text(named(name)))
        for name, colour in zip(timeline.names, THEMED.models, strict=False)
    ]
    if timeline.others.cost:
        entries.append(tag("li", _swatch(THEMED.other), text(others_name(timeline))))
    if timeline.total.unknown:
        entries.append(tag("li", _swatch(THEMED.unknown, is_mark=True), "calls of unknown cost, in no sum"))
    if has_bars_to_come(content):
        entries.append(tag("li", _swatch(THEMED.line), "to come"))
    return tag("ul", *entries, class_="legend") if entries else ""


def meter(parts: Sequence[tuple[Decimal, str, bool]], whole: Decimal) -> str:
    """Draw parts of a whole side by side; a part that is not certain is an outline."""
    shapes, x = [element("rect", width="100%", height=10, fill=THEMED.line)], 0.0
    for amount, colour, is_certain in parts:
        width = min(part_of(amount, whole), 1 - x)
        paint = {"fill": colour} if is_certain else {"fill": THEMED.card, "stroke": colour, "stroke_width": 2}
        place = {"y": 0, "height": 10} if is_certain else {"y": 1, "height": 8}
        if width > 0:
            # As thin as it may be, nothing is invisible.
            shapes.append(element("rect", x=f"{100 * x:.3f}%", width=f"{max(100 * width, 0.3):.3f}%", **place, **paint))
        x += width
    return element("svg", *shapes, class_="meter", height=10, aria_hidden="true")


def by_model(content: Content) -> str:
    """Write each model's share of the credits, with a bar of its length."""
    report, colours = content.report, dict(zip(content.timeline.names, THEMED.models, strict=False))
    if not report.rows:
        return ""
    rows = [
        _share(named(name), usage, report.total.cost, colours.get(name, THEMED.other)) for name, usage in report.rows
    ]
    if report.more_count:
        rows.append(_share(f"and {report.more_count:,} more", report.more, report.total.cost, THEMED.other))
    return tag("section", tag("h2", "Share by model"), tag("ul", *rows, class_="shares"))


def _share(name: str, usage: Usage, whole: Decimal, colour: str) -> str:
    told = f"{money(usage)} · {share(usage.cost, whole)}" if whole else money(usage)
    words = tag("div", tag("span", text(name)), tag("span", text(told)), class_="pair")
    return tag("li", words, meter([(usage.cost, colour, True)], whole))


def budget(content: Content) -> str:
    """Write how each cap stands now, whatever the period of the page is."""
    head = tag("h2", "Budget"), tag("p", "As it stands now, by OpenRouter's UTC days and months.", class_="muted")
    if not content.scopes:
        return tag("section", head[0], tag("p", "No budget is set."))
    return tag("section", *head, tag("ul", *map(_scope, content.scopes), class_="shares"))


def _scope(scope: Scope) -> str:
    if scope.period is None:
        return tag("li", text(f"{scope.name}: at most {format_usd(scope.cap)} a call"))
    used = add(scope.spent, scope.held)
    left = f"{format_usd(scope.left)} left" if scope.left >= 0 else f"overrun by {format_usd(scope.left.copy_abs())}"
    told = (
        f"{format_usd(scope.spent)} spent + {format_usd(scope.held)} held of {format_usd(scope.cap)} "
        f"({share(used, scope.cap)}), {left}"
    )
    words = tag("div", tag("span", text(scope.name)), tag("span", text(told)), class_="pair")
    colour = THEMED.over if used > scope.cap else THEMED.models[0]
    # Where nothing may be spent, whatever was is all of it.
    bar = meter([(scope.spent, colour, True), (scope.held, THEMED.held, False)], scope.cap or used)
    return tag("li", words, bar, *_remarks(scope), data_usd=plain(used))


def _remarks(scope: Scope) -> Iterator[str]:
    unknown = f"; not counted: {plural(scope.unknown_calls, 'call')} of unknown cost" if scope.unknown_calls else ""
    if scope.period:
        yield tag("div", text(f"starts anew {spoken(scope.period.end)}{unknown}"), class_="muted")


def comparison(content: Content) -> str:
    """Write what the ledger has not seen of what OpenRouter counted, or that nobody knows."""
    head = tag("h2", "Not attributed")
    if not content.compared:
        return tag("section", head, tag("p", text(content.not_compared)))
    last = max(content.compared, key=lambda part: part.billed)
    told = (
        f"OpenRouter's figures of {last.whose}, as of {last.period.end:%Y-%m-%d %H:%M} UTC, beside what the ledger saw "
        "until then. They can be a minute late, and calls of other keys may be in the ledger; for more, see: reconcile."
    )
    bars = []
    for part in content.compared:
        missing = max(part.unattributed, ZERO)
        words = f"{format_usd(missing)} of {format_usd(part.billed)} not attributed"
        name = tag("div", tag("span", text(part.period.label)), tag("span", text(words)), class_="pair")
        known = min(part.billed, part.seen.cost)
        bars.append(
            tag("li", name, meter([(known, THEMED.models[0], True), (missing, THEMED.unknown, False)], part.billed))
        )
    return tag(
        "section", head, tag("p", text(told), class_="muted"), tag("ul", *bars, class_="shares"), compared(content)
    )
