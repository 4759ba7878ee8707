"""The calls of the ledger in the formats of others: a JSON list, CSV, and a Markdown table; pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping

from openrouter_usage.entry import Entry, Hold, Release, checked_entry, read_line, record_values
from openrouter_usage.errors import InvalidValue
from openrouter_usage.money import Json, dumps, loads, plain

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
# What nobody has a use for is named to the user, but not without end.
_MOST_UNREAD = 100
# Other programs write this where an answer carried no id; as an id it would make all those calls one.
_NO_ID = "unknown"
_SIGNS = "[=+@＝＋－＠-]"  # with which a formula begins, the full-width forms included
# In both, apostrophes that are there already count as part of the sign: so one more can be told from them.
_FORMULA = re.compile(f"[' ]*{_SIGNS}")
# A cell begins after each semicolon where that is the separator, as in much of Europe.
_AFTER_SEPARATOR = re.compile(f";( *)('*)(?={_SIGNS})")
_SHIELDED_SEPARATOR = re.compile(f";( *)'('*)(?={_SIGNS})")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_WHOLE = ("prompt_tokens", "completion_tokens", "latency_ms", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


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


def imported(text: str, unread: dict[str, None] | None = None) -> Iterator[Entry]:
    """Read calls from a JSON list, CSV or ledger lines; InvalidValue names the record that is none.

    A column may have its own name or that of the ledger's field; `unread` takes the names of those not understood.
    """
    unread = {} if unread is None else unread
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith("["):
        yield from _numbered(_json_records(start), unread)
    elif start.startswith("{"):
        yield from _ledger_lines(start, 1 + text[: len(text) - len(start)].count("\n"))
    else:
        yield from _numbered(_csv_records(start), unread)


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
    # Where a comma parts the whole from the fraction, spreadsheets part the cells with semicolons.
    delimiter = ";" if ";" in text.partition("\n")[0] else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = next(rows, [])
        if "model" not in names or not {"timestamp", "ts"} & set(names) or len(set(names)) < len(names):
            raise InvalidValue("this is neither JSON nor CSV with the columns timestamp and model, each once")
        for number, row in enumerate(filter(None, rows), 1):
            # Cells that have moved would be read as each other: 0,0025 as a cost of 0.
            if len(row) != len(names):
                raise InvalidValue(f"record {number} is not a call: {len(row)} cells for {len(names)} columns")
            yield {name: _typed(name, value) for name, value in zip(names, row, strict=True)}
    except csv.Error as error:
        raise InvalidValue(f"this CSV cannot be read: {error}") from None


def _typed(name: str, cell: str) -> Json:
    value = unshielded(cell)
    if not value:
        return None
    if name in _WHOLE:
        return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else value
    if name == "streamed":
        return {"true": True, "false": False}.get(value.lower())
    return _tags(value) if name == "tags" else value


def _tags(text: str) -> Json:
    try:
        return loads(text)
    except ValueError:
        return text  # which is no tags, and is refused with the record's number


def _numbered(records: Iterable[Mapping[str, Json]], unread: dict[str, None]) -> Iterator[Entry]:
    for number, record in enumerate(records, 1):
        # Whoever writes a file for the ledger may call a column what the ledger calls it: cost for cost_usd.
        read = {column: name if column not in record and name in record else column for column, name in COLUMNS.items()}
        values = {name or column: record.get(read[column]) for column, name in COLUMNS.items()}
        if len(unread) < _MOST_UNREAD:
            unread.update(dict.fromkeys(name for name in record if name not in read.values()))
        if values["id"] == _NO_ID:
            values["id"] = None
        try:
            yield checked_entry(values)
        except ValueError as error:
            raise InvalidValue(f"record {number} is not a call: {error}") from None


def _ledger_lines(text: str, first: int) -> Iterator[Entry]:
    for number, line in enumerate(text.split("\n"), first):
        record = read_line(line.encode())
        if isinstance(record, Entry):
            yield record
        elif record is not None and not isinstance(record, (Hold, Release)):
            raise InvalidValue(f"line {number} is not a call: {record.why}")
