"""JSON written without floating point: a Decimal leaves exactly as it is."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any


class Raw(str):
    """Text that is written into the JSON as it stands, so that a test can send what no encoder would."""


def number(value: Decimal) -> str:
    """A Decimal as JavaScript writes it: plain, and with an exponent below a millionth."""
    if not value.is_finite():
        return str(value)
    if not value:
        return "0"
    if value.adjusted() >= -6:
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    digits, exponent = format(value, "e").split("e")
    return f"{digits.rstrip('0').rstrip('.') if '.' in digits else digits}e{int(exponent)}"


def text(value: Any) -> str:
    """One value as JSON text."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(str(name))}:{text(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def dumps(value: Any) -> bytes:
    """One value as JSON in UTF-8; a lone surrogate is escaped, since UTF-8 has no place for it."""
    return text(value).encode("utf-8", "backslashreplace")


def loads(data: bytes) -> Any:
    """JSON read with every fraction as a Decimal."""
    return json.loads(data, parse_float=Decimal)
