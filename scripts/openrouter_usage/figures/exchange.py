"""The calls of the ledger in the formats of others: a JSON list, CSV, and a Markdown table; pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator

from openrouter_usage.entry import Entry, record_values
from openrouter_usage.figures.model_names import canonical
from openrouter_usage.money import Json, dumps, loads, plain
from openrouter_usage.vocabulary import Where

# The name of a column outside, and of the field inside; total_tokens is for readers and is not read back.
COLUMNS = {
    "generation_id": "id",
    "model": "model",
    "timestamp": "ts",
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "total_tokens": "",
    "cost_usd": "cost",
    "cache_discount": "cache_discount",
    "provider": "provider",
    "latency_ms": "latency_ms",
    "byok_cost_usd": "byok_cost",
    "cost_source": "cost_source",
    "session": "session",
    "tags": "tags",
    "cached_tokens": "cached_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "streamed": "streamed",
    "finish_reason": "finish_reason",
    "implausible_bill": "told",
    "bill_seen": "seen",
    "tool_cost_usd": "tool_cost",
    "file_cost_usd": "file_cost",
}
_SIGNS = "[=+@＝＋－＠-]"  # with which a formula begins, the full-width forms included
# In both, apostrophes that are there already count as part of the sign: so one more can be told from them.
_FORMULA = re.compile(f"[' ]*{_SIGNS}")
# A cell begins after each semicolon where that is the separator, as in much of Europe.
_AFTER_SEPARATOR = re.compile(f";( *)('*)(?={_SIGNS})")
_SHIELDED_SEPARATOR = re.compile(f";( *)'('*)(?={_SIGNS})")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)


def exported(entry: Entry) -> dict[str, Json]:
    """Return a call under the names of the columns; null where a value is unknown."""
    values = record_values(entry)
    record: dict[str, Json] = {column: values.get(name) for column, name in COLUMNS.items()}
    return record | {"total_tokens": entry.prompt_tokens + entry.completion_tokens}


def json_pieces(entries: Iterable[Entry]) -> Iterator[str]:
    """Write calls as a JSON list, one a line, with exact amounts."""
    yield "["
    for number, entry in enumerate(entries):
        yield (",\n " if number else "\n ") + dumps(exported(entry))
    yield "\n]\n"


def csv_pieces(entries: Iterable[Entry]) -> Iterator[str]:
    """Write calls as CSV with a head line; every cell is text to a spreadsheet, and can be read back exactly."""
    yield _csv_line(COLUMNS)
    for entry in entries:
        yield _csv_line(shielded(as_text(value)) for value in exported(entry).values())


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def shielded(text: str) -> str:
    """Write a text so that no spreadsheet takes it for a formula and no terminal obeys it; `unshielded` undoes it."""
    if not text.isprintable() or text.startswith('"'):
        text = dumps(text).replace("\x7f", "\\u007f")
    text = _AFTER_SEPARATOR.sub(r";\1'\2", text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unshielded(cell: str) -> str:
    """Return the text that `shielded` wrote, and any other as it is."""
    text = cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
    text = _SHIELDED_SEPARATOR.sub(r";\1\2", text)
    try:
        value = loads(text) if text.startswith('"') else text
    except ValueError:
        value = text
    return value if isinstance(value, str) else text


def as_text(value: Json) -> str:
    """Write a value as the text of a cell; unknown is empty, amounts are exact."""
    if value is None:
        return ""
    if isinstance(value, (bool, dict)):
        return dumps(value)
    return plain(value) if hasattr(value, "as_tuple") else str(value)  # type: ignore[arg-type]  # a Decimal


def is_picked(entry: Entry, where: Where) -> bool:
    """Check whether all filters take a call; a model is picked by its canonical name as well."""
    tags = dict(entry.tags)
    names = {"model": entry.model, "provider": entry.provider, "session": entry.session}
    for each in where:
        if each.kind == "tag":
            is_taken = each.takes_label(tags)
        else:
            name = names.get(each.kind, tags.get(each.kind, ""))
            is_taken = each.takes(name) or (each.kind == "model" and each.takes(canonical(name)))
        if not is_taken:
            return False
    return True
