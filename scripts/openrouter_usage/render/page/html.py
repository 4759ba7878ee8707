"""The report as one page that needs nothing else: no script, no network, and nothing that a name could start."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256

from openrouter_usage.render.page.content import Content, boundaries, provenance
from openrouter_usage.render.page.sections import budget, by_model, comparison, over_time, tiles
from openrouter_usage.render.page.style import STYLE
from openrouter_usage.render.page.svg import tag, text
from openrouter_usage.render.page.tables import by_model as model_table
from openrouter_usage.render.page.tables import by_time as time_table


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
    if report.total.requests:
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
