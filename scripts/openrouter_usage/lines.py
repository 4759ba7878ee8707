"""The ledger's file format: one JSON object a line, written and read exactly."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from json.encoder import encode_basestring_ascii

from openrouter_usage.entry import Entry, Hold, Record, Release, Unread, checked_entry, checked_hold, record_values
from openrouter_usage.errors import InvalidValue
from openrouter_usage.exactjson import Json, dumps, loads
from openrouter_usage.money import plain
from openrouter_usage.period import parse_moment

LONGEST_LINE = 1024 * 1024


def write_line(record: Entry | Hold | Release) -> bytes:
    """Write a record as one line of ASCII with its line end; the same record is always the same line."""
    values = ",".join([f'"{name}":{_written(value)}' for name, value in record_values(record).items()])
    return f"{{{values}}}\n".encode("ascii")


def _written(value: Json) -> str:
    # The three kinds that nearly all values are of, without a detour.
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, Decimal):
        return plain(value)
    return str(value) if type(value) is int else dumps(value)


def read_line(line: bytes) -> Record | None:
    """Read one line without its end; None when it is blank, Unread when it is not understood."""
    values = read_object(line, LONGEST_LINE)
    if not isinstance(values, dict):
        return values
    try:
        return _record(values)
    except InvalidValue as error:
        return Unread(str(error), True)


def read_object(line: bytes, longest: int) -> dict[str, Json] | Unread | None:
    """Read the JSON object of one line; None when the line is blank, Unread when it holds something else."""
    text = line.strip(b" \t\r\x0b\x0c").removeprefix(b"\xef\xbb\xbf")
    if not text:
        return None
    if len(text) > longest:
        return Unread(f"longer than {(longest + 1) // 2**20} MiB", True)
    try:
        # As text, for bytes would also be tried as UTF-16, which nobody else would read here.
        values = loads(text.decode())
    except ValueError:
        return Unread("not JSON", True)
    return values if isinstance(values, dict) else Unread("not an object", True)


def _record(values: Mapping[str, object]) -> Record:
    kind = values.get("kind")
    if kind == "hold":
        return checked_hold(values)
    if kind == "release":
        return Release(str(values.get("hold", "")), parse_moment(str(values.get("ts", ""))))
    if kind is not None or values.get("v", 1) != 1:
        return Unread("of a kind from elsewhere", False)
    return checked_entry(values)
