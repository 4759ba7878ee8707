"""to_json: writes what the library returns as JSON whose amounts keep every digit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal

from openrouter_usage.errors import InvalidValue
from openrouter_usage.exactjson import dumps


def to_json(value: object, *, indent: int = 0) -> str:
    """Return JSON in ASCII: a Decimal becomes a number with all its digits, a moment ISO 8601, a record its fields.

    With an indent one member a line. Raises InvalidValue for what JSON cannot hold, such as NaN.
    """
    try:
        return dumps(_plain(value), indent=indent)
    except RecursionError:
        raise InvalidValue("this is nested too deeply to be written as JSON") from None
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"this cannot be written as JSON: {error}") from None


def _plain(value: object) -> object:
    if isinstance(value, Decimal) and not value.is_finite():
        raise ValueError(f"{value} is no JSON number")
    if value is None or isinstance(value, (str, bool, int, float, Decimal)):
        return value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _plain(member) for name, member in value.items()}
    to_dict = getattr(value, "to_dict", None)
    if callable(to_dict):
        return _plain(to_dict())
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
        return [_plain(member) for member in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON")
