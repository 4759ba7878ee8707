"""Sets members of a JSON object in its text, and leaves every other byte as it is; pure."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from openrouter_usage.errors import InvalidValue

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]', re.DOTALL)
_BLANKS = b" \t\r\n"
_EMPTY = re.compile(rb"[ \t\r\n]*\}")


class Span(NamedTuple):
    """Where a value begins and ends."""

    start: int
    end: int


def members(text: bytes, begin: int) -> dict[str, Span]:
    """Find the values of the object that begins at an offset; InvalidValue for a name that stands there twice.

    Of two values, one reader takes the first and another the last: what is bounded might not be what is charged.
    """
    found: dict[str, Span] = {}
    depth, name, start = 0, None, 0
    for match in _TOKEN.finditer(text, begin):
        token = match[0]
        kind = token[:1]
        if kind in (b"{", b"["):
            depth += 1
        elif kind in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and kind == b'"' and name is None:
            name = str(json.loads(token))
            if name in found:
                raise InvalidValue(f"the request has {json.dumps(name[:40])} twice")
            continue
        elif depth == 1 and kind == b":":
            start = match.end()
            continue
        if name is not None and ((depth == 1 and kind == b",") or depth == 0):
            found[name] = _trimmed(text, start, match.start())
            name = None
        if depth == 0:
            break
    return found


def _trimmed(text: bytes, start: int, end: int) -> Span:
    while text[start : start + 1] and text[start : start + 1] in _BLANKS:
        start += 1
    while text[end - 1 : end] and text[end - 1 : end] in _BLANKS:
        end -= 1
    return Span(start, end)


def set_member(text: bytes, path: tuple[str, ...], value: str) -> bytes:
    """Set the member at a path of names; objects that are missing, or null, on the way are made.

    A member that is there is replaced, a missing one is put first in its object.
    """
    begin, end = text.find(b"{"), len(text)
    for depth, name in enumerate(path):
        found = members(text, begin)
        if name not in found:
            return _inserted(text, begin, path[depth:], value)
        begin, end = found[name]
        if depth < len(path) - 1 and text[begin : begin + 1] != b"{":
            return text[:begin] + _nested(path[depth + 1 :], value).encode() + text[end:]
    return text[:begin] + value.encode() + text[end:]


def put_first(text: bytes, wanted: list[str]) -> bytes:
    """Put members, written as JSON, first in an object that has none of their names."""
    begin = text.find(b"{") + 1
    comma = b"" if not wanted or _EMPTY.match(text, begin) else b","
    return b"".join((text[:begin], ",".join(wanted).encode(), comma, text[begin:]))


def _inserted(text: bytes, begin: int, path: tuple[str, ...], value: str) -> bytes:
    rest = text[begin + 1 :]
    comma = b"" if _EMPTY.match(rest) else b","
    member = f"{json.dumps(path[0])}:{_nested(path[1:], value)}".encode()
    return text[: begin + 1] + member + comma + rest


def _nested(path: tuple[str, ...], value: str) -> str:
    for name in reversed(path):
        value = f"{{{json.dumps(name)}:{value}}}"
    return value
