"""Reads the calls of a file: an export, another ledger, the CSV of OpenRouter's logs page, or saved answers; pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from openrouter_usage.entry import Entry, Hold, Release, checked_entry, read_line
from openrouter_usage.errors import InvalidValue
from openrouter_usage.figures.exchange import COLUMNS, unshielded
from openrouter_usage.figures.logs.openrouter import (
    LOGS_COLUMNS,
    activity_refusal,
    is_activity,
    is_activity_export,
    is_answer,
    is_logs_export,
    joined,
    logged_call,
    saved_call,
)
from openrouter_usage.figures.model_names import Canonical, canonical
from openrouter_usage.money import Json, loads

# What nobody has a use for is named to the user, but not without end.
_MOST_UNREAD = 100
# Other programs write this where an answer carried no id; as an id it would make all those calls one.
_NO_ID = "unknown"
_FLAGS = ("streamed", "bill_seen", "seen")
_WHOLE = ("prompt_tokens", "completion_tokens", "latency_ms", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


class Calls(NamedTuple):
    """The calls of a file; `are_billed` where OpenRouter's own words on them are in it, which beat an estimate."""

    entries: list[Entry]
    are_billed: bool = False


def imported(text: str, unread: dict[str, None] | None = None, *, name_of: Canonical = canonical) -> Calls:
    """Read calls from a JSON list, CSV, ledger lines, OpenRouter's logs export, or saved answers of OpenRouter.

    A column may have its own name or that of the ledger's field; `unread` takes the names of those not understood,
    `name_of` gives models of OpenRouter's own files their short names. InvalidValue names the record that is no call.
    """
    unread = {} if unread is None else unread
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith("["):
        return _json_list(start, unread, name_of)
    if start.startswith("{"):
        return _json_objects(start, 1 + text[: len(text) - len(start)].count("\n"), name_of)
    return _csv_file(start, unread, name_of)


def _json_list(text: str, unread: dict[str, None], name_of: Canonical) -> Calls:
    try:
        records = loads(text)
    except ValueError as error:
        raise InvalidValue(f"this is no JSON: {error}") from None
    found: list[dict[str, Json]] = []
    for record in records if isinstance(records, list) else []:
        if not isinstance(record, dict):
            raise InvalidValue("a list of objects was expected")
        found.append(record)
    if found and all(map(is_answer, found)):
        return _answers(enumerate(found, 1), "record", name_of)
    return Calls(list(_numbered(found, unread)))


def _json_objects(text: str, first: int, name_of: Canonical) -> Calls:
    """Read objects, one a line or a single one over several lines: answers of OpenRouter, or the lines of a ledger."""
    whole = _object(text if _object(text.partition("\n")[0]) is None else text.partition("\n")[0])
    if whole is None or not (is_answer(whole) or is_activity(whole)):
        return Calls(list(_ledger_lines(text, first)))
    if is_activity(whole):
        raise activity_refusal()
    single = _object(text)
    if single is not None:
        return _answers([(first, single)], "line", name_of)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), first) if line.strip()]
    found: list[tuple[int, dict[str, Json]]] = []
    for number, line in lines:
        value = _object(line)
        if value is None:
            raise InvalidValue(f"line {number} is not a call: not JSON")
        found.append((number, value))
    return _answers(found, "line", name_of)


def _object(text: str) -> dict[str, Json] | None:
    try:
        value = loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _answers(found: Iterable[tuple[int, dict[str, Json]]], noun: str, name_of: Canonical) -> Calls:
    calls = []
    for number, value in found:
        try:
            call = saved_call(value, name_of)
        except ValueError as error:
            raise InvalidValue(f"{noun} {number} is not a call: {error}") from None
        calls += [call] if call else []
    return Calls(joined(calls), are_billed=True)


def _csv_file(text: str, unread: dict[str, None], name_of: Canonical) -> Calls:
    # Where a comma parts the whole from the fraction, spreadsheets part the cells with semicolons.
    delimiter = ";" if ";" in text.partition("\n")[0] else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = next(rows, [])
        is_twice = len(set(names)) < len(names)
        if is_logs_export(names) and not is_twice:
            unread.update(dict.fromkeys(name for name in names[:_MOST_UNREAD] if name not in LOGS_COLUMNS))
            return Calls(list(_logged_calls(_cells(rows, names), name_of)), are_billed=True)
        if "model" not in names or not {"timestamp", "ts"} & set(names) or is_twice:
            if is_activity_export(names):
                raise activity_refusal()
            raise InvalidValue("this is neither JSON nor CSV with the columns timestamp and model, each once")
        typed = ({name: _typed(name, cell) for name, cell in row.items()} for row in _cells(rows, names))
        return Calls(list(_numbered(typed, unread)))
    except csv.Error as error:
        raise InvalidValue(f"this CSV cannot be read: {error}") from None


def _cells(rows: Iterable[list[str]], names: list[str]) -> Iterator[dict[str, str]]:
    for number, row in enumerate(filter(None, rows), 1):
        # Cells that have moved would be read as each other: 0,0025 as a cost of 0.
        if len(row) != len(names):
            raise InvalidValue(f"record {number} is not a call: {len(row)} cells for {len(names)} columns")
        yield dict(zip(names, row, strict=True))


def _logged_calls(rows: Iterable[Mapping[str, str]], name_of: Canonical) -> Iterator[Entry]:
    for number, row in enumerate(rows, 1):
        try:
            yield logged_call({name: unshielded(cell) for name, cell in row.items()}, name_of)
        except ValueError as error:
            raise InvalidValue(f"record {number} is not a call: {error}") from None


def _typed(name: str, cell: str) -> Json:
    value = unshielded(cell)
    if not value:
        return None
    if name in _WHOLE:
        return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else value
    if name in _FLAGS:
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
