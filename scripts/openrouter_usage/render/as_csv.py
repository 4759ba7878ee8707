"""Rows as CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from datetime import datetime

from openrouter_usage.render.table import COLUMNS, summary_rows
from openrouter_usage.summary.model import Summary
from openrouter_usage.text import safe

# What a spreadsheet reads as the beginning of a formula, the full-width forms included.
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# Where the list separator is a semicolon, as in much of Europe, a cell begins after each one.
_AFTER_SEPARATOR = re.compile(r"(; *)(?=[=+\-@＝＋－＠])")


def render_summary(summary: Summary, now: datetime) -> str:
    """Write the summary as rows under a head line; amounts are exact."""
    return table(COLUMNS, summary_rows(summary))


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write rows of cells with a head line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()


def cell(value: str) -> str:
    """Give a cell's text as data: a number as it is, and an apostrophe before what looks like a formula."""
    shown = _AFTER_SEPARATOR.sub(r"\1'", safe(value, 1_000))
    if value.lstrip().startswith(_FORMULA_SIGNS) and not _is_number(value):
        return "'" + shown
    return shown


def _is_number(value: str) -> bool:
    digits = value.removeprefix("-").replace(".", "", 1)
    return digits.isascii() and digits.isdigit()
