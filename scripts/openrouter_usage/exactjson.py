"""JSON whose numbers keep every digit: read into Decimal, written from Decimal."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import NoReturn

from openrouter_usage.money import plain

Json = dict[str, "Json"] | list["Json"] | str | int | Decimal | bool | None


def loads(text: str | bytes) -> Json:
    """Read JSON with exact numbers; ValueError for anything malformed, NaN, Infinity or too deep."""
    try:
        value: Json = json.loads(text, parse_float=Decimal, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("JSON that is not UTF-8") from None
    except InvalidOperation:
        raise ValueError("a number with an exponent beyond all bounds") from None
    return value


def loads_oddly(text: str | bytes) -> Json:
    """Read JSON like `loads`, but a number that is none (NaN, Infinity, an endless exponent) becomes its text.

    For the answer to a call that was made and may be billed: one odd figure must not hide all the others.
    """
    try:
        value: Json = json.loads(text, parse_float=_number_or_text, parse_constant=str)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("JSON that is not UTF-8") from None
    return value


def _number_or_text(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except InvalidOperation:
        return text


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def dumps(value: object, *, indent: int = 0) -> str:
    """Write JSON in ASCII with exact numbers; with an indent one member a line."""
    return "".join(_pieces(value, "\n" if indent else "", " " * indent))


def _pieces(value: object, newline: str, step: str) -> list[str]:
    if isinstance(value, Decimal):
        return [plain(value)]
    if isinstance(value, dict):
        members = [
            [json.dumps(str(k)), ": " if step else ":", *_pieces(v, newline + step, step)] for k, v in value.items()
        ]
        return _wrapped("{", members, "}", newline, step)
    if isinstance(value, (list, tuple)):
        return _wrapped("[", [_pieces(v, newline + step, step) for v in value], "]", newline, step)
    return [json.dumps(value, allow_nan=False)]


def _wrapped(opening: str, members: list[list[str]], closing: str, newline: str, step: str) -> list[str]:
    if not members:
        return [opening + closing]
    pieces = [opening]
    for number, member in enumerate(members):
        pieces.append(("," if number else "") + (newline + step if step else ""))
        pieces.extend(member)
    pieces.append((newline if step else "") + closing)
    return pieces
