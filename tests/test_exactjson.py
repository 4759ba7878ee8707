"""JSON keeps every digit of every number, both ways, and refuses what is no JSON."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_usage.money import dumps, loads

NUMBERS = st.integers(-(10**30), 10**30) | st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent), st.integers(-(10**25), 10**25), st.integers(-40, 20)
)
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=20)  # lone surrogates too
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    """Equal, with true never taken for 1."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


@given(VALUES, st.sampled_from([0, 2]))
def test_what_is_written_is_read_back_the_same(value: Any, indent: int) -> None:
    text = dumps(value, indent=indent)
    assert text.isascii()
    assert same(loads(text), value)
    assert same(loads(text.encode()), value)


@given(VALUES)
def test_others_read_what_is_written(value: Any) -> None:
    assert same(json.loads(dumps(value, indent=2), parse_float=Decimal), value)
    assert "\n" not in dumps(value)


@pytest.mark.parametrize("text", ["0.1", "1.10", "123456789.000000000000000000001", "1e-27", "3E-7", "1E+2", "-0.0"])
def test_a_fraction_keeps_its_digits(text: str) -> None:
    value = loads(text)
    assert isinstance(value, Decimal)
    assert value == Decimal(text)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "NaN", "Infinity", "-Infinity", '{"a":NaN}', "{", "[1,]", "{'a':1}", "01", "1.", "+1", "<html>", "nul",
        "1e99999999999999999999", '{"a":1e-99999999999999999999}', "[" * 100_000, '{"a":' * 100_000, '"\x00"', "1 2",
        b"\xff\xfe\x00", b"\x80", b'{"a":"\xc3"}',
    ],
    ids=lambda text: repr(text)[:30],
)  # fmt: skip
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError) as caught:
        loads(text)
    assert len(str(caught.value)) < 200


def test_a_float_that_is_no_number_is_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps({"a": float("nan")})


def test_empty_and_nested_values_are_indented_like_everybody_does() -> None:
    value = {"a": [], "b": {}, "c": [1, {"d": None}], "e": "ü"}
    assert dumps(value, indent=2) == json.dumps(value, indent=2)
