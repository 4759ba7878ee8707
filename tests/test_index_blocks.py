"""The quick way to read lines and the careful one give the same sums, and sums lose nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openrouter_usage.entry import NOTHING, Entry, Hold, Release, Usage, checked_entry, read_line, write_line
from openrouter_usage.ledger.scan import (
    COLUMNS,
    MOST_CALLS,
    Block,
    columns,
    from_columns,
    is_usual,
    pack,
    read_block,
    usual_hold,
)
from tests.ledger_model import NOON, an_entry

FULL = an_entry(
    1, cached_tokens=3, cache_write_tokens=2, reasoning_tokens=1, cost_source="billed", provider="Google", session="s1",
    streamed=True, latency_ms=120, finish_reason="stop", hold="h1",
)  # fmt: skip
TAGGED = an_entry(3, tags=(("job", "night run"), ("team", "x")), session="s 3", hold="h3")
CALLS = [an_entry(0), an_entry(2, id="", session="s 2"), FULL, TAGGED]
OPEN = Hold("h1", NOON, "vendor/model-1", Decimal("0.25"), session="s1")
HOLDS = [OPEN, replace(OPEN, generation="gen-1"), replace(OPEN, id="h2", max_cost=None), Release("h1", NOON)]


def spaced(line: bytes) -> bytes:
    """A line as json.dumps writes it, with a space behind each comma and colon."""
    return json.dumps(json.loads(line)).encode()


WRITTEN = [write_line(entry)[:-1] for entry in CALLS]
USUAL = [*WRITTEN, spaced(WRITTEN[3]), WRITTEN[2].replace(b':00Z"', b':00+00:00"')]
OF_HOLDS = [write_line(record)[:-1] for record in HOLDS]
OF_HOLDS += [spaced(OF_HOLDS[0])]
PIECES = [
    b"", b"0", b"00", b"1", b"9" * 12, b"9" * 13, b"-", b"-1", b"+1", b"1e3", b"1E-3", b".", b".5", b"5.", b"1.50", b"0.0",
    b"0." + b"1" * 27, b"0." + b"1" * 28, b"0.00022334399999999998", b"999999.999", b"1000000", b"1000001", b"1e999",
    b"true", b"false", b"null", b"NaN", b"Infinity", b'""', b'"0.5"', b'"unknown"', b'"estimated"', b'"guessed"', b"[]",
    b"{}", b"\\", b"\\u0041", b"\\ud800", b"\xc3\xa9", b"\xff", b"\x00", b"\x7f", b"\t", b"\r", b" ", b",", b"}", b"{",
    b"2026-11-22T24:00:00Z", b"2026-02-30T10:00:00Z", b"1999-12-31T23:59:59Z", b"T23:59:60Z", b":00.123456Z", b"+09:00",
    b',"cost":1', b',"id":"gen-2"', b',"kind":"note"', b',"v":99', b',"cached_tokens":7', b',"reasoning_tokens":01',
    b',"cached_tokens":5,"cached_tokens":6', b',"latency_ms":007', b',"hold":"h2"', b',"tags":{"a":"b"}', b',"model":"x"',
    b"\xef\xbb\xbf", b'"', b"a" * 201,
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A usual line in which something was put in, taken out or written over, a few times."""
    line = draw(st.sampled_from(USUAL + OF_HOLDS))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(line)))
        end = min(len(line), start + draw(st.sampled_from([0, 0, 1, 2, 5, 12])))
        line = line[:start] + draw(st.sampled_from(PIECES) | st.binary(max_size=3)) + line[end:]
    return line.replace(b"\n", b"")


@st.composite
def revalued(draw: st.DrawFn) -> bytes:
    """A usual line with another value for one of its fields, of whatever kind."""
    values = json.loads(draw(st.sampled_from(USUAL + OF_HOLDS)), parse_float=Decimal)
    name = draw(st.sampled_from([*values, "extra"]))
    value = draw(st.sampled_from([piece for piece in PIECES if piece.isascii()]))
    members = [
        b'"%s":%s' % (key.encode(), value if key == name else json.dumps(old, default=float).encode())
        for key, old in {**values, name: values.get(name)}.items()
    ]
    return b"{" + b",".join(members) + b"}"


def carefully(line: bytes) -> Block:
    """Sum a line without the quick way."""
    block, record = Block(), read_line(line)
    if isinstance(record, Entry):
        block.add(record, 7)
    elif isinstance(record, Hold):
        block.holds[record.id] = line
    elif isinstance(record, Release):
        block.holds[record.hold] = None
    elif record is not None:
        block.unread.append((7, record))
    return block


def contents(block: Block) -> dict[str, Any]:
    """Everything that a block would put into the index."""
    by_name = {name: {day: dict(sums) for day, sums in days.items()} for name, days in block.by_name.items()}
    return {
        "names": by_name,
        "quarters": dict(block.quarters),
        "spans": block.spans,
        "ids": block.ids,
        "holds": block.holds,
        "unread": block.unread,
    }


@given(mutated() | revalued())
@settings(max_examples=500)
@example(USUAL[2].replace(b"120", b"007"))
@example(USUAL[2].replace(b'"cached_tokens":3', b'"cached_tokens":3,"cached_tokens":4'))
@example(USUAL[0].replace(b"T12:", b"T24:"))
@example(USUAL[3].replace(b'"team"', b'"job"'))
@example(OF_HOLDS[0].replace(b"2026-11-22", b"2026-11-31"))
@example(USUAL[0].replace(b"2026-11-22", b"2026-11-31"))
def test_both_ways_of_reading_give_the_same_sums(line: bytes) -> None:
    """Whatever is done to a usual line, the quick way counts what the careful way counts, or leaves it to that one."""
    assert contents(read_block(line + b"\n", 7, Block())) == contents(carefully(line))
    assert contents(read_block(line, 7, Block())) == contents(carefully(line))


@given(st.lists(mutated(), min_size=2, max_size=6))
@example([USUAL[0], USUAL[0].replace(b"2026-11-22", b"2026-11-31"), USUAL[3]])
def test_lines_do_not_touch_each_other(lines: list[bytes]) -> None:
    """A block of lines is the sum of its lines, each at its own offset."""
    text = b"".join(line + b"\n" for line in lines)
    whole, single, at = read_block(text, 1000, Block()), Block(), 1000
    for line in lines:
        read_block(line + b"\n", at, single)
        at += len(line) + 1
    assert contents(whole) == contents(single)


@pytest.mark.parametrize("line", USUAL)
def test_what_this_program_writes_is_read_the_quick_way(line: bytes) -> None:
    """The quick way is for the lines that there are, or it would be of no use."""
    assert is_usual(line)


@pytest.mark.parametrize("line", OF_HOLDS)
def test_what_this_program_writes_of_holds_is_read_the_quick_way(line: bytes) -> None:
    """Under a budget every second line is about a hold."""
    record = read_line(line)
    assert usual_hold(line) == ((record.id, True) if isinstance(record, Hold) else (record.hold, False))


def test_a_time_that_does_not_exist_is_not_usual() -> None:
    """A line that only looks like a call is not taken for one."""
    assert not is_usual(USUAL[0].replace(b"2026-11-22", b"2026-11-31"))
    assert not is_usual(USUAL[0].replace(b"2026-11-22", b"1996-11-22"))


FIGURES = st.integers(0, 10**12)
MONEY = st.decimals(0, 10**6, places=27)
USAGES = st.builds(
    lambda counts, cost, byok, cost_source: (
        checked_entry(
            {"ts": "2026-11-22", "model": "m", "byok_cost": byok, "cost": cost, "cost_source": cost_source, **counts}
        ).usage
    ),
    st.fixed_dictionaries({name: FIGURES for name in COLUMNS if name.endswith("_tokens")}),
    st.none() | MONEY,
    MONEY,
    st.sampled_from(["billed", "estimated", "unknown"]),
)


@given(st.lists(USAGES, max_size=8))
def test_numbers_add_up_as_usages_do(usages: list[Usage]) -> None:
    """A usage packed into one number, added to others and unpacked is the sum, to the last of 27 decimals."""
    total = sum(map(pack, usages))
    assert from_columns(columns(total)) == sum(usages, NOTHING)
    rows = [columns(pack(usage)) for usage in usages] or [(0,) * len(COLUMNS)]
    assert from_columns(tuple(map(sum, zip(*rows, strict=True)))) == sum(usages, NOTHING)


def test_the_largest_figures_do_not_run_over() -> None:
    """As many of the largest calls as are ever summed at once fit into the lanes and into SQLite's integers."""
    largest = checked_entry(
        {"ts": "2026-11-22", "model": "m", "cost": 10**6, "byok_cost": 10**6}
        | {name: 10**12 for name in COLUMNS if name.endswith("_tokens")}
    ).usage
    total = from_columns(columns(pack(largest) * MOST_CALLS))
    assert total.prompt_tokens == total.cache_write_tokens == 10**12 * MOST_CALLS
    assert total.cost == total.byok_cost == Decimal(10**6) * MOST_CALLS
    assert max(columns(pack(largest) * MOST_CALLS)) < 2**63


def test_so_many_calls_as_the_index_promises_fit_into_its_columns() -> None:
    """SQLite adds integers of 64 bits: ninety million of the largest amounts, each limb at its fullest."""
    for amount in (Decimal(10**6), Decimal("999999.999999999999999999999999999"), Decimal("0.000000000000000099999999999")):
        usage = checked_entry({"ts": "2026-11-22", "model": "m", "cost": amount, "byok_cost": amount}).usage
        assert max(columns(pack(usage))) * 90_000_000 < 2**63
    assert columns(pack(Usage())) == (0,) * len(COLUMNS)
    assert from_columns((0,) * len(COLUMNS)) == Usage() == NOTHING


def test_each_figure_has_a_column_of_its_own() -> None:
    """Counts first, then the two sums of money, the highest part before the lowest."""
    usage = Usage(1, 4, 5, 6, 7, Decimal("2"), Decimal("3E-27"), 8, 2, 3)
    assert dict(zip(COLUMNS, columns(pack(usage)), strict=True)) == {
        "requests": 1, "unknown": 2, "estimated": 3, "prompt_tokens": 4, "completion_tokens": 5, "reasoning_tokens": 6,
        "cached_tokens": 7, "cache_write_tokens": 8, "cost_high": 200_000, "cost_mid": 0, "cost_low": 0,
        "byok_high": 0, "byok_mid": 0, "byok_low": 3,
    }  # fmt: skip
    assert str(from_columns(columns(pack(Usage(1, cost=Decimal("0.0025")))))[5]) == "0.0025"


@given(USAGES, USAGES)
def test_what_was_added_can_be_taken_out_again(one: Usage, other: Usage) -> None:
    """Of every figure, so that a call that turns out to be counted already is counted once."""
    assert one + other - other == one
    assert one + other - one == other
    assert one - one == NOTHING
    assert one + NOTHING == one - NOTHING == one
    assert (one + other).total_tokens == one.total_tokens + other.total_tokens


def test_usages_add_up_figure_by_figure() -> None:
    """No figure is added to another one."""
    one = Usage(1, 2, 3, 4, 5, Decimal(6), Decimal(7), 8, 9, 10)
    assert one + one == Usage(2, 4, 6, 8, 10, Decimal(12), Decimal(14), 16, 18, 20)
    assert one + one + one - one == Usage(2, 4, 6, 8, 10, Decimal(12), Decimal(14), 16, 18, 20)
    assert NOTHING - one == Usage(-1, -2, -3, -4, -5, Decimal(-6), Decimal(-7), -8, -9, -10)
    assert one.total_tokens == 5
    assert Usage() == Usage(0, 0, 0, 0, 0, Decimal(0), Decimal(0), 0, 0, 0)
