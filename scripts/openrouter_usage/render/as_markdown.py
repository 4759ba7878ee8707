"""Rows as a Markdown table whose cells cannot break out of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from openrouter_usage.period import spoken
from openrouter_usage.render.table import COLUMNS, summary_rows
from openrouter_usage.summary.model import Summary
from openrouter_usage.text import safe

_ACTIVE = "\\`*_{}[]<>#|~!&"


def render_summary(summary: Summary, now: datetime) -> str:
    """Write the summary as a table, with its notes below; amounts are exact."""
    notes = [f"- {escaped(note)}" for note in summary.notes]
    head = ["## OpenRouter usage", "", f"As of {spoken(summary.taken_at)}. Amounts in USD; periods in UTC.", ""]
    return "\n".join([*head, *table(COLUMNS, summary_rows(summary)), *([""] if notes else []), *notes]) + "\n"


def table(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Write rows of cells as the lines of a table."""
    yield _line(columns)
    yield _line("---" for _ in columns)
    yield from (_line(escaped(value) for value in row) for row in rows)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def escaped(text: str) -> str:
    """Write text so that Markdown shows it and does nothing with it."""
    return "".join("\\" + char if char in _ACTIVE else char for char in safe(text, 1_000))
