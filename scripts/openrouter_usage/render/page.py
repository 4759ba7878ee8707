"""The report as one page that needs nothing else: no network, no script but a gateway's, nothing a name could start."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import NamedTuple

from openrouter_usage.entry import NOTHING, Usage
from openrouter_usage.figures.breakdown import Breakdown, Change
from openrouter_usage.figures.forecast import lasting, said_of_budget_end, said_of_month_end, said_of_outlook
from openrouter_usage.figures.limits import Scope
from openrouter_usage.figures.page import GENERATOR, MOST_ROWS, Cap, Content, Live
from openrouter_usage.figures.report import Bar, is_to_come
from openrouter_usage.figures.summary import Outlook, Summary
from openrouter_usage.money import ZERO, add, format_usd, plain, share
from openrouter_usage.period import DAY, UTC, Period, Stretch, midnight, spoken
from openrouter_usage.render.amounts import averages, changed, credits_and_byok, joined_lines, limit_left, window_amount
from openrouter_usage.render.chart import (
    Cell,
    Row,
    bar_name,
    boundaries,
    byok_columns,
    cap_marks,
    cap_names,
    compared,
    count,
    credit_columns,
    has_bars_to_come,
    money,
    others_name,
    provenance,
    summary,
    table,
)
from openrouter_usage.render.chart import by_model as model_table
from openrouter_usage.render.chart import by_time as time_table
from openrouter_usage.render.svg import (
    AXIS_BELOW,
    DARK,
    LIGHT,
    THEMED,
    Attributes,
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
from openrouter_usage.vocabulary import WEEKDAYS, joined, names_of

# -- The style sheet of the page: light and dark, on paper, and as narrow as a phone.

STYLE = f"""
:root {{ color-scheme: light dark; {properties(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {properties(DARK)} }} }}
* {{ box-sizing: border-box; }}
body {{
  margin: 0; background: var(--ground); color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}}
main {{ max-width: 1120px; margin: 0 auto; padding: 32px 24px 48px; }}
h1 {{ font-size: 1.6rem; line-height: 1.25; margin: 0 0 4px; }}
.title {{ font-size: 1.2rem; margin: 0; }}
h2 {{ font-size: 1.1rem; margin: 0 0 4px; }}
p {{ margin: 0 0 8px; }}
a {{ color: inherit; }}
section, .tiles div {{ background: var(--card); border: 1px solid var(--line); border-radius: 12px; }}
section {{ padding: 20px 24px; margin: 16px 0 0; min-width: 0; }}
section > :last-child {{ margin-bottom: 0; }}
.muted, figcaption, caption, .tiles dt, .tiles .more, .quiet, .quiet th {{ color: var(--muted); font-size: 0.875rem; }}
.quiet th {{ font-weight: 400; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin: 20px 0 0; }}
.tiles div {{ padding: 14px 18px; }}
.tiles dd {{ margin: 0; }}
.tiles .figure {{ font-size: 1.5rem; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; }}
.tiles .warn {{ border-color: var(--unknown); border-style: dashed; border-width: 2px; }}
.columns {{ display: grid; gap: 16px; margin: 16px 0 0; align-items: start; }}
.columns {{ grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr)); }}
.narrow {{ grid-template-columns: repeat(auto-fit, minmax(min(290px, 100%), 1fr)); }}
.columns section {{ margin: 0; }}
figure {{ margin: 12px 0 0; }}
.chart {{ display: flex; }}
.chart > svg, .plot {{ display: block; flex: none; overflow: visible; }}
.area {{ position: relative; flex: 1 1 0; min-width: 0; }}
.chart .plot {{ width: 100%; }}
.days {{ position: absolute; inset: 0; display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); }}
.day {{ position: relative; }}
.day:hover, .day:focus-within {{ background: rgb(128 128 128 / 0.16); }}
.day input {{ position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; }}
.told {{
  display: none; position: absolute; top: 8px; left: calc(100% + 6px); z-index: 1; width: max-content; max-width: 400px;
  padding: 10px 14px; pointer-events: none; font-size: 0.875rem; background: var(--card);
  border: 1px solid var(--muted); border-radius: 8px; box-shadow: 0 4px 16px rgb(0 0 0 / 0.25);
}}
.late .told {{ left: auto; right: calc(100% + 6px); }}
.day:hover .told, .day input:focus-visible ~ .told {{ display: block; }}
.days:hover .day:not(:hover) .told {{ display: none; }}
@media (hover: none) {{ .day input:checked ~ .told {{ display: block; }} }}
.told strong {{ display: block; }}
.told ul {{ list-style: none; margin: 6px 0; padding: 0; }}
.told li {{ display: flex; justify-content: space-between; gap: 16px; font-variant-numeric: tabular-nums; }}
.told li > :last-child {{ white-space: nowrap; }}
.legend {{ display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; margin: 12px 0 0; padding: 0; }}
.legend li {{ font-size: 0.875rem; }}
.swatch {{ display: inline-block; margin-right: 7px; vertical-align: -1px; flex: none; }}
.shares, .notes, .facts {{ list-style: none; margin: 8px 0 0; padding: 0; }}
.below {{ margin: 20px 0 0; }}
.shares + p {{ margin-top: 12px; }}
.folded table {{ font-size: 0.8125rem; }}
.folded th, .folded td {{ padding: 6px; font-size: inherit; }}
.notes {{ margin-top: 16px; }}
footer {{ margin-top: 24px; }}
.shares li {{ margin: 12px 0 0; }}
.pair {{ display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 16px; }}
.pair > :last-child {{ font-variant-numeric: tabular-nums; }}
.facts > div {{ padding: 7px 0; border-bottom: 1px solid var(--line); }}
.facts > div {{ display: grid; grid-template-columns: 9em minmax(0, 1fr); gap: 0 16px; }}
.facts > div:last-child {{ border-bottom: 0; }}
.facts dt {{ color: var(--muted); font-size: 0.875rem; line-height: 1.7; }}
.facts dd {{ margin: 0; grid-column: 2; }}
.facts dd.muted {{ font-size: 0.8125rem; }}
.meter {{ display: block; width: 100%; margin-top: 4px; }}
.scroll {{ overflow-x: auto; margin: 8px -8px 0; padding: 0 8px; }}
.scroll + .scroll, .folded + .scroll, .shares + .scroll {{ margin-top: 24px; }}
table {{ border-collapse: collapse; width: 100%; font-size: 0.875rem; font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; padding: 0 0 8px; }}
th, td {{ padding: 6px 8px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }}
table {{ overflow-wrap: break-word; }}
th {{ font-weight: 600; }}
thead th {{ vertical-align: bottom; white-space: normal; overflow-wrap: break-word; min-width: 5em; max-width: 12em; }}
th:first-child {{ text-align: left; padding-left: 0; white-space: normal; min-width: 7.5em; }}
tfoot th, tfoot td {{ border-bottom: 0; font-weight: 600; }}
.hours {{ table-layout: fixed; margin-top: 8px; }}
.hours th, .hours td {{ position: relative; padding: 1px; border: 0; text-align: left; }}
.hours th {{ font-weight: 400; min-width: 0; white-space: nowrap; }}
.hours tbody th, .hours thead td {{ width: 3.2em; }}
.hours i {{ display: block; height: 18px; border-radius: 3px; background: var(--line); }}
.hours .q1, .hours .q2, .hours .q3, .hours .q4, .hours .q5 {{ background: var(--model0); }}
.hours .q1 {{ opacity: 0.25; }}
.hours .q2 {{ opacity: 0.45; }}
.hours .q3 {{ opacity: 0.65; }}
.hours .q4 {{ opacity: 0.82; }}
.unseen {{ position: absolute; left: 0; top: 0; width: 1px; height: 1px; overflow: hidden; }}
.unseen {{ clip-path: inset(50%); white-space: nowrap; }}
header {{ display: flex; flex-wrap: wrap; justify-content: space-between; gap: 4px 24px; }}
header {{ max-width: 1120px; margin: 0 auto; padding: 16px 24px 0; }}
header + main {{ padding-top: 12px; }}
.links {{ display: flex; flex-wrap: wrap; gap: 4px 16px; }}
.links [aria-current] {{ font-weight: 600; text-decoration: none; }}
.switch {{ margin: 0; }}
.fold, .fold + label {{ display: none; }}
:focus-visible {{ outline: 3px solid var(--model0); outline-offset: 2px; }}
.day:has(:focus-visible) {{ outline: 3px solid var(--model0); }}
@media (max-width: 640px) {{
  main {{ padding: 20px 12px 32px; }}
  header {{ padding: 12px 12px 0; }}
  section {{ padding: 16px; }}
  .minor {{ display: none; }}
  .tiles {{ grid-template-columns: 1fr 1fr; gap: 8px; }}
  .tiles div {{ padding: 12px; }}
  .tiles .figure {{ font-size: 1.2rem; }}
  .rare {{ position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }}
  .scroll table, .scroll tbody, .scroll tfoot, .scroll tr, .scroll th, .scroll td {{ display: block; }}
  .scroll thead {{ position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }}
  .scroll caption {{ display: block; }}
  .scroll tr {{ display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 2px 10px; padding: 8px 0; }}
  .scroll tr {{ border-bottom: 1px solid var(--line); }}
  .scroll th {{ grid-column: 1 / -1; }}
  .scroll th, .scroll td {{ padding: 0; border: 0; text-align: left; white-space: normal; }}
  .scroll td::before {{ content: attr(data-head); display: block; }}
  .scroll td::before {{ color: var(--muted); font-size: 0.75rem; font-weight: 400; }}
  .facts > div {{ grid-template-columns: minmax(0, 1fr); }}
  .facts dd {{ grid-column: 1; }}
  .day {{ position: static; }}
  .day input {{ position: static; }}
  .told, .late .told {{ left: 0; right: 0; top: 100%; width: auto; max-width: none; }}
  .fold {{ display: inline; position: absolute; opacity: 0; }}
  .fold + label {{ display: inline-block; margin-top: 8px; padding: 8px 14px; }}
  .fold + label {{ border: 1px solid var(--muted); border-radius: 8px; }}
  .fold + label::before {{ content: "Show "; }}
  .fold:checked + label::before {{ content: "Hide "; }}
  .fold:focus-visible + label {{ outline: 3px solid var(--model0); outline-offset: 2px; }}
  .fold:not(:checked) ~ .folded {{ display: none; }}
  .hours i {{ height: 14px; border-radius: 2px; }}
}}
@media print {{
  body {{ background: none; }}
  section, .tiles div {{ break-inside: avoid; }}
  .figures {{ break-inside: auto; }}
  .scroll {{ overflow: visible; }}
  .folded {{ display: block !important; }}
}}
"""


# -- The parts of the page: figures at a glance, bars over time, who spent it, what is left, and OpenRouter's own word.

_BARS, _BYOK_BARS, _NO_BARS = 240.0, 80.0, 24.0
_HEADINGS = {
    "client": "By client",
    "session": "By session",
    "project": "By project",
    "provider": "By provider",
    "member": "By member",
    "machine": "By machine",
    "key": "By key",
    "workspace": "By workspace",
}


def tiles(content: Content) -> str:
    """Write the sums at a glance; what is zero and says nothing is left out, but for the credits."""
    usage, report = content.report.breakdown.total, content.report
    found = list(_of_key(content.summary)) if not content.has_days else list(_spent(content, usage))
    if usage.byok_cost:
        more = "paid to providers, not in the credits"
        found.append(_tile("BYOK", format_usd(usage.byok_cost), more, exact=usage.byok_cost))
    found += _left(content.summary) if content.summary else []
    if usage.unknown:
        found.append(_tile("Unknown cost", plural(usage.unknown, "call"), "counted, and in no sum", kind="warn"))
    if usage.estimated:
        found.append(_tile("Estimated", plural(usage.estimated, "call"), "in the credits, not billed figures"))
    if report.open_holds:
        held = "not known" if report.held is None else f"up to {format_usd(report.held)}"
        calls = f"{plural(report.open_holds, 'call')} running or unsettled, not in the credits"
        found.append(_tile("Held", held, calls, exact=report.held))
    return tag("dl", *found, class_="tiles")


def _spent(content: Content, usage: Usage) -> Iterator[str]:
    before = content.before
    if usage.unknown == usage.requests > 0:
        # A sum of nothing that is known would read as if nothing had been spent.
        yield _tile("Credits spent", "unknown", "no call says what it cost")
    else:
        is_fair = before and not before.unknown_days and not any(bar.unknown_days for bar in content.timeline.bars)
        words = f"{changed(before.whole)} against the period before" if before and is_fair else ""
        whole = words or plural(usage.requests, "call")
        yield _tile("Credits spent", format_usd(usage.cost), whole, exact=usage.cost)
    each = averages(usage)[0]
    cost = "no cost is known" if usage.unknown == usage.requests else "at no cost in credits"
    cost = cost if each is None else f"{format_usd(each)} a call"
    yield _tile("Calls", f"{usage.requests:,}", cost if usage.requests else "none in this period")
    yield _tile("Tokens", f"{usage.total_tokens:,}", f"{usage.prompt_tokens:,} in, {usage.completion_tokens:,} out")
    if usage.cached_tokens and usage.prompt_tokens:
        part = share(Decimal(usage.cached_tokens), Decimal(usage.prompt_tokens))
        yield _tile("Cached input", part, f"{usage.cached_tokens:,} tokens read from caches")


def _left(found: Summary) -> Iterator[str]:
    """Write the smallest of what is left, and for how long it lasts."""
    for name, left in found.left[:1]:
        outlooks = found.ahead.outlooks if found.ahead else ()
        words = name.replace("_", " ")
        lasts = [_lasts(each, found.taken_at) for each in outlooks if each.name == words]
        told = f"lasts {lasts[0]}" if lasts and lasts[0] not in ("unknown", "used up") else "see below"
        yield _tile(f"Left of the {words}", format_usd(left), told, exact=left)


def _of_key(summary: Summary | None) -> Iterator[str]:
    """Write what a key says of itself where the days are not known."""
    names = ("Today", "This week", "This month")
    for name, window in zip(names, summary.windows if summary else (), strict=False):
        whose = "this key" if summary and summary.scope == "key" else "the account"
        spent = "unknown" if window.usage is None else format_usd(window.usage)
        more = f", and {format_usd(window.byok)} BYOK beside it" if window.byok else ""
        yield _tile(name, spent, f"spent by {whose}, UTC{more}", exact=window.usage)


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
    if not content.has_days:
        return tag("section", *parts, *(tag("p", text(words)) for words in content.unknown))
    if not total.requests and not any(bar.unknown_days for bar in content.timeline.bars):
        return tag("section", *parts, tag("p", "No calls in this period."))
    if not total.cost:
        parts.append(tag("p", text(f"No cost is known: {money(total)}." if total.requests else "No calls are known.")))
    credits, byok = credit_columns(content, THEMED), byok_columns(content, THEMED)
    marks = cap_marks(content, credits)
    width = axis_width(scale_of(credits, marks), scale_of(byok))
    told = f"Credits per {unit}, stacked by model: {summary(content)}. The figures are in a table below."
    height = _BARS if total.cost else _NO_BARS
    cards = _cards(content)
    parts += [_figure(credits, Space(height, width), told, marks, cards), _legend(content)]
    if total.byok_cost:
        told = f"BYOK per {unit}: {format_usd(total.byok_cost)}, paid to providers directly; not in the credits"
        parts += [tag("p", text(told), class_="muted below"), _figure(byok, Space(_BYOK_BARS, width), told)]
    return tag("section", *parts)


def _figure(columns: list[Column], beside: Space, told: str, marks: Sequence[Decimal] = (), cards: str = "") -> str:
    """Draw bars as wide as there is room, with their amounts beside them, and a card for each of them."""
    height = beside.height + AXIS_BELOW
    amounts = axis(scale_of(columns, marks), beside, THEMED)
    scale = element("svg", *amounts, width=beside.width or 0, height=height, aria_hidden="true")
    bars = plot(columns, Space(beside.height), THEMED, marks)
    drawing = element("svg", *bars, height=height, class_="plot", role="img", aria_label=told)
    return tag("figure", tag("div", scale, tag("div", drawing, cards, class_="area"), class_="chart"))


def _cards(content: Content) -> str:
    """Write a card for each bar, shown when it is pointed at, or reached with the keyboard.

    They are radio buttons, because a browser lets the arrow keys move through those without any script.
    """
    bars = [bar for bar in content.timeline.bars if not is_to_come(bar, content.now)]
    number = len(content.timeline.bars)
    days = [_card(bar, content, is_late=2 * at >= number) for at, bar in enumerate(bars)]
    days += [tag("div")] * (number - len(bars))
    return tag("div", *days, class_="days", role="radiogroup", aria_label=f"Figures of each {content.timeline.unit}")


def _card(bar: Bar, content: Content, *, is_late: bool) -> str:
    name, usage = bar_name(bar, content.now), bar.total
    told = "not known" if bar.is_unknown else f"{money(usage)} in {plural(usage.requests, 'call')}"
    choice: Attributes = {"type": "radio", "name": "day", "aria_label": f"{name}: {told}"}
    paints = (*THEMED.models[: len(content.timeline.names)], THEMED.other)
    names = (*map(named, content.timeline.names), others_name(content.timeline))
    lines = [
        tag("li", tag("span", _swatch(paint), text(who)), tag("span", text(format_usd(part.cost))))
        for who, part, paint in zip(names, (*bar.parts, bar.others), paints, strict=True)
        if part.cost
    ]
    each = averages(usage)[0]
    more = [f"{format_usd(each)} a call"] if each is not None else []
    if usage.total_tokens:
        more.append(f"{usage.prompt_tokens:,} tokens in, {usage.completion_tokens:,} out")
    if usage.cached_tokens:
        more.append(f"{usage.cached_tokens:,} cached")
    inside = [tag("strong", text(name)), tag("span", text(told))]
    inside += [tag("ul", *lines)] if lines else []
    inside += [tag("span", text(", ".join(more)), class_="muted")] if more and not bar.is_unknown else []
    card = tag("div", *inside, class_="told")
    return tag("div", element("input", **choice), card, class_="day late" if is_late else "day")


def _swatch(colour: str, *, is_mark: bool = False) -> str:
    paint: Attributes = {"fill": THEMED.card, "stroke": colour, "stroke_width": 1.5} if is_mark else {"fill": colour}
    place: Attributes = {"x": 1, "y": 4, "width": 10, "height": 5} if is_mark else {"width": 12, "height": 12}
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
    if any(bar.is_unknown for bar in timeline.bars):
        entries.append(tag("li", f"? {timeline.unit}s that are not known, in no sum"))
    if has_bars_to_come(content):
        entries.append(tag("li", _swatch(THEMED.line), "to come"))
    entries += [tag("li", _dash(), text(words)) for words in cap_names(content)]
    return tag("ul", *entries, class_="legend") if entries else ""


def _dash() -> str:
    line = element("line", x1=0, x2=12, y1=6, y2=6, stroke=THEMED.over, stroke_width=2, stroke_dasharray="4 3")
    return element("svg", line, class_="swatch", width=12, height=12, aria_hidden="true")


def meter(parts: Sequence[tuple[Decimal, str, bool]], whole: Decimal) -> str:
    """Draw parts of a whole side by side; a part that is not certain is an outline."""
    shapes, x = [element("rect", width="100%", height=10, fill=THEMED.line)], 0.0
    for amount, colour, is_certain in parts:
        width = min(part_of(amount, whole), 1 - x)
        paint: Attributes = (
            {"fill": colour} if is_certain else {"fill": THEMED.card, "stroke": colour, "stroke_width": 2}
        )
        place: Attributes = {"y": 0, "height": 10} if is_certain else {"y": 1, "height": 8}
        if width > 0:
            # As thin as it may be, nothing is invisible.
            shapes.append(element("rect", x=f"{100 * x:.3f}%", width=f"{max(100 * width, 0.3):.3f}%", **place, **paint))
        x += width
    return element("svg", *shapes, class_="meter", height=10, aria_hidden="true")


def by_model(content: Content) -> str:
    """Write each model's share of the credits, with a bar of its length."""
    colours = dict(zip(content.timeline.names, THEMED.models, strict=False))
    return _shares(content.report.breakdown, "Share by model", colours)


def by_others(content: Content) -> Iterator[str]:
    """Write who spent the money, as far as anything says so."""
    for found in content.groups:
        yield _shares(found, _HEADINGS[found.by], {})


def _shares(found: Breakdown, heading: str, colours: dict[str, str]) -> str:
    if not found.rows:
        return ""
    whole = found.total.cost
    usual = THEMED.other if colours else THEMED.models[0]
    rows = [_share(named(name), usage, whole, colours.get(name, usual)) for name, usage in found.rows]
    if found.more_count:
        rows.append(_share(f"and {found.more_count:,} more", found.more, whole, THEMED.other))
    return tag("section", tag("h2", heading), tag("ul", *rows, class_="shares"))


def _share(name: str, usage: Usage, whole: Decimal, colour: str) -> str:
    cost = "unknown" if usage.unknown == usage.requests > 0 else format_usd(usage.cost)
    told = f"{cost} · {share(usage.cost, whole)}" if whole else cost
    words = tag("div", tag("span", text(name)), tag("span", text(told)), class_="pair")
    quiet: Attributes = {} if usage.cost or usage.byok_cost else {"class_": "quiet"}
    more = [plural(usage.requests, "call")]
    more += [f"{usage.unknown:,} of unknown cost"] if usage.unknown else []
    more += [f"{format_usd(usage.byok_cost)} BYOK"] if usage.byok_cost else []
    bar = meter([(usage.cost, colour, True)], whole)
    return tag("li", words, bar, tag("div", text(", ".join(more)), class_="muted"), data_usd=plain(usage.cost), **quiet)


_SHORT = {name: name[:3] for name in WEEKDAYS}


def hours(content: Content) -> str:
    """Draw when in the week the money is spent."""
    found = content.hours
    if not found or not any(usage.cost for usage in found.values()):
        return ""
    most = max(usage.cost for usage in found.values())
    busiest = next(name for name, usage in found.items() if usage.cost == most)
    zone = str(content.report.zone)
    caption = f"Credits by weekday and hour, {zone}; most on {' '.join(names_of(busiest))}"
    caption += f": {format_usd(most)}"
    clocks = [tag("th", tag("span", f"{at}", class_=_minor(at)), scope="col") for at in range(24)]
    rows = [
        tag("tr", tag("th", _SHORT[day], scope="row"), *(_hour(found, day, at, most) for at in range(24)))
        for day in WEEKDAYS
    ]
    head = tag("thead", tag("tr", tag("td"), *clocks))
    drawing = tag("table", tag("caption", text(caption)), head, tag("tbody", *rows), class_="hours")
    return tag("section", tag("h2", "Hours of the week"), drawing)


def _minor(at: int) -> str:
    """Return how an hour is named: every third one where there is room, every sixth one on a phone."""
    return "unseen" if at % 3 else "rare" if at % 6 else "often"


def _hour(found: Mapping[str, Usage], day: str, at: int, most: Decimal) -> str:
    usage = found.get(joined((day, f"{at:02d}:00")), NOTHING)
    level = 0 if usage.cost <= ZERO else min(5, 1 + int(5 * part_of(usage.cost, most)))
    told = f"{money(usage)} in {plural(usage.requests, 'call')}" if usage.requests else "no calls"
    shade = tag("i", class_=f"q{level}", title=f"{day} {at:02d}:00: {told}")
    return tag("td", shade, tag("span", text(told), class_="unseen"), data_usd=plain(usage.cost))


def against(content: Content) -> str:
    """Write how the period compares with the one before."""
    found = content.before
    if found is None or not (found.changes or found.unknown_days):
        return ""
    told = f"{_span(found.period)}: {credits_and_byok(found.whole.before.cost, found.whole.before.byok_cost)} in "
    told += f"{plural(found.whole.before.requests, 'call')}; now {changed(found.whole)}"
    if found.unknown_days:
        told += f"; {plural(found.unknown_days, 'day')} of it not known, in no sum"
    if found.whole.before.unknown or found.whole.after.unknown:
        told += "; calls of unknown cost are in neither"
    if found.is_uneven:
        told += "; today so far stands beside a whole day"
    if any(bar.unknown_days for bar in content.timeline.bars):
        told += "; days of this period are not known, so it is no fair comparison"
    most = [each for each in found.changes if each.difference][:MOST_ROWS]
    rows = [_changed(named(each.name), each) for each in most]
    left = sum(1 for each in found.changes if each.difference) - len(most)
    rest = [tag("p", text(f"{plural(left, 'other model')} changed less."), class_="muted")] if left else []
    parts = (tag("p", text(told), class_="muted"), tag("ul", *rows, class_="shares"), *rest)
    return tag("section", tag("h2", "Against the period before"), *parts)


def _changed(name: str, change: Change) -> str:
    words = tag("div", tag("span", text(name)), tag("span", text(changed(change))), class_="pair")
    both = f"{format_usd(change.before.cost)} before, {format_usd(change.after.cost)} now"
    return tag("li", words, tag("div", text(both), class_="muted"), data_usd=plain(change.difference))


def _span(period: Period) -> str:
    """Write a period: its days, or moments where it is no whole days."""
    is_days = midnight(period.start.date()) == period.start and midnight(period.end.date()) == period.end
    if is_days:
        return f"{Stretch(period.start.date(), (period.end - DAY).date())} UTC"
    return f"{spoken(period.start)} to {period.end.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def funds(content: Content) -> str:
    """Write what is left, of what, and for how long, as OpenRouter last said; and what it did not say."""
    head = tag("h2", "What is left")
    found = content.summary
    if found is None:
        return tag("section", head, tag("p", text(content.why_no_summary)))
    facts = [_balance(found)]
    facts += [_fact("Key limit", limit_left(found.key_limit))] if found.key_limit else []
    facts += [_fact("Budget on OpenRouter", limit_left(found.budget))] if found.budget else []
    ahead, now = found.ahead, found.taken_at
    if ahead:
        facts += [
            _fact(f"{each.name.capitalize()} lasts", _lasts(each, now), said_of_outlook(each, now))
            for each in ahead.outlooks
        ]
    if ahead and ahead.month_end:
        end = f"about {format_usd(ahead.month_end.amount)}"
        facts.append(_fact("Month will cost", end, said_of_month_end(ahead.month_end)))
    if content.has_days:
        whose = "this key" if found.scope == "key" else "the account"
        spent = ", ".join(f"{window.period.label} {window_amount(window)}" for window in found.windows)
        facts.append(_fact(f"Spent by {whose}", spent, "UTC day, week and month"))
    if found.free_models:
        free = found.free_models
        facts.append(_fact("Free models today", f"{free.used:,} of {free.limit:,} requests used"))
    if found.expires_at:
        facts.append(_fact("Key expires", spoken(found.expires_at)))
    asof = tag("p", text(f"As OpenRouter said at {found.taken_at:%Y-%m-%d %H:%M} UTC."), class_="muted")
    return tag("section", head, asof, tag("dl", *facts, class_="facts"))


def _balance(found: Summary) -> str:
    if found.balance is None:
        why = next((note for note in found.notes if is_of_balance(note)), "OpenRouter did not tell it")
        return _fact("Balance", "unknown", why)
    words = f"{format_usd(found.balance.balance)} of {format_usd(found.balance.purchased)}"
    return _fact("Balance", words, exact=found.balance.balance)


def is_of_balance(note: str) -> bool:
    """Check whether a note says why the balance is not known, which stands where the balance would."""
    return note.startswith(("balance unknown", "no prepaid balance"))


def _lasts(outlook: Outlook, now: datetime) -> str:
    if outlook.left <= 0:
        return "used up"
    if outlook.pace is None or outlook.pace.usd_per_day < 0:
        return "unknown"
    if outlook.days is None:
        return "as long as nothing is spent"
    if outlook.resets_at and outlook.outlasts_its_window(now):
        return f"past its reset, {spoken(outlook.resets_at)}"
    return f"{'at least ' if outlook.is_bound else ''}{lasting(outlook.days)}"


def _fact(name: str, words: str, why: str = "", *, exact: Decimal | None = None) -> str:
    value: Attributes = {} if exact is None else {"data_usd": plain(exact)}
    reason = [tag("dd", text(why), class_="muted")] if why else []
    return tag("div", tag("dt", text(name)), tag("dd", text(words), **value), *reason)


def budget(content: Content) -> str:
    """Write how each cap stands now, whatever the period of the page is."""
    head = (
        tag("h2", "Budget"),
        tag("p", "As it stands now, by OpenRouter's UTC days, weeks and months.", class_="muted"),
    )
    if not content.caps:
        return tag("section", head[0], tag("p", "No budget is set."))
    rows = (_cap(cap, content) for cap in content.caps)
    return tag("section", *head, tag("ul", *rows, class_="shares"))


def _cap(cap: Cap, content: Content) -> str:
    scope = cap.scope
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
    return tag("li", words, bar, *_remarks(cap, scope, content), data_usd=plain(used))


def _remarks(cap: Cap, scope: Scope, content: Content) -> Iterator[str]:
    unknown = f"; not counted: {plural(scope.unknown_calls, 'call')} of unknown cost" if scope.unknown_calls else ""
    until = f"resets {spoken(scope.resets_at)}" if scope.resets_at else "never resets"
    yield tag("div", text(f"{until}, {scope.policy}{unknown}"), class_="muted")
    if cap.end:
        yield tag("div", text(said_of_budget_end(scope, cap.end, content.now)), class_="muted")


def comparison(content: Content) -> str:
    """Write what the ledger has not seen of what OpenRouter counted, or that nobody knows."""
    head = tag("h2", "Not attributed")
    if not content.compared:
        return tag("section", head, tag("p", text(content.why_not_compared))) if content.why_not_compared else ""
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


def in_flight(live: Live) -> str:
    """Write which calls run through a gateway now, and what it has counted since its start."""
    since = (
        f"Since its start, {live.since:%Y-%m-%d %H:%M} UTC, the gateway recorded {plural(live.calls, 'call')} for "
        f"{format_usd(live.spent)}; it is looking up {live.looking_up:,}."
    )
    parts = [tag("h2", f"In flight: {plural(live.running, 'call')}"), tag("p", text(since), class_="muted")]
    if live.flights:
        rows = [
            Row(
                named(each.client) if each.client else "(no client)",
                (Cell(named(each.model) if each.model else "not read yet"), Cell(each.kind), count(each.seconds)),
            )
            for each in live.flights
        ]
        most = "" if len(rows) == live.running else f", the {len(rows):,} longest"
        parts.append(table(f"Calls that run now{most}", ("Client", "Model", "Kind", "Seconds"), rows))
    return tag("section", *parts)


def not_known(content: Content) -> str:
    """Name what the page would have and does not know."""
    if not content.unknown or not content.has_days:
        return ""
    return tag("section", tag("h2", "Not on this page"), *(tag("p", text(words)) for words in content.unknown))


# -- The page as a whole.


class Frame(NamedTuple):
    """What a gateway puts around a page: links to other periods, a script, and the switch that stops it.

    A link is an address, a name, and whether it leads to this page.
    """

    links: tuple[tuple[str, str, bool], ...] = ()
    script: str = ""
    switch: str = ""


def policy(frame: Frame) -> str:
    """Return what a browser may load and run for a page: its own style sheet, and its own script, if it has one."""
    run = f"script-src 'sha256-{_digest(frame.script)}'; connect-src 'self'; " if frame.script else ""
    return f"default-src 'none'; style-src 'sha256-{_digest(STYLE)}'; {run}base-uri 'none'; form-action 'none'"


def render(content: Content, frame: Frame | None = None) -> str:
    """Write the page."""
    frame = frame or Frame()
    title = f"OpenRouter spend, {content.report.title}"
    parts = [tag("nav", *map(_link, frame.links), class_="links", aria_label="Periods")] if frame.links else []
    header = tag("header", *parts, frame.switch) if parts or frame.switch else ""
    script = f"<script>{frame.script}</script>" if frame.script else ""
    return _whole(title, policy(frame), header + tag("main", *_body(content)) + script)


def note_page(words: str, *, leads_to: str = "") -> tuple[str, str]:
    """Write a page that says one thing, and may lead on by itself; return it with what a browser may load for it."""
    goes_on = f'<meta http-equiv="refresh" content="0; url={leads_to}">' if leads_to else ""
    body = tag("main", tag("h1", "OpenRouter spend"), tag("p", text(words)))
    return _whole("OpenRouter spend", policy(Frame()), body, goes_on), policy(Frame())


def _whole(title: str, rule: str, body: str, more: str = "") -> str:
    head = (
        '<meta charset="utf-8">',
        # Even if a name slipped through as markup, a browser would load and run nothing for it.
        f'<meta http-equiv="Content-Security-Policy" content="{rule}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="referrer" content="no-referrer">',
        '<meta name="robots" content="noindex">',
        GENERATOR,
        *([more] if more else []),
        f"<title>{text(title)}</title>",
        f"<style>{STYLE}</style>",
    )
    return "\n".join(["<!doctype html>", '<html lang="en">', *head, tag("body", body), "</html>"]) + "\n"


def _digest(style: str) -> str:
    return b64encode(sha256(style.encode()).digest()).decode()


def _body(content: Content) -> Iterator[str]:
    report = content.report
    yield tag("h1", "OpenRouter spend")
    yield tag("p", text(report.title), class_="title")
    for line in joined_lines(report.breakdown.coverage):
        yield tag("p", text(line), class_="muted")
    days = f" {boundaries(content)}." if content.has_days else ""
    yield tag("p", text(f"{provenance(content)}{days}"), class_="muted")
    yield tiles(content)
    notes = [tag("li", text(f"⚠ {note}")) for note in report.notes]
    yield tag("ul", *notes, class_="notes") if notes else ""
    if content.live:
        yield in_flight(content.live)
    yield over_time(content)
    yield _columns(by_model(content), against(content))
    yield _columns(funds(content), budget(content) if content.has_caps else "")
    yield hours(content)
    yield _columns(*by_others(content), kind="columns narrow")
    yield comparison(content)
    if report.breakdown.total.requests or (any(bar.unknown_days for bar in content.timeline.bars) and content.has_days):
        yield _figures(content)
    yield not_known(content)
    yield tag("footer", *_small_print(content))


def _link(link: tuple[str, str, bool]) -> str:
    address, name, is_this = link
    current: Attributes = {"aria_current": "page"} if is_this else {}
    return tag("a", text(name), href=address, **current)


def _columns(*sections: str, kind: str = "columns") -> str:
    """Put sections side by side, where there is room."""
    found = [section for section in sections if section]
    return tag("div", *found, class_=kind) if found else ""


def _figures(content: Content) -> str:
    """Write the tables; where there is little room, the rows of the days are folded until they are asked for."""
    unit = content.timeline.unit
    rows = sum(not is_to_come(bar, content.now) for bar in content.timeline.bars)
    fold = element("input", type="checkbox", class_="fold", id="fold")
    label = tag("label", text(f"{plural(rows, 'row')}, one for each {unit}"), for_="fold")
    days = tag("div", time_table(content), class_="folded")
    return tag("section", tag("h2", "Figures"), fold, label, days, model_table(content), class_="figures")


def _small_print(content: Content) -> Iterator[str]:
    yield tag(
        "p",
        "BYOK is paid to providers directly and is in no sum of credits; a call of unknown cost is "
        "counted and is in no sum. Amounts are rounded to look at; the exact ones are in the <code>data-usd</code> "
        "attributes of the tables.",
        class_="muted",
    )
