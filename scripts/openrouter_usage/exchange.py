"""The calls of the ledger in the formats of others: a JSON list, CSV, and a Markdown table; pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping

from openrouter_usage.entry import Entry, Hold, Release, checked_entry, record_values
from openrouter_usage.errors import InvalidValue
from openrouter_usage.exactjson import Json, dumps, loads
from openrouter_usage.lines import read_line
from openrouter_usage.money import plain

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
}
_WHOLE = ("prompt_tokens", "completion_tokens", "latency_ms", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


def exported(entry: Entry) -> dict[str, Json]:
    """Give a call under the names of the columns; null where a value is unknown."""
    values = record_values(entry)
    record: dict[str, Json] = {column: values.get(name) for column, name in COLUMNS.items()}
    return record | {"total_tokens": entry.prompt_tokens + entry.completion_tokens}


def json_pieces(entries: Iterable[Entry]) -> Iterator[str]:
    """Write calls as a JSON list, one a line, with exact amounts."""
    yield "["
    for number, entry in enumerate(entries):
        yield (",\n " if number else "\n ") + dumps(exported(entry))
    yield "\n]\n"


def csv_pieces(entries: Iterable[Entry], cell: Callable[[str], str]) -> Iterator[str]:
    """Write calls as CSV with a head line; `cell` makes a text harmless for spreadsheets."""
    yield _csv_line(COLUMNS)
    for entry in entries:
        yield _csv_line(cell(as_text(value)) for value in exported(entry).values())


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def as_text(value: Json) -> str:
    """Write a value as the text of a cell; unknown is empty, amounts are exact."""
    if value is None:
        return ""
    if isinstance(value, (bool, dict)):
        return dumps(value)
    return plain(value) if hasattr(value, "as_tuple") else str(value)  # type: ignore[arg-type]  # a Decimal


def imported(text: str) -> Iterator[Entry]:
    """Read calls from a JSON list, CSV or ledger lines; InvalidValue names the record that is none."""
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith("["):
        yield from _numbered(_json_records(start))
    elif start.startswith("{"):
        yield from _ledger_lines(start)
    else:
        yield from _numbered(_csv_records(start))


def _json_records(text: str) -> Iterator[Mapping[str, Json]]:
    try:
        records = loads(text)
    except ValueError as error:
        raise InvalidValue(f"this is no JSON: {error}") from None
    for record in records if isinstance(records, list) else []:
        if not isinstance(record, dict):
            raise InvalidValue("a list of objects was expected")
        yield record


def _csv_records(text: str) -> Iterator[Mapping[str, Json]]:
    rows = csv.DictReader(io.StringIO(text))
    if not rows.fieldnames or not {"timestamp", "model"} <= set(rows.fieldnames):
        raise InvalidValue("this is neither JSON nor CSV with the columns timestamp and model")
    try:
        for row in rows:
            yield {name: _typed(name, value) for name, value in row.items() if name in COLUMNS}
    except csv.Error as error:
        raise InvalidValue(f"this CSV cannot be read: {error}") from None


def _typed(name: str, value: str | None) -> Json:
    if not value:
        return None
    if name in _WHOLE:
        return int(value) if value.isascii() and value.isdigit() else value
    if name == "tags":
        return loads(value)
    if name == "streamed":
        return value == "true"
    # Undo what was put before a text to keep spreadsheets from taking it for a formula.
    return value[1:] if value[0] == "'" and value[1:2] and value[1] in "=+-@\\＝＋－＠" else value


def _numbered(records: Iterable[Mapping[str, Json]]) -> Iterator[Entry]:
    for number, record in enumerate(records, 1):
        values = {name or column: record.get(column) for column, name in COLUMNS.items()}
        try:
            yield checked_entry(values)
        except ValueError as error:
            raise InvalidValue(f"record {number} is not a call: {error}") from None


def _ledger_lines(text: str) -> Iterator[Entry]:
    for number, line in enumerate(text.split("\n"), 1):
        record = read_line(line.encode())
        if isinstance(record, Entry):
            yield record
        elif record is not None and not isinstance(record, (Hold, Release)):
            raise InvalidValue(f"line {number} is not a call: {record.why}")
