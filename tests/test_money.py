"""Money is exact inside, honest when it is rounded, and nothing but money gets in."""

from __future__ import annotations

import re
from decimal import ROUND_DOWN, ROUND_UP, Decimal, Inexact, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from openrouter_usage.errors import InvalidValue
from openrouter_usage.money import add, format_usd, multiply, plain, ratio, rounded, share, subtract, total, usd
from tests import oracle

AMOUNTS = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent),
    st.integers(-(10**9), 10**9),
    st.integers(-18, 0),
)
WIDE = st.builds(
    lambda whole, fraction: Decimal(f"{whole}.{fraction:027d}"), st.integers(0, 10**9 - 1), st.integers(0, 10**27 - 1)
)


@given(AMOUNTS | WIDE)
def test_an_amount_comes_in_as_it_was_written(amount: Decimal) -> None:
    for written in (amount, str(amount), f"{amount:f}", f"{amount:E}", f" {amount} "):
        assert usd(written) == amount
    assert str(usd(amount)) == str(usd(str(amount))) == (str(amount) if amount else "0")
    assert Fraction(usd(str(amount))) == Fraction(amount)


@given(st.floats(-1e9, 1e9).filter(lambda value: value == 0 or abs(value) > 1e-11))
def test_a_float_is_the_shortest_decimal_that_prints_it(value: float) -> None:
    assert usd(value) == Decimal(repr(value))
    assert float(usd(value)) == value


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("0", "0"), ("-0", "0"), ("0.0e5", "0"), (".5", "0.5"), ("5.", "5"), ("+1", "1"), ("1e-12", "0.000000000001"),
        ("1E+2", "100"), ("3E-7", "0.0000003"), (7, "7"), ("1e9", "1000000000"), (-(10**9), "-1000000000"),
        (Decimal("1E-27"), "0.000000000000000000000000001"), ("0" * 70 + "1", "1"), (0.1, "0.1"),
        (Decimal("1.5000000000000000000000000000000000"), "1.5"), (Decimal("0E-99999"), "0"),
        (Decimal("0E+99999"), "0"), ("0" * 79 + "1", "1"), (f" {'0' * 77}1 ", "1"),
        (Decimal(f"1.{'0' * 199}"), "1"), (Decimal("2E+2"), "200"), ("-1000000000", "-1000000000"),
        (Decimal(f"0.{'0' * 26}10"), f"0.{'0' * 26}1"), (Decimal(f"-1.{'1' * 27}00"), f"-1.{'1' * 27}"),
    ],
)  # fmt: skip
def test_what_is_an_amount(value: Any, amount: str) -> None:
    assert plain(usd(value)) == amount


@pytest.mark.parametrize(
    "value",
    [
        True, False, None, [], {}, b"1", 1j, "", " ", "free", "NaN", "nan", "inf", "-Infinity", "1,000", "1_000", "$1",
        "1 2", "0x10", "1e", "e5", "--1", "٣", "１", "1\n2", "1e99999", "1e9999", "1" * 81, "1e10", 10**10, 10**4000,
        -(10**10), "1000000000.01", 1e300, float("nan"), float("inf"), Decimal("NaN"), Decimal("sNaN"),
        Decimal("Infinity"), Decimal("1E+999999"), Decimal("1E-28"), Decimal("1E-999999"), "1e-28",
        Decimal("1000000000.0000000000000000001"), object, "0" * 80 + "1", f" {'0' * 78}1 ", f"1.{'0' * 79}", -(10**9) - 1,
        10**9 + 1, 2**64, "-1000000000.000000000000000000000000001", Decimal(f"1.{'0' * 200}"), Decimal(f"1.{'0' * 27}1"),
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_what_is_no_amount(value: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        usd(value)
    assert len(str(caught.value)) < 100


@given(AMOUNTS | WIDE)
def test_plain_says_the_same_without_an_exponent(amount: Decimal) -> None:
    text = plain(amount)
    assert Decimal(text) == amount
    assert re.fullmatch(r"-?\d+(\.\d*[1-9])?", text)


@given(st.lists(AMOUNTS | WIDE, max_size=50))
def test_sums_are_exact_in_every_decimal_context(amounts: list[Decimal]) -> None:
    truth = sum(map(Fraction, amounts), Fraction(0))
    with localcontext() as context:
        context.prec = 3
        context.rounding = ROUND_UP
        result = total(amounts)
        difference = subtract(result, amounts[0]) if amounts else result
        doubled = add(result, result)
    assert Fraction(result) == truth
    assert Fraction(difference) == truth - (Fraction(amounts[0]) if amounts else 0)
    assert Fraction(doubled) == 2 * truth


@given(AMOUNTS | WIDE)
def test_an_amount_for_people_is_off_by_less_than_it_shows(amount: Decimal) -> None:
    shown = format_usd(amount)
    assert shown.startswith("-") == (amount < 0)
    bare = shown.lstrip("-").replace(",", "").replace("$", "")
    size = abs(amount)
    if bare.startswith("<"):
        assert bare == "<0.000001" and 0 < size < Decimal("0.0000005")
    else:
        unit = Decimal("0.01") if size >= 1 else Decimal("0.000001")
        assert abs(Fraction(bare) - Fraction(size)) <= Fraction(unit) / 2
        assert (Decimal(bare) == 0) == (size == 0)
        assert re.fullmatch(r"[\d,]+\.\d\d(\d{0,3}[1-9])?", shown.lstrip("-$"))
    assert shown == oracle.dollars(amount)


@given(AMOUNTS | WIDE)
def test_what_people_read_does_not_hang_on_the_decimal_context(amount: Decimal) -> None:
    shown, exact, read = format_usd(amount), plain(amount), usd(amount)
    with localcontext() as context:
        context.prec = 2
        context.rounding = ROUND_DOWN
        assert (format_usd(amount), plain(amount), usd(amount)) == (shown, exact, read)


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0.00"), ("4.55", "$4.55"), ("1234567.891", "$1,234,567.89"), ("0.005", "$0.005"), ("0.1", "$0.10"),
        ("0.125", "$0.125"), ("0.0000005", "$0.000001"), ("0.00000049", "<$0.000001"), ("1e-12", "<$0.000001"),
        ("-1e-12", "-<$0.000001"), ("-0.25", "-$0.25"), ("1.005", "$1.01"), ("0.9999999", "$1.00"),
        ("999999999.995", "$1,000,000,000.00"),
    ],
)  # fmt: skip
def test_amounts_as_people_read_them(amount: str, shown: str) -> None:
    assert format_usd(Decimal(amount)) == shown


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_share_is_0_or_100_only_when_that_is_true(part: int, rest: int) -> None:
    assume(part + rest)
    text = share(Decimal(part) * Decimal("1e-6"), Decimal(part + rest) * Decimal("1e-6"))
    exact = Fraction(100 * part, part + rest)
    assert (text == "0%") == (part == 0)
    assert (text == "100%") == (rest == 0)
    if text == "<1%":
        assert 0 < exact < 1
    elif text == ">99%":
        assert 99 < exact < 100
    else:
        assert abs(int(text.removesuffix("%")) - exact) <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("part", "whole", "decimals", "shown"),
    [
        ("1", "100", 0, "1%"), ("0.999", "100", 0, "<1%"), ("99", "100", 0, "99%"), ("99.001", "100", 0, ">99%"),
        ("100", "100", 0, "100%"), ("100.001", "100", 0, ">100%"), ("100.999", "100", 0, ">100%"),
        ("101", "100", 0, "101%"), ("101.4", "100", 0, "101%"), ("0", "3", 0, "0%"), ("0.5", "1", 0, "50%"),
        ("0.1", "100", 1, "0.1%"), ("0.0999", "100", 1, "<0.1%"), ("99.9", "100", 1, "99.9%"),
        ("99.95", "100", 1, ">99.9%"), ("1", "1", 1, "100.0%"), ("1000.5", "1000", 1, ">100%"),
        ("1001", "1000", 1, "100.1%"), ("2", "3", 1, "66.7%"), ("0.125", "1", 0, "13%"), ("-30", "100", 0, "-30%"),
        ("-0.5", "100", 0, "<1%"), ("-1", "100", 0, "-1%"),
    ],
)  # fmt: skip
def test_a_share_is_rounded_but_never_to_what_it_is_not(part: str, whole: str, decimals: int, shown: str) -> None:
    assert share(Decimal(part), Decimal(whole), decimals) == shown


def test_quotients_and_products_have_sixty_digits() -> None:
    assert str(ratio(Decimal(2), 3)) == f"0.{'6' * 59}7"
    assert str(multiply(Decimal("6" * 60), Decimal("1.1"))) == f"7{'3' * 59}"
    assert str(multiply(Decimal("6" * 59 + "5"), Decimal("1.1"))) == f"7{'3' * 58}2"


def test_a_share_of_nothing_is_no_number() -> None:
    assert share(Decimal(0), Decimal(0)) == share(Decimal(1), Decimal(0)) == "–"


@given(AMOUNTS | WIDE, AMOUNTS.filter(bool), st.integers(0, 3))
def test_shares_and_ratios_do_not_hang_on_the_decimal_context(part: Decimal, whole: Decimal, decimals: int) -> None:
    def figures() -> list[object]:
        step = Decimal("0.1")
        return [share(part, whole, decimals), rounded(ratio(part, whole), step), rounded(multiply(part, 100), step)]

    usual = figures()
    assert abs(Fraction(ratio(part, whole)) - Fraction(part) / Fraction(whole)) < Fraction(1, 10**20)
    with localcontext() as context:
        context.prec, context.traps[Inexact] = 3, True
        assert figures() == usual
