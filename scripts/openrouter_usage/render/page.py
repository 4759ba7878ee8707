"""The report as one page that needs nothing else: no script, no network, and nothing that a name could start."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from decimal import Decimal
from hashlib import sha256

from openrouter_usage.entry import Usage
from openrouter_usage.figures.limits import Scope
from openrouter_usage.money import ZERO, add, format_usd, plain, share
from openrouter_usage.period import spoken
from openrouter_usage.render.chart import (
    Content,
    boundaries,
    byok_columns,
    compared,
    credit_columns,
    has_bars_to_come,
    money,
    others_name,
    provenance,
    summary,
)
from openrouter_usage.render.chart import by_model as model_table
from openrouter_usage.render.chart import by_time as time_table
from openrouter_usage.render.svg import (
    AXIS_BELOW,
    DARK,
    LIGHT,
    THEMED,
    Column,
    Space,
    axis,
    axis_width,
    element,
    part_of,
    plot,
    properties,
    scale_of,
    tag,
    text,
)
from openrouter_usage.text import named, plural

# -- The style sheet of the page: light and dark, on paper, and as narrow as a phone.

STYLE = f"""
:root {{ color-scheme: light dark; {properties(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {properties(DARK)} }} }}
* {{ box-sizing: border-box; }}
body {{
  margin: 0; background: var(--ground); color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}}
main {{ max-width: 1040px; margin: 0 auto; padding: 32px 24px 48px; }}
h1 {{ font-size: 1.6rem; line-height: 1.25; margin: 0 0 4px; }}
.title {{ font-size: 1.2rem; margin: 0; }}
h2 {{ font-size: 1.1rem; margin: 0 0 4px; }}
p {{ margin: 0 0 8px; }}
section, .tiles div {{ background: var(--card); border: 1px solid var(--line); border-radius: 12px; }}
section {{ padding: 20px 24px; margin: 16px 0 0; }}
.muted, figcaption, caption, .tiles dt, .tiles .more {{ color: var(--muted); font-size: 0.875rem; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin: 20px 0 0; }}
.tiles div {{ padding: 14px 18px; }}
.tiles dd {{ margin: 0; }}
.tiles .figure {{ font-size: 1.5rem; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; }}
.tiles .warn {{ border-color: var(--unknown); border-style: dashed; border-width: 2px; }}
figure {{ margin: 12px 0 0; }}
.chart {{ display: flex; }}
.chart svg {{ display: block; flex: none; overflow: visible; }}
.chart .plot {{ flex: 1 1 0; min-width: 0; width: 100%; }}
.bar:hover .hit {{ fill: var(--line); fill-opacity: 0.55; }}
.legend {{ display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; margin: 12px 0 0; padding: 0; }}
.legend li {{ font-size: 0.875rem; }}
.swatch {{ display: inline-block; margin-right: 7px; vertical-align: -1px; }}
.shares, .notes {{ list-style: none; margin: 8px 0 0; padding: 0; }}
.below {{ margin: 20px 0 0; }}
.notes {{ margin-top: 16px; }}
footer {{ margin-top: 24px; }}
.shares li {{ margin: 12px 0 0; }}
.pair {{ display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 16px; }}
.meter {{ display: block; width: 100%; margin-top: 4px; }}
.scroll {{ overflow-x: auto; margin: 8px -8px 0; padding: 0 8px; }}
.scroll + .scroll, .shares + .scroll {{ margin-top: 24px; }}
table {{ border-collapse: collapse; width: 100%; font-size: 0.875rem; font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; padding: 0 0 8px; }}
th, td {{ padding: 6px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }}
th {{ font-weight: 600; }}
thead th {{ vertical-align: bottom; white-space: normal; overflow-wrap: break-word; min-width: 6em; max-width: 12em; }}
th:first-child {{ text-align: left; padding-left: 0; white-space: normal; min-width: 7.5em; }}
tfoot th, tfoot td {{ border-bottom: 0; font-weight: 600; }}
:focus-visible {{ outline: 3px solid var(--model0); outline-offset: 2px; }}
@media (max-width: 640px) {{
  main {{ padding: 20px 12px 32px; }}
  section {{ padding: 16px; }}
  .minor {{ display: none; }}
  .tiles {{ grid-template-columns: 1fr 1fr; gap: 8px; }}
  .tiles div {{ padding: 12px; }}
  .tiles .figure {{ font-size: 1.2rem; }}
}}
@media print {{
  body {{ background: none; }}
  section, .tiles div {{ break-inside: avoid; }}
  .figures {{ break-inside: auto; }}
  .scroll {{ overflow: visible; }}
}}
"""


# -- The parts of the page: figures at a glance, bars over time, shares, the budget, and OpenRouter's own word.

_BARS, _BYOK_BARS, _NO_BARS = 240.0, 80.0, 24.0


def tiles(content: Content) -> str:
    """Write the sums at a glance; what is zero and says nothing is left out, but for the credits."""
    usage, report = content.report.breakdown.total, content.report
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
    total, unit = content.report.breakdown.total, content.timeline.unit
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
    found, colours = content.report.breakdown, dict(zip(content.timeline.names, THEMED.models, strict=False))
    if not found.rows:
        return ""
    whole = found.total.cost
    rows = [_share(named(name), usage, whole, colours.get(name, THEMED.other)) for name, usage in found.rows]
    if found.more_count:
        rows.append(_share(f"and {found.more_count:,} more", found.more, whole, THEMED.other))
    return tag("section", tag("h2", "Share by model"), tag("ul", *rows, class_="shares"))


def _share(name: str, usage: Usage, whole: Decimal, colour: str) -> str:
    told = f"{money(usage)} · {share(usage.cost, whole)}" if whole else money(usage)
    words = tag("div", tag("span", text(name)), tag("span", text(told)), class_="pair")
    return tag("li", words, meter([(usage.cost, colour, True)], whole))


def budget(content: Content) -> str:
    """Write how each cap stands now, whatever the period of the page is."""
    head = (
        tag("h2", "Budget"),
        tag("p", "As it stands now, by OpenRouter's UTC days, weeks and months.", class_="muted"),
    )
    if not content.scopes:
        return tag("section", head[0], tag("p", "No budget is set."))
    return tag("section", *head, tag("ul", *map(_scope, content.scopes), class_="shares"))


def _scope(scope: Scope) -> str:
    name = f"{scope.owner}, {scope.name}" if scope.owner.name else scope.name
    if scope.period is None:
        return tag("li", text(f"{name}: at most {format_usd(scope.cap)} a call"))
    used = add(scope.spent, scope.held)
    left = f"{format_usd(scope.left)} left" if scope.left >= 0 else f"overrun by {format_usd(scope.left.copy_abs())}"
    told = (
        f"{format_usd(scope.spent)} spent + {format_usd(scope.held)} held of {format_usd(scope.cap)} "
        f"({share(used, scope.cap)}), {left}"
    )
    words = tag("div", tag("span", text(name)), tag("span", text(told)), class_="pair")
    colour = THEMED.over if used > scope.cap else THEMED.models[0]
    # Where nothing may be spent, whatever was is all of it.
    bar = meter([(scope.spent, colour, True), (scope.held, THEMED.held, False)], scope.cap or used)
    return tag("li", words, bar, *_remarks(scope), data_usd=plain(used))


def _remarks(scope: Scope) -> Iterator[str]:
    unknown = f"; not counted: {plural(scope.unknown_calls, 'call')} of unknown cost" if scope.unknown_calls else ""
    if scope.period:
        until = f"resets {spoken(scope.resets_at)}" if scope.resets_at else "never resets"
        yield tag("div", text(f"{until}, {scope.policy}{unknown}"), class_="muted")


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


# -- The report as one page that needs nothing else: no script, no network, and nothing that a name could start.


def render(content: Content) -> str:
    """Write the page."""
    title = f"OpenRouter spend, {content.report.title}"
    # Even if a name slipped through as markup, a browser would load and run nothing for it.
    policy = f"default-src 'none'; style-src 'sha256-{_digest(STYLE)}'; base-uri 'none'; form-action 'none'"
    head = (
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="referrer" content="no-referrer">',
        '<meta name="robots" content="noindex">',
        f"<title>{text(title)}</title>",
        f"<style>{STYLE}</style>",
    )
    body = tag("main", *_body(content))
    return "\n".join(["<!doctype html>", '<html lang="en">', *head, tag("body", body), "</html>"]) + "\n"


def _digest(style: str) -> str:
    return b64encode(sha256(style.encode()).digest()).decode()


def _body(content: Content) -> Iterator[str]:
    report = content.report
    yield tag("h1", "OpenRouter spend")
    yield tag("p", text(report.title), class_="title")
    yield tag("p", text(boundaries(content)), class_="muted")
    yield tiles(content)
    notes = [tag("li", text(f"⚠ {note}")) for note in report.notes]
    yield tag("ul", *notes, class_="notes") if notes else ""
    yield over_time(content)
    yield by_model(content)
    yield budget(content)
    yield comparison(content)
    if report.breakdown.total.requests:
        tables = time_table(content), model_table(content)
        yield tag("section", tag("h2", "Figures"), *tables, class_="figures")
    yield tag("footer", *_small_print(content))


def _small_print(content: Content) -> Iterator[str]:
    yield tag("p", text(provenance(content)), class_="muted")
    yield tag(
        "p",
        "BYOK is paid to providers directly and is in no sum of credits; a call of unknown cost is "
        "counted and is in no sum. Amounts are rounded to look at; the exact ones are in the <code>data-usd</code> "
        "attributes of the tables.",
        class_="muted",
    )
