"""Money in USD: the one door to Decimal, exact sums, JSON whose numbers keep every digit, and honest rounding."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from json.encoder import encode_basestring_ascii
from typing import NoReturn

from openrouter_usage.errors import InvalidValue

# -- Amounts in USD: the one door to Decimal, exact sums, honest rounding.

ZERO = Decimal(0)
LARGEST_USD = Decimal(10) ** 9
FINEST_EXPONENT = -27
# An amount has at most 10 digits before the point and 27 after it; a sum of 10**18 of them fits in
# 60, so a sum that would have to be rounded is a bug, and raises Inexact instead of hiding it.
EXACT = Context(prec=60, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
_ROUNDED = Context(prec=60, rounding=ROUND_HALF_UP)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_CENT, _MICRO = Decimal("0.01"), Decimal("0.000001")


def usd(value: object) -> Decimal:
    """Return a value from the wire or the user as exact USD; InvalidValue for booleans, NaN, text and absurd sizes.

    A float becomes the shortest decimal that prints it, which is what its writer wrote.
    """
    if isinstance(value, bool) or not isinstance(value, (Decimal, int, float, str)):
        raise InvalidValue(f"an amount in USD must be a number, not {type(value).__name__}")
    if isinstance(value, (str, float)):
        value = _parse(repr(value) if isinstance(value, float) else value)
    # Converting a number of a million digits to a Decimal would take seconds.
    is_huge = isinstance(value, int) and value.bit_length() > 64
    return _believable(LARGEST_USD + 1 if is_huge else Decimal(value))


def _parse(text: str) -> Decimal:
    if len(text) > 80 or not _NUMBER.fullmatch(text.strip()):
        raise InvalidValue("an amount in USD must be a plain number such as 0.0025")
    return Decimal(text.strip())


def _believable(amount: Decimal) -> Decimal:
    if not amount.is_finite():
        raise InvalidValue("an amount in USD must be a finite number")
    if not amount:
        return ZERO
    if amount.copy_abs() > LARGEST_USD:
        raise InvalidValue("an amount of more than a billion USD is implausible")
    if int(amount.as_tuple().exponent) < FINEST_EXPONENT:
        amount = _without_trailing_zeros(amount)
    return amount


def _without_trailing_zeros(amount: Decimal) -> Decimal:
    # What has millions of decimals is not written out.
    text = format(amount, "f") if int(amount.as_tuple().exponent) > -200 else ""
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    if not text or len(fraction) > -FINEST_EXPONENT:
        raise InvalidValue(f"an amount in USD must have at most {-FINEST_EXPONENT} decimals")
    return Decimal(f"{whole}.{fraction}" if fraction else whole)


def add(left: Decimal, right: Decimal) -> Decimal:
    """Add two amounts exactly, whatever the caller's decimal context."""
    return EXACT.add(left, right)


def subtract(left: Decimal, right: Decimal) -> Decimal:
    """Subtract two amounts exactly, whatever the caller's decimal context."""
    return EXACT.subtract(left, right)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the exact sum of amounts, whatever the caller's decimal context."""
    result = ZERO
    for amount in amounts:
        result = EXACT.add(result, amount)
    return result


def multiply(amount: Decimal, factor: Decimal | int) -> Decimal:
    """Multiply to 60 digits, whatever the caller's decimal context."""
    return _ROUNDED.multiply(amount, Decimal(factor))


def ratio(part: Decimal, whole: Decimal | int) -> Decimal:
    """Divide to 60 digits, whatever the caller's decimal context."""
    return _ROUNDED.divide(part, Decimal(whole))


def rounded(amount: Decimal, step: Decimal) -> Decimal:
    """Round half up to as many decimals as `step` has, whatever the caller's decimal context."""
    return _ROUNDED.quantize(amount, step)


def plain(amount: Decimal) -> str:
    """Return an amount exactly and without an exponent, as JSON and CSV show it."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_usd(amount: Decimal) -> str:
    """Return an amount for people: cents, below a dollar up to six decimals, never a false $0.00."""
    sign, size = ("-" if amount < 0 else ""), amount.copy_abs()
    if size >= 1:
        return f"{sign}${_ROUNDED.quantize(size, _CENT):,}"
    rounded = _ROUNDED.quantize(size, _MICRO)
    if size and rounded < _MICRO:
        return f"{sign}<$0.000001"
    text = f"{rounded:f}"
    return sign + "$" + text[:4] + text[4:].rstrip("0")


def share(part: Decimal, whole: Decimal, decimals: int = 0) -> str:
    """Return a part as a percentage of so many decimals: 0% and 100% only when they are true, "–" of nothing."""
    if not whole:
        return "–"
    least = Decimal(1).scaleb(-decimals)
    percent = ratio(multiply(part, 100), whole)
    if part and percent.copy_abs() < least:
        return f"<{least}%"
    nearly = subtract(Decimal(100), least)
    if nearly < percent < 100:
        return f">{nearly}%"
    if 100 < percent < add(Decimal(100), least):
        return ">100%"
    return f"{rounded(percent, least):f}%"


# -- JSON with exact numbers: read into Decimal, written from Decimal.

Json = dict[str, "Json"] | list["Json"] | str | int | Decimal | bool | None
Pairs = Callable[[list[tuple[str, Json]]], dict[str, Json]]


def loads(text: str | bytes, *, pairs: Pairs | None = None) -> Json:
    """Read JSON with exact numbers; ValueError for anything malformed, NaN, Infinity or too deep.

    `pairs` makes the dict of each object from its names and values.
    """
    try:
        value: Json = json.loads(text, parse_float=Decimal, parse_constant=_refuse, object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("the JSON is not UTF-8") from None
    except InvalidOperation:
        raise ValueError("a number has an exponent that is out of range") from None
    return value


def loads_oddly(text: str | bytes) -> Json:
    """Read JSON like `loads`, but an invalid number (NaN, Infinity, an endless exponent) becomes its text.

    For the answer to a call that may be billed: one invalid figure must not hide all the others.
    """
    try:
        value: Json = json.loads(text, parse_float=_number_or_text, parse_constant=str)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("the JSON is not UTF-8") from None
    return value


def _number_or_text(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except InvalidOperation:
        return text


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_NAMES = {None: "null", True: "true", False: "false"}


def dumps(value: object, *, indent: int = 0) -> str:
    """Return JSON in ASCII with exact numbers; with an indent one member per line."""
    pieces: list[str] = []
    _write(value, pieces.append, "\n" if indent else "", " " * indent)
    return "".join(pieces)


def _write(value: object, add: Callable[[str], None], newline: str, step: str) -> None:
    # The usual kinds by hand: json.dumps makes an encoder for each value.
    if isinstance(value, str):
        add(encode_basestring_ascii(value))
    elif isinstance(value, Decimal):
        add(plain(value))
    elif type(value) is int:
        add(int.__repr__(value))
    elif value is None or isinstance(value, bool):
        add(_NAMES[value])
    elif isinstance(value, dict):
        before = "{" + newline + step
        for name, member in value.items():
            add(before + encode_basestring_ascii(str(name)) + (": " if step else ":"))
            _write(member, add, newline + step, step)
            before = "," + newline + step
        add(newline + "}" if value else "{}")
    elif isinstance(value, (list, tuple)):
        before = "[" + newline + step
        for member in value:
            add(before)
            _write(member, add, newline + step, step)
            before = "," + newline + step
        add(newline + "]" if value else "[]")
    else:
        add(json.dumps(value, allow_nan=False))
